"""The ground: a flat slab whose class comes from a plan of streets.

The slab's top is at GROUND_Z and its bottom at GROUND_BOTTOM, so that in
the ego frame (z = 0 on the ground) exactly one layer of 0.4 m voxels, the
one centred at z = 0, has its centres inside.

The plan is a grid of streets in town axes: a point is on the road unless it
lies in one of the blocks between the streets, rectangles with rounded
corners. A block is a ring of sidewalk around its interior; the interior may
hold one rectangular patch (a car park, a square).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..kernels import njit
from .classes import ROAD, SIDEWALK

GROUND_Z = 0.05
GROUND_BOTTOM = -0.3
SIDEWALK_WIDTH = 3.4
CORNER_RADIUS = 5.0

#: streets: centre line and half width in metres, ascending
STREET = np.dtype([('at', np.float64), ('half', np.float64)])

#: blocks: the interior's class, and a patch x0 <= x <= x1, y0 <= y <= y1
BLOCK = np.dtype(
    [
        ('category', np.int32),
        ('patch', np.int32),  # class of the patch, 0 for none
        ('x0', np.float64),
        ('y0', np.float64),
        ('x1', np.float64),
        ('y1', np.float64),
    ],
    align=True,
)


@dataclass(frozen=True)
class Ground:
    """The plan of a town.

    Attributes:
        frame: (x, y, cos yaw, sin yaw), the town's axes in the global
            frame; float64, shape (4,).
        streets_x: streets that run along y, by their x; dtype STREET.
        streets_y: streets that run along x, by their y; dtype STREET.
        blocks: shape (len(streets_x) + 1, len(streets_y) + 1), dtype BLOCK.
    """

    frame: np.ndarray
    streets_x: np.ndarray
    streets_y: np.ndarray
    blocks: np.ndarray

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """What the kernels take."""
        return self.frame, self.streets_x, self.streets_y, self.blocks

    def class_at(self, points: np.ndarray) -> np.ndarray:
        """Class of the ground below or above points.

        Args:
            points: global (x, y), shape (..., 2).

        Returns:
            np.ndarray: lidarseg indices, int32, shape (...).
        """
        points = np.asarray(points, np.float64)
        flat = np.ascontiguousarray(points.reshape(-1, 2))
        return _classes(flat, *self.arrays).reshape(points.shape[:-1])


@njit(cache=True, error_model='numpy')
def to_town(frame, x, y):
    """Global coordinates to town coordinates."""
    wx, wy = x - frame[0], y - frame[1]
    c, s = frame[2], frame[3]
    return c * wx + s * wy, c * wy - s * wx


@njit(cache=True, error_model='numpy')
def gap(streets, value):
    """Index of the gap between streets that holds a coordinate."""
    i = 0
    while i < len(streets) and streets[i].at < value:
        i += 1
    return i


@njit(cache=True, error_model='numpy')
def _span(streets, i):
    """The coordinates between which gap i lies; open ends are far away."""
    low = streets[i - 1].at + streets[i - 1].half if i else -1e4
    high = streets[i].at - streets[i].half if i < len(streets) else 1e4
    return low, high


@njit(cache=True, error_model='numpy')
def ground_at(streets_x, streets_y, blocks, x, y):
    """Class of the ground at a point in town coordinates.

    Returns:
        tuple: lidarseg index, and metres to the kerb, positive on the road.
    """
    i, j = gap(streets_x, x), gap(streets_y, y)
    x0, x1 = _span(streets_x, i)
    y0, y1 = _span(streets_y, j)
    qx = abs(x - 0.5 * (x0 + x1)) - 0.5 * (x1 - x0) + CORNER_RADIUS
    qy = abs(y - 0.5 * (y0 + y1)) - 0.5 * (y1 - y0) + CORNER_RADIUS
    outside = math.sqrt(max(qx, 0.0) ** 2 + max(qy, 0.0) ** 2)
    kerb = outside + min(max(qx, qy), 0.0) - CORNER_RADIUS
    if kerb > 0.0:
        return ROAD, kerb
    if kerb > -SIDEWALK_WIDTH:
        return SIDEWALK, kerb
    block = blocks[i, j]
    if block.patch and block.x0 <= x <= block.x1 and block.y0 <= y <= block.y1:
        return block.patch, kerb
    return block.category, kerb


@njit(cache=True, error_model='numpy')
def _classes(points, frame, streets_x, streets_y, blocks):
    """ground_at for many global points."""
    out = np.empty(len(points), np.int32)
    for n in range(len(points)):
        x, y = to_town(frame, points[n, 0], points[n, 1])
        out[n] = ground_at(streets_x, streets_y, blocks, x, y)[0]
    return out
