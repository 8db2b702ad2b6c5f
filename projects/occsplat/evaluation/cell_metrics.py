"""Depth and class of a feature map's cells, as metrics of mmengine.

Shape letters: N cameras, H W feature map, h w image.
"""

from __future__ import annotations

from typing import Any, Sequence

from mmdet3d.registry import METRICS
from numpy.typing import ArrayLike
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
from .count_metric import CountMetric, iou_rows, report
from .voxel_counts import VoxelCounts


@METRICS.register_module()
class DepthMetric(CountMetric):
    """Error of the depths that an image encoder sees, against LiDAR.

    Every cell of the feature map is compared with its nearest return:
    mean absolute error in metres, and the share of cells whose depth and
    true depth are less than 1.25 times each other (Eigen et al. 2014).
    Both over all cells of the set, and by the range of the true depth.

    Args:
        prefix (str, optional): as in CountMetric.
    """

    required = ('token', 'pred_depth', 'gt_depth')

    @checked
    def __init__(self, prefix: str | None = None) -> None:
        super().__init__(None, prefix=prefix)

    def add(
        self,
        token: str,
        pred_depth: Tensor | ArrayLike,
        gt_depth: Tensor | ArrayLike,
    ) -> None:
        """Count one key frame, unless its token was counted before.

        Args:
            token (str): names the frame.
            pred_depth: metres, (N, H, W).
            gt_depth: metres, 0 for no return, (N, h, w).

        Raises:
            ValueError: when a depth is no number or below 0, shapes
                disagree, or the cells do not divide the image.
        """
        if token in self.frames:
            return
        pred_depth, gt_depth = self.checked(
            token, pred_depth=pred_depth, gt_depth=gt_depth
        )
        self.frames[token] = count_depths(pred_depth, gt_depth)

    def summary(self, counts: DepthCounts) -> dict[str, float]:
        """The flat dictionary of metrics of any number of frames."""
        return counts.summary()

    def compute_metrics(
        self, results: Sequence[DepthCounts]
    ) -> dict[str, Any]:
        """Pool frames, log the table, and return the flat dictionary."""
        total = sum(results, DepthCounts.zeros())
        metrics = self.summary(total)
        rows = [['true depth, m', 'cells', 'L1, m', 'close']]
        for name, cells in zip(range_names(), total.cells):
            scores = (metrics[f'depth_{k}_{name}'] for k in ('L1', 'close'))
            rows.append([name, int(cells), *scores])
        scores = [metrics['depth_L1'], metrics['depth_close']]
        rows.append(['all', int(total.cells.sum()), *scores])
        report(
            f'depth_L1 {scores[0]:.4f} m, depth_close {scores[1]:.4f} '
            f'(within {CLOSE} times each other); {CELL_POLICY}; '
            f'{total.frames} frames, {total.cells.sum()} cells',
            rows,
        )
        return metrics


@METRICS.register_module()
class PixelIoUMetric(CountMetric):
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

    def add(
        self,
        token: str,
        pred_pixel_semantics: Tensor | ArrayLike,
        gt_pixel_semantics: Tensor | ArrayLike,
        gt_depth: Tensor | ArrayLike,
    ) -> None:
        """Count one key frame, unless its token was counted before.

        Args:
            token (str): names the frame.
            pred_pixel_semantics: class ids, (N, H, W).
            gt_pixel_semantics: class ids, (N, h, w).
            gt_depth: metres, 0 for no return, (N, h, w).

        Raises:
            ValueError: when shapes disagree, the cells do not divide the
                image, or an id is not in the label spec.
        """
        if token in self.frames:
            return
        pred, truth, depth = self.checked(
            token,
            pred_pixel_semantics=pred_pixel_semantics,
            gt_pixel_semantics=gt_pixel_semantics,
            gt_depth=gt_depth,
        )
        self.frames[token] = count_cells(pred, truth, depth, self.spec)

    def summary(self, counts: VoxelCounts) -> dict[str, float]:
        """The flat dictionary of metrics of any number of frames."""
        out = counts.summary(self.spec, lead='pixel_')
        # a cell with a return is occupied, and no prediction says free
        del out['pixel_IoU']
        return out

    def compute_metrics(
        self, results: Sequence[VoxelCounts]
    ) -> dict[str, Any]:
        """Pool frames, log the table, and return the flat dictionary."""
        total = sum(results, VoxelCounts.zeros(self.spec.num_classes))
        metrics = self.summary(total)
        report(
            f'pixel_mIoU {metrics["pixel_mIoU"]:.4f} on {self.spec.name}; '
            f'{CELL_POLICY}; {total.frames} frames, {total.voxels} cells',
            iou_rows(metrics, 'pixel_mIoU', self.spec),
        )
        return metrics
