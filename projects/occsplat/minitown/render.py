"""Camera images of the town: colour, class and depth of every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .light import noise_tile
from .raster import draw, draw_ground, make_view
from .sensors import Camera
from .shading import develop, shade
from .world import World

#: texels of the sun's depth buffer per metre, and metres around its centre
SHADOW_SCALE = 5.0
SHADOW_REACH = 95.0


@dataclass(frozen=True)
class Image:
    """What a camera sees.

    Attributes:
        rgb: uint8, shape (H, W, 3).
        category: lidarseg index of the surface in each pixel, 0 for the
            sky; uint8, shape (H, W).
        owner: index of the thing in each pixel, -1 for none; int32,
            shape (H, W).
        depth: metres along the camera's axis, inf for the sky; float32,
            shape (H, W).
    """

    rgb: np.ndarray
    category: np.ndarray
    owner: np.ndarray
    depth: np.ndarray


class Renderer:
    """Takes pictures of one scene.

    Args:
        world: the scene.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._sun = _sun_view(world)
        side = int(2 * SHADOW_REACH * SHADOW_SCALE)
        self._still_shadow = np.full((side, side), np.inf, np.float32)
        self._scratch = np.empty((side, side), np.int32)
        draw(world.still, 0, self._sun[0], self._still_shadow, self._scratch)

    def render(self, camera: Camera, frame_time: float) -> Image:
        """The image that a camera takes for a key frame.

        The world, and the vehicle that carries the camera, are where they
        are when the camera fires.

        Args:
            camera: the camera.
            frame_time: seconds, time of the key frame.
        """
        t = frame_time + camera.delay
        pose = self._world.ego_pose(t) @ camera.cam2ego
        return self.render_view(
            make_view(pose, camera.intrinsic), camera.width, camera.height, t
        )

    def render_view(
        self, view: np.ndarray, width: int, height: int, t: float
    ) -> Image:
        """The image of any view.

        Args:
            view: shape (1,), dtype VIEW.
            width: pixels.
            height: pixels.
            t: seconds.
        """
        world = self._world
        parts = world.primitives(t)
        depth = np.empty((height, width), np.float32)
        ids = np.empty((height, width), np.int32)
        draw_ground(view[0], depth, ids)
        draw(parts, 0, view[0], depth, ids)
        shadow = self._still_shadow.copy()
        draw(world.moving(t), 0, self._sun[0], shadow, self._scratch)
        linear = np.empty((height, width, 3), np.float32)
        category = np.empty((height, width), np.uint8)
        owner = np.empty((height, width), np.int32)
        shade(
            parts,
            view[0],
            depth,
            ids,
            self._sun[0],
            shadow,
            world.light.record[0],
            noise_tile(),
            *world.ground.arrays,
            linear,
            category,
            owner,
        )
        rgb = np.empty((height, width, 3), np.uint8)
        develop(linear, ids, world.light.record[0]['exposure'], rgb)
        return Image(rgb, category, owner, depth)


def _sun_view(world: World) -> np.ndarray:
    """Parallel rays from the sun onto the surroundings of the drive."""
    middle = (world.ego_pose(1.0)[:3, 3] + world.ego_pose(7.0)[:3, 3]) / 2
    forward = -world.light.toward_sun
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], 1)
    pose[:3, 3] = middle - 300.0 * forward
    half = SHADOW_REACH * SHADOW_SCALE
    intrinsic = np.array(
        [[SHADOW_SCALE, 0, half], [0, SHADOW_SCALE, half], [0, 0, 1]]
    )
    return make_view(pose, intrinsic, perspective=False)
