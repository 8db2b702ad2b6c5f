"""How well it is known where objects end, as a metric of mmengine.

Shape letters: X Y Z voxels, s stride of the cells.
"""

from __future__ import annotations

from typing import Mapping

from mmdet3d.registry import METRICS
from torch import Tensor

from occsplat.structures import LabelSpec, VoxelGrid
from occsplat.structures.checks import Count, checked

from .count_metric import CountMetric, Rows
from .offset_counts import (
    DIRECTIONS,
    OffsetCounts,
    count_offsets,
    run_offsets,
)


@METRICS.register_module()
class OffsetMetric(CountMetric[OffsetCounts]):
    """Error of the offsets of VoxDet (NeurIPS 2025) in metres.

    The offset of a cell is how far the run of voxels of its class goes on
    in a direction, its own voxel included. Of networks that predict no
    offsets the runs of the predicted classes are measured.

    Args:
        label_spec (str | LabelSpec): meaning of the class ids.
        grid (VoxelGrid | dict, optional): where the voxels of truth and
            prediction are; the label spec's own grid unless given.
        stride (int): voxels from one cell to the next where the network
            predicts no offsets; those of a network it is compared with.
        prefix (str, optional): as in CountMetric.

    Raises:
        ValueError: for an unknown label spec, or a stride that does not
            divide the grid.
    """

    counts_type = OffsetCounts
    required = ('token', 'pred_occ', 'gt_occ')
    optional = ('pred_offsets',)

    @checked
    def __init__(
        self,
        label_spec: str | LabelSpec,
        grid: VoxelGrid | dict | None = None,
        stride: Count = 1,
        prefix: str | None = None,
    ) -> None:
        super().__init__(label_spec, grid, prefix)
        if stride < 1 or any(n % stride for n in self.grid.shape):
            raise ValueError(
                'OffsetMetric: stride must divide the shape of the grid, '
                f'{self.grid.shape}, got {stride}'
            )
        self.stride = stride

    def count(
        self,
        pred_occ: Tensor,
        gt_occ: Tensor,
        pred_offsets: Tensor | None = None,
    ) -> OffsetCounts:
        """Counts of one key frame.

        Args:
            pred_occ: class ids, (X, Y, Z); counted only if there are no
                ``pred_offsets``.
            gt_occ: class ids, (X, Y, Z).
            pred_offsets: metres, (6, X/s, Y/s, Z/s) in the directions x+
                x- y+ y- z+ z-.

        Raises:
            ValueError: when shapes disagree with the grid, an offset is no
                number, or an id is not in the label spec.
        """
        offsets = pred_offsets
        if offsets is None:
            offsets = run_offsets(pred_occ, self.grid, self.stride)
        counts = count_offsets(offsets, gt_occ, self.spec, self.grid)
        counts.predicted = int(pred_offsets is not None)
        return counts

    def summary(self, counts: OffsetCounts) -> dict[str, float]:
        """The flat dictionary of metrics of any number of frames."""
        return counts.summary(self.spec)

    def table(
        self, total: OffsetCounts, metrics: Mapping[str, float]
    ) -> tuple[str, Rows]:
        """What the log says of a result, see CountMetric."""
        keys = [f'OffsetError_{name}' for name in DIRECTIONS]
        keys.append('OffsetError')
        rows: Rows = [['class', *DIRECTIONS, 'mean']]
        order = *self.spec.occupied, self.spec.free
        for name in (self.spec.classes[i] for i in order):
            rows.append([name, *(metrics[f'{key}_{name}'] for key in keys)])
        rows.append(['mean but free', *(metrics[key] for key in keys)])
        source = f'{total.predicted} of them with predicted offsets'
        return (
            f'OffsetError {metrics["OffsetError"]:.4f} m on '
            f'{self.spec.name}; mask policy: none, every cell whose label '
            'is known and whose run does not end at an unknown voxel; '
            f'{total.frames} frames, {source}, {total.cells.sum()} offsets',
            rows,
        )
