"""What is painted on the solids and on the ground.

Every function returns linear red, green, blue and a gloss in 0..1 (how much
of the sky a surface mirrors). Local coordinates are those of the primitive.
"""

from __future__ import annotations

import math

from ..kernels import njit
from . import primitives as pr
from .classes import OTHER_FLAT, ROAD, SIDEWALK
from .ground import SIDEWALK_WIDTH, gap
from .light import noise, scatter


@njit(cache=True, error_model='numpy')
def _wave(value, period):
    """Position within a period, in units of value."""
    return value - period * math.floor(value / period)


@njit(cache=True, error_model='numpy')
def _wall(p, x, y, z, nx, ny, nz, grain, far):
    """Facades with windows and shops, and curtain walls of glass."""
    r, g, b = p.r, p.g, p.b
    if nz > 0.5:
        k = 0.7 + 0.5 * grain
        return 0.3 * k, 0.29 * k, 0.28 * k, 0.0
    along = y if abs(nx) > abs(ny) else x
    half = p.hy if abs(nx) > abs(ny) else p.hx
    up = z + p.hz
    side = 1 if nx + ny > 0 else 2
    if p.material == pr.GLASS:
        u, v = _wave(along, 1.5), _wave(up, 3.4)
        if far < 70.0 and (u < 0.09 or v < 0.5):
            return 0.22, 0.24, 0.26, 0.05
        k = scatter(math.floor(along / 1.5) + 7 * side, math.floor(up / 3.4))
        k = 0.6 + 0.5 * k
        return 0.06 * k, 0.12 * k, 0.17 * k, 0.75
    tall = p.hz > 3.2
    floor = up - 3.6 if tall else up - 0.15
    k = 0.82 + 0.36 * grain
    if tall and up < 3.6:
        shop = _wave(along + half, 4.4)
        if 0.35 < shop < 4.05 and 0.45 < up < 2.7:
            tint = scatter(math.floor((along + half) / 4.4), side + 11)
            k = 0.05 + 0.16 * tint * (1.0 - 0.3 * up)
            return k, 0.9 * k, 0.7 * k, 0.4
        if 2.75 < up < 3.3:
            hue = scatter(math.floor((along + half) / 4.4), side + 5)
            return 0.5 * hue * k, 0.2 * k, 0.5 * (1.0 - hue) * k, 0.0
        return 0.6 * r * k, 0.6 * g * k, 0.6 * b * k, 0.0
    u = _wave(along + half, 2.6)
    v = _wave(floor, 3.1)
    inside = abs(along) < half - 0.4 and up < 2 * p.hz - 0.7
    if inside and 0.6 < u < 2.0 and 0.85 < v < 2.45:
        if u < 0.72 or u > 1.88 or v < 0.97 or v > 2.33:
            return 0.55 * k, 0.54 * k, 0.5 * k, 0.0
        tint = scatter(
            math.floor((along + half) / 2.6) + 31 * side,
            math.floor(floor / 3.1) + p.hx * 40.0,
        )
        if tint > 0.72:
            return 0.34 * k, 0.31 * k, 0.25 * k, 0.12
        return 0.035 + 0.05 * tint, 0.05 + 0.06 * tint, 0.07, 0.5
    if tall and v < 0.22:
        k *= 0.8
    return r * k, g * k, b * k, 0.0


@njit(cache=True, error_model='numpy')
def _vehicle(p, x, y, z, nx, ny, nz):
    """Bodies with lamps, cabins with windows, coaches, loads."""
    r, g, b = p.r, p.g, p.b
    end = abs(nx) > 0.6
    level = z / p.hz
    if p.material == pr.BODY:
        if end and abs(y) > 0.52 * p.hy and -0.05 < level < 0.6:
            if nx > 0:
                return 0.95, 0.93, 0.82, 0.2
            return 0.75, 0.02, 0.02, 0.1
        if end and abs(y) < 0.3 * p.hy and -0.35 < level < 0.05:
            return (0.03, 0.03, 0.03, 0.1) if nx > 0 else (0.7, 0.7, 0.66, 0)
        if level < -0.72:
            return 0.03, 0.03, 0.033, 0.0
        if not end and nz < 0.5:
            seam = _wave(x + 0.35 * p.hx, 0.62 * p.hx)
            if seam < 0.025 and abs(x) < 0.7 * p.hx:
                return 0.4 * r, 0.4 * g, 0.4 * b, 0.1
        return r, g, b, 0.16
    if p.material == pr.CABIN:
        if nz > 0.85 or level > 0.86 or level < -0.88:
            return r, g, b, 0.16
        if end:
            if abs(y) > 0.88 * p.hy:
                return r, g, b, 0.1
        elif abs(x + 0.08 * p.hx) < 0.05 * p.hx:
            return 0.6 * r, 0.6 * g, 0.6 * b, 0.1
        return 0.025, 0.032, 0.04, 0.55
    if p.material == pr.COACH:
        if nz > 0.5:
            return 0.6, 0.6, 0.58, 0.05
        if end:
            if nx > 0 and -0.2 < level < 0.68 and abs(y) < 0.93 * p.hy:
                return 0.03, 0.04, 0.05, 0.55
            if level > 0.72 and abs(y) < 0.7 * p.hy:
                return (0.8, 0.5, 0.05, 0.0) if nx > 0 else (r, g, b, 0.1)
            if -0.75 < level < -0.5 and abs(y) > 0.6 * p.hy:
                return (0.9, 0.9, 0.8, 0) if nx > 0 else (0.7, 0.02, 0.02, 0)
            return r, g, b, 0.12
        if 0.02 < level < 0.66 and _wave(x, 1.5) > 0.1:
            return 0.03, 0.04, 0.05, 0.5
        if -0.16 < level < -0.06 or level < -0.88:
            return 0.7, 0.7, 0.68, 0.1
        return r, g, b, 0.12
    # CARGO
    if end and nx < 0:
        if level < -0.86 and abs(y) > 0.6 * p.hy:
            return 0.75, 0.02, 0.02, 0.0
        if abs(y) < 0.04:
            return 0.25, 0.25, 0.25, 0.0
    elif not end and nz < 0.5:
        if _wave(x, 1.25) < 0.05:
            return 0.75 * r, 0.75 * g, 0.75 * b, 0.0
        if -0.25 < level < 0.15 and abs(x) < 0.55 * p.hx:
            return 0.25 * b + 0.1, 0.25 * r, 0.4 * g + 0.05, 0.05
    return r, g, b, 0.06


@njit(cache=True, error_model='numpy')
def paint(p, x, y, z, nx, ny, nz, tile, far):
    """Surface of a primitive at a local point with a local normal.

    Args:
        p: the primitive.
        x: local point, metres.
        y: likewise.
        z: likewise.
        nx: local unit normal.
        ny: likewise.
        nz: likewise.
        tile: the noise.
        far: metres from the camera; fine patterns fade with it.
    """
    kind = p.material
    if kind == pr.BODY or kind == pr.CABIN:
        return _vehicle(p, x, y, z, nx, ny, nz)
    if kind == pr.COACH or kind == pr.CARGO:
        return _vehicle(p, x, y, z, nx, ny, nz)
    # the noise of a face reads the two coordinates along it
    u = x + 0.7 * y if abs(nz) < 0.7 else x
    v = z if abs(nz) < 0.7 else y
    if kind == pr.FOLIAGE:
        leaf = noise(tile, 17.0 * u + p.x, 17.0 * v + 5.0 * y)
        clump = noise(tile, 4.0 * u, 4.0 * v + p.y)
        k = 0.25 + 1.5 * leaf * leaf + 0.5 * clump
        return p.r * k * (0.8 + 0.5 * clump), p.g * k, p.b * k, 0.0
    grain = noise(tile, 4.0 * u + p.x, 4.0 * v + p.y)
    if kind == pr.FACADE or kind == pr.GLASS:
        return _wall(p, x, y, z, nx, ny, nz, grain, far)
    k = 0.88 + 0.24 * grain
    if kind == pr.ROOF:
        if abs(ny) < 0.3:
            return 0.45 * k, 0.4 * k, 0.34 * k, 0.0
        k *= 0.75 + 0.5 * _wave(z, 0.3) / 0.3 if far < 50.0 else 1.0
    elif kind == pr.STRIPES:
        if _wave(x + 0.6 * z, 0.8) < 0.4:
            return 0.62 * k, 0.03, 0.025, 0.0
    elif kind == pr.BANDS:
        level = z / p.hz
        if -0.35 < level < 0.0 or 0.35 < level < 0.65:
            return 0.8 * k, 0.8 * k, 0.78 * k, 0.0
    elif kind == pr.TYRE:
        if abs(ny) > 0.5 and x * x + z * z < 0.36 * p.hx * p.hx:
            spoke = scatter(8.0 * math.atan2(z, x), 3) * 0.12
            return 0.3 + spoke, 0.3 + spoke, 0.32 + spoke, 0.1
    return p.r * k, p.g * k, p.b * k, 0.0


@njit(cache=True, error_model='numpy')
def _marking(along_edge, across, half, along):
    """Whether white paint lies on a street.

    Args:
        along_edge: metres to the nearest crossing street's edge.
        across: metres from the centre line.
        half: half width of the street.
        along: metres along the street.
    """
    off = abs(across)
    if along_edge < 7.0:
        if 2.0 < along_edge < 5.0:
            return _wave(across + 0.3, 1.2) < 0.6 and off < half - 0.5
        return 5.8 < along_edge < 6.2 and 0.3 < off < half - 0.4
    if off < 0.08:
        return _wave(along, 6.0) < 3.2
    if abs(off - 3.4) < 0.06:
        return half > 6.0 and _wave(along, 4.0) < 2.6
    return abs(off - half + 0.25) < 0.06


@njit(cache=True, error_model='numpy')
def _edge(streets, value):
    """Metres to the nearest street band, negative inside, and its index."""
    best, index = 1e9, 0
    for i in range(len(streets)):
        d = abs(value - streets[i].at) - streets[i].half
        if d < best:
            best, index = d, i
    return best, index


@njit(cache=True, error_model='numpy')
def pave(kind, kerb, streets_x, streets_y, blocks, tile, x, y, far):
    """Surface of the ground at a point in town coordinates.

    kind and kerb are what `ground_at` says about the point.
    """
    coarse = noise(tile, 0.35 * x, 0.35 * y)
    fine = noise(tile, 7.0 * x, 7.0 * y)
    fade = min(max(1.4 - far / 30.0, 0.0), 1.0)
    grain = 0.5 + (fine - 0.5) * fade
    if kind == ROAD:
        k = 0.062 + 0.045 * coarse + 0.035 * grain
        ex, i = _edge(streets_x, x)
        ey, j = _edge(streets_y, y)
        white = False
        if ey < 0.0 and ex > 0.0:
            across = y - streets_y[j].at
            white = _marking(ex, across, streets_y[j].half, x)
        elif ex < 0.0 and ey > 0.0:
            across = x - streets_x[i].at
            white = _marking(ey, across, streets_x[i].half, y)
        if white and fine > 0.12:
            k = 0.5 + 0.15 * grain
            return k, k, 0.97 * k, 0.0
        if kerb < 0.5:
            k *= 0.75
        return k, k, 1.05 * k, 0.02
    if kind == SIDEWALK:
        k = 0.27 + 0.08 * coarse + 0.07 * grain
        if kerb > -0.28:
            k = 0.46 + 0.08 * grain
            if far < 30.0 and _wave(x + y, 1.0) < 0.04:
                k *= 0.6
        elif kerb < -SIDEWALK_WIDTH + 0.15:
            k *= 0.7
        elif far < 28.0:
            line = _wave(x, 0.9) < 0.05 or _wave(y, 0.9) < 0.05
            k *= 1.0 - 0.3 * fade if line else 1.0
        return k, 0.965 * k, 0.9 * k, 0.0
    if kind == OTHER_FLAT:
        block = blocks[gap(streets_x, x), gap(streets_y, y)]
        row = math.floor(y / 0.6)
        brick = scatter(math.floor(x / 1.1 + 0.5 * row), row)
        k = 0.75 + 0.2 * coarse + 0.14 * grain
        k *= 1.0 + (brick - 0.5) * 0.45 * fade
        bay = _wave(x - block.x0 - 1.0, 3.0)
        lot = block.y1 - block.y0 < 40.0 and block.x1 - block.x0 > 24.0
        if lot and bay < 0.12 and fine > 0.15:
            return 0.55, 0.55, 0.53, 0.0
        return 0.33 * k, 0.21 * k, 0.165 * k, 0.0
    k = 0.55 + 0.5 * grain
    dry = min(max(1.7 * coarse - 0.45, 0.0), 1.0)
    r = 0.075 + 0.16 * dry
    return r * k, (0.17 + 0.04 * dry) * k, (0.03 + 0.05 * dry) * k, 0.0
