"""Deformable convolution whose kernel weights are predicted at each pixel.

Shape letters: B batch, M groups, C channels of one group, J points of
the window, H W image.
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
    height, width = weight.shape[1:]
    rows = torch.arange(height, device=shift.device, dtype=shift.dtype)
    columns = torch.arange(width, device=shift.device, dtype=shift.dtype)
    y, x = torch.meshgrid(rows, columns, indexing='ij')
    size = shift.new_tensor([width, height])
    center = torch.stack([x, y], dim=-1) + 0.5
    grid = 2 * (center + shift) / size - 1
    return weight[:, None] * F.grid_sample(image, grid, align_corners=False)
