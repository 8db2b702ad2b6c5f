"""3D boxes in the reference frame.

Shape letters: M boxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np

from occsplat.structures import LabelSpec

from .colors import OTHER

#: corners of the unit cube: bottom then top, each counter-clockwise from
#: the front left
_UNIT = np.array(
    [
        [0.5, 0.5, -0.5],
        [-0.5, 0.5, -0.5],
        [-0.5, -0.5, -0.5],
        [0.5, -0.5, -0.5],
        [0.5, 0.5, 0.5],
        [-0.5, 0.5, 0.5],
        [-0.5, -0.5, 0.5],
        [0.5, -0.5, 0.5],
    ]
)
#: pairs of corners: bottom, top, uprights, and the heading on the front
EDGES = (
    ((0, 1), (1, 2), (2, 3), (3, 0))
    + ((4, 5), (5, 6), (6, 7), (7, 4))
    + ((0, 4), (1, 5), (2, 6), (3, 7))
    + ((0, 7), (3, 4))
)


@dataclass
class Boxes:
    """M boxes.

    ::

            5 -------- 4
           /|         /|      front face: 0 3 7 4
          6 -------- 7 |      heading:    from the middle to it
          | 1 -------| 0
          |/         |/
          2 -------- 3

    Attributes:
        corners: metres in the reference frame, (M, 8, 3).
        velocity: m/s in the reference frame's axes, (M, 3).
        colors: RGB, uint8 (M, 3).
        others: names of the categories among them that the label set has
            not, whose colour is ``OTHER``.
    """

    corners: np.ndarray
    velocity: np.ndarray
    colors: np.ndarray
    others: tuple[str, ...] = ()

    @property
    def centers(self) -> np.ndarray:
        """Middles in metres, (M, 3)."""
        return self.corners.mean(axis=1)

    @property
    def front(self) -> np.ndarray:
        """Middles of the front faces in metres, (M, 3)."""
        return self.corners[:, [0, 3, 4, 7]].mean(axis=1)

    def __len__(self) -> int:
        return len(self.corners)

    @classmethod
    def from_instances(
        cls,
        instances: Sequence[dict[str, Any]],
        lidar2ref: np.ndarray,  # (4, 4)
        categories: dict[str, int],
        spec: LabelSpec,
    ) -> Boxes:
        """Boxes of an mmdetection3d-style nuScenes info entry.

        Their ``bbox_3d`` is (x, y, z, length, width, height, yaw) in the
        LiDAR frame with the *middle* of the box, and yaw counter-clockwise
        from the LiDAR's x axis. Boxes without a single LiDAR or radar
        return (``bbox_3d_isvalid`` false) are left out.

        Args:
            instances: the entry's annotations.
            lidar2ref: LiDAR -> reference frame.
            categories: ids of the class names, from the file's metainfo.
            spec: palette; categories it does not know are drawn white,
                and listed in ``others``.

        Returns:
            Boxes: in the reference frame.
        """
        kept = [i for i in instances if i.get('bbox_3d_isvalid', True)]
        boxes = np.array([i['bbox_3d'][:7] for i in kept], dtype=np.float64)
        velocity = np.zeros((len(kept), 2))
        for row, instance in enumerate(kept):
            # unknown velocities are NaN or absent
            speed = instance.get('velocity')
            if speed is not None:
                velocity[row] = speed
        by_number = {number: name for name, number in categories.items()}
        names = [by_number.get(i.get('bbox_label_3d'), '') for i in kept]
        return cls.from_names(
            boxes.reshape(-1, 7), velocity, names, lidar2ref, spec
        )

    @classmethod
    def from_names(
        cls,
        boxes: np.ndarray,  # (M, 7)
        velocities: np.ndarray,  # (M, 2)
        names: Sequence[str],  # M
        lidar2ref: np.ndarray,  # (4, 4)
        spec: LabelSpec,
    ) -> Boxes:
        """Boxes of named categories in the LiDAR frame.

        Args:
            boxes: x y z of the middle, length, width, height and yaw.
            velocities: m/s, nan where unknown.
            names: categories, '' where unknown.
            lidar2ref: LiDAR -> reference frame.
            spec: as in ``from_instances``.

        Returns:
            Boxes: in the reference frame.
        """
        velocity = np.zeros((len(boxes), 3))
        velocity[:, :2] = np.nan_to_num(velocities)
        rotation, offset = lidar2ref[:3, :3], lidar2ref[:3, 3]
        names = [name or 'unknown category' for name in names]
        palette = dict(zip(spec.classes, spec.palette))
        colors = [palette.get(name, OTHER) for name in names]
        return cls(
            _corners(np.float64(boxes)) @ rotation.T + offset,
            velocity @ rotation.T,
            np.array(colors, dtype=np.uint8).reshape(-1, 3),
            tuple(sorted({name for name in names if name not in palette})),
        )

    @classmethod
    def from_arrays(
        cls,
        boxes: np.ndarray,  # (M, 7)
        labels: np.ndarray,  # (M,)
        spec: LabelSpec,
        velocities: np.ndarray | None = None,  # (M, 2)
    ) -> Boxes:
        """Boxes that are in the reference frame already.

        Args:
            boxes: x y z of the middle, length, width, height and yaw.
            labels: class ids.
            spec: palette.
            velocities: m/s, nan where unknown; nothing moves unless given.
        """
        velocity = np.zeros((len(boxes), 3))
        if velocities is not None:
            velocity[:, :2] = np.nan_to_num(velocities)
        colors = np.array(spec.palette, np.uint8)[labels]
        return cls(_corners(np.float64(boxes)), velocity, colors)


def _corners(boxes: np.ndarray) -> np.ndarray:
    """Corners (M, 8, 3) of boxes (M, 7)."""
    cos, sin = np.cos(boxes[:, 6:]), np.sin(boxes[:, 6:])
    local = _UNIT * boxes[:, None, 3:6]
    x = local[..., 0] * cos - local[..., 1] * sin
    y = local[..., 0] * sin + local[..., 1] * cos
    return np.stack([x, y, local[..., 2]], axis=-1) + boxes[:, None, :3]
