"""Voxel labels of the town: class, flow, instance and visibility.

All at the key frame (LiDAR) time, indexed [x, y, z]. Those of Occ3D and
OpenOcc are in the ego frame on the grid that both share, those of
SurroundOcc in the LiDAR frame on a coarser grid of their own.

* A voxel's class is what the world says at the voxel's centre. The ground
  is a slab thinner than some voxels: it fills the one layer that holds its
  top, whether or not the centres of that layer are inside.
* Flow is the velocity of the object at the centre, (vx, vy) in m/s along
  the ego axes; zero for everything that stands still.
* mask_camera holds the voxels that camera rays reach. Each camera sends a
  ray through every point of a lattice of RAY_COLUMNS x RAY_ROWS points
  spread evenly over its image, from where it is when it fires. The ray
  marks every voxel that it passes through, up to and including the first
  occupied one.
* mask_lidar: likewise for the rays of the LiDAR.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..kernels import njit
from ..structures import LabelSpec, VoxelGrid
from . import primitives as pr
from .classes import EMPTY, occupancy_ids, surroundocc_ids
from .ground import GROUND_Z, ground_at, to_town
from .sensors import Camera, lidar_directions, lidar_to_ego
from .world import FRAME_STEP, World

#: rays of a camera: independent of the size of its image
RAY_COLUMNS, RAY_ROWS = 320, 180

_OCC3D = LabelSpec.named('occ3d')
_OPENOCC = LabelSpec.named('openocc')
_GRID = _OCC3D.grid


@dataclass(frozen=True)
class Labels:
    """Labels of one key frame, X Y Z = 200 200 16.

    Attributes:
        occ3d: Occ3D ids, uint8, shape (X, Y, Z).
        openocc: OpenOcc ids, uint8, shape (X, Y, Z).
        flow: m/s along ego x and y, float32, shape (X, Y, Z, 2).
        instances: 1 + index of the thing, 0 for none, uint16, (X, Y, Z).
        mask_camera: uint8, shape (X, Y, Z).
        mask_lidar: uint8, shape (X, Y, Z).
    """

    occ3d: np.ndarray
    openocc: np.ndarray
    flow: np.ndarray
    instances: np.ndarray
    mask_camera: np.ndarray
    mask_lidar: np.ndarray


def make_labels(
    world: World, frame: int, frames: int, rig: tuple[Camera, ...]
) -> Labels:
    """The labels of a key frame.

    Args:
        world: the scene.
        frame: index of the key frame.
        frames: number of key frames in the scene.
        rig: the cameras, for mask_camera.
    """
    t = frame * FRAME_STEP
    pose = world.ego_pose(t)
    category, owner = voxelise(world, t)
    velocities = np.array(
        [world.velocity(i, frame, frames) for i in range(world.num_moving)]
    ).reshape(-1, 3)
    flow = np.zeros(owner.shape + (2,), np.float32)
    moving = (owner >= 0) & (owner < world.num_moving)
    flow[moving] = (velocities @ pose[:3, :3])[owner[moving], :2]
    occupied = category != EMPTY
    return Labels(
        occ3d=occupancy_ids(_OCC3D)[category],
        openocc=occupancy_ids(_OPENOCC)[category],
        flow=flow,
        instances=(owner + 1).astype(np.uint16),
        mask_camera=seen_by_cameras(world, t, rig, occupied),
        mask_lidar=_seen_by_lidar(occupied),
    )


def surroundocc_rows(world: World, frame: int) -> np.ndarray:
    """The SurroundOcc labels of a key frame.

    Args:
        world: the scene.
        frame: index of the key frame.

    Returns:
        np.ndarray: (ix, iy, iz, class) of the occupied voxels in the
            LiDAR frame, in the order of the grid, uint8, shape (M, 4).
            Class 0 is noise: occupied by what the set has no class for.
    """
    t = frame * FRAME_STEP
    grid = LabelSpec.named('surroundocc').grid
    pose = world.ego_pose(t) @ lidar_to_ego()
    category, _ = voxelise(world, t, grid, pose)
    index = np.argwhere(category != EMPTY)
    ids = surroundocc_ids()[category[tuple(index.T)]]
    # no index is above 199: a byte each keeps the town small
    return np.column_stack([index, ids]).astype(np.uint8)


def voxelise(
    world: World,
    t: float,
    grid: VoxelGrid = _GRID,
    pose: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Class and owner at all voxel centres.

    Args:
        world: the scene.
        t: seconds.
        grid: the voxels, Occ3D's unless given.
        pose: from the grid's frame to the global one, upright, shape
            (4, 4); the ego frame's unless given.

    Returns:
        tuple: lidarseg indices, uint8, shape (X, Y, Z); and indices of
            things, -1 for none, int32, shape (X, Y, Z).
    """
    category = np.full(grid.shape, EMPTY, np.uint8)
    owner = np.full(grid.shape, -1, np.int32)
    _voxelise(
        world.primitives(t),
        *world.ground.arrays,
        world.ego_pose(t) if pose is None else pose,
        np.array(grid.min),
        np.array(grid.size),
        category,
        owner,
    )
    return category, owner


def camera_rays(
    world: World, t: float, camera: Camera
) -> tuple[np.ndarray, np.ndarray]:
    """The rays of a camera in the ego frame of time t.

    Args:
        world: the scene.
        t: seconds, time of the key frame.
        camera: the camera; it fires camera.delay later.

    Returns:
        tuple: origin, shape (3,), and directions, not of unit length,
            shape (RAY_COLUMNS * RAY_ROWS, 3).
    """
    cam2ref = np.linalg.inv(world.ego_pose(t))
    cam2ref = cam2ref @ world.ego_pose(t + camera.delay) @ camera.cam2ego
    u = (np.arange(RAY_COLUMNS) + 0.5) * camera.width / RAY_COLUMNS
    v = (np.arange(RAY_ROWS) + 0.5) * camera.height / RAY_ROWS
    u, v = (a.ravel() for a in np.meshgrid(u, v))
    pixels = np.stack([u, v, np.ones_like(u)], -1)
    rays = pixels @ np.linalg.inv(camera.intrinsic).T @ cam2ref[:3, :3].T
    return cam2ref[:3, 3].copy(), np.ascontiguousarray(rays)


def seen_by_cameras(
    world: World,
    t: float,
    rig: tuple[Camera, ...],
    occupied: np.ndarray,
) -> np.ndarray:
    """mask_camera of occupied voxels (X, Y, Z) at time t (seconds)."""
    seen = np.zeros(occupied.shape, np.uint8)
    for camera in rig:
        mark_seen(occupied, *camera_rays(world, t, camera), seen)
    return seen


def _seen_by_lidar(occupied: np.ndarray) -> np.ndarray:
    """mask_lidar of occupied voxels."""
    seen = np.zeros(occupied.shape, np.uint8)
    mount = lidar_to_ego()
    rays = lidar_directions().reshape(-1, 3) @ mount[:3, :3].T
    origin = mount[:3, 3].copy()
    mark_seen(occupied, origin, np.ascontiguousarray(rays), seen)
    return seen


def mark_seen(
    occupied: np.ndarray,
    origin: np.ndarray,
    directions: np.ndarray,
    seen: np.ndarray,
) -> None:
    """Mark the voxels that rays reach.

    Voxel traversal of Amanatides and Woo, "A Fast Voxel Traversal Algorithm
    for Ray Tracing", Eurographics 1987.

    Args:
        occupied: bool, shape (X, Y, Z).
        origin: metres, inside the grid, shape (3,).
        directions: shape (R, 3).
        seen: uint8, shape (X, Y, Z); set to 1 in place.
    """
    start = (origin - np.array(_GRID.min)) / np.array(_GRID.size)
    _mark(occupied, start, directions / np.array(_GRID.size), seen)


@njit(cache=True, error_model='numpy')
def _mark(occupied, start, directions, seen):
    """mark_seen in units of voxels."""
    size = occupied.shape
    step = np.empty(3, np.int64)
    delta = np.empty(3)
    ahead = np.empty(3)
    for r in range(len(directions)):
        for k in range(3):
            d = directions[r, k]
            step[k] = 1 if d >= 0.0 else -1
            delta[k] = abs(1.0 / d) if d != 0.0 else np.inf
            inside = start[k] - np.floor(start[k])
            room = 1.0 - inside if d >= 0.0 else inside
            ahead[k] = room * delta[k] if d != 0.0 else np.inf
        x, y, z = int(start[0]), int(start[1]), int(start[2])
        while 0 <= x < size[0] and 0 <= y < size[1] and 0 <= z < size[2]:
            seen[x, y, z] = 1
            if occupied[x, y, z]:
                break
            if ahead[0] < ahead[1] and ahead[0] < ahead[2]:
                x += step[0]
                ahead[0] += delta[0]
            elif ahead[1] < ahead[2]:
                y += step[1]
                ahead[1] += delta[1]
            else:
                z += step[2]
                ahead[2] += delta[2]


@njit(cache=True, error_model='numpy')
def _voxelise(
    parts,
    frame,
    streets_x,
    streets_y,
    blocks,
    pose,
    low,
    size,
    category,
    owner,
):
    """Evaluate the world at voxel centres, solid by solid."""
    nx, ny, nz = category.shape
    c, s, tx, ty = pose[0, 0], pose[1, 0], pose[0, 3], pose[1, 3]
    bottom = low[2] + pose[2, 3]
    k = int(np.floor((GROUND_Z - bottom) / size[2]))
    if 0 <= k < nz:
        for i in range(nx):
            ex = low[0] + (i + 0.5) * size[0]
            for j in range(ny):
                ey = low[1] + (j + 0.5) * size[1]
                u, v = to_town(
                    frame, c * ex - s * ey + tx, s * ex + c * ey + ty
                )
                kind, _ = ground_at(streets_x, streets_y, blocks, u, v)
                category[i, j, k] = kind
    first = np.empty(3, np.int64)
    last = np.empty(3, np.int64)
    # the first solid takes precedence, so it is written last
    for n in range(len(parts) - 1, -1, -1):
        p = parts[n]
        box = pr._corners(p)
        for axis in range(3):
            lowest, highest = np.inf, -np.inf
            for m in range(8):
                wx, wy = box[m, 0] - tx, box[m, 1] - ty
                if axis == 0:
                    value = c * wx + s * wy
                elif axis == 1:
                    value = c * wy - s * wx
                else:
                    value = box[m, 2] - pose[2, 3]
                lowest, highest = min(lowest, value), max(highest, value)
            count = category.shape[axis]
            a = np.floor((lowest - low[axis]) / size[axis] - 0.5)
            b = np.ceil((highest - low[axis]) / size[axis] - 0.5)
            first[axis] = int(max(a, 0.0))
            last[axis] = int(min(b, count - 1.0))
        for i in range(first[0], last[0] + 1):
            ex = low[0] + (i + 0.5) * size[0]
            for j in range(first[1], last[1] + 1):
                ey = low[1] + (j + 0.5) * size[1]
                x, y = c * ex - s * ey + tx, s * ex + c * ey + ty
                for k in range(first[2], last[2] + 1):
                    z = bottom + (k + 0.5) * size[2]
                    if pr.contains(p, x, y, z):
                        category[i, j, k] = p.category
                        owner[i, j, k] = p.owner
