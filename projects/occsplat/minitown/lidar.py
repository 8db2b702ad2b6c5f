"""The LiDAR's point clouds, with the class and the owner of every point."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from occsplat.structures import transform_points

from .raster import GROUND, scan
from .sensors import (
    HIGHEST,
    LOWEST,
    MAX_RANGE,
    NUM_RINGS,
    lidar_directions,
    lidar_to_ego,
)
from .world import World

#: intensity of a white surface that faces the LiDAR; 255 is the most
_BRIGHT = 120.0
#: reflectance of the ground in the infrared
_GROUND_ALBEDO = 0.18


@dataclass(frozen=True)
class Sweep:
    """One turn of the LiDAR.

    Attributes:
        points: x, y, z (LiDAR frame, metres), intensity, ring; float32,
            shape (M, 5).
        category: lidarseg index of each point, uint8, shape (M,).
        owner: index of the thing hit, -1 for none, int32, shape (M,).
    """

    points: np.ndarray
    category: np.ndarray
    owner: np.ndarray


def take_sweep(world: World, t: float) -> Sweep:
    """Scan the world at an instant.

    Args:
        world: the scene.
        t: seconds, time of the key frame.
    """
    pose = world.ego_pose(t) @ lidar_to_ego()
    local = lidar_directions()
    directions = np.ascontiguousarray(local @ pose[:3, :3].T)
    reach = np.empty(local.shape[:2])
    ids = np.empty(local.shape[:2], np.int32)
    parts = world.primitives(t)
    scan(
        parts,
        pose[:3, 3].copy(),
        directions,
        math.atan2(pose[1, 0], pose[0, 0]),
        LOWEST,
        (HIGHEST - LOWEST) / (NUM_RINGS - 1),
        MAX_RANGE,
        reach,
        ids,
    )
    hit = np.isfinite(reach)
    reach, ids = reach[hit], ids[hit]
    xyz = local[hit] * reach[:, None]
    ring = np.broadcast_to(np.arange(NUM_RINGS), hit.shape)[hit]
    ground = ids == GROUND
    parts = parts[np.where(ground, 0, ids)]
    albedo = (parts['r'] + parts['g'] + parts['b']) / 3
    albedo = np.where(ground, _GROUND_ALBEDO, albedo)
    intensity = np.clip(_BRIGHT * albedo, 0, 255).round()
    globe = transform_points(pose, xyz)
    category = parts['category'].astype(np.uint8)
    category[ground] = world.ground.class_at(globe[ground, :2])
    points = np.column_stack([xyz, intensity, ring]).astype(np.float32)
    owner = np.where(ground, -1, parts['owner']).astype(np.int32)
    return Sweep(points, category, owner)
