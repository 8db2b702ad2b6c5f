"""A cross-entropy with class weights from how often classes occur."""

from __future__ import annotations

from typing import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

#: how far rare classes are lifted: 0 not at all, 1 until all count alike
POWER = 0.3
#: weight of free space
FREE = 2.0


def balanced_class_weights(counts: Sequence[int], free: int) -> Tensor:
    """Weights of a cross-entropy, ``(mean count / count) ** POWER``.

    Free space counts as 2, more than its number gives it: a voxel that is
    wrongly taken hides all that is behind it.

    Args:
        counts (sequence of int): voxels of each class in the data set.
        free (int): id of free space.

    Returns:
        Tensor: float32 (K,).
    """
    count = torch.tensor(counts, dtype=torch.float64)
    weight = (count.mean() / count) ** POWER
    weight[free] = FREE
    return weight.float()


def voxel_cross_entropy_loss(
    logits: Tensor,
    target: Tensor,
    class_weight: Tensor,
    ignore: int = 255,
) -> Tensor:
    """Cross-entropy over voxels, ``sum_v w_v CE_v / sum_v w_v``.

    The sums run over the voxels v that are not ignored, w is the weight of
    the true class.

    Args:
        logits (Tensor): (B, K, X, Y, Z).
        target (Tensor): class ids, int64 (B, X, Y, Z).
        class_weight (Tensor): w, (K,).
        ignore (int): label id that takes no part.

    Returns:
        Tensor: scalar; 0 with a graph where every voxel is ignored.
    """
    class_weight = class_weight.to(logits)
    total = F.cross_entropy(
        logits, target, class_weight, ignore_index=ignore, reduction='sum'
    )
    known = target != ignore
    weight = class_weight[target.masked_fill(~known, 0)] * known
    # of nothing at all, the mean that torch takes is no number
    return total / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
