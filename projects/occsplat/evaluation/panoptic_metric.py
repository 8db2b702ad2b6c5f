"""RayPQ: panoptic quality by rays, as a metric of mmengine.

Shape letters: X Y Z voxels, s stride, T origins, J boxes.
"""

from __future__ import annotations

from typing import Mapping

from mmdet3d.registry import METRICS
from torch import Tensor

from occsplat.ops import instance_boxes
from occsplat.structures import LabelSpec, VoxelGrid
from occsplat.structures.checks import checked

from .count_metric import CountMetric, Rows
from .panoptic_counts import PanopticCounts, count_panoptic, things_in_boxes
from .ray_counts import THRESHOLDS, lidar_rays


@METRICS.register_module()
class RayPQMetric(CountMetric[PanopticCounts]):
    """Panoptic quality of what rays see.

    No network here predicts things: :func:`~occsplat.ops.instance_boxes`
    tells them apart in the predicted volume, by the predicted offsets
    (VoxDet) or by the runs of its classes. True things are the annotated
    boxes. ``docs/metrics.md`` has the definitions.

    Args:
        label_spec (str | LabelSpec): meaning of the class ids.
        grid (VoxelGrid | dict, optional): where the voxels of truth and
            prediction are; the label spec's own grid unless given.
        prefix (str, optional): as in CountMetric.

    Raises:
        ValueError: for an unknown label spec.
    """

    counts_type = PanopticCounts
    required = (
        'token',
        'pred_occ',
        'gt_occ',
        'ray_origins',
        'gt_boxes',
        'gt_box_labels',
    )
    optional = ('pred_offsets', 'pred_flow')

    @checked
    def __init__(
        self,
        label_spec: str | LabelSpec,
        grid: VoxelGrid | dict | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(label_spec, grid, prefix)
        self.directions = lidar_rays()

    def count(
        self,
        pred_occ: Tensor,
        gt_occ: Tensor,
        ray_origins: Tensor,
        gt_boxes: Tensor,
        gt_box_labels: Tensor,
        pred_offsets: Tensor | None = None,
        pred_flow: Tensor | None = None,
    ) -> PanopticCounts:
        """Counts of one key frame.

        Args:
            pred_occ, gt_occ: class ids, (X, Y, Z).
            ray_origins: metres in the reference frame, (T, 3).
            gt_boxes: x y z of the centre, length, width, height and yaw,
                (J, 7).
            gt_box_labels: class ids, (J,).
            pred_offsets: metres, (6, X/s, Y/s, Z/s).
            pred_flow: m/s, (X, Y, Z, 2).

        Raises:
            ValueError: when shapes disagree, or an id is not in the label
                spec.
        """
        found = instance_boxes(
            pred_occ, pred_offsets, self.grid, self.spec.movable, pred_flow,
            self.spec.sizes,
        )  # fmt: skip
        true = things_in_boxes(
            gt_occ, gt_boxes, gt_box_labels, self.spec, self.grid
        )
        return count_panoptic(
            pred_occ, found.ids, gt_occ, true, ray_origins,
            self.directions, self.spec, self.grid,
        )  # fmt: skip

    def summary(self, counts: PanopticCounts) -> dict[str, float]:
        """The flat dictionary of metrics of any number of frames."""
        return counts.summary(self.spec)

    def table(
        self, total: PanopticCounts, metrics: Mapping[str, float]
    ) -> tuple[str, Rows]:
        """What the log says of a result, see CountMetric."""
        rows: Rows = [['class', 'RayPQ', 'matched', 'invented', 'missed']]
        near = THRESHOLDS.index(2)
        for i in self.spec.occupied:
            name = self.spec.classes[i]
            numbers = (
                int(part[near, i])
                for part in (total.matched, total.invented, total.missed)
            )
            rows.append([name, metrics[f'RayPQ_{name}'], *numbers])
        rows.append(['mean', metrics['RayPQ'], '', '', ''])
        return (
            f'RayPQ {metrics["RayPQ"]:.4f} (things '
            f'{metrics["RayPQ_things"]:.4f}, stuff '
            f'{metrics["RayPQ_stuff"]:.4f}) on {self.spec.name}, segments at '
            '2 m; mask policy: none, every ray that hits the truth counts; '
            f'{total.frames} frames, {total.rays} rays',
            rows,
        )
