"""EVA-02: its size, its windows, its positions."""

import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import nn

from occsplat.models.backbones import EVA02
from occsplat.models.backbones.eva02 import (
    SwiGLU,
    WindowAttention,
    rotary_angles,
    rotate,
)

LARGE = 'occupancy_configs/_base_/models/fbocc_eva02_l.py'


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def small(**changes):
    options = dict(
        dims=32,
        depth=3,
        num_heads=2,
        window=2,
        global_window=4,
        window_blocks=(0, 1),
    )
    return EVA02(**{**options, **changes})


def test_the_large_one_has_303_million_parameters(pytestconfig):
    cfg = Config.fromfile(pytestconfig.rootpath / LARGE).model.img_backbone
    assert cfg.pop('type') == 'EVA02'
    with torch.device('meta'):
        model = EVA02(**cfg)
    c, h = 1024, 2730  # channels, and 1024 * 4 * 2 / 3 rounded down
    norms = 2 * (2 * c)
    attention = 3 * c * c + 2 * c + (c * c + c)  # no bias for keys
    gates = 2 * (c * h + h)
    mlp = gates + 2 * h + (h * c + c)
    embeddings = (3 * 16 * 16 * c + c) + 14 * 14 * c
    expected = 24 * (norms + attention + mlp) + embeddings
    assert expected == 303_387_584
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize('size', [(64, 64), (80, 112), (16, 48)])
def test_one_map_at_a_sixteenth_for_any_size(size):
    (out,) = small()(torch.rand(2, 3, *size))
    assert out.shape == (2, 32, size[0] // 16, size[1] // 16)
    assert torch.isfinite(out).all()


def test_an_image_that_patches_do_not_divide_is_refused():
    with pytest.raises(ValueError, match=r'multiples of 16, got \(64, 72\)'):
        small()(torch.rand(1, 3, 64, 72))


def plain_attention(layer, x):
    """Softmax attention over the whole map, one head after the other."""
    height, width, channels = x.shape[1:]
    tokens = x.flatten(1, 2)
    q, k, v = F.linear(tokens, layer.qkv.weight).chunk(3, dim=-1)
    q, v = q + layer.q_bias, v + layer.v_bias
    per_head = channels // layer.num_heads
    angles = rotary_angles(
        (height, width), 16 / layer.window, per_head, x.device
    )
    heads = []
    for i in range(layer.num_heads):
        part = slice(i * per_head, (i + 1) * per_head)
        scores = rotate(q[..., part], angles) @ rotate(
            k[..., part], angles
        ).transpose(1, 2)
        weights = (scores / math.sqrt(per_head)).softmax(dim=-1)
        heads.append(weights @ v[..., part])
    return layer.proj(torch.cat(heads, dim=-1)).unflatten(1, (height, width))


def attention(window, dims=16, heads=2):
    layer = WindowAttention(dims, heads, window)
    for parameter in (layer.q_bias, layer.v_bias):
        nn.init.normal_(parameter)
    return layer


@pytest.mark.parametrize('window', [5, 8])
def test_a_window_that_covers_the_map_is_full_attention(window):
    layer, x = attention(window), torch.randn(2, 4, 5, 16)
    torch.testing.assert_close(layer(x), plain_attention(layer, x))


def test_windows_work_alone():
    # 7x5 in windows of 3: edge windows are 1 high and 2 wide
    layer, x = attention(3), torch.randn(1, 7, 5, 16)
    out = layer(x)
    for top, bottom in ((0, 3), (3, 6), (6, 7)):
        for left, right in ((0, 3), (3, 5)):
            alone = plain_attention(layer, x[:, top:bottom, left:right])
            torch.testing.assert_close(out[:, top:bottom, left:right], alone)


def test_no_gradient_crosses_a_window():
    layer = attention(3)
    x = torch.randn(1, 7, 5, 16, requires_grad=True)
    layer(x)[0, 4, 1].sum().backward()
    reached = x.grad[0].abs().sum(-1) > 0
    expected = torch.zeros(7, 5, dtype=torch.bool)
    expected[3:6, 0:3] = True
    assert torch.equal(reached, expected)


def test_global_blocks_see_past_the_windows():
    x = torch.randn(1, 3, 64, 64, requires_grad=True)
    (out,) = small(depth=2, window_blocks=(0, 1))(x)
    out[0, :, 0, 0].sum().backward()
    assert x.grad[0, :, 32:].abs().max() == 0
    x.grad = None
    (out,) = small(depth=2, window_blocks=(0,))(x)
    out[0, :, 0, 0].sum().backward()
    assert x.grad[0, :, 32:].abs().max() > 0


def test_scores_depend_on_the_offset_alone():
    angles = rotary_angles((6, 7), 1.0, 16, torch.device('cpu'))
    q, k = torch.randn(16), torch.randn(16)
    scores = (
        rotate(q.expand(42, 16), angles) @ rotate(k.expand(42, 16), angles).T
    )
    scores = scores.unflatten(0, (6, 7)).unflatten(2, (6, 7))
    torch.testing.assert_close(scores[0, 0, 2, 3], scores[3, 2, 5, 5])
    torch.testing.assert_close(scores[4, 6, 1, 2], scores[3, 4, 0, 0])
    assert (scores[0, 0, 2, 3] - scores[0, 0, 3, 2]).abs() > 1e-3
    assert (scores[0, 0, 2, 3] - scores[2, 3, 0, 0]).abs() > 1e-3


def test_angles_by_hand():
    # 8 channels: pairs at rates 1 and 1/100, rows before columns
    angles = rotary_angles((2, 3), 0.5, 8, torch.device('cpu'))
    assert angles.shape == (6, 4)
    expected = torch.tensor([0.5, 0.005, 1.0, 0.01])  # row 1, column 2
    torch.testing.assert_close(angles[5], expected)
    quarter = torch.full((1, 1), math.pi / 2)
    turned = rotate(torch.tensor([[3.0, 4.0]]), quarter)
    torch.testing.assert_close(turned, torch.tensor([[-4.0, 3.0]]))


def test_windows_of_any_size_span_the_same_angles():
    channels, device = 16, torch.device('cpu')
    small = rotary_angles((4, 4), 16 / 4, channels, device)
    large = rotary_angles((8, 8), 16 / 8, channels, device)
    small, large = small.view(4, 4, -1), large.view(8, 8, -1)
    torch.testing.assert_close(small, large[::2, ::2])


def test_swiglu_by_hand():
    layer = SwiGLU(1, 2)
    values = dict(w1=[[1.0], [2.0]], w2=[[3.0], [-1.0]], w3=[[5.0, 7.0]])
    for name, value in values.items():
        getattr(layer, name).weight.data = torch.tensor(value)
        nn.init.zeros_(getattr(layer, name).bias)
    # x = 1: silu(1) * 3 = 2.1932, silu(2) * -1 = -1.7616, which the norm
    # turns into 1 and -1: 5 - 7
    torch.testing.assert_close(
        layer(torch.ones(1, 1)), torch.full((1, 1), -2.0)
    )


def test_the_position_map_is_resized_bicubically():
    model = small(depth=0)
    nn.init.zeros_(model.patch_embed.weight)
    nn.init.zeros_(model.patch_embed.bias)
    native = model(torch.rand(1, 3, 224, 224))[0]
    assert torch.equal(native, model.pos_embed)
    # one column alone spreads by the cubic kernel, a = -0.75
    model.pos_embed.data = torch.zeros(1, 32, 14, 14)
    model.pos_embed.data[..., 6] = 1
    (wide,) = model(torch.rand(1, 3, 224, 448))
    half = [0.87890625, 0.26171875, -0.10546875, -0.03515625, 0]
    expected = torch.tensor([*half[::-1], *half])
    torch.testing.assert_close(wide[0, 0, 5, 8:18], expected)


def test_checkpointing_changes_no_gradient():
    model = small(drop_path=0.5).train()
    imgs = torch.rand(2, 3, 64, 96)
    gradients = []
    for model.with_cp in (False, True):
        torch.manual_seed(1)
        model.zero_grad()
        model(imgs)[0].square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for one, two in zip(*gradients):
        torch.testing.assert_close(one, two)
        assert one.abs().max() > 0


def test_paths_are_dropped_in_training_alone():
    model = small(drop_path=0.5)
    assert [b.drop_path.drop_prob for b in model.blocks] == [0, 0.25, 0.5]
    imgs = torch.rand(1, 3, 64, 64).expand(8, -1, -1, -1)
    (out,) = model.train()(imgs)
    assert len({tuple(o.flatten().tolist()) for o in out.detach()}) > 1
    (out,) = model.eval()(imgs)
    torch.testing.assert_close(out, out[:1].expand_as(out))


def test_heads_that_can_not_be_turned_are_refused():
    with pytest.raises(ValueError, match='multiple of 4 .* = 12, got 16'):
        WindowAttention(16, 3, 4)
