"""From what each pixel shows to its colour: sun, sky, gloss and haze."""

from __future__ import annotations

import math

from ..kernels import njit
from . import primitives as pr
from .classes import EMPTY
from .ground import GROUND_Z, ground_at, to_town
from .light import noise, sky
from .materials import paint, pave
from .raster import GROUND, SKY


@njit(cache=True, error_model='numpy')
def _sunlit(light, sun, shadow, x, y, z, nx, ny, nz, lift):
    """Sun on a surface: cosine times share, smoothed over four texels."""
    toward = light.toward_sun
    facing = nx * toward[0] + ny * toward[1] + nz * toward[2]
    if facing <= 0.0:
        return 0.0
    # a little above the surface, or it would shade itself
    x, y, z = x + lift * nx, y + lift * ny, z + lift * nz
    wx, wy, wz = x - sun.origin[0], y - sun.origin[1], z - sun.origin[2]
    a = sun.axes
    u = sun.fx * (a[0, 0] * wx + a[0, 1] * wy + a[0, 2] * wz) + sun.cx - 0.5
    v = sun.fy * (a[1, 0] * wx + a[1, 1] * wy + a[1, 2] * wz) + sun.cy - 0.5
    i, j = int(math.floor(v)), int(math.floor(u))
    if i < 0 or j < 0 or i + 1 >= shadow.shape[0] or j + 1 >= shadow.shape[1]:
        return facing
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
    return facing * lit


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
def _light(light, surface, lit, nz, height, cosine, up, far, out):
    """Light that a surface sends to the camera.

    Args:
        light: a record of dtype LIGHT.
        surface: red, green, blue and gloss.
        lit: sun on the surface, the cosine of its angle included.
        nz: upward component of the normal.
        height: metres.
        cosine: of the angle between the normal and the way to the camera.
        up: upward component of the mirrored ray.
        far: metres to the camera.
        out: receives red, green and blue, shape (3,).
    """
    # sky light from above, some of it back from the ground
    hemi = 0.66 + 0.34 * nz
    if height < 0.5:
        hemi *= 0.8 + 0.4 * height
    gloss, share, sky_part, dim = surface[3], 0.0, 0.0, 1.0
    if gloss > 0.0:
        graze = 1.0 - min(max(cosine, 0.0), 1.0)
        share = gloss * (0.25 + 0.75 * graze * graze * graze)
        sky_part = math.sqrt(min(max(1.4 * up, 0.0), 1.0))
        dim = 1.0 if up > 0.0 else 0.35
    clear = math.exp(-light.haze * far)
    for c in range(3):
        albedo = surface[0] if c == 0 else surface[1]
        if c == 2:
            albedo = surface[2]
        value = albedo * (hemi * light.ambient[c] + lit * light.sun[c])
        horizon = light.horizon[c]
        mirror = dim * (horizon + sky_part * (light.zenith[c] - horizon))
        value += share * (mirror - value)
        out[c] = horizon + clear * (value - horizon)


@njit(cache=True, error_model='numpy')
def shade(
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
    """Linear colour, class and owner of every pixel.

    Args:
        parts: solids, dtype PRIMITIVE.
        view: the camera, a record of dtype VIEW.
        depth: metres along the camera's axis, shape (H, W).
        ids: index of the solid in each pixel, shape (H, W).
        sun: the sun's view, a record of dtype VIEW.
        shadow: depth from the sun, shape (S, S).
        light: a record of dtype LIGHT.
        tile: the noise.
        frame: of `Ground.arrays`, as are the next three.
        streets_x: dtype STREET.
        streets_y: dtype STREET.
        blocks: dtype BLOCK.
        linear: float32, shape (H, W, 3), in place.
        category: uint8, shape (H, W), in place.
        owner: int32, shape (H, W), in place.
    """
    a, o = view.axes, view.origin
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
            lit = _sunlit(light, sun, shadow, x, y, height, nx, ny, nz, lift)
            dx, dy, dz = dx / length, dy / length, dz / length
            cosine = -(nx * dx + ny * dy + nz * dz)
            up = dz + 2.0 * cosine * nz
            surface = (r, g, b, gloss)
            _light(
                light, surface, lit, nz, height, cosine, up, far, linear[v, u]
            )


@njit(cache=True, error_model='numpy')
def develop(linear, ids, exposure, rgb):
    """Smooth the edges of things, expose, and encode to eight bits.

    Args:
        linear: float32, shape (H, W, 3).
        ids: index of the solid in each pixel, shape (H, W).
        exposure: factor on linear colours.
        rgb: uint8, shape (H, W, 3), in place.
    """
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
