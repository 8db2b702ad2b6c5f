"""The spatially-decoupled encoder: projection, planes, tasks and levels."""

import pytest
import torch
import torch.nn.functional as F

from occsplat.models.volume import SpatiallyDecoupledEncoder
from occsplat.models.volume.decoupled_encoder import (
    PlaneDecoupling,
    dense_projection,
)
from occsplat.ops import deform_conv2d

NORM = dict(type='GN', num_groups=2)


def make_encoder(gain=1.0, **kwargs):
    """One that has learned to add something; a new one adds nothing."""
    torch.manual_seed(0)
    encoder = SpatiallyDecoupledEncoder(
        **{**dict(channels=4, norm_cfg=NORM), **kwargs}
    )
    for branch in encoder.branches.values():
        torch.nn.init.constant_(branch.gain, gain)
    return encoder


def make_levels(*shapes, channels=4):
    gen = torch.Generator().manual_seed(1)
    return [
        torch.randn(2, channels, *shape, generator=gen) for shape in shapes
    ]


def projected_in_loops(volume, weights):
    """Equation 1, one ray of voxels after the other."""
    batch, channels, *shape = volume.shape
    planes = []
    for i, axis in enumerate((2, 1, 0)):  # Z, Y and X are lost
        a, b = (n for j, n in enumerate(shape) if j != axis)
        plane = volume.new_zeros(batch, channels, a, b)
        for sample in range(batch):
            for u in range(a):
                for v in range(b):
                    ray = [u, v]
                    ray.insert(axis, slice(None))
                    x, y, z = ray
                    power = weights[sample, i, x, y, z].exp()
                    values = volume[sample, :, x, y, z]
                    plane[sample, :, u, v] = (values * power).sum(
                        dim=1
                    ) / power.sum()
        planes.append(plane)
    return planes


def test_projection_by_hand():
    volume = torch.zeros(1, 1, 2, 3, 4)
    volume[0, 0, 1, 2, 3] = 8
    weights = torch.zeros(1, 3, 2, 3, 4)
    # its shares: 3 of 3 + 1 + 1 + 1 along z, 1 of 3 along y, 3 of 4 along x
    weights[0, :, 1, 2, 3] = torch.tensor([3.0, 1.0, 3.0]).log()
    xy, xz, yz = dense_projection(volume, weights)
    assert (xy.shape, xz.shape, yz.shape) == (
        (1, 1, 2, 3),
        (1, 1, 2, 4),
        (1, 1, 3, 4),
    )
    assert xy[0, 0, 1, 2].item() == pytest.approx(8 * 3 / 6)
    assert xz[0, 0, 1, 3].item() == pytest.approx(8 / 3)
    assert yz[0, 0, 2, 3].item() == pytest.approx(8 * 3 / 4)
    for plane in (xy, xz, yz):
        assert plane.count_nonzero() == 1


def test_a_constant_weight_is_the_mean():
    (volume,) = make_levels((5, 3, 2))
    weights = torch.tensor([-1.0, 0.0, 4.0]).view(1, 3, 1, 1, 1)
    planes = dense_projection(volume, weights.expand(2, 3, 5, 3, 2))
    for plane, axis in zip(planes, (4, 3, 2)):
        torch.testing.assert_close(plane, volume.mean(dim=axis))


def test_projection_equals_loops_with_gradients():
    volume, weights = (
        make_levels((4, 3, 5), channels=c)[0].double().requires_grad_()
        for c in (2, 3)
    )
    actual = dense_projection(volume, weights)
    expected = projected_in_loops(volume, weights)
    cotangents = [torch.randn_like(plane) for plane in expected]
    for got, want in zip(actual, expected):
        torch.testing.assert_close(got, want)
    for got, want in zip(
        torch.autograd.grad(actual, (volume, weights), cotangents),
        torch.autograd.grad(expected, (volume, weights), cotangents),
    ):
        torch.testing.assert_close(got, want)
        assert want.abs().min() > 0


def test_planes_are_spread_back_along_the_axis_they_lost():
    (volume,) = make_levels((5, 3, 2))
    block = PlaneDecoupling(4, NORM)
    torch.nn.init.zeros_(block.weights.weight)  # means
    block.fuse = torch.nn.Identity()
    block.planes = torch.nn.ModuleList([torch.nn.Identity()] * 3)
    expected = volume + sum(
        volume.mean(dim=axis, keepdim=True) for axis in (2, 3, 4)
    )
    torch.testing.assert_close(block(volume), expected)


def test_every_plane_has_its_own_weights():
    block = PlaneDecoupling(4, NORM)
    seen = {}
    for name, plane in zip(('xy', 'xz', 'yz'), block.planes):
        plane.register_forward_hook(
            lambda _, args, out, name=name: seen.update(
                {name: (args[0].shape, out.shape)}
            )
        )
    block(torch.randn(2, 4, 5, 3, 2))
    assert seen == dict(
        xy=((2, 4, 5, 3),) * 2, xz=((2, 4, 5, 2),) * 2, yz=((2, 4, 3, 2),) * 2
    )
    assert len({id(plane) for plane in block.planes}) == 3


def test_a_plane_starts_as_an_ordinary_convolution():
    plane = PlaneDecoupling(4, NORM).planes[0]
    image = torch.randn(2, 4, 5, 3)
    refined = plane.refine(image).relu()
    convolved = F.conv2d(refined, plane.conv.weight, padding=1)
    torch.testing.assert_close(plane(image), plane.norm(convolved).relu())


def test_a_plane_learns_to_bend():
    plane = PlaneDecoupling(4, NORM).planes[0]
    torch.nn.init.constant_(plane.shift.bias, 1.0)  # pixels, in both axes
    image = torch.randn(2, 4, 7, 6)
    refined = plane.refine(image).relu()
    moved = F.conv2d(
        F.pad(refined[..., 1:, 1:], (0, 1, 0, 1)),
        plane.conv.weight,
        padding=1,
    )
    inner = (..., slice(1, -2), slice(1, -2))  # away from the padding
    out = deform_conv2d(refined, plane.shift(refined), plane.conv.weight)
    torch.testing.assert_close(out[inner], moved[inner])
    plane(image).square().sum().backward()
    assert plane.shift.weight.grad.any()


@pytest.mark.parametrize(
    'shapes',
    [
        [(8, 6, 4), (4, 3, 2), (2, 2, 1)],
        [(7, 5, 3), (4, 3, 2), (2, 2, 1)],
        [(6, 9, 1), (3, 5, 1), (2, 3, 1)],
        [(1, 6, 5), (1, 3, 3), (1, 2, 2)],
    ],
)
def test_shapes_stay(shapes):
    levels = make_levels(*shapes)
    classes, offsets = make_encoder()(levels)
    assert [level.shape for level in classes] == [x.shape for x in levels]
    assert offsets.shape == levels[0].shape


def test_the_coarsest_level_stays_as_it_is():
    levels = make_levels((8, 6, 4), (4, 3, 2), (2, 2, 1))
    classes, _ = make_encoder()(levels)
    assert classes[2] is levels[2]
    assert not any(torch.equal(classes[i], levels[i]) for i in (0, 1))


@pytest.mark.parametrize('width', [2, 4])
def test_a_new_one_gives_the_levels_of_the_host(width):
    levels = make_levels((8, 6, 4), (4, 3, 2), (2, 2, 1))
    encoder = make_encoder(gain=0.0, width=width)
    classes, offsets = encoder(levels)
    assert all(map(torch.equal, classes, levels))
    assert torch.equal(offsets, levels[0])
    # and learns to add to them from the first step on
    classes[0].square().sum().backward()
    assert encoder.branches['classes'].gain.grad.any()


def test_context_comes_down_the_pyramid_and_never_up():
    levels = make_levels((8, 6, 4), (4, 3, 2), (2, 2, 1))
    levels = [level.requires_grad_() for level in levels]
    classes, offsets = make_encoder()(levels)
    for finest in (classes[0], offsets):
        grads = torch.autograd.grad(
            finest.square().sum(), levels, retain_graph=True
        )
        assert all(grad.any() for grad in grads)
    grads = torch.autograd.grad(
        classes[1].square().sum(), levels, allow_unused=True
    )
    assert [grad is not None for grad in grads] == [False, True, True]


def test_a_voxel_is_felt_where_it_is_and_along_its_axes():
    """Projection, planes and spreading agree on which axis is which."""
    block = PlaneDecoupling(4, NORM)
    for plane in block.planes:
        plane.norm = torch.nn.Identity()  # looks at the whole plane
        # away from the ReLUs
        torch.nn.init.constant_(plane.refine.bias, 9.0)
        torch.nn.init.constant_(plane.conv.weight, 0.1)
    block.fuse = torch.nn.Identity()
    (volume,) = make_levels((9, 8, 7))
    before = block(volume)
    volume[:, :, 4, 2, 3] += 1
    felt = ((block(volume) - before).abs() > 1e-6).any(dim=1).all(dim=0)
    x, y, z = torch.meshgrid(
        *(torch.arange(n) for n in (9, 8, 7)), indexing='ij'
    )
    near = [abs(x - 4) <= 1, abs(y - 2) <= 1, abs(z - 3) <= 1]
    # two of three: the plane of the two sees it
    assert torch.equal(felt, sum(axis.int() for axis in near) >= 2)


def test_tasks_share_nothing_but_their_input():
    encoder = make_encoder(in_levels=1)
    levels = make_levels((8, 6, 4))
    (classes,), offsets = encoder(levels)
    ids = [
        {id(p) for p in branch.parameters()}
        for branch in encoder.branches.values()
    ]
    assert not ids[0] & ids[1]
    for out, own, other in (
        (classes, 'classes', 'offsets'),
        (offsets, 'offsets', 'classes'),
    ):
        encoder.zero_grad()
        out.square().sum().backward(retain_graph=True)
        grads = {name: p.grad for name, p in encoder.named_parameters()}
        for name, grad in grads.items():
            if name.startswith(f'branches.{other}.'):
                assert grad is None
            else:
                assert name.startswith((f'branches.{own}.', 'coarser.'))
                assert grad is not None, name


def test_one_level_alone_is_decoupled():
    encoder = make_encoder(in_levels=1, num_levels=1)
    (volume,) = make_levels((5, 3, 2))
    (classes,), offsets = encoder([volume])
    for out, task in ((classes, 'classes'), (offsets, 'offsets')):
        (block,) = encoder.branches[task].decouple
        torch.testing.assert_close(out, volume + block(volume))
    assert not encoder.coarser


def test_levels_that_the_host_lacks_are_made():
    encoder = make_encoder(in_levels=1, num_levels=3)
    shapes = []
    for conv in encoder.coarser:
        conv.register_forward_hook(
            lambda _, args, out: shapes.append(tuple(out.shape[2:]))
        )
    classes, offsets = encoder(make_levels((9, 6, 3)))
    assert shapes == [(5, 3, 2), (3, 2, 1)]
    assert [level.shape for level in classes] == [(2, 4, 9, 6, 3)]
    assert offsets.shape == (2, 4, 9, 6, 3)
    (classes[0].square().sum() + offsets.square().sum()).backward()
    # distributed training waits for every parameter
    assert all(p.grad is not None for p in encoder.parameters())


def test_errors_name_expected_and_actual():
    with pytest.raises(ValueError, match='in_levels must be .* got 0'):
        make_encoder(in_levels=0, num_levels=3)
    with pytest.raises(ValueError, match=r'in 1\.\.3 .* got 4'):
        make_encoder(in_levels=4, num_levels=3)
    with pytest.raises(ValueError, match='expects 3 levels, got 1'):
        make_encoder()(make_levels((4, 3, 2)))


def test_a_width_of_its_own_changes_no_shape_and_leaves_nothing_unused():
    torch.manual_seed(0)
    encoder = SpatiallyDecoupledEncoder(
        8, 2, 3, width=4, norm_cfg=dict(type='GN', num_groups=2)
    )
    levels = [torch.randn(1, 8, 8, 6, 4), torch.randn(1, 8, 4, 3, 2)]
    classes, offsets = encoder(levels)
    assert [x.shape for x in classes] == [x.shape for x in levels]
    assert offsets.shape == levels[0].shape
    narrow = encoder.branches['offsets'].decouple[0].weights
    assert narrow.in_channels == 4
    (sum(x.square().sum() for x in classes) + offsets.sum()).backward()
    assert all(p.grad is not None for p in encoder.parameters())
