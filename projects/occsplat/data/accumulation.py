"""The points of a scene, gathered from all of its key frames.

A single sweep is thin: 32 beams leave metres between them. What stands
still is seen again and again while the car drives by, and so is an object
in the frame of its own box (Occ3D, Tian et al., 2023, and SurroundOcc, Wei et
al., 2023, make their labels so).

Shape letters: P points, J boxes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Iterator, NamedTuple, Sequence

import numpy as np

from occsplat.structures import transform_points

from .transforms.boxes import in_box

#: class of a point of which nothing is said
UNKNOWN = 255
#: the recording car itself, metres in the ego frame (x0, y0, z0, x1, y1, z1):
#: a compact car whose frame begins at the rear axle
EGO = (-1.3, -1.1, -0.5, 3.6, 1.1, 2.3)


class Cloud(NamedTuple):
    """Points and their classes.

    Attributes:
        points: metres, float32 (P, 3).
        classes: ids, uint8 (P,), UNKNOWN where nothing is known.
    """

    points: np.ndarray
    classes: np.ndarray

    def chosen(self, which: np.ndarray) -> Cloud:
        """Some of them, by a mask or by places."""
        return Cloud(self.points[which], self.classes[which])

    def moved(self, matrix: np.ndarray) -> Cloud:
        """In another frame, by a (4, 4)."""
        points = transform_points(matrix, self.points.astype(np.float64))
        return Cloud(points.astype(np.float32), self.classes)

    @staticmethod
    def joined(clouds: Sequence[Cloud]) -> Cloud:
        """All points of several."""
        if not clouds:
            return Cloud(np.zeros((0, 3), np.float32), np.zeros(0, np.uint8))
        return Cloud(*(np.concatenate(parts) for parts in zip(*clouds)))


@dataclass
class ScenePoints:
    """What a scene's sweeps have hit.

    Attributes:
        background: what is in no box, in the global frame.
        objects: what is in a box, in the box's own frame (its centre, x
            along its length), by instance.
    """

    background: Cloud
    objects: dict[str, Cloud] = field(default_factory=dict)


def gather(
    records: Sequence[dict[str, Any]],
    sweep_of: Callable[[dict[str, Any]], Cloud],
) -> ScenePoints:
    """Sort the points of all key frames of a scene.

    Args:
        records: see ``frame_record``, in the ego frame.
        sweep_of: a record to its points in the LiDAR frame, with classes.

    Returns:
        ScenePoints: objects without an instance token are told by their
        number in the frame, and so are one for each key frame.
    """
    background, objects = [], {}
    for record in records:
        sweep = sweep_of(record)
        sweep = sweep.chosen(~_on_the_car(sweep.points, record['lidar2ref']))
        free = np.ones(len(sweep.points), bool)
        for name, box in named_boxes(record):
            inside = in_box(sweep.points, box)
            if inside.any():
                part = sweep.chosen(inside)
                part = part._replace(points=to_box(part.points, box))
                objects.setdefault(name, []).append(part)
                free &= ~inside
        lidar2global = record['ref2global'] @ record['lidar2ref']
        background.append(sweep.chosen(free).moved(lidar2global))
    return ScenePoints(
        Cloud.joined(background),
        {name: Cloud.joined(parts) for name, parts in objects.items()},
    )


def named_boxes(record: dict[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Instances of a key frame and their boxes (7,), in the LiDAR frame."""
    for j, box in enumerate(record['boxes']):
        token = record['box_instances'][j]
        yield token or f'{record["token"]} {j}', box


def to_box(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Points (P, 3) of the LiDAR frame in a box's own frame."""
    return (points - box[:3]) @ _turn(box[6])


def from_box(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Back from a box's own frame to the LiDAR's."""
    return points @ _turn(box[6]).T + box[:3]


def _turn(yaw: float) -> np.ndarray:
    """Columns are a box's axes, (3, 3)."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], np.float32)


def _on_the_car(points: np.ndarray, lidar2ego: np.ndarray) -> np.ndarray:
    """Which points (P, 3) are returns from the recording car, (P,)."""
    local = transform_points(lidar2ego, points.astype(np.float64))
    return ((local > EGO[:3]) & (local < EGO[3:])).all(axis=1)
