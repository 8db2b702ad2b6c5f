"""Lovasz-softmax loss (Berman et al., 2018): the Jaccard index, relaxed.

Shape letters: B batch, K classes, X Y Z voxels, M voxels that matter.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .presence import present_classes


def lovasz_softmax_loss(
    probs: Tensor, target: Tensor, ignore: int = 255
) -> Tensor:
    """Mean Lovasz extension of 1 - IoU over the classes present.

    Berman et al., eq. 8 and 9, pooled over the batch, free included. With
    errors ``m_v = 1 - p_v`` on voxels of the class and ``p_v`` elsewhere
    the loss of a class is ``sum_v g_v m_v``; the weights g depend on the
    order of the errors alone.

    Args:
        probs (Tensor): softmax probabilities, (B, K, X, Y, Z).
        target (Tensor): class ids, (B, X, Y, Z).
        ignore (int): id that takes no part.

    Returns:
        Tensor: scalar; 0 (with a graph) when every voxel is ignored.
    """
    valid = target != ignore
    losses, channels = [], probs.unbind(1)
    for k, positive in present_classes(target, len(channels)).items():
        prob = channels[k]
        error = torch.where(positive, 1 - prob, prob)
        weight = _jaccard_weights(error.detach(), positive, valid)
        losses.append((weight * error).sum())
    return torch.stack(losses).mean() if losses else probs.sum() * 0


def _jaccard_weights(error: Tensor, positive: Tensor, valid: Tensor) -> Tensor:
    """Growth of 1 - IoU as voxels are got wrong, largest error first.

    In sorted order, with P voxels of the class, k of them and n others up
    to and including voxel i, ``1 - IoU_i = 1 - (P - k) / (P + n)``. Its
    growth is ``1 / (P + n)`` at a voxel of the class and
    ``(P - k) / ((P + n - 1) (P + n))`` at another: written out, because
    differences of neighbouring IoUs vanish in single precision. After the
    last voxel of the class (k = P) it is 0, so that easier negatives need
    not be sorted at all: most voxels, for most classes.

    Args:
        error (Tensor): (B, X, Y, Z), without a graph.
        positive (Tensor): voxels of the class, bool (B, X, Y, Z).
        valid (Tensor): voxels that are not ignored, bool (B, X, Y, Z).

    Returns:
        Tensor: weights g, (B, X, Y, Z).
    """
    # indices, found once: every mask would make a GPU wait
    easiest = torch.where(positive, error, torch.inf).min()
    # not '>=': of errors that are NaN all are relevant, and so is the loss
    relevant = (valid & ~(error < easiest)).flatten().nonzero()[:, 0]  # (M,)
    relevant = relevant[error.flatten()[relevant].argsort(descending=True)]
    hit = positive.flatten()[relevant]
    k = hit.cumsum(0)
    n = (~hit).cumsum(0)
    total = k[-1]
    union = (total + n).to(error.dtype)
    missed = (total - k).to(error.dtype)
    growth = torch.where(hit, 1 / union, missed / ((union - 1) * union))
    weight = error.new_zeros(error.numel())
    return weight.index_copy_(0, relevant, growth).view(error.shape)
