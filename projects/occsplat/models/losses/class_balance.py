"""Class weights from how often classes occur."""

from __future__ import annotations

from typing import Sequence

import torch
from torch import Tensor

#: how far rare classes are lifted: 0 not at all, 1 until all count alike
POWER = 0.35


def balanced_class_weights(counts: Sequence[int]) -> Tensor:
    """Weights of a cross-entropy, ``(mean count / count) ** POWER``.

    With a mean over voxels by weight, as ``F.cross_entropy`` takes it, a
    common factor would cancel. The power is what MiniTown's voxels were
    tried with: 1 fills the volume with rare classes, 0 leaves them out.

    Args:
        counts (sequence of int): voxels of each class in the data set.

    Returns:
        Tensor: float32 (K,).
    """
    count = torch.tensor(counts, dtype=torch.float64)
    return ((count.mean() / count) ** POWER).float()
