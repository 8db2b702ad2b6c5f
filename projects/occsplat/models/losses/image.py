"""Losses between a rendered prediction and rendered ground truth.

Shape letters: N cameras, H W pixels, K classes (free included).
"""

from __future__ import annotations

import torch
from torch import Tensor


def image_l1_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Mean absolute difference over pixels and channels.

    GaussRender, 2025, equation 5: with K channels, a pixel that is all
    wrong costs 2 / K.
    """
    return (predicted - true).abs().mean()


def image_kl_loss(
    predicted: Tensor, true: Tensor, eps: float = 1e-6
) -> Tensor:
    """KL divergence of the class probabilities of a pixel, mean over pixels.

    Args:
        predicted, true (Tensor): probabilities that sum to 1 over the last
            dimension, (N, H, W, K).
        eps (float): smallest probability inside the logarithms.
    """
    ratio = true.clamp(min=eps).log() - predicted.clamp(min=eps).log()
    return (true * ratio).sum(dim=-1).mean()


def masked_depth_loss(
    predicted: Tensor, true: Tensor, depth_range: float
) -> Tensor:
    """L1 of accumulated depths where there is ground truth.

    GaussRender, 2025, equation 4.

    Args:
        predicted, true (Tensor): metres, (N, H, W).
        depth_range (float): metres that count as 1, the same for all views
            of a data set: a view that something near blocks would otherwise
            weigh its errors many times over.

    Returns:
        Tensor: mean over the pixels with a true depth above 0.1 m; 0 where
        there are none.
    """
    seen = true > 0.1
    error = (predicted - true).abs() / depth_range
    return torch.where(seen, error, 0.0).sum() / seen.sum().clamp(min=1)
