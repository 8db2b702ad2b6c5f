"""What the cells of a feature map stand for in the image.

Shape letters: H W feature map, h w image; any leading dimensions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def nearest_in_cells(
    depth: Tensor,  # (..., h, w)
    size: tuple[int, int],
    near: float = 0.0,
    far: float = torch.inf,
) -> tuple[Tensor, Tensor]:
    """The nearest return of each cell (BEVDepth, Li et al. 2022).

    Args:
        depth (Tensor): metres, 0 for no return.
        size (tuple): (H, W), which must divide (h, w).
        near, far (float): metres; returns below ``near``, and from
            ``far`` on, do not count.

    Returns:
        tuple: metres, 0 where there is none, (..., H, W); and the pixel of
        that return, for ``read_pixels``, int64 (..., H, W).

    Raises:
        ValueError: when the sizes do not divide.
    """
    height, width = depth.shape[-2:]
    if height % size[0] or width % size[1]:
        raise ValueError(
            f'a {height}x{width} depth map does not divide into '
            f'{size[0]}x{size[1]} cells'
        )
    known = (depth >= near) & (depth < far) & (depth > 0)
    closeness = torch.where(known, -depth, -torch.inf)
    best, pixel = F.max_pool2d(
        closeness.reshape(-1, 1, height, width),
        (height // size[0], width // size[1]),
        return_indices=True,
    )
    shape = (*depth.shape[:-2], *size)
    best, pixel = best.view(shape), pixel.view(shape)
    return torch.where(best.isinf(), 0.0, -best), pixel


def read_pixels(image: Tensor, pixel: Tensor) -> Tensor:
    """Values of single pixels.

    Args:
        image (Tensor): (..., h, w).
        pixel (Tensor): which pixel, row by row, int64 (..., H, W).

    Returns:
        Tensor: (..., H, W).
    """
    values = image.flatten(-2).gather(-1, pixel.flatten(-2))
    return values.view(pixel.shape)
