"""The LiDAR loss of a depth distribution (BEVDepth, Li et al. 2022).

Shape letters: B batch, N cameras, D depth bins, H W feature map, h w
network-input image.
"""

from __future__ import annotations

import torch
from torch import Tensor

from occsplat.ops import nearest_in_cells

from .forward_projection import DepthBins


def depth_loss(
    logits: Tensor, gt_depth: Tensor | None, bins: DepthBins
) -> Tensor:
    """Binary cross-entropy over the bins of cells with a LiDAR return.

    Summed over the bins, divided by the number of such cells (BEVDepth):
    ``-log p[target] - sum over the other bins of log(1 - p)``.

    Args:
        logits (Tensor): (B, N, D, H, W).
        gt_depth (Tensor | None): metres, 0 for no return, (B, N, h, w).
        bins (DepthBins): what the D logits belong to.

    Returns:
        Tensor: a scalar, zero when no cell holds a return.

    Raises:
        ValueError: when there is no depth target.
    """
    if gt_depth is None:
        raise ValueError(
            'the depth net needs a LiDAR depth target: add LoadLidarPoints '
            'and LidarDepth to the training pipeline'
        )
    nearest = pool_depth(gt_depth, logits.shape[-2:], bins)
    valid = nearest > 0
    target = bins.index(nearest[valid]).unsqueeze(1)
    found = logits.movedim(2, -1)[valid].float()  # (cells, D)
    # from logits: a bin that lost all its probability still has a gradient
    positive = -found.log_softmax(dim=1).gather(1, target)
    others = found.softmax(dim=1).scatter(1, target, 0.0)
    negative = -torch.log1p(-others.clamp(max=1 - 1e-6))
    total = positive.sum() + negative.sum()
    return total / max(len(found), 1)


def pool_depth(
    depth: Tensor, size: tuple[int, int], bins: DepthBins
) -> Tensor:
    """The nearest return within the bins in each feature cell.

    Args:
        depth (Tensor): metres, 0 for no return, (B, N, h, w).
        size (tuple): (H, W), which must divide (h, w).
        bins (DepthBins): returns outside them do not count.

    Returns:
        Tensor: metres, 0 where there is none, (B, N, H, W).

    Raises:
        ValueError: when the sizes do not divide.
    """
    return nearest_in_cells(depth, size, bins.start, bins.stop)[0]
