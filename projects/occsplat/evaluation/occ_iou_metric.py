"""Voxel mIoU and IoU, as a metric of mmengine.

Shape letters: X Y Z voxels.
"""

from __future__ import annotations

from typing import Any, Literal, Mapping

from mmdet3d.registry import METRICS
from torch import Tensor

from occsplat.structures import LabelSpec, VoxelGrid
from occsplat.structures.checks import checked

from .count_metric import CountMetric, Rows, iou_rows
from .voxel_counts import VoxelCounts, count_voxels


@METRICS.register_module()
class OccIoUMetric(CountMetric[VoxelCounts]):
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

    counts_type = VoxelCounts
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

    def checked(self, token: str, **fields: Any) -> dict[str, Any]:
        """As in CountMetric, without the mask if it has no say.

        Raises:
            ValueError: when the mask is needed and missing.
        """
        if self.mask == 'none':
            fields['gt_visible'] = None
        elif fields.get('gt_visible') is None:
            raise ValueError(
                f'sample {token!r} has no gt_visible, which '
                "mask='camera' needs; load it or use mask='none'"
            )
        return super().checked(token, **fields)

    def count(
        self,
        pred_occ: Tensor,
        gt_occ: Tensor,
        gt_visible: Tensor | None = None,
    ) -> VoxelCounts:
        """Counts of one key frame.

        Args:
            pred_occ: class ids, (X, Y, Z).
            gt_occ: class ids, (X, Y, Z).
            gt_visible: bool, (X, Y, Z); needed for mask='camera'.

        Raises:
            ValueError: when shapes disagree with the grid, or an id is not
                in the label spec.
        """
        return count_voxels(pred_occ, gt_occ, self.spec, gt_visible)

    def summary(self, counts: VoxelCounts) -> dict[str, float]:
        """The flat dictionary of metrics of any number of frames."""
        return counts.summary(self.spec)

    def table(
        self, total: VoxelCounts, metrics: Mapping[str, float]
    ) -> tuple[str, Rows]:
        """What the log says of a result, see CountMetric."""
        return (
            f'mIoU {metrics["mIoU"]:.4f}, IoU {metrics["IoU"]:.4f} on '
            f'{self.spec.name}; mask policy: {self.mask}; '
            f'{total.frames} frames, {total.voxels} voxels',
            iou_rows(metrics, 'mIoU', self.spec),
        )
