"""Names of things on disk: tokens, time stamps and file names."""

from __future__ import annotations

import hashlib

from .sensors import CAMERA_DELAYS
from .world import FRAME_STEP, SCENES

#: microseconds: the first key frame of the first scene, and from one scene
#: to the next
_EPOCH, _BETWEEN_SCENES = 1532402927647951, 60_000_000


def token_of(seed: int, *parts: object) -> str:
    """A nuScenes token, the same for the same arguments."""
    text = '/'.join(str(part) for part in (seed, *parts))
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def timestamp_of(scene: int, frame: int, channel: str = 'LIDAR_TOP') -> int:
    """When a sensor measured, in microseconds.

    Args:
        scene: index of the scene.
        frame: index of the key frame.
        channel: LIDAR_TOP, whose time is the key frame's, or a camera.
    """
    key = _EPOCH + scene * _BETWEEN_SCENES + round(frame * FRAME_STEP * 1e6)
    return key + CAMERA_DELAYS.get(channel, 0)


def _file_name(scene: int, frame: int, channel: str) -> str:
    """File name without its ending, as nuScenes has them."""
    stamp = timestamp_of(scene, frame, channel)
    return f'minitown-{SCENES[scene][6:]}__{channel}__{stamp}'


def image_path(scene: int, frame: int, camera: str) -> str:
    """Image of a camera, relative to the root."""
    return f'samples/{camera}/{_file_name(scene, frame, camera)}.jpg'


def sweep_path(scene: int, frame: int) -> str:
    """Point cloud of a key frame, relative to the root."""
    name = _file_name(scene, frame, 'LIDAR_TOP')
    return f'samples/LIDAR_TOP/{name}.pcd.bin'


def surroundocc_path(scene: int, frame: int) -> str:
    """SurroundOcc labels of a key frame, relative to the root."""
    name = _file_name(scene, frame, 'LIDAR_TOP')
    return f'surroundocc/samples/{name}.pcd.bin.npy'


def lidarseg_path(seed: int, scene: int, frame: int) -> str:
    """Point classes of a key frame, relative to the root."""
    token = token_of(seed, 'sample_data', scene, frame, 'LIDAR_TOP')
    return f'lidarseg/v1.0-mini/{token}_lidarseg.bin'
