"""Class weights from how often classes occur."""

from __future__ import annotations

from typing import Sequence

import torch
from torch import Tensor

#: how far rare classes are lifted: 0 not at all, 1 until all count alike
POWER = 0.3


def balanced_class_weights(counts: Sequence[int], free: int) -> Tensor:
    """Weights of a cross-entropy, ``(mean count / count) ** POWER``.

    Free space counts as 1: it fills most of the volume, and a voxel that
    is wrongly taken hides all that is behind it.

    Args:
        counts (sequence of int): voxels of each class in the data set.
        free (int): id of free space.

    Returns:
        Tensor: float32 (K,).
    """
    count = torch.tensor(counts, dtype=torch.float64)
    weight = (count.mean() / count) ** POWER
    weight[free] = 1
    return weight.float()
