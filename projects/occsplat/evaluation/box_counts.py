"""Boxes matched with boxes, as pure arithmetic.

Shape letters: K classes, P predicted boxes, J annotated boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from shapely.geometry import Polygon

from occsplat.structures import LabelSpec

from .counts import (
    Counts,
    NumberByClass,
    SumByClass,
    mean_of_defined,
    of_classes,
    ratio,
)


@dataclass
class BoxCounts(Counts):
    """All that the box metric needs to know of any number of frames.

    Attributes:
        frames: number of frames.
        annotated: boxes of the truth by class, (K,).
        predicted: boxes of the prediction, (K,).
        matched: pairs of them, (K,).
        iou: summed IoU of these pairs, (K,).
    """

    frames: int
    annotated: NumberByClass
    predicted: NumberByClass
    matched: NumberByClass
    iou: SumByClass

    def summary(self, spec: LabelSpec) -> dict[str, float]:
        """The flat dictionary of metrics, fractions of one.

        Args:
            spec (LabelSpec): names of the classes.

        Returns:
            dict: BoxRecall, BoxPrecision and BoxIoU, means over the
            movable classes (those without a box to divide by left out),
            and ``<metric>_<class>`` of these.
        """
        out = {}
        for key, part, whole in (
            ('BoxRecall', self.matched, self.annotated),
            ('BoxPrecision', self.matched, self.predicted),
            ('BoxIoU', self.iou, self.matched),
        ):
            shares = ratio(part, whole)
            out[key] = mean_of_defined(shares[list(spec.movable)])
            out.update(of_classes(key, shares, spec, spec.movable))
        return out


def count_boxes(
    pred_boxes: np.ndarray,  # (P, 7)
    pred_labels: np.ndarray,  # (P,)
    gt_boxes: np.ndarray,  # (J, 7)
    gt_labels: np.ndarray,  # (J,)
    num_classes: int,
    iou_threshold: float,
) -> BoxCounts:
    """Match the boxes of a frame, class by class, the best pair first.

    Args:
        pred_boxes: x y z of the centre, length, width, height and yaw.
        pred_labels: class ids.
        gt_boxes: as ``pred_boxes``.
        gt_labels: class ids.
        num_classes: K.
        iou_threshold: pairs of less IoU do not match.

    Returns:
        BoxCounts: of this one frame.
    """
    counts = BoxCounts.zeros(num_classes)
    counts.frames = 1
    for i in range(num_classes):
        pred, truth = pred_boxes[pred_labels == i], gt_boxes[gt_labels == i]
        counts.annotated[i], counts.predicted[i] = len(truth), len(pred)
        iou = box_ious(pred, truth)
        for _ in range(min(iou.shape)):
            best = np.unravel_index(iou.argmax(), iou.shape)
            if iou[best] < iou_threshold:
                break
            counts.matched[i] += 1
            counts.iou[i] += iou[best]
            iou[best[0]], iou[:, best[1]] = -1, -1
    return counts


def box_ious(
    pred_boxes: np.ndarray,  # (P, 7)
    gt_boxes: np.ndarray,  # (J, 7)
) -> np.ndarray:
    """IoU in 3D of boxes that stand upright and are turned about z.

    Args:
        pred_boxes: x y z of the centre, length, width, height in metres,
            and yaw in radians from x to y.
        gt_boxes: as ``pred_boxes``.

    Returns:
        ndarray: float64 (P, J).
    """
    pred = np.asarray(pred_boxes, np.float64)
    truth = np.asarray(gt_boxes, np.float64)
    z, half = pred[:, None, 2], pred[:, None, 5] / 2
    gt_z, gt_half = truth[:, 2], truth[:, 5] / 2
    bottom = np.maximum(z - half, gt_z - gt_half)
    top = np.minimum(z + half, gt_z + gt_half)
    height = np.maximum(top - bottom, 0)
    gap = np.hypot(*(pred[:, None, :2] - truth[:, :2]).transpose(2, 0, 1))
    reach = np.hypot(pred[:, 3], pred[:, 4])[:, None] / 2
    reach = reach + np.hypot(truth[:, 3], truth[:, 4]) / 2
    common = np.zeros(height.shape)
    grounds = [_footprint(box) for box in pred], [_footprint(b) for b in truth]
    # a polygon is cut only where the circles around two boxes meet
    for p, j in np.argwhere((height > 0) & (gap < reach)):
        area = grounds[0][p].intersection(grounds[1][j]).area
        common[p, j] = area * height[p, j]
    volumes = [boxes[:, 3:6].prod(axis=1) for boxes in (pred, truth)]
    return common / (volumes[0][:, None] + volumes[1] - common)


def _footprint(box: np.ndarray) -> Polygon:
    """A box from above."""
    cos, sin = np.cos(box[6]), np.sin(box[6])
    ahead = np.array([cos, sin]) * box[3] / 2
    aside = np.array([-sin, cos]) * box[4] / 2
    signs = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    return Polygon([box[:2] + a * ahead + b * aside for a, b in signs])
