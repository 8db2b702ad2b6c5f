"""Where attention to a map begins to look.

Shape letters: M heads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def star(num_heads: int, reach: Tensor) -> Tensor:
    """Sampling offsets to start with: each head looks its own way.

    Head m looks in direction 2 pi m / M (Deformable DETR, Zhu et al.,
    2021, appendix A.4), as far as the border of a square.

    Args:
        num_heads (int): M.
        reach (Tensor): how far each point goes, in cells, of any shape.

    Returns:
        Tensor: (x, y) in cells, (M, *shape of reach, 2).
    """
    angle = torch.arange(num_heads) * (2 * math.pi / num_heads)
    way = torch.stack([angle.cos(), angle.sin()], dim=-1)
    way = way / way.abs().amax(dim=-1, keepdim=True)
    return way.view(num_heads, *[1] * reach.dim(), 2) * reach[..., None]
