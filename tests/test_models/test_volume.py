"""The 3D encoder: shapes, connections and size."""

import pytest
import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS

from occsplat.models.volume import (
    FPN3D,
    LSSFPN3D,
    BEVEncoder,
    ResNet3D,
    VolumeEncoder,
)
from occsplat.models.volume.resnet3d import BasicBlock3D
from occsplat.structures import VoxelGrid

BN = dict(type='BN3d')


def count(module):
    return sum(p.numel() for p in module.parameters())


def small_encoder():
    return MODELS.build(
        dict(
            type='VolumeEncoder',
            backbone=dict(
                type='ResNet3D',
                in_channels=3,
                channels=(4, 6, 8),
                num_blocks=(1, 2, 1),
            ),
            neck=dict(type='FPN3D', in_channels=(4, 6, 8), out_channels=5),
        )
    )


def test_shapes_of_a_grid_with_three_sizes():
    levels = small_encoder()(torch.randn(2, 3, 10, 7, 4))
    assert [tuple(level.shape) for level in levels] == [
        (2, 5, 10, 7, 4),
        (2, 5, 5, 4, 2),
        (2, 5, 3, 2, 1),
    ]


def test_backbone_alone():
    encoder = VolumeEncoder(dict(type='ResNet3D', in_channels=3))
    levels = encoder(torch.randn(1, 3, 4, 6, 2))
    assert [level.shape[1] for level in levels] == [64, 128, 256]


def test_every_parameter_takes_part():
    encoder = small_encoder()
    sum(
        level.sum() for level in encoder(torch.randn(2, 3, 8, 6, 4))
    ).backward()
    assert all(p.grad is not None for p in encoder.parameters())


def test_block_is_residual():
    block = BasicBlock3D(3, 3, 1, BN)
    torch.nn.init.zeros_(block.conv2.bn.weight)
    volume = torch.randn(2, 3, 4, 5, 2)
    torch.testing.assert_close(block(volume), volume.relu())


def test_pyramid_passes_context_down_only():
    neck = FPN3D((4, 6, 8), 5).eval()
    levels = [
        torch.randn(1, c, 8 // s, 6 // s, 4 // s, requires_grad=True)
        for c, s in ((4, 1), (6, 2), (8, 2))
    ]
    finest, _, coarsest = neck(levels)
    grads = torch.autograd.grad(finest.sum(), levels, retain_graph=True)
    assert all(grad.abs().sum() > 0 for grad in grads)
    grads = torch.autograd.grad(coarsest.sum(), levels, allow_unused=True)
    assert [grad is not None for grad in grads] == [False, False, True]


def test_context_arrives_where_it_came_from():
    """A coarse voxel reaches the fine voxels that it covers."""
    neck = FPN3D((1, 1), 1).eval()
    for conv in (*neck.laterals, *neck.outputs):
        torch.nn.init.constant_(conv.conv.weight, 1.0)
    fine = torch.zeros(1, 1, 16, 12, 8)
    coarse = torch.zeros(1, 1, 8, 6, 4)
    coarse[0, 0, 6, 1, 2] = 1
    out = neck([fine, coarse])[0][0, 0].detach()
    # weighted by mass: the middle of voxels (12, 13), (2, 3) and (4, 5)
    index = VoxelGrid((0, 0, 0, 16, 12, 8), (16, 12, 8)).centers() - 0.5
    centre = (out[..., None] * index).sum((0, 1, 2)) / out.sum()
    torch.testing.assert_close(centre, torch.tensor([12.5, 2.5, 4.5]))
    # two voxels, one more to each side by interpolation, one by convolution
    assert (out[:, 2, 4] > 0).nonzero().flatten().tolist() == [*range(10, 16)]


def test_parameters_of_the_r50_recipe():
    """FB-Occ R50: 80 -> 64/128/256 -> 256, counted by hand."""
    stem = 80 * 64 + 2 * 64
    stages = (
        4 * (64 * 64 * 27 + 2 * 64)
        + (64 * 128 * 27 + 2 * 128)
        + 3 * (128 * 128 * 27 + 2 * 128)
        + (64 * 128 + 2 * 128)
        + (128 * 256 * 27 + 2 * 256)
        + 3 * (256 * 256 * 27 + 2 * 256)
        + (128 * 256 + 2 * 256)
    )
    assert count(ResNet3D(80)) == stem + stages == 8_234_368
    laterals = (64 + 128 + 256) * 256 + 3 * 2 * 256
    outputs = 3 * (256 * 256 * 27 + 2 * 256)
    assert count(FPN3D()) == laterals + outputs == 5_426_176


def test_errors_name_expected_and_actual():
    with pytest.raises(ValueError, match='got 2, 3 and 3'):
        ResNet3D(4, channels=(4, 8))
    with pytest.raises(ValueError, match='expects 2 levels, got 1'):
        FPN3D((4, 8), 4)([torch.zeros(1, 4, 2, 2, 2)])


def test_mixing_before_resizing_equals_mixing_the_concatenation():
    torch.manual_seed(0)
    neck = LSSFPN3D((3, 4, 5), 6).eval()
    levels = [
        torch.randn(2, c, *size)
        for c, size in ((3, (8, 6, 4)), (4, (4, 3, 2)), (5, (2, 2, 1)))
    ]
    resized = [
        F.interpolate(level, size=(8, 6, 4), mode='trilinear')
        for level in levels
    ]
    expected = neck.norm(neck.mix(torch.cat(resized, dim=1))).relu()
    (out,) = neck(levels)
    torch.testing.assert_close(out, expected)


def test_parameters_of_bevstereo():
    """Two frames of 32 channels -> 32/64/128 -> 32, counted by hand."""
    stem = 64 * 32 + 2 * 32
    stages = (
        2 * (32 * 32 * 27 + 2 * 32)
        + (32 * 64 * 27 + 2 * 64)
        + 3 * (64 * 64 * 27 + 2 * 64)
        + (32 * 64 + 2 * 64)
        + (64 * 128 * 27 + 2 * 128)
        + 7 * (128 * 128 * 27 + 2 * 128)
        + (64 * 128 + 2 * 128)
    )
    backbone = ResNet3D(64, (32, 64, 128), num_blocks=(1, 2, 4))
    assert count(backbone) == stem + stages
    assert count(LSSFPN3D()) == (32 + 64 + 128) * 32 + 2 * 32


def test_the_neck_counts_its_levels():
    with pytest.raises(ValueError, match='expects 3 levels, got 1'):
        LSSFPN3D()([torch.zeros(1, 32, 2, 2, 2)])


def bev_encoder(**kwargs):
    torch.manual_seed(0)
    args = dict(
        in_channels=3,
        height=4,
        channels=(8, 12, 16),
        out_channels=5,
        norm_cfg=dict(type='GN', num_groups=4),
    )
    return BEVEncoder(**{**args, **kwargs})


def test_heights_are_channels_and_come_back():
    encoder = bev_encoder()
    (level,) = encoder(torch.randn(2, 3, 10, 7, 4))
    assert level.shape == (2, 5, 10, 7, 4)
    level.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


def test_the_order_of_heights_survives():
    """A height's own channel in, the same height out."""
    encoder = bev_encoder(in_channels=1, channels=(4,), out_channels=1)
    with torch.no_grad():
        for p in encoder.parameters():
            p.zero_()
        encoder.stem.bn = torch.nn.Identity()
        encoder.stem.gn = torch.nn.Identity()
        encoder.stem.conv.weight[:, :, 0, 0] = torch.eye(4)
        encoder.to_height.weight[:, :, 0, 0] = torch.eye(4)
    volume = torch.rand(1, 1, 6, 5, 4)
    torch.testing.assert_close(encoder(volume)[0], volume)


def test_a_volume_of_another_height_is_refused():
    with pytest.raises(ValueError, match='4 voxels along z, .* has 8'):
        bev_encoder()(torch.randn(1, 3, 10, 10, 8))
