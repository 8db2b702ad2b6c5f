"""DCNv2 on torchvision's operator, in mmdet's backbone."""

import torch
import torch.nn.functional as F
from mmcv.cnn import build_conv_layer
from mmdet3d.registry import MODELS


def make(**kwargs):
    torch.manual_seed(0)
    options = dict(in_channels=4, out_channels=6, kernel_size=3, bias=False)
    cfg = dict(type='ModulatedDeformConv', deform_groups=1)
    return build_conv_layer(cfg, **{**options, **kwargs}).double()


def test_it_begins_as_half_a_convolution():
    layer = make(padding=1)
    x = torch.randn(2, 4, 5, 7, dtype=torch.float64)
    expected = 0.5 * F.conv2d(x, layer.weight, padding=1)
    torch.testing.assert_close(layer(x), expected)


def test_it_is_its_formula():
    """Point after point, with a stride and a dilation."""
    layer = make(padding=2, stride=2, dilation=2)
    torch.nn.init.normal_(layer.conv_offset.weight, std=0.3)
    torch.nn.init.normal_(layer.conv_offset.bias, std=0.5)
    x = torch.randn(2, 4, 6, 8, dtype=torch.float64)
    told = layer.conv_offset(x)
    out = layer(x)
    expected = torch.zeros_like(out)
    for row in range(out.shape[2]):
        for column in range(out.shape[3]):
            for k in range(9):
                dy, dx = (
                    told[:, 2 * k, row, column],
                    told[:, 2 * k + 1, row, column],
                )
                y = 2 * row - 2 + 2 * (k // 3) + dy
                x_ = 2 * column - 2 + 2 * (k % 3) + dx
                place = torch.stack([(x_ + 0.5) / 8, (y + 0.5) / 6], -1)
                read = F.grid_sample(
                    x, 2 * place[:, None, None] - 1, align_corners=False
                )[..., 0, 0]
                read = read * told[:, 18 + k, row, column, None].sigmoid()
                kernel = layer.weight[:, :, k // 3, k % 3]
                expected[:, :, row, column] += read @ kernel.T
    torch.testing.assert_close(out, expected)


def test_a_backbone_of_mmdet_takes_it():
    backbone = MODELS.build(
        dict(
            type='mmdet.ResNet',
            depth=50,
            base_channels=4,
            style='caffe',
            zero_init_residual=False,
            dcn=dict(type='ModulatedDeformConv', deform_groups=1),
            stage_with_dcn=(False, False, True, True),
        )
    )
    backbone.init_weights()
    maps = backbone(torch.randn(1, 3, 64, 64))
    sum(level.square().sum() for level in maps).backward()
    # the names of published networks
    names = dict(backbone.named_parameters())
    layer = 'layer3.0.conv2'
    assert names[f'{layer}.conv_offset.weight'].shape == (27, 16, 3, 3)
    for part in ('weight', 'conv_offset.weight', 'conv_offset.bias'):
        assert names[f'{layer}.{part}'].grad.abs().sum() > 0
    assert 'layer2.0.conv2.conv_offset.weight' not in names
