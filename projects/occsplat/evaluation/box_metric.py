"""Boxes of objects against annotated ones, as a metric of mmengine.

Shape letters: X Y Z voxels, s stride, J boxes.
"""

from __future__ import annotations

from typing import Annotated, Any, Mapping

import numpy as np
from mmdet3d.registry import METRICS
from torch import Tensor

from occsplat.ops import instance_boxes
from occsplat.structures import LabelSpec, VoxelGrid, same_shape
from occsplat.structures.checks import Bounds, checked

from .box_counts import BoxCounts, count_boxes
from .count_metric import CountMetric, Rows


@METRICS.register_module()
class BoxMetric(CountMetric[BoxCounts]):
    """Recall, precision and IoU of boxes that come out of occupancy.

    No network here predicts boxes: :func:`~occsplat.ops.instance_boxes`
    finds them in the predicted volume, by the predicted offsets (VoxDet)
    or by the runs of its classes. ``docs/metrics.md`` has the definitions.

    Args:
        label_spec (str | LabelSpec): meaning of the class ids; boxes are
            those of its movable classes.
        grid (VoxelGrid | dict, optional): where the voxels of the
            prediction are; the label spec's own grid unless given.
        iou_threshold (float): IoU in 3D from which two boxes match.
        prefix (str, optional): as in CountMetric.

    Raises:
        ValueError: for an unknown label spec, or a threshold that is not
            in (0, 1].
    """

    counts_type = BoxCounts
    required = ('token', 'pred_occ', 'gt_boxes', 'gt_box_labels')
    optional = ('pred_offsets', 'pred_flow')

    @checked
    def __init__(
        self,
        label_spec: str | LabelSpec,
        grid: VoxelGrid | dict | None = None,
        iou_threshold: Annotated[float, Bounds(above=0, most=1)] = 0.25,
        prefix: str | None = None,
    ) -> None:
        super().__init__(label_spec, grid, prefix)
        self.iou_threshold = iou_threshold

    def checked(self, token: str, **fields: Any) -> dict[str, Any]:
        """As in CountMetric; there are as many labels as boxes.

        Raises:
            ValueError: when their numbers disagree.
        """
        fields = super().checked(token, **fields)
        same_shape(
            f'sample {token!r}, gt_boxes',
            fields['gt_boxes'].shape,
            (len(fields['gt_box_labels']), 7),
        )
        return fields

    def count(
        self,
        pred_occ: Tensor,
        gt_boxes: Tensor,
        gt_box_labels: Tensor,
        pred_offsets: Tensor | None = None,
        pred_flow: Tensor | None = None,
    ) -> BoxCounts:
        """Counts of one key frame.

        Args:
            pred_occ: class ids, (X, Y, Z).
            gt_boxes: x y z of the centre, length, width, height and yaw,
                (J, 7); those whose centre is outside the grid, or whose
                class does not move, are left out.
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
        boxes, labels = gt_boxes.cpu(), gt_box_labels.cpu()
        inside = self.grid.locate(boxes[:, :3])[1].numpy()
        kept = inside & np.isin(labels.numpy(), self.spec.movable)
        return count_boxes(
            found.boxes.cpu().numpy(),
            found.labels.cpu().numpy(),
            boxes.numpy()[kept],
            labels.numpy()[kept],
            self.spec.num_classes,
            self.iou_threshold,
        )

    def summary(self, counts: BoxCounts) -> dict[str, float]:
        """The flat dictionary of metrics of any number of frames."""
        return counts.summary(self.spec)

    def table(
        self, total: BoxCounts, metrics: Mapping[str, float]
    ) -> tuple[str, Rows]:
        """What the log says of a result, see CountMetric."""
        keys = ('BoxRecall', 'BoxPrecision', 'BoxIoU')
        rows: Rows = [['class', 'annotated', 'predicted', *keys]]
        for i in self.spec.movable:
            name = self.spec.classes[i]
            own = [metrics[f'{key}_{name}'] for key in keys]
            numbers = int(total.annotated[i]), int(total.predicted[i])
            rows.append([name, *numbers, *own])
        numbers = int(total.annotated.sum()), int(total.predicted.sum())
        rows.append(['mean', *numbers, *(metrics[key] for key in keys)])
        return (
            f'BoxRecall {metrics["BoxRecall"]:.4f}, BoxPrecision '
            f'{metrics["BoxPrecision"]:.4f} on {self.spec.name}, IoU in 3D '
            f'from {self.iou_threshold} on; mask policy: none, every '
            f'annotated box with a LiDAR return; {total.frames} frames',
            rows,
        )
