"""Deformable convolutions: points of the window move by their offsets.

Shape letters: B batch, M groups, C channels of one group, O channels that
come out, J points of the window, H W image.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def deformable_conv(
    value: Tensor, offsets: Tensor, weights: Tensor, spread: float = 1.0
) -> Tensor:
    """Every pixel p sums a window of points, each moved by its offset.

    The operator of InternImage (Wang et al., CVPR 2023, equation 2), for
    each group: ``y(p) = sum over j of w_j(p) x(p + spread * (g_j + o_j(p)))``
    with g_j a square grid of whole pixels around 0. Point j is
    ``(j // side, j % side)`` in (x, y): columns first, the order that the
    offsets and weights of released networks come in. Values are read
    bilinearly in float32, zero outside: padding the image with zeros first
    would change nothing.

    Args:
        value (Tensor): (B, M, C, H, W).
        offsets (Tensor): (x, y) in pixels before they are spread,
            (B, M, J, H, W, 2).
        weights (Tensor): (B, M, J, H, W).
        spread (float): distance of neighbouring points in pixels.

    Returns:
        Tensor: (B, M, C, H, W), in the type of ``value``.

    Raises:
        ValueError: when J is not the square of an odd number, or the
            shapes disagree.
    """
    batch, groups, _, height, width = value.shape
    points = offsets.shape[2]
    side = math.isqrt(points)
    if side * side != points or side % 2 == 0:
        raise ValueError(
            'deformable_conv expects a window of 1, 9, 25, ... points, got '
            f'{points}'
        )
    expected = (batch, groups, points, height, width)
    if weights.shape != expected or offsets.shape != (*expected, 2):
        raise ValueError(
            f'deformable_conv: value {tuple(value.shape)} expects weights '
            f'{expected} and offsets {(*expected, 2)}, got '
            f'{tuple(weights.shape)} and {tuple(offsets.shape)}'
        )
    # a half-precision coordinate is coarser than a pixel
    dtype = torch.promote_types(value.dtype, torch.float32)
    image, offsets, weights = (
        tensor.flatten(0, 1).to(dtype) for tensor in (value, offsets, weights)
    )
    out = torch.zeros_like(image)
    for j in range(points):
        step = offsets.new_tensor([j // side, j % side]) - side // 2
        # What a point reads is as large as the image. The backward pass
        # reads it anew, instead of nine of them being kept.
        out = out + checkpoint(
            _weighted_read,
            image,
            spread * (step + offsets[:, j]),
            weights[:, j],
            use_reentrant=False,
            preserve_rng_state=False,
        )
    return out.view_as(value).to(value.dtype)


def _weighted_read(image: Tensor, shift: Tensor, weight: Tensor) -> Tensor:
    """weight (B, H, W) times image (B, C, H, W) at each pixel + shift."""
    return weight[:, None] * _read(image, shift)


def deform_conv2d(image: Tensor, offsets: Tensor, weight: Tensor) -> Tensor:
    """A convolution that keeps the size, its points moved by offsets.

    Deformable ConvNets (Dai et al., ICCV 2017, equation 2), zero outside
    the image: torchvision's operator, which with its backward pass takes
    eight times as long on a CPU as reading the points by ``grid_sample``.

    Args:
        image (Tensor): (B, C, H, W).
        offsets (Tensor): (y, x) of each point in pixels, rows of the
            window first, (B, 2 * J, H, W).
        weight (Tensor): (O, C, h, w), h * w = J, both odd.

    Returns:
        Tensor: (B, O, H, W).
    """
    rows, columns = weight.shape[2:]
    if image.device.type != 'cpu':
        # not above: whoever computes on a CPU needs no torchvision
        from torchvision import ops

        padding = rows // 2, columns // 2
        return ops.deform_conv2d(image, offsets, weight, padding=padding)
    # a half-precision coordinate is coarser than a pixel
    dtype = torch.promote_types(image.dtype, torch.float32)
    image, offsets = image.to(dtype), offsets.to(dtype)
    y, x = torch.meshgrid(
        torch.arange(rows) - rows // 2,
        torch.arange(columns) - columns // 2,
        indexing='ij',
    )
    # (B, J, H, W, 2) in (x, y)
    shift = offsets.unflatten(1, (rows * columns, 2)).movedim(2, -1).flip(-1)
    shift = shift + torch.stack([x, y], dim=-1).view(-1, 1, 1, 2)
    height, width = image.shape[2:]
    # one image of J * H rows
    read = _read(image, shift).view(*image.shape[:2], -1, height * width)
    return (weight.flatten(1) @ read.flatten(1, 2)).unflatten(
        -1, (height, width)
    )


def _read(image: Tensor, shift: Tensor) -> Tensor:
    """(B, C, H, W) bilinearly at each pixel + shift (B, ..., H, W, 2)."""
    height, width = image.shape[2:]
    rows = torch.arange(height, device=shift.device, dtype=shift.dtype)
    columns = torch.arange(width, device=shift.device, dtype=shift.dtype)
    y, x = torch.meshgrid(rows, columns, indexing='ij')
    size = shift.new_tensor([width, height])
    center = torch.stack([x, y], dim=-1) + 0.5
    grid = 2 * (center + shift) / size - 1
    return F.grid_sample(image, grid.flatten(1, -3), align_corners=False)
