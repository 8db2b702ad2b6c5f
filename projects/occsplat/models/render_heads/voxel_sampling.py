"""Which voxels become Gaussians: rare classes and speeds more often.

Shape letters: G voxels, K classes, Q speed groups.
"""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor

from occsplat.structures import LabelSpec, LabelStatistics

#: (class ids (G,), speeds in m/s (G,) or None) -> weights (G,)
Balance = Callable[[Tensor, Tensor | None], Tensor]


class MarginalBalance:
    """Class and speed on their own: w = w_class * w_speed.

    What the released code of VoxelSplat draws by: ``1 / sqrt(N)`` over
    the voxels of a class and over those of a speed group in a whole data
    set, each normalised over its groups.

    Args:
        spec (LabelSpec): ids; its published counts unless there are
            statistics.
        statistics (LabelStatistics, optional): counted on the training
            split.
    """

    def __init__(
        self, spec: LabelSpec, statistics: LabelStatistics | None = None
    ) -> None:
        if statistics is None:
            classes, speeds = spec.counts, spec.speed_counts
            self.speed_bins = spec.speed_bins
        else:
            classes, speeds = statistics.class_counts, statistics.speed_counts
            self.speed_bins = statistics.speed_bins
        self.class_weight = _normalised(classes)
        self.speed_weight = _normalised(speeds) if len(speeds) > 1 else None

    def __call__(self, classes: Tensor, speed: Tensor | None) -> Tensor:
        """Weights (G,)."""
        weight = self.class_weight.to(classes.device)[classes]
        if speed is None or self.speed_weight is None:
            return weight
        group = speed_group(speed, self.speed_bins)
        return weight * self.speed_weight.to(classes.device)[group]


class GroupBalance:
    """Class and speed together: w = 1 / (N_pq^t + 1).

    VoxelSplat (CVPR 2025), the sampling of its section 3: N_pq is the
    number of voxels of class p in speed group q. Without statistics they
    are counted among the voxels to draw from. Without a speed there is
    one group per class.

    Args:
        spec (LabelSpec): ids, and the speed groups unless there are
            statistics.
        statistics (LabelStatistics, optional): counted on the training
            split.
        exponent (float): t; 0 draws every voxel equally often, 1 every
            group.
    """

    def __init__(
        self,
        spec: LabelSpec,
        statistics: LabelStatistics | None = None,
        exponent: float = 1.0,
    ) -> None:
        self.num_classes = spec.num_classes
        self.exponent = exponent
        self.counts = None
        self.speed_bins = spec.speed_bins
        if statistics is not None:
            self.counts = torch.tensor(statistics.counts).double()
            self.speed_bins = statistics.speed_bins

    def __call__(self, classes: Tensor, speed: Tensor | None) -> Tensor:
        """Weights (G,)."""
        num_groups = len(self.speed_bins)
        group = torch.zeros_like(classes)
        if speed is not None:
            group = speed_group(speed, self.speed_bins)
        cell = classes * num_groups + group
        if self.counts is None:
            counts = torch.bincount(
                cell, minlength=self.num_classes * num_groups
            )
        elif speed is None:
            # whatever its speed, a voxel counts as one of its class
            counts = self.counts.sum(dim=1).repeat_interleave(num_groups)
        else:
            counts = self.counts.flatten()
        count = counts.to(classes.device)[cell].double()
        return (1 / (count**self.exponent + 1)).float()


def speed_group(speed: Tensor, bins: tuple[float, ...]) -> Tensor:
    """Index of the group of each speed, int64.

    Args:
        speed (Tensor): m/s.
        bins (tuple): lower edges, the first one 0; the last group is open.
    """
    # right=True puts a speed of exactly 0 into the first group
    return torch.bucketize(speed, speed.new_tensor(bins), right=True) - 1


def draw_voxels(
    candidates: Tensor,
    count: int,
    balance: Balance,
    classes: Tensor,
    flow: Tensor | None,
) -> Tensor:
    """Draw voxels without repetition.

    Args:
        candidates (Tensor): where to draw from, bool (X * Y * Z,).
        count (int): voxels to draw; all candidates if there are fewer,
            where ``torch.multinomial`` would add some of weight 0.
        balance (Balance): how much each one weighs.
        classes (Tensor): class ids, (X * Y * Z,).
        flow (Tensor | None): m/s, (2, X * Y * Z).

    Returns:
        Tensor: flat voxel indices, (G,), sorted.
    """
    index = candidates.nonzero()[:, 0]
    if index.numel() <= count:
        return index
    speed = None if flow is None else flow[:, index].norm(dim=0)
    drawn = torch.multinomial(balance(classes[index], speed), count)
    return index[drawn].sort().values


def _normalised(counts: tuple[int, ...]) -> Tensor:
    """1 / sqrt(N), summing to 1; never 0, which could not be drawn."""
    weight = torch.tensor(counts).double().clamp(min=1).rsqrt()
    return (weight / weight.sum()).float()
