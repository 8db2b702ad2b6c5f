"""Camera images of the town: colour, class and depth of every pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from . import primitives as pr
from .classes import EMPTY
from .ground import GROUND_Z, ground_at, to_town
from .light import noise, noise_tile, sky
from .materials import paint, pave
from .raster import GROUND, SKY, draw, draw_ground, make_view
from .sensors import Camera
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
        _shade(
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
        _develop(linear, ids, world.light.record[0]['exposure'], rgb)
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


@njit(cache=True, error_model='numpy')
def _sunlit(sun, shadow, x, y, z):
    """Share of the sun that reaches a point, smoothed over four texels."""
    wx, wy, wz = x - sun.origin[0], y - sun.origin[1], z - sun.origin[2]
    a = sun.axes
    u = sun.fx * (a[0, 0] * wx + a[0, 1] * wy + a[0, 2] * wz) + sun.cx - 0.5
    v = sun.fy * (a[1, 0] * wx + a[1, 1] * wy + a[1, 2] * wz) + sun.cy - 0.5
    i, j = int(math.floor(v)), int(math.floor(u))
    if i < 0 or j < 0 or i + 1 >= shadow.shape[0] or j + 1 >= shadow.shape[1]:
        return 1.0
    d = a[2, 0] * wx + a[2, 1] * wy + a[2, 2] * wz - 0.06
    p, q = v - i, u - j
    lit = 0.0
    if shadow[i, j] > d:
        lit += (1 - p) * (1 - q)
    if shadow[i, j + 1] > d:
        lit += (1 - p) * q
    if shadow[i + 1, j] > d:
        lit += p * (1 - q)
    if shadow[i + 1, j + 1] > d:
        lit += p * q
    return lit


@njit(cache=True, error_model='numpy')
def _surface(p, x, y, z, tile, far):
    """Paint and global normal of a primitive at a global point."""
    lx, ly, lz = pr.to_local(p, x - p.x, y - p.y, z - p.z)
    nx, ny, nz = pr.normal_local(p, lx, ly, lz)
    r, g, b, gloss = paint(p, lx, ly, lz, nx, ny, nz, tile, far)
    if p.material == pr.FOLIAGE:
        # leaves point everywhere
        bump = noise(tile, 13.0 * lx + 9.0 * lz, 13.0 * ly - 7.0 * lz)
        bump = 2.0 * bump - 1.0
        nx, ny, nz = nx + bump, ny - bump, nz + 0.5 * bump + 0.15
        length = math.sqrt(nx * nx + ny * ny + nz * nz)
        nx, ny, nz = nx / length, ny / length, nz / length
    return r, g, b, gloss, p.c * nx - p.s * ny, p.s * nx + p.c * ny, nz


@njit(cache=True, error_model='numpy')
def _shade(
    parts,
    view,
    depth,
    ids,
    sun,
    shadow,
    light,
    tile,
    frame,
    streets_x,
    streets_y,
    blocks,
    linear,
    category,
    owner,
):
    """Linear colour, class and owner of every pixel."""
    a, o, toward = view.axes, view.origin, light.toward_sun
    for v in range(depth.shape[0]):
        py = (v + 0.5 - view.cy) / view.fy
        for u in range(depth.shape[1]):
            px = (u + 0.5 - view.cx) / view.fx
            dx = px * a[0, 0] + py * a[1, 0] + a[2, 0]
            dy = px * a[0, 1] + py * a[1, 1] + a[2, 1]
            dz = px * a[0, 2] + py * a[1, 2] + a[2, 2]
            length = math.sqrt(dx * dx + dy * dy + dz * dz)
            index, z = ids[v, u], float(depth[v, u])
            owner[v, u] = -1
            if index == SKY:
                category[v, u] = EMPTY
                r, g, b = sky(
                    light, tile, dx / length, dy / length, dz / length
                )
                linear[v, u, 0], linear[v, u, 1], linear[v, u, 2] = r, g, b
                continue
            x, y = o[0] + z * dx, o[1] + z * dy
            far = z * length
            if index == GROUND:
                height = GROUND_Z
                tx, ty = to_town(frame, x, y)
                kind, kerb = ground_at(streets_x, streets_y, blocks, tx, ty)
                category[v, u] = kind
                r, g, b, gloss = pave(
                    kind,
                    kerb,
                    streets_x,
                    streets_y,
                    blocks,
                    tile,
                    tx,
                    ty,
                    far,
                )
                nx, ny, nz, lift = 0.0, 0.0, 1.0, 0.0
            else:
                p = parts[index]
                category[v, u], owner[v, u] = p.category, p.owner
                height = o[2] + z * dz
                r, g, b, gloss, nx, ny, nz = _surface(
                    p, x, y, height, tile, far
                )
                lift = 0.5 if p.material == pr.FOLIAGE else 0.3
            facing = nx * toward[0] + ny * toward[1] + nz * toward[2]
            lit = 0.0
            if facing > 0.0:
                # a little above the surface, or it would shade itself
                lit = facing * _sunlit(
                    sun,
                    shadow,
                    x + lift * nx,
                    y + lift * ny,
                    height + lift * nz,
                )
            # sky light from above, some of it back from the ground
            hemi = 0.66 + 0.34 * nz
            if height < 0.5:
                hemi *= 0.8 + 0.4 * height
            r *= hemi * light.ambient[0] + lit * light.sun[0]
            g *= hemi * light.ambient[1] + lit * light.sun[1]
            b *= hemi * light.ambient[2] + lit * light.sun[2]
            if gloss > 0.0:
                cosine = -(nx * dx + ny * dy + nz * dz) / length
                graze = 1.0 - min(max(cosine, 0.0), 1.0)
                k = gloss * (0.25 + 0.75 * graze * graze * graze)
                up = (dz / length + 2.0 * cosine * nz) * 1.4
                f = math.sqrt(min(max(up, 0.0), 1.0))
                dim = 1.0 if up > 0.0 else 0.35
                for c in range(3):
                    mirror = light.horizon[c]
                    mirror += f * (light.zenith[c] - mirror)
                    if c == 0:
                        r += k * (dim * mirror - r)
                    elif c == 1:
                        g += k * (dim * mirror - g)
                    else:
                        b += k * (dim * mirror - b)
            clear = math.exp(-light.haze * far)
            linear[v, u, 0] = light.horizon[0] * (1 - clear) + r * clear
            linear[v, u, 1] = light.horizon[1] * (1 - clear) + g * clear
            linear[v, u, 2] = light.horizon[2] * (1 - clear) + b * clear


@njit(cache=True, error_model='numpy')
def _develop(linear, ids, exposure, rgb):
    """Smooth the edges of things, expose, and encode to eight bits."""
    height, width = ids.shape
    for v in range(height):
        for u in range(width):
            w = 0.0
            left, right = max(u - 1, 0), min(u + 1, width - 1)
            above, below = max(v - 1, 0), min(v + 1, height - 1)
            here = ids[v, u]
            if (
                ids[v, left] != here
                or ids[v, right] != here
                or ids[above, u] != here
                or ids[below, u] != here
            ):
                w = 0.11
            for c in range(3):
                value = (1.0 - 4.0 * w) * linear[v, u, c]
                if w > 0.0:
                    value += w * (
                        linear[v, left, c]
                        + linear[v, right, c]
                        + linear[above, u, c]
                        + linear[below, u, c]
                    )
                value *= exposure
                value = value * (1.0 + 0.3 * value) / (1.0 + 0.75 * value)
                rgb[v, u, c] = int(255.0 * math.sqrt(min(value, 1.0)) + 0.5)
