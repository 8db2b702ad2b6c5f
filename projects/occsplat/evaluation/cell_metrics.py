"""Depth and class of a feature map's cells, as metrics of mmengine.

Shape letters: N cameras, H W feature map, h w image.
"""

from __future__ import annotations

from typing import Mapping

from mmdet3d.registry import METRICS
from torch import Tensor

from occsplat.structures import LabelSpec
from occsplat.structures.checks import checked

from .cell_counts import (
    CELL_POLICY,
    CLOSE,
    DepthCounts,
    count_cells,
    count_depths,
    range_names,
)
from .count_metric import CountMetric, Rows, iou_rows
from .voxel_counts import VoxelCounts


@METRICS.register_module()
class DepthMetric(CountMetric[DepthCounts]):
    """Error of the depths that an image encoder sees, against LiDAR.

    Every cell of the feature map is compared with its nearest return:
    mean absolute error in metres, and the share of cells whose depth and
    true depth are less than 1.25 times each other (Eigen et al. 2014).
    Both over all cells of the set, and by the range of the true depth.

    Args:
        prefix (str, optional): as in CountMetric.
    """

    counts_type = DepthCounts
    required = ('token', 'pred_depth', 'gt_depth')

    @checked
    def __init__(self, prefix: str | None = None) -> None:
        super().__init__(None, prefix=prefix)

    def count(self, pred_depth: Tensor, gt_depth: Tensor) -> DepthCounts:
        """Counts of one key frame.

        Args:
            pred_depth: metres, (N, H, W).
            gt_depth: metres, 0 for no return, (N, h, w).

        Raises:
            ValueError: when a depth is no number or below 0, shapes
                disagree, or the cells do not divide the image.
        """
        return count_depths(pred_depth, gt_depth)

    def summary(self, counts: DepthCounts) -> dict[str, float]:
        """The flat dictionary of metrics of any number of frames."""
        return counts.summary()

    def table(
        self, total: DepthCounts, metrics: Mapping[str, float]
    ) -> tuple[str, Rows]:
        """What the log says of a result, see CountMetric."""
        keys = ('depth_L1', 'depth_close')
        rows: Rows = [['true depth, m', 'cells', 'L1, m', 'close']]
        for name, cells in zip(range_names(), total.cells):
            own = [metrics[f'{key}_{name}'] for key in keys]
            rows.append([name, int(cells), *own])
        number = int(total.cells.sum())
        rows.append(['all', number, *(metrics[key] for key in keys)])
        return (
            f'depth_L1 {metrics["depth_L1"]:.4f} m, '
            f'depth_close {metrics["depth_close"]:.4f} '
            f'(within {CLOSE} times each other); {CELL_POLICY}; '
            f'{total.frames} frames, {number} cells',
            rows,
        )


@METRICS.register_module()
class PixelIoUMetric(CountMetric[VoxelCounts]):
    """mIoU of the classes that an image encoder sees, against LiDAR.

    Every cell of the feature map is compared with the class of its nearest
    return, in one confusion matrix over the whole set. Classes that are
    neither present nor predicted are left out of the mean.

    Args:
        label_spec (str | LabelSpec): meaning of the class ids.
        prefix (str, optional): as in CountMetric.

    Raises:
        ValueError: for an unknown label spec.
    """

    counts_type = VoxelCounts
    required = (
        'token',
        'pred_pixel_semantics',
        'gt_pixel_semantics',
        'gt_depth',
    )

    @checked
    def __init__(
        self,
        label_spec: str | LabelSpec,
        prefix: str | None = None,
    ) -> None:
        super().__init__(label_spec, prefix=prefix)

    def count(
        self,
        pred_pixel_semantics: Tensor,
        gt_pixel_semantics: Tensor,
        gt_depth: Tensor,
    ) -> VoxelCounts:
        """Counts of one key frame.

        Args:
            pred_pixel_semantics: class ids, (N, H, W).
            gt_pixel_semantics: class ids, (N, h, w).
            gt_depth: metres, 0 for no return, (N, h, w).

        Raises:
            ValueError: when shapes disagree, the cells do not divide the
                image, or an id is not in the label spec.
        """
        return count_cells(
            pred_pixel_semantics, gt_pixel_semantics, gt_depth, self.spec
        )

    def summary(self, counts: VoxelCounts) -> dict[str, float]:
        """The flat dictionary of metrics of any number of frames."""
        out = counts.summary(self.spec, lead='pixel_')
        # a cell with a return is occupied, and no prediction says free
        del out['pixel_IoU']
        return out

    def table(
        self, total: VoxelCounts, metrics: Mapping[str, float]
    ) -> tuple[str, Rows]:
        """What the log says of a result, see CountMetric."""
        return (
            f'pixel_mIoU {metrics["pixel_mIoU"]:.4f} on {self.spec.name}; '
            f'{CELL_POLICY}; {total.frames} frames, {total.voxels} cells',
            iou_rows(metrics, 'pixel_mIoU', self.spec),
        )
