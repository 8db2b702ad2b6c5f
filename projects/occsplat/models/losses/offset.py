"""What offsets to the ends of runs are trained with.

Shape letters: B batch, X Y Z cells.
"""

from __future__ import annotations

import torch
from torch import Tensor


def offset_l1_loss(
    offsets: Tensor, target: Tensor, censored: Tensor, extent: Tensor
) -> Tensor:
    """L1 loss of six offsets, as shares of the volume's axes.

    VoxDet (NeurIPS 2025), equation 5, with a mask: cells whose label is
    unknown count nowhere. Of a run that ended at an unknown voxel no more
    is known than that it is at least so long: there an offset costs what
    it is too short (a one-sided loss, beyond the paper).

    Args:
        offsets (Tensor): metres, (B, 6, X, Y, Z).
        target (Tensor): metres, 0 where unknown, (B, 6, X, Y, Z).
        censored (Tensor): bool (B, 6, X, Y, Z).
        extent (Tensor): length of each direction's axis in metres, (6,).

    Returns:
        Tensor: scalar, the sum over the six directions of the mean over
        known cells; 0 where no cell is known.
    """
    error = (offsets - target) / extent.view(6, 1, 1, 1)
    cost = torch.where(censored, (-error).relu(), error.abs())
    known = target > 0
    return 6 * (cost * known).sum() / known.sum().clamp(min=1)
