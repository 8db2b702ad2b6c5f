"""Multi-scale deformable attention in plain torch.

Shape letters: B batch, Q queries, M heads, L levels, J points per level,
C channels of one head, S all pixels of all levels.
"""

from __future__ import annotations

from typing import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def deformable_attention(
    value: Tensor,
    shapes: Sequence[tuple[int, int]],
    locations: Tensor,
    weights: Tensor,
) -> Tensor:
    """Weighted sum of values read at sampling locations.

    Deformable DETR, equation 3 (Zhu et al., 2021). Values are read
    bilinearly, zero outside.

    Args:
        value (Tensor): (B, S, M, C), levels one after another, each row
            by row.
        shapes (sequence): (height, width) of each level.
        locations (Tensor): (x, y) in 0..1 of a level's extent,
            (B, Q, M, L, J, 2).
        weights (Tensor): (B, Q, M, L, J).

    Returns:
        Tensor: (B, Q, M * C).

    Raises:
        ValueError: when the levels' sizes do not add up to S.
    """
    sizes = [height * width for height, width in shapes]
    if sum(sizes) != value.shape[1]:
        raise ValueError(
            f'levels of {list(shapes)} hold {sum(sizes)} pixels, but value '
            f'has {value.shape[1]}'
        )
    batch, queries, heads, _, points, _ = locations.shape
    # every head is an image of its own to grid_sample
    grid = (2 * locations - 1).transpose(1, 2).flatten(0, 1)
    out = value.new_zeros(batch * heads, value.shape[3], queries)
    weights = weights.transpose(1, 2).flatten(0, 1)  # (B*M, Q, L, J)
    for level, part in enumerate(value.split(sizes, dim=1)):
        image = part.permute(0, 2, 3, 1).reshape(
            batch * heads, value.shape[3], *shapes[level]
        )
        read = F.grid_sample(
            image, grid[:, :, level], align_corners=False
        )  # (B*M, C, Q, J)
        out = out + torch.einsum('bcqj,bqj->bcq', read, weights[:, :, level])
    return out.view(batch, -1, queries).transpose(1, 2)
