"""SurroundOcc: volumes of several resolutions, and their decoder."""

import pytest
import torch
from small_rig import HEIGHT, WIDTH, make_rig

from occsplat.models.image_features import ImageFeatures
from occsplat.models.lifting import SurroundOccLifter
from occsplat.models.volume import DeconvDecoder3D
from occsplat.structures import VoxelGrid

GRID = VoxelGrid(range=(-12, -8, -2, 12, 8, 4), shape=(12, 8, 4))
NORM = dict(type='GN', num_groups=2)
SHAPES = [(8, 16), (4, 8)]


def make_lifter(**kwargs):
    torch.manual_seed(0)
    options = dict(
        in_channels=6,
        grid=GRID,
        channels=(8, 16),
        num_layers=(1, 2),
        num_points=(2, 4),
        num_heads=2,
        num_cameras=3,
        norm_cfg=NORM,
    )
    return SurroundOccLifter(**{**options, **kwargs})


def make_features():
    torch.manual_seed(1)
    return [ImageFeatures(tuple(torch.randn(1, 3, 6, *s) for s in SHAPES))]


def test_volumes_come_finest_first():
    volumes, _ = make_lifter()(make_features(), make_rig()[:, None])
    assert [v.shape for v in volumes] == [(1, 8, 12, 8, 4), (1, 16, 6, 4, 2)]


def test_every_parameter_learns():
    lifter = make_lifter()
    volumes, _ = lifter(make_features(), make_rig()[:, None])
    sum(v.square().sum() for v in volumes).backward()
    for name, parameter in lifter.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_recomputing_changes_nothing():
    found = []
    for with_cp in (False, True):
        lifter = make_lifter(with_cp=with_cp, dropout=0.0).train()
        volumes, _ = lifter(make_features(), make_rig()[:, None])
        sum(v.square().sum() for v in volumes).backward()
        found.append([*volumes, *(p.grad for p in lifter.parameters())])
    for one, two in zip(*found):
        torch.testing.assert_close(one, two)


def test_a_voxel_reads_the_pixel_that_its_centre_projects_to():
    """One level that only reads; its map holds its own pixel."""
    lifter = make_lifter(
        in_channels=2, channels=(2,), num_layers=(1,), num_points=(1,),
        num_heads=1, num_cameras=1, norm_cfg=dict(type='GN', num_groups=1),
    ).eval()  # fmt: skip
    (level,) = lifter.levels
    torch.nn.init.eye_(level.transfer[0].weight[..., 0, 0].data)
    for tensor in (
        level.transfer[0].bias, level.embedding.camera,
        level.embedding.level, level.query,
    ):  # fmt: skip
        torch.nn.init.zeros_(tensor)
    (layer,) = level.layers
    attention = layer.cross_attention
    torch.nn.init.zeros_(attention.offsets[0].bias)
    for linear in (attention.value, attention.output):
        torch.nn.init.eye_(linear.weight)
    layer.norms = torch.nn.ModuleList([torch.nn.Identity()] * 2)
    layer.feedforward = torch.nn.Identity()
    for conv in layer.neighbours:
        torch.nn.init.zeros_(conv.conv.weight)
        torch.nn.init.zeros_(conv.gn.weight)
    v, u = torch.meshgrid(
        (torch.arange(16) + 0.5) / 16 * HEIGHT,
        (torch.arange(32) + 0.5) / 32 * WIDTH,
        indexing='ij',
    )
    rig = make_rig(views=1)
    with torch.no_grad():
        (volume,), _ = lifter(
            [ImageFeatures((torch.stack([u, v])[None, None],))], rig[:, None]
        )
    uv, depth = rig.project(GRID.centers().view(1, -1, 3))
    uv = uv[0, 0].view(*GRID.shape, 2)
    size = torch.tensor([WIDTH, HEIGHT])
    safe = ((uv > 2) & (uv < size - 2)).all(-1)
    safe &= (depth > 0).view(GRID.shape)
    assert safe.sum() > 10
    read = volume[0].permute(1, 2, 3, 0)
    torch.testing.assert_close(read[safe], uv[safe], atol=1e-2, rtol=0)


def test_mistakes_are_told():
    with pytest.raises(ValueError, match='got 2, 1 and 2'):
        make_lifter(num_layers=(1,))
    one = [ImageFeatures(make_features()[0].maps[:1])]
    with pytest.raises(ValueError, match='reads 2 image maps.*give 1'):
        make_lifter()(one, make_rig()[:, None])
    with pytest.raises(ValueError, match='cannot divide'):
        make_lifter(
            channels=(8,) * 4, num_layers=(1,) * 4, num_points=(1,) * 4
        )


class TestDecoder:
    def make(self):
        torch.manual_seed(0)
        return DeconvDecoder3D((8, 16), (4, 6, 8), NORM)

    def volumes(self):
        torch.manual_seed(1)
        return [torch.randn(1, 8, 6, 4, 2), torch.randn(1, 16, 3, 2, 1)]

    def test_outputs_come_finest_first(self):
        levels = self.make()(self.volumes())
        assert [tuple(v.shape[1:]) for v in levels] == [
            (4, 12, 8, 4),
            (6, 6, 4, 2),
            (8, 3, 2, 1),
        ]

    def test_it_is_convolutions_and_sums_from_coarse_to_fine(self):
        decoder, (fine, coarse) = self.make(), self.volumes()
        third = decoder.convs[2](coarse)
        second = decoder.convs[1](decoder.deconvs[1](third) + fine)
        first = decoder.convs[0](decoder.deconvs[0](second))
        for one, two in zip(decoder([fine, coarse]), (first, second, third)):
            assert torch.equal(one, two)

    def test_a_volume_is_added_where_it_stands(self):
        """What one voxel holds reaches its own surroundings alone."""
        decoder, (fine, coarse) = self.make().eval(), self.volumes()
        # norms see the whole volume: leave them out
        for module in [*decoder.convs, *decoder.deconvs]:
            module.norm_name = 'none'
            module.none = torch.nn.Identity()
        other = fine.clone()
        other[0, :, 4, 1, 0] += 10
        with torch.no_grad():
            one, two = decoder([fine, coarse]), decoder([other, coarse])
        changed = (one[1] - two[1]).abs().amax((0, 1)).nonzero()
        assert changed.amin(0).tolist() == [3, 0, 0]
        assert changed.amax(0).tolist() == [5, 2, 1]

    def test_mistakes_are_told(self):
        with pytest.raises(ValueError, match=r'in_channels\[:-1\] = \(8,\)'):
            DeconvDecoder3D((8, 16), (4, 6, 9))
        with pytest.raises(ValueError, match='expects 2 volumes, got 1'):
            self.make()(self.volumes()[:1])
