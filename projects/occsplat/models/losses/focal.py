"""Class- and distance-weighted focal loss of FB-Occ (Li et al., 2023).

Shape letters: B batch, K classes, X Y Z voxels.
"""

from __future__ import annotations

from typing import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def log_count_weights(counts: Sequence[int]) -> Tensor:
    """Class weights that fall with frequency, ``1 / ln(count + 0.001)``.

    Args:
        counts (sequence of int): voxels of each class in the data set.

    Returns:
        Tensor: float32 (K,).

    Raises:
        ValueError: when a count is below 2: its weight would be negative
            or exceed all others by orders of magnitude.
    """
    if min(counts) < 2:
        raise ValueError(
            f'log_count_weights expects counts of at least 2, got {counts}'
        )
    return 1 / torch.log(torch.tensor(counts, dtype=torch.float64) + 1e-3).to(
        torch.float32
    )


def radial_weight(like: Tensor, num_x: int, num_y: int) -> Tensor:
    """Weight of a column by its distance from the middle of the grid.

    ``1 + r / r_max`` with r measured in voxels between column centres, so
    that it is 1 in the middle, 2 in the four corners and the same for all
    mirror images. Far columns hold few occupied voxels; this balances.

    Args:
        like (Tensor): gives the device and the dtype.
        num_x (int): X.
        num_y (int): Y.

    Returns:
        Tensor: (X, Y).
    """
    x, y = (
        torch.arange(n, device=like.device, dtype=like.dtype) - (n - 1) / 2
        for n in (num_x, num_y)
    )
    radius = torch.hypot(x[:, None], y[None])
    return 1 + radius / radius.max().clamp(min=0.5)


def radial_focal_loss(
    logits: Tensor,
    target: Tensor,
    class_weight: Tensor,
    gamma: float = 2.0,
    alpha: float = 0.25,
    ignore: int = 255,
) -> Tensor:
    """Sigmoid focal loss over all classes, weighted by class and radius.

    With q the probability given to the wrong answer of a class's yes/no
    question (Lin et al., 2017, eq. 5), a = alpha for the true class and
    1 - alpha for the others::

        L = mean_v (1 + r_v / r_max) sum_k w_k a_vk q_vk^gamma -ln(1 - q_vk)

    over the voxels v that are not ignored. Free is a class like the
    others.

    Args:
        logits (Tensor): (B, K, X, Y, Z).
        target (Tensor): class ids, int64 (B, X, Y, Z).
        class_weight (Tensor): w, (K,).
        gamma (float): how strongly easy voxels are played down.
        alpha (float): weight of the true class against the others.
        ignore (int): id that takes no part.

    Returns:
        Tensor: scalar; 0 (with a graph) when every voxel is ignored.
    """
    valid = target != ignore
    target = target.masked_fill(~valid, 0)
    index = target[:, None]
    # The logit in favour of the right answer: the true class's own logit,
    # the negated logit of all others.
    margin = (-logits).scatter(1, index, logits.gather(1, index))
    loss = torch.sigmoid(-margin) ** gamma * -F.logsigmoid(margin)
    # (1 - alpha) for all classes, then the true one is lifted to alpha:
    # no one-hot volume of weights is needed.
    class_weight = class_weight.to(logits)
    voxel = torch.einsum('bkxyz,k->bxyz', loss, (1 - alpha) * class_weight)
    lift = (2 * alpha - 1) * class_weight[target]
    voxel = voxel + lift * loss.gather(1, index)[:, 0]
    radial = radial_weight(logits, *target.shape[1:3])[..., None]
    return (voxel * radial * valid).sum() / valid.sum().clamp(min=1)
