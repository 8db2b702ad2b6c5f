"""deformable_conv against a loop over padded images."""

import math

import pytest
import torch
import torch.nn.functional as F
from torchvision import ops

from occsplat.ops import deform_conv2d, deformable_conv


def inputs(dtype=torch.float64, points=9, reach=2.0):
    g = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.rand(*shape, generator=g, dtype=dtype)

    shape = (1, 2, points, 3, 4)
    # samples leave the image by up to several pixels
    offsets = reach * (2 * rand(*shape, 2) - 1)
    return rand(1, 2, 3, 3, 4), offsets, rand(*shape)


def loop(value, offsets, weights, spread):
    """Pixel by pixel, on an image inside a ring of zeros."""
    side = math.isqrt(offsets.shape[2])
    _, groups, _, height, width = value.shape
    ring = F.pad(value, (1, 1, 1, 1))
    out = {}
    for m in range(groups):
        for row in range(height):
            for column in range(width):
                total = 0
                for j in range(side * side):
                    dx, dy = offsets[0, m, j, row, column]
                    x = column + spread * (j // side - side // 2 + dx)
                    y = row + spread * (j % side - side // 2 + dy)
                    read = bilinear(ring[0, m], x + 1, y + 1)
                    total = total + weights[0, m, j, row, column] * read
                out[m, row, column] = total
    return (
        torch.stack(list(out.values()), -1)
        .view(3, groups, height, width)
        .transpose(0, 1)[None]
    )


def bilinear(image, x, y):
    """Between pixels of (C, H, W), zero outside."""
    out = torch.zeros(image.shape[0], dtype=image.dtype)
    top, left = math.floor(y), math.floor(x)
    for i in (top, top + 1):
        for j in (left, left + 1):
            if 0 <= i < image.shape[1] and 0 <= j < image.shape[2]:
                share = (1 - abs(x - j)) * (1 - abs(y - i))
                out = out + share * image[:, i, j]
    return out


@pytest.mark.parametrize('points, spread', [(9, 1.0), (9, 1.71), (25, 0.6)])
def test_equals_the_loop(points, spread):
    value, offsets, weights = inputs(points=points)
    torch.testing.assert_close(
        deformable_conv(value, offsets, weights, spread),
        loop(value, offsets, weights, spread),
    )


def test_gradients_are_right():
    tensors = [tensor.requires_grad_() for tensor in inputs()]
    ours = torch.autograd.grad(
        deformable_conv(*tensors, 1.71).square().sum(), tensors
    )
    theirs = torch.autograd.grad(loop(*tensors, 1.71).square().sum(), tensors)
    torch.testing.assert_close(ours, theirs)
    assert torch.autograd.gradcheck(
        lambda *args: deformable_conv(*args, 1.71), tensors, fast_mode=True
    )


def test_without_offsets_it_is_a_plain_mean():
    value, offsets, weights = inputs()
    out = deformable_conv(
        value, offsets.zero_(), torch.full_like(weights, 1 / 9)
    )
    torch.testing.assert_close(
        out[0], F.avg_pool2d(value[0], 3, stride=1, padding=1)
    )


@pytest.mark.parametrize('j, dx, dy', [(0, -1, -1), (1, -1, 0), (5, 0, 1)])
def test_points_are_numbered_down_the_columns(j, dx, dy):
    value, offsets, weights = inputs()
    weights.zero_()[:, :, j] = 1
    out = deformable_conv(value, offsets.zero_(), weights)
    # pixel (row 1, column 2) is far enough from every border
    torch.testing.assert_close(out[..., 1, 2], value[..., 1 + dy, 2 + dx])


def test_half_precision_keeps_its_coordinates():
    """A bfloat16 counts in steps of 2 pixels at the 300th column."""
    value = torch.zeros(1, 1, 1, 1, 400)
    value[..., 300:] = 1
    offsets = torch.zeros(1, 1, 1, 1, 400, 2)
    weights = torch.ones(1, 1, 1, 1, 400)
    out = deformable_conv(
        value.bfloat16(), offsets.bfloat16(), weights.bfloat16()
    )
    assert out.dtype == torch.bfloat16
    assert torch.equal(out.float(), value)


@pytest.mark.parametrize('points', [4, 8])
def test_a_window_has_a_middle(points):
    value, offsets, weights = inputs(points=points)
    with pytest.raises(ValueError, match=f'got {points}'):
        deformable_conv(value, offsets, weights)


def test_shapes_must_agree():
    value, offsets, weights = inputs()
    with pytest.raises(ValueError, match=r'expects weights \(1, 2, 9, 3, 4\)'):
        deformable_conv(value, offsets, weights[:, :1])


@pytest.mark.parametrize('window', [(1, 1), (3, 3), (3, 5)])
def test_deform_conv2d_is_torchvisions(window):
    """Values and all gradients, with points far outside the image."""
    g = torch.Generator().manual_seed(1)
    shape = dict(dtype=torch.float64, generator=g)
    points = window[0] * window[1]
    tensors = [
        torch.randn(2, 3, 6, 9, **shape),
        4 * torch.randn(2, 2 * points, 6, 9, **shape),
        torch.randn(4, 3, *window, **shape),
    ]
    for tensor in tensors:
        tensor.requires_grad_()
    padding = window[0] // 2, window[1] // 2
    expected = ops.deform_conv2d(*tensors, padding=padding)
    out = deform_conv2d(*tensors)
    torch.testing.assert_close(out, expected)
    cotangent = torch.randn(out.shape, **shape)
    for mine, twin in zip(
        torch.autograd.grad(out, tensors, cotangent),
        torch.autograd.grad(expected, tensors, cotangent),
    ):
        torch.testing.assert_close(mine, twin)


def test_deform_conv2d_without_offsets_is_a_convolution():
    image, weight = torch.randn(1, 3, 5, 7), torch.randn(2, 3, 3, 3)
    out = deform_conv2d(image, torch.zeros(1, 18, 5, 7), weight)
    torch.testing.assert_close(out, F.conv2d(image, weight, padding=1))


def test_deform_conv2d_reads_in_single_precision():
    """In bfloat16 the columns of a wide image have no halves."""
    image = torch.randn(1, 1, 3, 300).bfloat16()
    offsets = torch.full((1, 2, 3, 300), 0.5).bfloat16()
    weight = torch.ones(1, 1, 1, 1)
    out = deform_conv2d(image, offsets, weight)
    assert out.dtype == torch.float32
    expected = deform_conv2d(image.float(), offsets.float(), weight)
    assert torch.equal(out, expected)
