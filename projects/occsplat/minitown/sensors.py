"""Six cameras and a LiDAR, mounted as on a nuScenes vehicle.

Ego frame: origin on the ground, x forward, y left, z up. Cameras are
OpenCV: x right, y down, z forward; pixel (i, j) has its centre at
(i + 0.5, j + 0.5). The LiDAR's frame is turned by -90 degrees about z: x
right, y forward, z up.

Cameras fire one after the other shortly before the LiDAR does, each with the
ego pose of its own time. The LiDAR takes its whole turn at the instant of
the key frame; the world does not move during a turn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

#: name, yaw in degrees, position in the ego frame, focal length in pixels
#: of a 1600 x 900 image, microseconds after the key frame
_CAMERAS = (
    ('CAM_FRONT_LEFT', 55.0, (1.52, 0.49, 1.51), 1272.6, -43107),
    ('CAM_FRONT', 0.0, (1.70, 0.02, 1.51), 1266.4, -35491),
    ('CAM_FRONT_RIGHT', -55.0, (1.55, -0.49, 1.50), 1260.8, -27632),
    ('CAM_BACK_LEFT', 110.0, (1.04, 0.48, 1.59), 1256.7, -528),
    ('CAM_BACK', 180.0, (0.03, 0.00, 1.58), 809.2, -10426),
    ('CAM_BACK_RIGHT', -110.0, (1.01, -0.48, 1.56), 1259.5, -20058),
)

CAMERA_NAMES = tuple(row[0] for row in _CAMERAS)
#: microseconds from the key frame to each camera's image
CAMERA_DELAYS = {row[0]: row[4] for row in _CAMERAS}

NUM_RINGS = 32
NUM_AZIMUTHS = 1080
LOWEST, HIGHEST = math.radians(-30.67), math.radians(10.67)
#: metres beyond which the LiDAR sees nothing
MAX_RANGE = 100.0


@dataclass(frozen=True)
class Camera:
    """A calibrated camera.

    Attributes:
        name: nuScenes channel.
        cam2ego: float64, shape (4, 4).
        intrinsic: K of the image as written, float64, shape (3, 3).
        width: pixels.
        height: pixels.
        delay: seconds after the key frame, negative for before.
    """

    name: str
    cam2ego: np.ndarray
    intrinsic: np.ndarray
    width: int
    height: int
    delay: float


def camera_rig(
    scene: int, image_size: tuple[int, int], seed: int = 0
) -> tuple[Camera, ...]:
    """The cameras of a scene; mounts differ a little between scenes.

    Args:
        scene: index of the scene.
        image_size: (width, height) in pixels.
        seed: of the whole data set.

    Returns:
        tuple[Camera, ...]: in the order of CAMERA_NAMES.
    """
    rng = np.random.default_rng([seed, scene, 6])
    width, height = image_size
    cameras = []
    for name, yaw, position, focal, delay in _CAMERAS:
        turn = np.radians([yaw, 0.0, 0.0]) + rng.normal(0.0, 0.004, 3)
        cam2ego = np.eye(4)
        cam2ego[:3, :3] = _rotation(*turn) @ _OPTICAL
        cam2ego[:3, 3] = position + rng.normal(0.0, 0.005, 3)
        cx, cy = rng.uniform(792.0, 830.0), rng.uniform(480.0, 501.0)
        sx, sy = width / 1600, height / 900
        intrinsic = np.array(
            [[focal * sx, 0, cx * sx], [0, focal * sy, cy * sy], [0, 0, 1]]
        )
        cameras.append(
            Camera(name, cam2ego, intrinsic, width, height, delay * 1e-6)
        )
    return tuple(cameras)


#: camera axes in a frame that looks along x: right, down, forward
_OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


def _rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Rz(yaw) Ry(pitch) Rx(roll)."""
    cy, sy = math.cos(yaw), math.sin(yaw)
    cp, sp = math.cos(pitch), math.sin(pitch)
    cr, sr = math.cos(roll), math.sin(roll)
    rz = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    ry = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    rx = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    return rz @ ry @ rx


def lidar_to_ego() -> np.ndarray:
    """The LiDAR's mount: lidar2ego, float64, shape (4, 4)."""
    return np.array(
        [[0, 1, 0, 0.94], [-1, 0, 0, 0], [0, 0, 1, 1.84], [0, 0, 0, 1.0]]
    )


def lidar_directions() -> np.ndarray:
    """Unit vectors of all LiDAR rays in the LiDAR frame.

    Returns:
        np.ndarray: float64, shape (NUM_AZIMUTHS, NUM_RINGS, 3); ring 0 is
            the lowest.
    """
    azimuth = 2 * math.pi * (np.arange(NUM_AZIMUTHS) + 0.5) / NUM_AZIMUTHS
    elevation = np.linspace(LOWEST, HIGHEST, NUM_RINGS)
    a, e = np.meshgrid(azimuth, elevation, indexing='ij')
    return np.stack(
        [np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], -1
    )
