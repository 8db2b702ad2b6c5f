"""Room to put things: what is taken, and where one may build."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .motion import Motion, overlaps

#: seconds over which nothing may touch anything else
TIMES = np.arange(-0.5, 10.6, 0.25)


class Space:
    """Keeps everything apart, at rest or in motion."""

    def __init__(self) -> None:
        self._poses: list[np.ndarray] = []
        self._halves: list[tuple[float, float]] = []

    def claim(
        self,
        items: list[tuple[Motion, tuple[float, float]]],
        margin: float = 0.15,
    ) -> bool:
        """Reserve room for a group of rectangles, all of it or none.

        Args:
            items: motion and (half length, half width) of each; members of
                a group may touch each other.
            margin: metres kept free around each.

        Returns:
            bool: whether there was room.
        """
        poses = [np.array([m.at(t) for t in TIMES]) for m, _ in items]
        halves = [(h[0] + margin, h[1] + margin) for _, h in items]
        if self._poses:
            others = np.stack(self._poses)
            sizes = np.array(self._halves)
            for pose, half in zip(poses, halves):
                reach = math.hypot(*half) + np.hypot(*sizes.T)
                gap = others[..., :2] - pose[None, :, :2]
                near = (np.hypot(gap[..., 0], gap[..., 1]).min(1)) < reach
                if overlaps(pose, half, others[near], sizes[near]).any():
                    return False
        self._poses += poses
        self._halves += halves
        return True


@dataclass(frozen=True)
class Block:
    """The buildable part of a block, inside its sidewalks, in metres."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the block."""
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    def shrunk(self, by: float) -> Block:
        """The block without a border."""
        return Block(self.x0 + by, self.y0 + by, self.x1 - by, self.y1 - by)
