"""Instance aggregation: what is read where, and how it is weighed.

A volume whose three channels are its voxels' coordinates in metres says
where it was read.
"""

import itertools
import math

import pytest
import torch

from occsplat.models.heads import InstanceAggregation
from occsplat.models.heads.instance_aggregation import run_ends
from occsplat.structures import VoxelGrid

#: extents 8, 4 and 2 m, voxels of 0.5, 1 and 0.25 m
GRID = VoxelGrid((-4, 1, -1, 4, 5, 1), (16, 4, 8))
NORM = dict(type='GN', num_groups=2)
STRIDES = [1, 2, 4]
#: sign and axis
DIRECTIONS = [(1, 0), (-1, 0), (1, 1), (-1, 1), (1, 2), (-1, 2)]


def coded(shape, grid=GRID):
    """Coordinates in metres, (1, 3, X, Y, Z), over the grid's range."""
    return VoxelGrid(grid.range, shape).centers().permute(3, 0, 1, 2)[None]


def limits(grid):
    """Lowest and highest centre: beyond them the border is read."""
    points = grid.centers().flatten(0, 2)
    return points.amin(dim=0), points.amax(dim=0)


def make_offsets(cells, scale=2.0, batch=1):
    gen = torch.Generator().manual_seed(3)
    return scale * torch.rand(batch, 6, *cells.shape, generator=gen)


def trained(*args, **kwargs):
    """One that has learned to add something; a new one adds nothing."""
    torch.manual_seed(0)
    module = InstanceAggregation(*args, norm_cfg=NORM, **kwargs)
    for layer in module.layers:
        layer.output.reset_parameters()
    return module


def even_reader(channels=3, **kwargs):
    """No weights and no norm: volume + mean of what the six ends show."""
    module = InstanceAggregation(
        channels,
        channels,
        num_layers=1,
        norm_cfg=dict(type='GN', num_groups=1),
        **kwargs,
    )
    (layer,) = module.layers
    layer.query = torch.nn.Conv3d(channels, channels, 1, bias=False)
    torch.nn.init.zeros_(layer.query.weight)
    layer.key = layer.value = layer.output = layer.norm = torch.nn.Identity()
    return module


def ends_of(module, offsets, stride):
    """Where the layers look."""
    seen = []
    handle = module.layers[0].register_forward_pre_hook(
        lambda _, args: seen.append(args[1])
    )
    width = module.layers[0].norm.num_channels
    module(torch.zeros(1, width, *GRID.shape), offsets, GRID, stride)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize('stride', STRIDES)
@pytest.mark.parametrize('shape', [(32, 8, 16), (16, 4, 8), (8, 12, 4)])
@pytest.mark.parametrize('direction', range(6))
def test_an_end_shows_what_stands_there(direction, shape, stride):
    cells = GRID.strided(stride)
    offsets = torch.zeros(1, 6, *cells.shape)
    offsets[:, direction] = make_offsets(cells)[:, direction]
    ends = run_ends(cells.centers(), offsets)
    read = GRID.sample(coded(shape), ends, padding_mode='border')
    sign, axis = DIRECTIONS[direction]
    expected = cells.centers().expand(6, *cells.shape, 3).clone()
    expected[direction, ..., axis] += sign * offsets[0, direction]
    expected = expected.clamp(*limits(VoxelGrid(GRID.range, shape)))
    torch.testing.assert_close(read[0].movedim(0, -1), expected)


@pytest.mark.parametrize('stride', STRIDES)
@pytest.mark.parametrize('shape', [(64, 72, 32), (32, 48, 24), (24, 20, 16)])
@pytest.mark.parametrize('direction', range(6))
def test_a_layer_reads_along_the_right_axis(direction, shape, stride):
    """From voxels to cells, to the ends of runs and back to voxels."""
    grid = VoxelGrid((-8, 0, -2, 8, 12, 10), (32, 48, 24))
    cells = grid.strided(stride)
    offsets = torch.zeros(1, 6, *cells.shape)
    offsets[:, direction] = 0.25
    volume = coded(shape, grid)
    seen = even_reader()(volume, offsets, grid, stride) - volume
    sign, axis = DIRECTIONS[direction]
    expected = volume.clone()
    expected[:, axis] += sign * 0.25 / 6  # one of six ends
    # two interpolations between cells and an offset from the borders
    # nothing is read beyond them
    margin = 2 * torch.tensor(cells.size) + 0.25
    points, inner = volume[0].movedim(0, -1), True
    for low, high in (limits(VoxelGrid(grid.range, shape)), limits(cells)):
        inner &= (points >= low + margin) & (points <= high - margin)
    inner = inner.all(dim=-1)
    assert inner.any()
    torch.testing.assert_close(seen[0, :, inner], expected[0, :, inner])


@pytest.mark.parametrize('stride', STRIDES)
def test_without_offsets_a_cell_reads_itself(stride):
    cells = GRID.strided(stride)
    ends = run_ends(cells.centers(), torch.zeros(1, 6, *cells.shape))
    read = GRID.sample(coded(GRID.shape), ends)
    every = coded(GRID.shape)[:, :, None, ::stride, ::stride, ::stride]
    torch.testing.assert_close(read, every.expand_as(read))


@pytest.mark.parametrize('stride', STRIDES)
def test_borders_do_not_bleed(stride):
    cells = GRID.strided(stride)
    offsets = make_offsets(cells, scale=20.0)  # far outside
    ones = torch.ones(1, 3, 8, 4, 8)
    out = even_reader()(ones, offsets, GRID, stride)
    torch.testing.assert_close(out, 2 * ones)


def test_alpha_says_how_far_to_go():
    cells = GRID.strided(2)
    offsets = make_offsets(cells)
    volume = torch.randn(1, 3, *GRID.shape)
    half = even_reader(alpha=0.5)(volume, offsets, GRID, 2)
    expected = even_reader()(volume, offsets / 2, GRID, 2)
    torch.testing.assert_close(half, expected)
    whole = even_reader()(volume, offsets, GRID, 2)
    assert not torch.allclose(half, whole)


@pytest.mark.parametrize('inside', [True, False])
def test_an_alpha_of_zero_is_the_cell_itself(inside):
    cells = GRID.strided(2)
    module = InstanceAggregation(2, 2, alpha=0.0, inside=inside, norm_cfg=NORM)
    ends = ends_of(module, make_offsets(cells), 2)
    expected = cells.centers().expand_as(ends)
    torch.testing.assert_close(ends, expected, rtol=0, atol=0)


def blocks():
    """Labels 0 and 1 in blocks of many sizes, (16, 4, 8)."""
    labels = torch.zeros(GRID.shape, dtype=torch.int64)
    labels[3:10, 1:3, 2:7] = 1
    labels[12:14, :, 0:3] = 1
    return labels


def brute_run_lengths(labels, stride):
    """Metres to the first voxel of another label, and which one it is.

    Returns:
        tuple: (6, x, y, z) each; a run that ends at the border has -1.
    """
    cells = GRID.strided(stride)
    lengths = torch.zeros(6, *cells.shape)
    behind = torch.full((6, *cells.shape), -1)
    for cell in itertools.product(*(range(n) for n in cells.shape)):
        for d, (sign, axis) in enumerate(DIRECTIONS):
            here = [stride * i for i in cell]
            start, count = labels[tuple(here)], 0
            while (
                0 <= here[axis] < labels.shape[axis]
                and labels[tuple(here)] == start
            ):
                here[axis] += sign
                count += 1
            lengths[(d, *cell)] = count * GRID.size[axis]
            if 0 <= here[axis] < labels.shape[axis]:
                behind[(d, *cell)] = labels[tuple(here)]
    return lengths, behind


@pytest.mark.parametrize('stride', STRIDES)
def test_run_lengths_lead_behind_the_run_or_to_its_last_voxel(stride):
    labels = blocks()
    lengths, behind = brute_run_lengths(labels, stride)
    every = labels[::stride, ::stride, ::stride]
    volume = labels[None, None].float()
    for inside in (False, True):
        module = InstanceAggregation(2, 2, inside=inside, norm_cfg=NORM)
        ends = ends_of(module, lengths[None], stride)
        read = GRID.sample(volume, ends, padding_mode='border')[0, 0]
        # behind the border there is nothing but the run itself
        expected = every.expand_as(behind)
        if not inside:
            expected = torch.where(behind < 0, expected, behind)
        # exactly: an end is a centre, nothing is interpolated
        torch.testing.assert_close(read, expected.float())


def read_in_loops(volume, grid, points):
    """Trilinear by hand, the border where a point lies beyond it.

    Args:
        volume (Tensor): (D, X, Y, Z) over the grid's range.
        points (Tensor): metres, (P, 3).
    """
    shape = volume.shape[1:]
    out = []
    for point in points:
        corners = []  # along each axis: index and weight, twice
        for lo, hi, n, p in zip(grid.min, grid.max, shape, point):
            at = ((p - lo) / (hi - lo) * n - 0.5).clamp(0, n - 1)
            floor = min(int(at), max(n - 2, 0))
            corners.append(
                [
                    (floor, 1 - (at - floor)),
                    (min(floor + 1, n - 1), at - floor),
                ]
            )
        out.append(
            sum(
                volume[:, x, y, z] * wx * wy * wz
                for (x, wx), (y, wy), (z, wz) in itertools.product(*corners)
            )
        )
    return torch.stack(out, dim=-1)


def layer_in_loops(layer, volume, offsets, grid, cells):
    """Equation 6, one cell and one direction after the other."""
    centers = cells.centers().double().flatten(0, 2)
    here = read_in_loops(volume, grid, centers).view(1, -1, *cells.shape)
    query, key, value = (
        conv(here)[0] for conv in (layer.query, layer.key, layer.value)
    )
    width = len(query)
    seen = []
    for cell, center in zip(
        itertools.product(*(range(n) for n in cells.shape)), centers
    ):
        scores, values = [], []
        for d, (sign, axis) in enumerate(DIRECTIONS):
            step = [0.0, 0.0, 0.0]
            step[axis] = sign * offsets[(d, *cell)]
            end = torch.stack([c + s for c, s in zip(center, step)])[None]
            score = query[(slice(None), *cell)] @ read_in_loops(
                key, cells, end
            )
            scores.append((score / math.sqrt(width)).exp())
            values.append(read_in_loops(value, cells, end))
        seen.append(sum(s * v for s, v in zip(scores, values)) / sum(scores))
    seen = torch.cat(seen, dim=1).view(width, *cells.shape)
    voxels = VoxelGrid(grid.range, volume.shape[1:]).centers().double()
    back = read_in_loops(seen, cells, voxels.flatten(0, 2))
    back = back.view(1, width, *volume.shape[1:])
    return layer.norm(volume[None] + layer.output(back))


def test_a_layer_equals_equation_6_in_loops_with_gradients():
    grid = VoxelGrid(GRID.range, (8, 4, 6))
    cells = grid.strided(2)
    module = trained(4, 6, num_layers=1).double()
    (layer,) = module.layers
    volume = torch.randn(1, 4, 5, 2, 3, dtype=torch.double).requires_grad_()
    # some ends lie outside
    offsets = make_offsets(cells).double().requires_grad_()
    actual = module(volume, offsets, grid, 2)
    expected = layer_in_loops(layer, volume[0], offsets[0], grid, cells)
    close = dict(rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(actual, expected, **close)
    inputs = (volume, offsets, *module.parameters())
    cotangent = torch.randn_like(expected)
    for got, want in zip(
        torch.autograd.grad(actual, inputs, cotangent),
        torch.autograd.grad(expected, inputs, cotangent),
    ):
        torch.testing.assert_close(got, want, **close)
        assert want.any()


def test_a_new_one_gives_the_volume_normalised():
    torch.manual_seed(0)
    module = InstanceAggregation(4, 6, num_layers=2, norm_cfg=NORM)
    volume, offsets = torch.randn(1, 4, 8, 6, 4), make_offsets(GRID.strided(2))
    out = module(volume, offsets, GRID, 2)
    normalised = torch.nn.GroupNorm(2, 4)(volume)
    torch.testing.assert_close(out, normalised, rtol=1e-4, atol=1e-4)
    # and learns what to add from the first step on
    (out * torch.randn_like(out)).sum().backward()
    assert all(layer.output.weight.grad.any() for layer in module.layers)


def test_all_layers_look_at_the_same_places_with_their_own_weights():
    module = trained(4, 4, num_layers=3)
    offsets = make_offsets(GRID.strided(2))
    volume = torch.randn(1, 4, 8, 6, 4)
    calls = []
    for layer in module.layers:
        layer.register_forward_hook(
            lambda _, args, out: calls.append((*args[:2], out))
        )
    out = module(volume, offsets, GRID, 2)
    volumes, ends, outs = zip(*calls)
    assert all(torch.equal(end, ends[0]) for end in ends)
    assert volumes[0] is volume
    assert (volumes[1], volumes[2], out) == outs
    weights = [layer.value.conv.weight for layer in module.layers]
    assert len({weight.data_ptr() for weight in weights}) == 3


def test_samples_of_a_batch_do_not_mix():
    module = trained(4, 4, num_layers=2)
    volume = torch.randn(2, 4, 8, 6, 4)
    offsets = make_offsets(GRID.strided(2), batch=2)
    out = module(volume, offsets, GRID, 2)
    for i in range(2):
        alone = module(volume[i : i + 1], offsets[i : i + 1], GRID, 2)
        torch.testing.assert_close(out[i : i + 1], alone)


@pytest.mark.parametrize('detach', [False, True])
def test_offsets_learn_from_the_classes_unless_detached(detach):
    module = trained(4, 4, detach=detach)
    volume = torch.randn(1, 4, 8, 6, 4, requires_grad=True)
    offsets = make_offsets(GRID.strided(2)).requires_grad_()
    module(volume, offsets, GRID, 2).square().sum().backward()
    assert volume.grad.any()
    if detach:
        assert offsets.grad is None
    else:
        share = (offsets.grad != 0).float().mean(dim=(0, 2, 3, 4))
        assert (share > 0.1).all()  # in all six directions


def test_recomputing_layers_changes_no_gradient():
    gradients = []
    for with_cp in (False, True):
        module = trained(4, 4, num_layers=2, with_cp=with_cp)
        volume = torch.randn(1, 4, 8, 6, 4, requires_grad=True)
        offsets = make_offsets(GRID.strided(2)).requires_grad_()
        out = module(volume, offsets, GRID, 2)
        out.mul(torch.arange(4.0).view(4, 1, 1, 1)).sum().backward()
        leaves = (volume, offsets, *module.parameters())
        gradients.append([out, *(leaf.grad for leaf in leaves)])
    for one, two in zip(*gradients):
        assert torch.equal(one, two)


def test_recomputed_layers_keep_little_for_the_backward_pass():
    sizes = []
    for with_cp in (False, True):
        module = InstanceAggregation(4, 4, with_cp=with_cp, norm_cfg=NORM)
        saved = []

        def pack(x, saved=saved):
            saved.append(x.numel())
            return x

        volume = torch.randn(1, 4, 8, 6, 4, requires_grad=True)
        offsets = make_offsets(GRID.strided(2))
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            module(volume, offsets, GRID, 2)
        sizes.append(sum(saved))
    assert sizes[1] < 0.2 * sizes[0]


def test_errors_name_what_they_got():
    with pytest.raises(ValueError, match='at least 1, got 0'):
        InstanceAggregation(4, num_layers=0)
    with pytest.raises(ValueError, match=r'at least 0, got -0\.5'):
        InstanceAggregation(4, alpha=-0.5)
    module = InstanceAggregation(4, 4, norm_cfg=NORM)
    with pytest.raises(ValueError, match=r'\(16, 4, 8\) grid by 3'):
        module(torch.zeros(1, 4, 4, 4, 4), torch.zeros(1), GRID, 3)
