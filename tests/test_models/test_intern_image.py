"""InternImage: sizes, first state, symmetry, recomputation."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from mmengine.config import Config

from occsplat.models.backbones import InternImage
from occsplat.models.backbones.intern_image import DeformableMixer

ROOT = Path(__file__).parents[2]
XL = 'occupancy_configs/_base_/models/fbocc_internimage_xl.py'
TINY = dict(
    channels=8,
    depths=(1, 1, 2, 1),
    groups=(2, 2, 4, 4),
    mlp_ratio=4.0,
    spread=1.71,
    layer_scale=1e-5,
    out_indices=(1, 2, 3),
)


def block_parameters(channels, groups):
    """By hand, for C channels and M groups of 9 points:

    depthwise 3x3 9C + C, its norm 2C, offsets 18M (C + 1), weights
    9M (C + 1), value and output C (C + 1) each; feed-forward network
    4C (C + 1) + C (4C + 1); two norms 4C, two scales 2C.
    """
    mixer = 12 * channels + 27 * groups * (channels + 1)
    mixer += 2 * channels * (channels + 1)
    feedforward = 4 * channels * (channels + 1) + channels * (4 * channels + 1)
    return mixer + feedforward + 6 * channels


def test_the_full_size_has_the_parameters_of_the_formulas():
    levels = zip((6, 6, 32, 6), (160, 320, 640, 1280), (10, 20, 40, 40))
    blocks = [
        depth * block_parameters(c, groups) for depth, c, groups in levels
    ]
    # a block is 10 C^2 + 25 C + 27 M (C + 1)
    assert blocks == [
        6 * (256_000 + 4_000 + 43_470),
        6 * (1_024_000 + 8_000 + 173_340),
        32 * (4_096_000 + 16_000 + 692_280),
        6 * (16_384_000 + 32_000 + 1_383_480),
    ]
    stem = 27 * 80 + 80 + 160 + 9 * 80 * 160 + 160 + 320
    # a 3x3 convolution C -> 2C without bias, and two norms over 2C
    downsamples = sum(18 * c * c + 8 * c for c in (160, 320, 640))
    output_norms = 2 * 640 + 2 * 1280
    with torch.device('meta'):
        model = MODELS.build(Config.fromfile(ROOT / XL).model.img_backbone)
    total = sum(p.numel() for p in model.parameters())
    assert total == stem + sum(blocks) + downsamples + output_norms
    assert total == 279_394_380


@pytest.mark.parametrize('height, width', [(64, 96), (50, 70), (33, 31)])
def test_sizes_are_rounded_up(height, width):
    maps = InternImage(**TINY).eval()(torch.rand(1, 3, height, width))
    expected = [
        (1, 8 * 2**i, -(-height // 2 ** (i + 2)), -(-width // 2 ** (i + 2)))
        for i in (1, 2, 3)
    ]
    assert [tuple(m.shape) for m in maps] == expected


def test_a_new_window_is_a_fixed_blur():
    """Nine even points 1.71 pixels apart, read bilinearly: along each
    axis 0.29 and 0.71 of the pixels one and two away, both ways.
    """
    mixer = InternImage(**TINY).levels[0][0].mixer
    with torch.no_grad():
        for layer in (mixer.value, mixer.output):
            layer.weight.copy_(torch.eye(8))
            layer.bias.zero_()
        x = torch.rand(2, 6, 7, 8)
        out = mixer(x)
    line = torch.tensor([0.71, 0.29, 1.0, 0.29, 0.71]) / 3
    kernel = torch.outer(line, line).expand(8, 1, 5, 5)
    expected = F.conv2d(x.permute(0, 3, 1, 2), kernel, padding=2, groups=8)
    torch.testing.assert_close(out.permute(0, 3, 1, 2), expected)


def test_features_move_with_the_image():
    torch.manual_seed(0)
    mixer = DeformableMixer(8, 2, 1.71)  # torch's own, random start
    x = torch.zeros(1, 24, 24, 8)
    x[:, 8:14, 8:14] = torch.rand(1, 6, 6, 8)
    with torch.no_grad():
        there = mixer(torch.roll(x, (3, 2), dims=(1, 2)))
        here = torch.roll(mixer(x), (3, 2), dims=(1, 2))
    inner = (slice(None), slice(8, 18), slice(8, 18))
    torch.testing.assert_close(there[inner], here[inner])
    assert here[inner].std() > 1e-3


def test_recomputing_changes_no_gradient():
    """Skipped branches included: the same ones are skipped again."""
    imgs = torch.rand(8, 3, 32, 32)
    gradients = []
    for levels in (0, 4):
        torch.manual_seed(0)
        model = InternImage(
            **dict(TINY, checkpoint_levels=levels, layer_scale=1.0),
            drop_path=0.3,
        )
        # windows that move
        for level in model.levels:
            for block in level:
                torch.nn.init.normal_(block.mixer.offsets.weight)
        sum(m.pow(3).sum() for m in model(imgs)).backward()
        gradients.append({k: p.grad for k, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient.any(), name
        torch.testing.assert_close(gradients[1][name], gradient)


def test_it_trains_in_half_precision():
    model = MODELS.build(dict(type='InternImage', **TINY))
    with torch.autocast('cpu', torch.bfloat16):
        loss = sum(m.square().mean() for m in model(torch.rand(2, 3, 32, 32)))
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_mistakes_are_told():
    with pytest.raises(ValueError, match='got 4 and 3'):
        InternImage(**dict(TINY, groups=(2, 2, 4)))
    with pytest.raises(ValueError, match='levels 0 to 3'):
        InternImage(**dict(TINY, out_indices=(4,)))
    with pytest.raises(ValueError, match='do not divide into 3 groups'):
        InternImage(**dict(TINY, groups=(3, 2, 4, 4)))
