"""Smooth planar motion in closed form: where something is at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Path:
    """A chain of straight lines and circular arcs, by arc length.

    Attributes:
        start: (x, y, yaw) at arc length zero; the path continues straight
            backwards from there.
        pieces: (length in metres, curvature in 1/metre, left positive);
            after the last piece the path goes straight on.
    """

    start: tuple[float, float, float]
    pieces: tuple[tuple[float, float], ...] = ()

    def at(self, s: float) -> tuple[float, float, float]:
        """The pose (x, y, yaw) at arc length s (metres)."""
        x, y, yaw = self.start
        for length, curvature in self.pieces:
            if s <= 0:
                break
            step = min(s, length)
            x, y, yaw = _advance(x, y, yaw, step, curvature)
            s -= step
        return _advance(x, y, yaw, s, 0.0) if s else (x, y, yaw)

    def moved(self, x: float, y: float, yaw: float) -> Path:
        """The path as seen after moving the plane by a pose."""
        px, py, pyaw = self.start
        c, s = math.cos(yaw), math.sin(yaw)
        start = (x + c * px - s * py, y + s * px + c * py, pyaw + yaw)
        return Path(start, self.pieces)


def _advance(x, y, yaw, step, curvature):
    """One arc of length step from a pose."""
    if curvature == 0.0:
        return x + step * math.cos(yaw), y + step * math.sin(yaw), yaw
    end = yaw + step * curvature
    x += (math.sin(end) - math.sin(yaw)) / curvature
    y += (math.cos(yaw) - math.cos(end)) / curvature
    return x, y, end


@dataclass(frozen=True)
class Speed:
    """A speed that changes linearly between knots and is constant outside.

    Attributes:
        knots: (time in seconds, speed in m/s), times ascending.
        offset: arc length in metres at time zero.
    """

    knots: tuple[tuple[float, float], ...]
    offset: float = 0.0

    def travelled(self, t: float) -> float:
        """Arc length at time t (seconds)."""
        return self.offset + self._integral(t) - self._integral(0.0)

    def _integral(self, t: float) -> float:
        """Distance from the first knot to time t."""
        t0, v0 = self.knots[0]
        if t <= t0:
            return (t - t0) * v0
        total = 0.0
        for t1, v1 in self.knots[1:]:
            if t < t1:
                v = v0 + (v1 - v0) * (t - t0) / (t1 - t0)
                return total + 0.5 * (v0 + v) * (t - t0)
            total += 0.5 * (v0 + v1) * (t1 - t0)
            t0, v0 = t1, v1
        return total + (t - t0) * v0


@dataclass(frozen=True)
class Motion:
    """A path and how fast it is driven; None stands still at its start."""

    path: Path
    speed: Speed | None = None

    def at(self, t: float) -> tuple[float, float, float]:
        """The pose (x, y, yaw) at time t (seconds)."""
        if self.speed is None:
            return self.path.start
        return self.path.at(self.speed.travelled(t))

    def moved(self, x: float, y: float, yaw: float) -> Motion:
        """The motion as seen after moving the plane by a pose."""
        return Motion(self.path.moved(x, y, yaw), self.speed)


def standing(x: float, y: float, yaw: float = 0.0) -> Motion:
    """A motion that stays where it is."""
    return Motion(Path((x, y, yaw)))


def overlaps(
    poses: np.ndarray,
    half: tuple[float, float],
    others: np.ndarray,
    other_halves: np.ndarray,
) -> np.ndarray:
    """Which rectangles a rectangle touches at any of T times.

    Separating axis test in the plane.

    Args:
        poses: (x, y, yaw) of the rectangle, shape (T, 3).
        half: its half length and half width, metres.
        others: poses of the others, shape (M, T, 3).
        other_halves: their half sizes, shape (M, 2).

    Returns:
        np.ndarray: bool, shape (M,).
    """
    delta = others[..., :2] - poses[None, :, :2]  # (M,T,2)
    apart = np.zeros(delta.shape[:2], bool)
    turn = others[..., 2] - poses[None, :, 2]
    c, s = np.abs(np.cos(turn)), np.abs(np.sin(turn))
    for yaw, own, other in (
        (poses[None, :, 2], np.array(half), other_halves[:, None]),
        (others[..., 2], other_halves[:, None], np.array(half)),
    ):
        along = np.cos(yaw) * delta[..., 0] + np.sin(yaw) * delta[..., 1]
        across = np.cos(yaw) * delta[..., 1] - np.sin(yaw) * delta[..., 0]
        reach_x = own[..., 0] + c * other[..., 0] + s * other[..., 1]
        reach_y = own[..., 1] + s * other[..., 0] + c * other[..., 1]
        apart |= (np.abs(along) > reach_x) | (np.abs(across) > reach_y)
    return ~apart.all(1)
