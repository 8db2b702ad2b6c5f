"""Which classes are there, asked once.

Shape letters: B batch, K classes, X Y Z voxels.
"""

from __future__ import annotations

import torch
from torch import Tensor


def present_classes(target: Tensor, num_classes: int) -> dict[int, Tensor]:
    """Voxels of the classes that occur.

    A GPU is waited for once, not once a class.

    Args:
        target (Tensor): class ids, (B, X, Y, Z).
        num_classes (int): K; other ids are left out.

    Returns:
        dict: by class id, in order, bool (B, X, Y, Z).
    """
    voxels = [target == k for k in range(num_classes)]
    present = torch.stack([mine.any() for mine in voxels]).tolist()
    return {k: mine for k, mine in enumerate(voxels) if present[k]}
