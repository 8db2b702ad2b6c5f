"""Losses at pixels that a LiDAR return labels.

Shape letters: P labelled pixels, S semantic classes (free excluded).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: metres; keeps the logarithm of a depth that nothing was rendered into
MIN_DEPTH = 1e-3


def silog_loss(
    predicted: Tensor,
    true: Tensor,
    weight: Tensor | None = None,
    variance_focus: float = 0.85,
) -> Tensor:
    """Scale-invariant logarithmic depth error (Eigen et al., 2014).

    GSRender (2024), equation 13, with d = log true - log predicted::

        sqrt(mean(w d^2) - variance_focus * mean(w d)^2)

    With a focus of 1, as GSRender prints it, a wrong scale costs nothing
    at all; RenderOcc's 0.85 leaves it a price.

    Args:
        predicted, true (Tensor): metres, (P,).
        weight (Tensor, optional): w, (P,).
        variance_focus (float): 0 to 1.

    Returns:
        Tensor: scalar; 0 with a graph where there is no pixel.
    """
    if not len(true):
        return predicted.sum() * 0.0
    error = true.clamp(min=MIN_DEPTH).log()
    error = error - predicted.clamp(min=MIN_DEPTH).log()
    if weight is None:
        weight = torch.ones_like(error)
    square = (weight * error**2).mean()
    mean = (weight * error).mean()
    # the slope of the root is infinite at 0
    return (square - variance_focus * mean**2).clamp(min=1e-8).sqrt()


def balanced_cross_entropy(
    logits: Tensor,
    label: Tensor,
    class_weight: Tensor,
    weight: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of rendered logits, by class and by pixel.

    GSRender (2024), equation 12: ``sum_i w_i b_i CE_i / sum_i b_i``. What
    a pixel weight takes from one pixel it gives to no other.

    Args:
        logits (Tensor): (P, S).
        label (Tensor): channels, int64 (P,).
        class_weight (Tensor): b of each channel, (S,).
        weight (Tensor, optional): w, (P,).

    Returns:
        Tensor: scalar; 0 with a graph where there is no pixel.
    """
    if not len(label):
        return logits.sum() * 0.0
    balance = class_weight[label]
    entropy = F.cross_entropy(logits, label, reduction='none')
    if weight is not None:
        entropy = weight * entropy
    return (balance * entropy).sum() / balance.sum()


def distortion_loss(weights: Tensor, depths: Tensor) -> Tensor:
    """How far the weights of a ray lie apart (mip-NeRF 360, eq. 15).

    Args:
        weights (Tensor): of the samples along each ray, (P, D).
        depths (Tensor): where the samples stand, evenly spaced and scaled
            to [0, 1], (D,).

    Returns:
        Tensor: ``sum_ij w_i w_j |t_i - t_j| + sum_i w_i^2 / (3 D)`` of
        each ray, (P,).
    """
    moments = weights * depths
    # of the samples before each one: their pairs with it, counted once
    before = weights.cumsum(dim=1) - weights
    moment_before = moments.cumsum(dim=1) - moments
    pairs = (moments * before - weights * moment_before).sum(dim=1)
    return 2 * pairs + (weights**2).sum(dim=1) / (3 * len(depths))
