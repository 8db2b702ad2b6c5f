"""Rays through a voxel grid, on the CPU.

Shape letters: R rays, X Y Z voxels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from occsplat.structures import VoxelGrid, same_shape


def cast_rays(
    occupied: Tensor,  # (X, Y, Z)
    origins: Tensor,  # (R, 3)
    directions: Tensor,  # (R, 3)
    grid: VoxelGrid,
) -> tuple[Tensor, Tensor, Tensor]:
    """Find the first occupied voxel along each ray.

    The voxel traversal of Amanatides and Woo, "A fast voxel traversal
    algorithm for ray tracing", Eurographics 1987, with the conventions
    that RayIoU (SparseOcc, ECCV 2024) inherited from 4D-Occ (Khurana et
    al., CVPR 2023): a surface lies where the ray *leaves* the voxel, and a
    ray that hits nothing ends where it leaves the grid. Where the ray
    crosses several faces at once, the axis of the next voxel is chosen as
    they do: x only if it is strictly first; of y and z, z unless y is
    strictly first.

    Two things differ on purpose. The start voxel is rounded down, whereas
    the original truncates towards zero and so lets origins up to one voxel
    below the grid start in voxel 0. And crossings are computed in double
    precision from the origin, not accumulated step by step.

    Args:
        occupied (Tensor): bool (X, Y, Z).
        origins (Tensor): start points in metres in the grid's frame,
            (R, 3). May lie outside the grid.
        directions (Tensor): (R, 3), of any length but zero.
        grid (VoxelGrid): where the voxels are; its shape is that of
            ``occupied``.

    Returns:
        tuple: ``index``, int64 (R, 3), the first occupied voxel, or the
        last voxel inside the grid when there is none; ``distance`` (R,),
        metres from the origin to where the ray leaves that voxel, in the
        floating type of the rays; ``hit``, bool (R,). A ray that never
        enters the grid has index (0, 0, 0), no hit, and minus one voxel
        length (along x) for a distance.

    Raises:
        ValueError: when shapes disagree, ``occupied`` is not bool, or a
            ray is not finite or has no direction.
    """
    starts, units = _checked('cast_rays', occupied, origins, directions, grid)
    index, distance, hit = _cast(
        occupied.detach().cpu().contiguous().numpy(),
        starts,
        units,
        np.array(grid.min),
        np.array(grid.size),
    )
    device = origins.device
    return (
        torch.from_numpy(index).to(device),
        torch.from_numpy(distance).to(device, _float(origins, directions)),
        torch.from_numpy(hit).to(device),
    )


def visible_voxels(
    occupied: Tensor,  # (X, Y, Z)
    origins: Tensor,  # (R, 3)
    directions: Tensor,  # (R, 3)
    grid: VoxelGrid,
) -> Tensor:
    """Mark the voxels that rays pass through.

    Each ray marks every voxel of the grid from where it starts, or enters
    the grid, up to and including the first occupied one; without an
    occupied one, up to where it leaves the grid. The traversal is that of
    :func:`cast_rays`, ties included: the last voxel that a ray marks is
    the one that ``cast_rays`` returns.

    Args:
        occupied (Tensor): bool (X, Y, Z).
        origins (Tensor): start points in metres in the grid's frame,
            (R, 3). May lie outside the grid.
        directions (Tensor): (R, 3), of any length but zero.
        grid (VoxelGrid): where the voxels are; its shape is that of
            ``occupied``.

    Returns:
        Tensor: bool (X, Y, Z), on the device of ``occupied``.

    Raises:
        ValueError: when shapes disagree, ``occupied`` is not bool, or a
            ray is not finite or has no direction.
    """
    starts, units = _checked(
        'visible_voxels', occupied, origins, directions, grid
    )
    solid = occupied.detach().cpu().contiguous().numpy()
    seen = np.zeros(solid.shape, np.bool_)
    _mark(solid, starts, units, np.array(grid.min), np.array(grid.size), seen)
    return torch.from_numpy(seen).to(occupied.device)


class RayRuns(NamedTuple):
    """What rays meet on their whole way through a grid.

    Attributes:
        count (Tensor): occupied runs, int64 (R,).
        thickness (Tensor): metres of the ray inside the first of them, 0
            where there is none, (R,).
        ghosts (Tensor): runs behind the first that the truth knows
            nothing of, int64 (R,).
        before (Tensor): metres of the ray in occupied voxels that are
            free in the truth, before its first true surface, (R,).
        behind (Tensor): the same behind that surface, (R,). Where a ray
            meets none in the truth, all are before it.
    """

    count: Tensor
    thickness: Tensor
    ghosts: Tensor
    before: Tensor
    behind: Tensor


def count_runs(
    occupied: Tensor,  # (X, Y, Z)
    origins: Tensor,  # (R, 3)
    directions: Tensor,  # (R, 3)
    grid: VoxelGrid,
    truth: Tensor | None = None,  # (X, Y, Z)
    unknown: Tensor | None = None,  # (X, Y, Z)
) -> RayRuns:
    """Count how often each ray enters something, through the whole grid.

    A run is a maximal stretch of consecutive occupied voxels in the
    traversal of :func:`cast_rays`, ties included. It begins where the ray
    enters its first voxel, or at the origin if that lies inside, and ends
    where the ray leaves its last voxel.

    Args:
        occupied (Tensor): bool (X, Y, Z).
        origins (Tensor): start points in metres in the grid's frame,
            (R, 3). May lie outside the grid.
        directions (Tensor): (R, 3), of any length but zero.
        grid (VoxelGrid): where the voxels are; its shape is that of
            ``occupied``.
        truth (Tensor, optional): bool (X, Y, Z), what is truly occupied;
            ``occupied`` unless given. A run behind the first none of whose
            voxels it marks is a ghost.
        unknown (Tensor, optional): bool (X, Y, Z), voxels of which the
            truth knows nothing. What is occupied there is no false metre,
            and a run with such a voxel no ghost.

    Returns:
        RayRuns: zeros for a ray that never is inside the grid; metres in
        the floating type of the rays.

    Raises:
        ValueError: when shapes disagree, a volume is not bool, or a ray is
            not finite or has no direction.
    """
    starts, units = _checked('count_runs', occupied, origins, directions, grid)
    volumes = [occupied]
    for name, volume, default in (
        ('truth', truth, occupied),
        ('unknown', unknown, torch.zeros_like(occupied)),
    ):
        volume = default if volume is None else volume
        if volume.dtype != torch.bool:
            raise ValueError(
                f'count_runs: {name} must be bool, got {volume.dtype}'
            )
        same_shape(f'count_runs {name}', volume.shape, grid.shape)
        volumes.append(volume)
    found = _runs(
        *(v.detach().cpu().contiguous().numpy() for v in volumes),
        starts,
        units,
        np.array(grid.min),
        np.array(grid.size),
    )
    runs = RayRuns(*(torch.from_numpy(v).to(origins.device) for v in found))
    dtype = _float(origins, directions)
    return runs._replace(
        thickness=runs.thickness.to(dtype),
        before=runs.before.to(dtype),
        behind=runs.behind.to(dtype),
    )


def _float(origins: Tensor, directions: Tensor) -> torch.dtype:
    """The floating type of rays."""
    dtype = torch.promote_types(origins.dtype, directions.dtype)
    return dtype if dtype.is_floating_point else torch.get_default_dtype()


def _checked(
    name: str,
    occupied: Tensor,  # (X, Y, Z)
    origins: Tensor,  # (R, 3)
    directions: Tensor,  # (R, 3)
    grid: VoxelGrid,
) -> tuple[np.ndarray, np.ndarray]:
    """Origins and unit directions in float64, (R, 3), once all is well."""
    if occupied.dtype != torch.bool:
        raise ValueError(
            f'{name}: occupied must be bool, got {occupied.dtype}'
        )
    same_shape(f'{name} occupied', occupied.shape, grid.shape)
    same_shape(f'{name} origins', origins.shape, (len(origins), 3))
    same_shape(f'{name} directions', directions.shape, origins.shape)
    starts = origins.detach().cpu().double().contiguous()
    units = directions.detach().cpu().double()
    length = units.norm(dim=-1, keepdim=True)
    units = (units / length).contiguous()
    if not (torch.isfinite(starts).all() and torch.isfinite(units).all()):
        raise ValueError(
            f'{name}: rays need finite origins and finite directions of '
            'non-zero length'
        )
    return starts.numpy(), units.numpy()


@numba.njit(cache=True)
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


@numba.njit(cache=True)
def _cast(
    occupied: np.ndarray,  # (X, Y, Z) bool
    starts: np.ndarray,  # (R, 3) metres
    units: np.ndarray,  # (R, 3) unit vectors
    low: np.ndarray,  # (3,) metres
    size: np.ndarray,  # (3,) metres
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The kernel of :func:`cast_rays`, in float64.

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


@numba.njit(cache=True)
def _mark(
    occupied: np.ndarray,  # (X, Y, Z) bool
    starts: np.ndarray,  # (R, 3) metres
    units: np.ndarray,  # (R, 3) unit vectors
    low: np.ndarray,  # (3,) metres
    size: np.ndarray,  # (3,) metres
    seen: np.ndarray,  # (X, Y, Z) bool, set in place
) -> None:
    """The kernel of :func:`visible_voxels`, in float64."""
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


@numba.njit(cache=True)
def _runs(
    occupied: np.ndarray,  # (X, Y, Z) bool
    truth: np.ndarray,  # (X, Y, Z) bool
    unknown: np.ndarray,  # (X, Y, Z) bool
    starts: np.ndarray,  # (R, 3) metres
    units: np.ndarray,  # (R, 3) unit vectors
    low: np.ndarray,  # (3,) metres
    size: np.ndarray,  # (3,) metres
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The kernel of :func:`count_runs`, in float64."""
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


@numba.njit(cache=True)
def _axis(p: float, d: float) -> tuple[float, int, int, float]:
    """One axis of a ray: position, step, upper face or not, metres a voxel.

    A ray that runs along the faces gets an infinite pace and a position
    below every face, so that it never crosses one.
    """
    if d == 0.0:
        return -1.0, 1, 1, math.inf
    return (p, 1, 1, 1.0 / d) if d > 0.0 else (p, -1, 0, 1.0 / d)
