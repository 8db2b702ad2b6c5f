"""Scene-class affinity losses of MonoScene (Cao and de Charette, 2022).

Shape letters: B batch, K classes, X Y Z voxels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .presence import present_classes

#: floor of precision, recall and specificity under the logarithm
EPS = 1e-5


def sem_scal_loss(
    probs: Tensor, target: Tensor, free: int, ignore: int = 255
) -> Tensor:
    """Semantic affinity: soft precision, recall and specificity a class.

    MonoScene eq. 2 to 5: ``-ln P_c - ln R_c - ln S_c``, averaged over the
    occupied classes that are present in the batch::

        P_c = sum p_c t_c / sum p_c        R_c = sum p_c t_c / sum t_c
        S_c = sum (1 - p_c)(1 - t_c) / sum (1 - t_c)

    Args:
        probs (Tensor): softmax probabilities, (B, K, X, Y, Z).
        target (Tensor): class ids, (B, X, Y, Z).
        free (int): id of empty space, which is left out.
        ignore (int): id that takes no part.

    Returns:
        Tensor: scalar; 0 (with a graph) when no occupied class is present.
    """
    valid = target != ignore
    channels = probs.unbind(1)
    losses = [
        _affinity(channels[k], positive, valid & ~positive)
        for k, positive in present_classes(target, len(channels)).items()
        if k != free
    ]
    return torch.stack(losses).mean() if losses else probs.sum() * 0


def geo_scal_loss(
    probs: Tensor, target: Tensor, free: int, ignore: int = 255
) -> Tensor:
    """Geometric affinity: the same three terms, occupied against free.

    Args:
        probs (Tensor): softmax probabilities, (B, K, X, Y, Z).
        target (Tensor): class ids, (B, X, Y, Z).
        free (int): id of empty space.
        ignore (int): id that takes no part.

    Returns:
        Tensor: scalar; 0 (with a graph) when no occupied voxel is present.
    """
    empty = target == free
    occupied = (target != ignore) & ~empty
    if not occupied.any():
        return probs.sum() * 0
    return _affinity(1 - probs[:, free], occupied, empty)


def _affinity(prob: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """-ln P - ln R - ln S of one class against the rest.

    Specificity counts the false mass itself: as total minus hits it would
    drown in the rounding of sums over a million voxels. Without negatives
    it is 1.
    """
    hit = (prob * positive).sum()
    false = (prob * negative).sum()
    precision = hit / (hit + false).clamp(min=EPS)
    recall = hit / positive.sum()
    specificity = 1 - false / negative.sum().clamp(min=1)
    ratios = torch.stack([precision, recall, specificity])
    # A floor that bends instead of cutting: 1 stays exactly 1, and a class
    # that the network has given up on still receives a gradient.
    return -torch.log((1 - EPS) * ratios + EPS).sum()
