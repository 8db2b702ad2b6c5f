"""The compiled kernels of ray_casting, all in float64.

Shape letters: R rays, X Y Z voxels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from occsplat.kernels import njit


class Axis(NamedTuple):
    """One axis of a ray."""

    start: float  # of the ray, in voxels
    step: int  # 1 or -1
    upper: int  # whether it leaves a voxel through the upper face
    pace: float  # metres per voxel
    last: int  # the last voxel inside the grid


class Ray(NamedTuple):
    """Three axes: written out, as arrays of three are half as fast."""

    x: Axis
    y: Axis
    z: Axis


class Place(NamedTuple):
    """A voxel, and the metres to where the ray crosses its next faces."""

    x: int
    y: int
    z: int
    to_x: float
    to_y: float
    to_z: float


@njit(cache=True)
def _scale(
    starts: np.ndarray,  # (R, 3) metres
    units: np.ndarray,  # (R, 3) unit vectors
    r: int,
    low: np.ndarray,  # (3,) metres
    size: np.ndarray,  # (3,) metres
    p: np.ndarray,  # (3,) written: origin in voxels from the lowest corner
    d: np.ndarray,  # (3,) written: voxels per metre
) -> None:
    """Ray r in voxels."""
    for a in range(3):
        p[a] = (starts[r, a] - low[a]) / size[a]
        d[a] = units[r, a] / size[a]


@njit(cache=True)
def _enter(
    p: np.ndarray,  # (3,)
    d: np.ndarray,  # (3,)
    shape: tuple[int, int, int],
    cell: np.ndarray,  # (3,) written: the first voxel inside the grid
) -> bool:
    """Put ``cell`` where a ray is first inside the grid, if ever."""
    first, last, face = 0.0, math.inf, -1
    for a in range(3):
        cell[a] = math.floor(p[a])
        if d[a] == 0.0:
            if cell[a] < 0 or cell[a] >= shape[a]:
                return False
            continue
        near, far = -p[a] / d[a], (shape[a] - p[a]) / d[a]
        if d[a] < 0.0:
            near, far = far, near
        last = min(last, far)
        if (cell[a] < 0 or cell[a] >= shape[a]) and near >= first:
            first, face = near, a
    if last < first:
        return False
    for a in range(3):
        if a == face:
            cell[a] = 0 if d[a] > 0.0 else shape[a] - 1
        elif face >= 0:
            # rounding may put a ray that grazes an edge just outside
            cell[a] = math.floor(p[a] + first * d[a])
            cell[a] = min(max(cell[a], 0), shape[a] - 1)
        elif cell[a] < 0 or cell[a] >= shape[a]:
            return False
    return True


@njit(cache=True)
def _axis(p: float, d: float, size: int) -> Axis:
    """One axis of a ray at p, in voxels, with d voxels per metre.

    A ray that runs along the faces gets an infinite pace and a position
    below every face, so that it never crosses one.
    """
    if d == 0.0:
        return Axis(-1.0, 1, 1, math.inf, size - 1)
    if d > 0.0:
        return Axis(p, 1, 1, 1.0 / d, size - 1)
    return Axis(p, -1, 0, 1.0 / d, 0)


@njit(cache=True)
def _to_face(cell: int, axis: Axis) -> float:
    """Metres to where the ray leaves a voxel along an axis."""
    return (cell + axis.upper - axis.start) * axis.pace


@njit(cache=True)
def _begin(
    p: np.ndarray,  # (3,) origin in voxels from the lowest corner
    d: np.ndarray,  # (3,) voxels per metre
    shape: tuple[int, int, int],
    cell: np.ndarray,  # (3,) the first voxel inside the grid
) -> tuple[Ray, Place]:
    """A ray that enters the grid, and where it first is inside."""
    ray = Ray(
        _axis(p[0], d[0], shape[0]),
        _axis(p[1], d[1], shape[1]),
        _axis(p[2], d[2], shape[2]),
    )
    x, y, z = cell[0], cell[1], cell[2]
    return ray, Place(
        x, y, z, _to_face(x, ray.x), _to_face(y, ray.y), _to_face(z, ray.z)
    )


@njit(cache=True)
def _advance(ray: Ray, place: Place) -> tuple[Place, float, bool]:
    """The next voxel, the metres to it, and whether it is off the grid."""
    x, y, z, to_x, to_y, to_z = place
    if to_x < to_y and to_x < to_z:
        distance, beyond = to_x, x == ray.x.last
        x += ray.x.step
        to_x = _to_face(x, ray.x)
    elif to_x >= to_y and to_y < to_z:
        distance, beyond = to_y, y == ray.y.last
        y += ray.y.step
        to_y = _to_face(y, ray.y)
    else:
        distance, beyond = to_z, z == ray.z.last
        z += ray.z.step
        to_z = _to_face(z, ray.z)
    return Place(x, y, z, to_x, to_y, to_z), distance, beyond


@njit(cache=True)
def cast(
    occupied: np.ndarray,  # (X, Y, Z) bool
    starts: np.ndarray,  # (R, 3) metres
    units: np.ndarray,  # (R, 3) unit vectors
    low: np.ndarray,  # (3,) metres
    size: np.ndarray,  # (3,) metres
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The kernel of cast_rays, in float64."""
    count, shape = len(starts), occupied.shape
    index = np.zeros((count, 3), np.int64)
    distance = np.full(count, -size[0])
    hit = np.zeros(count, np.bool_)
    p, d, cell = np.empty(3), np.empty(3), np.empty(3, np.int64)
    for r in range(count):
        _scale(starts, units, r, low, size, p, d)
        if not _enter(p, d, shape, cell):
            continue
        ray, place = _begin(p, d, shape, cell)
        while True:
            found = occupied[place.x, place.y, place.z]
            here = place
            place, leave, beyond = _advance(ray, here)
            if found or beyond:
                break
        index[r, 0], index[r, 1], index[r, 2] = here.x, here.y, here.z
        distance[r], hit[r] = leave, found
    return index, distance, hit


@njit(cache=True)
def mark(
    occupied: np.ndarray,  # (X, Y, Z) bool
    starts: np.ndarray,  # (R, 3) metres
    units: np.ndarray,  # (R, 3) unit vectors
    low: np.ndarray,  # (3,) metres
    size: np.ndarray,  # (3,) metres
    seen: np.ndarray,  # (X, Y, Z) bool, set in place
) -> None:
    """The kernel of visible_voxels, in float64."""
    shape = occupied.shape
    p, d, cell = np.empty(3), np.empty(3), np.empty(3, np.int64)
    for r in range(len(starts)):
        _scale(starts, units, r, low, size, p, d)
        if not _enter(p, d, shape, cell):
            continue
        ray, place = _begin(p, d, shape, cell)
        while True:
            seen[place.x, place.y, place.z] = True
            if occupied[place.x, place.y, place.z]:
                break
            place, _, beyond = _advance(ray, place)
            if beyond:
                break


@njit(cache=True)
def runs(
    occupied: np.ndarray,  # (X, Y, Z) bool
    truth: np.ndarray,  # (X, Y, Z) bool
    unknown: np.ndarray,  # (X, Y, Z) bool
    starts: np.ndarray,  # (R, 3) metres
    units: np.ndarray,  # (R, 3) unit vectors
    low: np.ndarray,  # (3,) metres
    size: np.ndarray,  # (3,) metres
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The kernel of count_runs, in float64."""
    rays, shape = len(starts), occupied.shape
    count = np.zeros(rays, np.int64)
    thickness = np.zeros(rays)
    ghosts = np.zeros(rays, np.int64)
    before, behind = np.zeros(rays), np.zeros(rays)
    p, d, cell = np.empty(3), np.empty(3), np.empty(3, np.int64)
    for r in range(rays):
        _scale(starts, units, r, low, size, p, d)
        if not _enter(p, d, shape, cell):
            continue
        ray, place = _begin(p, d, shape, cell)
        # where the ray enters the voxel that it is in
        reached = 0.0
        for to_face, axis in (
            (place.to_x, ray.x), (place.to_y, ray.y), (place.to_z, ray.z),
        ):  # fmt: skip
            if to_face < math.inf:
                reached = max(reached, to_face - abs(axis.pace))
        occupies, known, begin = False, False, 0.0
        beyond, false, met = False, False, False
        while True:
            x, y, z = place.x, place.y, place.z
            if not beyond:
                met = met or truth[x, y, z]
            if not beyond and occupied[x, y, z]:
                if not occupies:
                    occupies, known, begin = True, False, reached
                    count[r] += 1
                false = not (truth[x, y, z] or unknown[x, y, z])
                known = known or not false
            elif occupies:
                occupies = False
                if count[r] == 1:
                    thickness[r] = reached - begin
                elif not known:
                    ghosts[r] += 1
            if beyond:
                break
            entered = reached
            place, reached, beyond = _advance(ray, place)
            if occupies and false:
                if met:
                    behind[r] += reached - entered
                else:
                    before[r] += reached - entered
    return count, thickness, ghosts, before, behind
