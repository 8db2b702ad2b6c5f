"""Stereo maps of backbones, and the neck that goes with Swin."""

import pytest
import torch
from mmdet3d.registry import MODELS
from torch import nn

from occsplat.models.backbones import LSSFPN, StereoSwin, first_stage


def make_swin(**kwargs):
    torch.manual_seed(0)
    return StereoSwin(
        embed_dims=8,
        depths=(2, 2, 2, 2),
        num_heads=(1, 2, 2, 4),
        window_size=4,
        drop_path_rate=0.0,
        **kwargs,
    )


def make_resnet(**kwargs):
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='mmdet.ResNet',
            depth=18,
            base_channels=8,
            out_indices=(0, 2, 3),
            **kwargs,
        )
    )


@pytest.mark.parametrize(
    'make',
    [
        make_swin,
        lambda: make_swin(use_abs_pos_embed=True, pretrain_img_size=(32, 64)),
        make_resnet,
        lambda: make_resnet(deep_stem=True),
    ],
    ids=['swin', 'swin_positions', 'resnet', 'resnet_deep_stem'],
)
def test_the_first_stage_alone_gives_output_0(make):
    backbone = make()
    backbone.eval()  # mmdet's returns nothing
    imgs = torch.rand(2, 3, 32, 64)
    with torch.no_grad():
        first, *others = backbone(imgs)
        alone = first_stage(backbone, imgs)
    assert first.shape == (2, 8, 8, 16)
    torch.testing.assert_close(alone, first, atol=0, rtol=0)
    assert [tuple(m.shape[2:]) for m in others] == [(2, 4), (1, 2)]


def test_other_backbones_are_named():
    with pytest.raises(TypeError, match='Linear.*stereo=False'):
        first_stage(nn.Linear(2, 2), torch.rand(1, 2))


def test_the_first_map_of_swin_is_not_normalised():
    backbone = make_swin()
    first, third, _ = backbone(torch.rand(2, 3, 32, 64))
    assert (first.var(dim=1) - 1).abs().max() > 0.1
    torch.testing.assert_close(
        third.var(dim=1, unbiased=False),
        torch.ones(2, 2, 4),
        atol=1e-2,
        rtol=0,
    )
    # a norm there would be weights that nothing trains
    third.square().sum().backward()
    assert not any('norm0' in name for name, _ in backbone.named_parameters())


def test_swin_without_output_0_is_refused():
    with pytest.raises(ValueError, match=r'start with 0.*\(2, 3\)'):
        make_swin(out_indices=(2, 3))


def test_both_maps_reach_the_output_of_the_neck():
    neck = LSSFPN([6, 10], 4)
    maps = [
        torch.rand(2, 6, 4, 8, requires_grad=True),
        torch.rand(2, 10, 2, 4, requires_grad=True),
    ]
    out = neck(maps)
    assert out.shape == (2, 4, 4, 8)
    out.square().sum().backward()
    assert all(m.grad.abs().sum() > 0 for m in maps)
    assert all(p.grad is not None for p in neck.parameters())
    count = sum(p.numel() for p in neck.parameters())
    assert count == 9 * 16 * 4 + 2 * 4 + 9 * 4 * 4 + 2 * 4
    with pytest.raises(ValueError, match='2 maps, got 1'):
        neck(maps[:1])
