"""Voxel mIoU and IoU, as a metric of mmengine.

Shape letters: X Y Z voxels.
"""

from __future__ import annotations

from typing import Any, Literal, Sequence

from mmdet3d.registry import METRICS
from numpy.typing import ArrayLike
from torch import Tensor

from occsplat.structures import LabelSpec, VoxelGrid
from occsplat.structures.checks import checked

from .count_metric import CountMetric, iou_rows, report
from .voxel_counts import VoxelCounts, count_voxels


@METRICS.register_module()
class OccIoUMetric(CountMetric):
    """mIoU over the classes that are not free, and IoU of occupancy.

    One confusion matrix over the whole set, as for Occ3D (NeurIPS 2023).

    Args:
        label_spec (str | LabelSpec): meaning of the class ids.
        grid (VoxelGrid | dict, optional): where the voxels of truth and
            prediction are; the label spec's own grid unless given.
        mask (str): 'none', every voxel counts; or 'camera', those that
            ``gt_visible`` marks (Occ3D's tables). The two differ by
            many points: a score without its policy says little.
        prefix (str, optional): as in CountMetric; needed to use both
            policies side by side.

    Raises:
        ValueError: for an unknown label spec or mask policy.
    """

    required = ('token', 'pred_occ', 'gt_occ')
    optional = ('gt_visible',)

    @checked
    def __init__(
        self,
        label_spec: str | LabelSpec,
        grid: VoxelGrid | dict | None = None,
        mask: Literal['none', 'camera'] = 'none',
        prefix: str | None = None,
    ) -> None:
        super().__init__(label_spec, grid, prefix)
        self.mask = mask

    def add(
        self,
        token: str,
        pred_occ: Tensor | ArrayLike,
        gt_occ: Tensor | ArrayLike,
        gt_visible: Tensor | ArrayLike | None = None,
    ) -> None:
        """Count one key frame, unless its token was counted before.

        Args:
            token (str): names the frame.
            pred_occ: class ids, (X, Y, Z).
            gt_occ: class ids, (X, Y, Z).
            gt_visible: bool, (X, Y, Z); needed for mask='camera'.

        Raises:
            ValueError: when shapes disagree with the grid, an id is not in
                the label spec, or the mask is missing.
        """
        if token in self.frames:
            return
        if self.mask == 'none':
            gt_visible = None
        elif gt_visible is None:
            raise ValueError(
                f'sample {token!r} has no gt_visible, which '
                "mask='camera' needs; load it or use mask='none'"
            )
        pred_occ, gt_occ, visible = self.checked(
            token, pred_occ=pred_occ, gt_occ=gt_occ, gt_visible=gt_visible
        )
        self.frames[token] = count_voxels(pred_occ, gt_occ, self.spec, visible)

    def summary(self, counts: VoxelCounts) -> dict[str, float]:
        """The flat dictionary of metrics of any number of frames."""
        return counts.summary(self.spec)

    def compute_metrics(
        self, results: Sequence[VoxelCounts]
    ) -> dict[str, Any]:
        """Pool frames, log the table, and return the flat dictionary."""
        total = sum(results, VoxelCounts.zeros(self.spec.num_classes))
        metrics = self.summary(total)
        report(
            f'mIoU {metrics["mIoU"]:.4f}, IoU {metrics["IoU"]:.4f} on '
            f'{self.spec.name}; mask policy: {self.mask}; '
            f'{total.frames} frames, {total.voxels} voxels',
            iou_rows(metrics, 'mIoU', self.spec),
        )
        return metrics
