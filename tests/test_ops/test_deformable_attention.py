"""deformable_attention against a loop."""

import pytest
import torch

from occsplat.ops import deformable_attention

SHAPES = [(4, 6), (2, 3)]


def inputs(dtype=torch.float64):
    g = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.rand(*shape, generator=g, dtype=dtype)

    value = rand(2, 30, 2, 3)
    # some samples fall outside the image
    locations = 1.4 * rand(2, 5, 2, 2, 3, 2) - 0.2
    return value, locations, rand(2, 5, 2, 2, 3)


def bilinear(image, x, y):
    """Read (H, W, C) at continuous pixels, zero outside."""
    height, width = image.shape[:2]
    left, top = int(torch.floor(x - 0.5)), int(torch.floor(y - 0.5))
    out = torch.zeros(image.shape[2], dtype=image.dtype)
    for i in (top, top + 1):
        for j in (left, left + 1):
            if 0 <= i < height and 0 <= j < width:
                share = (1 - (x - 0.5 - j).abs()) * (1 - (y - 0.5 - i).abs())
                out = out + share * image[i, j]
    return out


def naive(value, locations, weights):
    levels = value.split([h * w for h, w in SHAPES], dim=1)
    out = torch.zeros(2, 5, 2, 3, dtype=value.dtype)
    for b in range(2):
        for q in range(5):
            for m in range(2):
                for level, (h, w) in enumerate(SHAPES):
                    image = levels[level][b, :, m].view(h, w, 3)
                    for j in range(3):
                        u, v = locations[b, q, m, level, j]
                        out[b, q, m] += weights[b, q, m, level, j] * bilinear(
                            image, u * w, v * h
                        )
    return out.flatten(2)


def test_equals_the_loop():
    value, locations, weights = inputs()
    torch.testing.assert_close(
        deformable_attention(value, SHAPES, locations, weights),
        naive(value, locations, weights),
    )


def test_gradients_are_right():
    tensors = [tensor.requires_grad_() for tensor in inputs()]
    assert torch.autograd.gradcheck(
        lambda v, x, w: deformable_attention(v, SHAPES, x, w), tensors
    )


def test_levels_must_add_up():
    value, locations, weights = inputs()
    with pytest.raises(ValueError, match='30'):
        deformable_attention(value, [(4, 6)], locations, weights)
