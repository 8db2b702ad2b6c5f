"""Annotated boxes to score boxes against.

Shape letters: J boxes, P points.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from occsplat.structures import LabelSpec
from occsplat.structures.checks import checked

#: metres around an annotated box that still belong to it: boxes are drawn
#: by hand, and returns lie on the surface
MARGIN = 0.1


def in_box(
    points: np.ndarray,  # (P, 3)
    box: np.ndarray,  # (7,)
) -> np.ndarray:
    """Whether points are in a box or less than ``MARGIN`` beside it.

    Args:
        points: metres, in the frame of the box.
        box: x y z of the centre, length, width, height and yaw.

    Returns:
        ndarray: bool (P,).
    """
    offset = points - box[:3]
    cos, sin = np.cos(box[6]), np.sin(box[6])
    ahead = offset @ [cos, sin, 0]
    aside = offset @ [-sin, cos, 0]
    local = np.stack([ahead, aside, offset[:, 2]], axis=-1)
    return (np.abs(local) <= box[3:6] / 2 + MARGIN).all(axis=-1)


@TRANSFORMS.register_module()
class LoadBoxes(BaseTransform):
    """Annotated boxes of the movable classes, in the reference frame.

    Objects that no LiDAR return fell on are left out: the benchmark of
    nuScenes does not look for them either. Names of boxes are names of
    classes in every label set.

    Adds ``gt_boxes``, x y z of the centre, length, width, height and yaw
    (counter-clockwise from x), float32 (J, 7); ``gt_box_labels``, class
    ids, int64 (J,); and ``gt_box_velocities``, m/s, nan where unknown,
    float32 (J, 2). J is 0 where nothing is annotated.

    Args:
        label_spec (str | LabelSpec): meaning of the ids.
    """

    @checked
    def __init__(self, label_spec: str | LabelSpec) -> None:
        spec = LabelSpec.named(label_spec)
        self.ids = {spec.classes[i]: i for i in spec.movable}

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the boxes."""
        names, points = results['box_names'], results['box_points']
        kept = [
            j
            for j, name in enumerate(names)
            if name in self.ids and points[j] > 0
        ]
        boxes = results['boxes'][kept].astype(np.float64)
        rotation = results['lidar2ref'][:3, :3]
        boxes[:, :3] = boxes[:, :3] @ rotation.T + results['lidar2ref'][:3, 3]
        heading = np.stack([np.cos(boxes[:, 6]), np.sin(boxes[:, 6])], -1)
        heading = heading @ rotation[:2, :2].T
        boxes[:, 6] = np.arctan2(heading[:, 1], heading[:, 0])
        moved = results['box_velocities'][kept] @ rotation[:2, :2].T
        results['gt_boxes'] = boxes.astype(np.float32)
        results['gt_box_labels'] = np.array(
            [self.ids[names[j]] for j in kept], np.int64
        )
        results['gt_box_velocities'] = moved.astype(np.float32)
        return results
