"""Which labelled pixels a step looks at.

Shape letters: P labelled pixels, S semantic classes (free excluded).
"""

from __future__ import annotations

import torch
from torch import Tensor

#: how steeply rarity counts, see rarity_weights
RARITY = 0.005


def rarity_weights(counts: Tensor) -> Tensor:
    """RenderOcc's preference for rare classes, (S,).

    ``exp(0.005 * (max / count - 1))``: 1 for the most frequent class, and
    900 for bicycles. As in section III-E of RenderOcc (ICRA 2024), with
    the released code's numbers.
    """
    counts = counts.double().clamp(min=1)
    return (RARITY * (counts.max() / counts - 1)).exp().float()


def draw_pixels(weights: Tensor, count: int) -> Tensor:
    """Draw pixels without replacement.

    Args:
        weights (Tensor): how often each is wanted, not negative, (P,).
        count (int): how many; all that have a weight if there are fewer.

    Returns:
        Tensor: indices in rising order, at most (count,).
    """
    wanted = weights.nonzero()[:, 0]
    if len(wanted) <= count:
        return wanted
    # the largest keys log(u) / w are a draw by weight without replacement
    # (Efraimidis and Spirakis, 2006); multinomial stops at 2^24 pixels
    keys = torch.rand_like(weights[wanted]).log() / weights[wanted]
    return wanted[keys.topk(count).indices].sort().values
