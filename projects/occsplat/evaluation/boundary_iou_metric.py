"""IoU of the boundaries of classes, as a metric of mmengine.

Shape letters: X Y Z voxels.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Mapping, Sequence

import torch
from mmdet3d.registry import METRICS
from torch import Tensor

from occsplat.structures import LabelSpec, VoxelGrid, same_shape
from occsplat.structures.checks import Positive, checked

from .count_metric import CountMetric, Rows, iou_rows
from .counts import mean_of_defined, of_classes
from .fields import check_ids
from .voxel_counts import VoxelCounts, count_voxels

# 0.4 is not (5.4 + 1) / 16 in floats: a distance may exceed the width so far
_SLACK = 1 + 1e-6


@METRICS.register_module()
class BoundaryIoUMetric(CountMetric[VoxelCounts]):
    """Boundary IoU (Cheng et al., CVPR 2021) of voxels instead of pixels.

    As mIoU, but of each mask, that of a class in the truth and in the
    prediction, only the voxels near its own boundary count: what is deep
    inside of houses and roads is easy and plenty. A voxel is near if the
    centre of a known voxel outside of the mask is at most ``width`` away.
    What is unknown or beyond the grid may belong to the mask and makes no
    boundary.

    Args:
        label_spec (str | LabelSpec): meaning of the class ids.
        grid (VoxelGrid | dict, optional): where the voxels of truth and
            prediction are; the label spec's own grid unless given.
        width (float, optional): metres. The longest edge of a voxel unless
            given: a layer of one voxel, the thinnest there is. Two layers
            from each side of a car leave nothing to be inside.
        prefix (str, optional): as in CountMetric.

    Raises:
        ValueError: for an unknown label spec, or a width that is less than
            an edge of the voxels.
    """

    counts_type = VoxelCounts
    required = ('token', 'pred_occ', 'gt_occ')

    @checked
    def __init__(
        self,
        label_spec: str | LabelSpec,
        grid: VoxelGrid | dict | None = None,
        width: Positive | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(label_spec, grid, prefix)
        longest = max(self.grid.size)
        self.width = longest if width is None else float(width)
        if not self.width * _SLACK >= longest:
            raise ValueError(
                'BoundaryIoUMetric: width must be at least the edge of a '
                f'voxel, {longest:.4g} m, got {width}'
            )

    def count(self, pred_occ: Tensor, gt_occ: Tensor) -> VoxelCounts:
        """Counts of one key frame.

        Args:
            pred_occ: class ids, (X, Y, Z).
            gt_occ: class ids, (X, Y, Z).

        Raises:
            ValueError: when shapes disagree with the grid, or an id is not
                in the label spec.
        """
        return count_boundaries(
            pred_occ, gt_occ, self.spec, self.grid.size, self.width
        )

    def summary(self, counts: VoxelCounts) -> dict[str, float]:
        """The flat dictionary of metrics of any number of frames."""
        iou = counts.iou()
        occupied = self.spec.occupied
        return {
            'BoundaryIoU': mean_of_defined(iou[list(occupied)]),
            **of_classes('BoundaryIoU', iou, self.spec, occupied),
        }

    def table(
        self, total: VoxelCounts, metrics: Mapping[str, float]
    ) -> tuple[str, Rows]:
        """What the log says of a result, see CountMetric."""
        return (
            f'BoundaryIoU {metrics["BoundaryIoU"]:.4f} on {self.spec.name}; '
            f'mask policy: none, known voxels within {self.width:.4g} m of '
            f'another class; {total.frames} frames, {total.either} voxels',
            iou_rows(metrics, 'BoundaryIoU', self.spec),
        )


def count_boundaries(
    pred_occ: Tensor,  # (X, Y, Z)
    gt_occ: Tensor,  # (X, Y, Z)
    spec: LabelSpec,
    size: Sequence[float],
    width: float,
) -> VoxelCounts:
    """Count agreement of two label volumes near their boundaries.

    Args:
        pred_occ (Tensor): predicted class ids.
        gt_occ (Tensor): true class ids; voxels with the ignore id do not
            count and are no boundary of their neighbours.
        spec (LabelSpec): meaning of the ids.
        size (sequence): edges of a voxel along x, y and z in metres.
        width (float): how far the boundary reaches inwards, metres.

    Returns:
        VoxelCounts: of the occupied voxels near a boundary in this frame;
        those of the free class mean nothing.

    Raises:
        ValueError: when shapes disagree or an id is not in the label spec.
    """
    same_shape('pred_occ', pred_occ.shape, gt_occ.shape)
    known = gt_occ.cpu() != spec.ignore

    def shell(name: str, occ: Tensor) -> Tensor:
        occ = occ.cpu()
        check_ids(name, occ[known], spec)
        near = near_boundary(occ, known, size, width)
        # the inside is as good as free: it matches nothing
        return torch.where(near, occ, spec.free)

    guess, truth = shell('pred_occ', pred_occ), shell('gt_occ', gt_occ)
    return count_voxels(guess, truth, spec, mask=known)


def near_boundary(
    occ: Tensor,  # (X, Y, Z)
    known: Tensor,  # (X, Y, Z)
    size: Sequence[float],
    width: float,
) -> Tensor:
    """Which voxels have one of another class near them.

    That is the boundary of the masks of all classes at once, since a voxel
    is outside of a mask if, and only if, its class is another one.

    Args:
        occ (Tensor): class ids.
        known (Tensor): bool, the voxels that are looked at.
        size (sequence): edges of a voxel along x, y and z in metres.
        width (float): largest distance of two centres in metres.

    Returns:
        Tensor: bool (X, Y, Z), False where ``known`` is.
    """
    near = torch.zeros_like(known)
    for step in _steps(size, width):
        here, there = _overlap(step, occ.shape)
        other = occ[here] != occ[there]
        other &= known[here] & known[there]
        near[here] |= other
        near[there] |= other
    return near


def _overlap(
    step: Sequence[int], shape: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The voxels that a step keeps inside, and where it takes them."""
    axes = list(zip(step, shape))
    here = tuple(slice(max(-k, 0), max(n - k, 0)) for k, n in axes)
    there = tuple(slice(max(k, 0), max(n + k, 0)) for k, n in axes)
    return here, there


def _steps(size: Sequence[float], width: float) -> list[tuple[int, ...]]:
    """Index steps no longer than the width, one of each and its opposite."""
    reach = [int(width * _SLACK / edge) for edge in size]
    return [
        step
        for step in product(*(range(-n, n + 1) for n in reach))
        if step > (0, 0, 0)
        and math.hypot(*(k * edge for k, edge in zip(step, size)))
        <= width * _SLACK
    ]
