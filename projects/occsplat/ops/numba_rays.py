"""The compiled kernels of ray_casting, all in float64.

Shape letters: R rays, X Y Z voxels.
"""

from __future__ import annotations

import math

import numpy as np

from occsplat.kernels import njit


@njit(cache=True)
def _enter(
    p: np.ndarray,  # (3,) origin in voxels from the lowest corner
    d: np.ndarray,  # (3,) voxels per metre
    shape: tuple[int, int, int],
    cell: np.ndarray,  # (3,) written: the first voxel inside the grid
) -> bool:
    """Put ``cell`` where the ray is first inside the grid, if ever."""
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
def cast(
    occupied: np.ndarray,  # (X, Y, Z) bool
    starts: np.ndarray,  # (R, 3) metres
    units: np.ndarray,  # (R, 3) unit vectors
    low: np.ndarray,  # (3,) metres
    size: np.ndarray,  # (3,) metres
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The kernel of cast_rays, in float64.

    The inner loop is written out by axis: arrays of three make it half
    as fast.
    """
    count, shape = len(starts), occupied.shape
    last_x, last_y, last_z = shape[0] - 1, shape[1] - 1, shape[2] - 1
    index = np.zeros((count, 3), np.int64)
    distance = np.full(count, -size[0])
    hit = np.zeros(count, np.bool_)
    cell = np.empty(3, np.int64)
    p, d = np.empty(3), np.empty(3)
    for r in range(count):
        for a in range(3):
            p[a] = (starts[r, a] - low[a]) / size[a]
            d[a] = units[r, a] / size[a]
        if not _enter(p, d, shape, cell):
            continue
        x, y, z = cell[0], cell[1], cell[2]
        px, step_x, up_x, pace_x = _axis(p[0], d[0])
        py, step_y, up_y, pace_y = _axis(p[1], d[1])
        pz, step_z, up_z, pace_z = _axis(p[2], d[2])
        tx = (x + up_x - px) * pace_x
        ty = (y + up_y - py) * pace_y
        tz = (z + up_z - pz) * pace_z
        while True:
            found = occupied[x, y, z]
            i, j, k = x, y, z
            if tx < ty and tx < tz:
                leave, beyond = tx, x == last_x * up_x
                x += step_x
                tx = (x + up_x - px) * pace_x
            elif tx >= ty and ty < tz:
                leave, beyond = ty, y == last_y * up_y
                y += step_y
                ty = (y + up_y - py) * pace_y
            else:
                leave, beyond = tz, z == last_z * up_z
                z += step_z
                tz = (z + up_z - pz) * pace_z
            if found or beyond:
                break
        index[r, 0], index[r, 1], index[r, 2] = i, j, k
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
    cell = np.empty(3, np.int64)
    p, d = np.empty(3), np.empty(3)
    for r in range(len(starts)):
        for a in range(3):
            p[a] = (starts[r, a] - low[a]) / size[a]
            d[a] = units[r, a] / size[a]
        if not _enter(p, d, shape, cell):
            continue
        x, y, z = cell[0], cell[1], cell[2]
        px, step_x, up_x, pace_x = _axis(p[0], d[0])
        py, step_y, up_y, pace_y = _axis(p[1], d[1])
        pz, step_z, up_z, pace_z = _axis(p[2], d[2])
        tx = (x + up_x - px) * pace_x
        ty = (y + up_y - py) * pace_y
        tz = (z + up_z - pz) * pace_z
        while True:
            seen[x, y, z] = True
            if occupied[x, y, z]:
                break
            if tx < ty and tx < tz:
                x += step_x
                tx = (x + up_x - px) * pace_x
                if x < 0 or x >= shape[0]:
                    break
            elif tx >= ty and ty < tz:
                y += step_y
                ty = (y + up_y - py) * pace_y
                if y < 0 or y >= shape[1]:
                    break
            else:
                z += step_z
                tz = (z + up_z - pz) * pace_z
                if z < 0 or z >= shape[2]:
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
    last_x, last_y, last_z = shape[0] - 1, shape[1] - 1, shape[2] - 1
    count = np.zeros(rays, np.int64)
    thickness = np.zeros(rays)
    ghosts = np.zeros(rays, np.int64)
    before, behind = np.zeros(rays), np.zeros(rays)
    cell = np.empty(3, np.int64)
    p, d = np.empty(3), np.empty(3)
    for r in range(rays):
        for a in range(3):
            p[a] = (starts[r, a] - low[a]) / size[a]
            d[a] = units[r, a] / size[a]
        if not _enter(p, d, shape, cell):
            continue
        x, y, z = cell[0], cell[1], cell[2]
        px, step_x, up_x, pace_x = _axis(p[0], d[0])
        py, step_y, up_y, pace_y = _axis(p[1], d[1])
        pz, step_z, up_z, pace_z = _axis(p[2], d[2])
        tx = (x + up_x - px) * pace_x
        ty = (y + up_y - py) * pace_y
        tz = (z + up_z - pz) * pace_z
        # where the ray enters the voxel that it is in
        reached = 0.0
        for t, pace in ((tx, pace_x), (ty, pace_y), (tz, pace_z)):
            if t < math.inf:
                reached = max(reached, t - abs(pace))
        inside, known, begin = False, False, 0.0
        beyond, false, met = False, False, False
        while True:
            if not beyond:
                met = met or truth[x, y, z]
            if not beyond and occupied[x, y, z]:
                if not inside:
                    inside, known, begin = True, False, reached
                    count[r] += 1
                false = not (truth[x, y, z] or unknown[x, y, z])
                known = known or not false
            elif inside:
                inside = False
                if count[r] == 1:
                    thickness[r] = reached - begin
                elif not known:
                    ghosts[r] += 1
            if beyond:
                break
            entered = reached
            if tx < ty and tx < tz:
                reached, beyond = tx, x == last_x * up_x
                x += step_x
                tx = (x + up_x - px) * pace_x
            elif tx >= ty and ty < tz:
                reached, beyond = ty, y == last_y * up_y
                y += step_y
                ty = (y + up_y - py) * pace_y
            else:
                reached, beyond = tz, z == last_z * up_z
                z += step_z
                tz = (z + up_z - pz) * pace_z
            if inside and false:
                if met:
                    behind[r] += reached - entered
                else:
                    before[r] += reached - entered
    return count, thickness, ghosts, before, behind


@njit(cache=True)
def _axis(p: float, d: float) -> tuple[float, int, int, float]:
    """One axis of a ray: position, step, upper face or not, metres per voxel.

    A ray that runs along the faces gets an infinite pace and a position
    below every face, so that it never crosses one.
    """
    if d == 0.0:
        return -1.0, 1, 1, math.inf
    return (p, 1, 1, 1.0 / d) if d > 0.0 else (p, -1, 0, 1.0 / d)
