"""The solids a town is made of, and the exact ray through each of them.

A primitive is one record of a structured array: a solid that stands
upright, turned by a yaw about z. In its local frame (origin at the centre):

* BOX: |z| <= hz, |y| <= hy - ky (z + hz), and along x from
  -hx + kb (z + hz) to hx - kf (z + hz). The slopes make wind screens
  (kf, kb > 0), gable roofs (ky = hy / 2 hz) and slanted beams
  (kf = -kb).
* CONE: a truncated cone about z, radius hx at the bottom, hy at the top.
* ELLIPSOID: semi-axes hx, hy, hz.
* WHEEL: a cylinder about the local y axis, radius hx = hz, width 2 hy.

A ray is origin + t * direction; the direction need not have unit length.
"""

from __future__ import annotations

import math

import numpy as np

from ..kernels import njit

BOX, CONE, ELLIPSOID, WHEEL = range(4)

#: what shading draws on a primitive
(
    PLAIN,
    FACADE,
    ROOF,
    FOLIAGE,
    BODY,
    CABIN,
    COACH,
    STRIPES,
    BANDS,
    TYRE,
    CARGO,
    GLASS,
) = range(12)

PRIMITIVE = np.dtype(
    [
        ('kind', np.int32),
        ('material', np.int32),
        ('category', np.int32),
        ('owner', np.int32),  # index of the object, -1 for scenery
        ('x', np.float64),
        ('y', np.float64),
        ('z', np.float64),
        ('c', np.float64),  # cosine and sine of the yaw
        ('s', np.float64),
        ('hx', np.float64),
        ('hy', np.float64),
        ('hz', np.float64),
        ('kf', np.float64),
        ('kb', np.float64),
        ('ky', np.float64),
        ('r', np.float64),  # linear albedo
        ('g', np.float64),
        ('b', np.float64),
    ],
    align=True,
)


def primitive(
    kind: int,
    centre: tuple[float, float, float],
    half: tuple[float, float, float],
    category: int,
    colour: tuple[float, float, float],
    material: int = PLAIN,
    yaw: float = 0.0,
    slopes: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> np.ndarray:
    """One primitive that belongs to the scenery.

    Args:
        kind: BOX, CONE, ELLIPSOID or WHEEL.
        centre: metres.
        half: (hx, hy, hz) of the kind, metres.
        category: lidarseg index.
        colour: linear albedo in 0..1.
        material: what shading draws on it.
        yaw: radians.
        slopes: (kf, kb, ky) of a BOX.

    Returns:
        np.ndarray: shape (1,), dtype PRIMITIVE.
    """
    return np.array(
        [
            (kind, material, category, -1)
            + tuple(centre)
            + (math.cos(yaw), math.sin(yaw))
            + tuple(half)
            + tuple(slopes)
            + tuple(colour)
        ],
        PRIMITIVE,
    )


def placed(
    parts: np.ndarray, x: np.ndarray, y: np.ndarray, yaw: np.ndarray
) -> np.ndarray:
    """Primitives moved by a planar pose, z unchanged.

    Args:
        parts: shape (n,), dtype PRIMITIVE.
        x: metres, scalar or shape (n,).
        y: metres, scalar or shape (n,).
        yaw: radians, scalar or shape (n,).

    Returns:
        np.ndarray: a copy, shape (n,).
    """
    c, s = np.cos(yaw), np.sin(yaw)
    moved = parts.copy()
    moved['x'] = x + c * parts['x'] - s * parts['y']
    moved['y'] = y + s * parts['x'] + c * parts['y']
    moved['c'] = c * parts['c'] - s * parts['s']
    moved['s'] = s * parts['c'] + c * parts['s']
    return moved


def bounds(parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The box around primitives, in the frame they are given in.

    Args:
        parts: shape (n,), dtype PRIMITIVE.

    Returns:
        tuple: lower and upper corner, float64, shape (3,).
    """
    points = np.concatenate([_corners(p) for p in parts])
    return points.min(0), points.max(0)


@njit(cache=True, error_model='numpy')
def _extent(p):
    """Local x range and half y, z extents of a primitive."""
    lo, hi, ey = -p.hx, p.hx, p.hy
    if p.kind == BOX:
        lo = min(lo, lo + p.kb * 2 * p.hz)
        hi = max(hi, hi - p.kf * 2 * p.hz)
        ey = max(ey, ey - p.ky * 2 * p.hz)
    elif p.kind == CONE:
        ey = max(p.hx, p.hy)
        lo, hi = -ey, ey
    return lo, hi, ey, p.hz


@njit(cache=True, error_model='numpy')
def _corners(p):
    """The eight corners (8,3) of the oriented box around a primitive."""
    lo, hi, ey, ez = _extent(p)
    out = np.empty((8, 3))
    for i in range(8):
        x = hi if i & 1 else lo
        y = ey if i & 2 else -ey
        out[i, 0] = p.x + p.c * x - p.s * y
        out[i, 1] = p.y + p.s * x + p.c * y
        out[i, 2] = p.z + (ez if i & 4 else -ez)
    return out


@njit(cache=True, error_model='numpy')
def contains(p, x, y, z):
    """Whether a point lies in the closed solid of primitive p."""
    wx, wy, lz = x - p.x, y - p.y, z - p.z
    lx, ly = p.c * wx + p.s * wy, p.c * wy - p.s * wx
    if p.kind == ELLIPSOID:
        a, b, c = lx / p.hx, ly / p.hy, lz / p.hz
        return a * a + b * b + c * c <= 1.0
    if p.kind == WHEEL:
        return abs(ly) <= p.hy and lx * lx + lz * lz <= p.hx * p.hx
    if abs(lz) > p.hz:
        return False
    up = lz + p.hz
    if p.kind == CONE:
        radius = p.hx + (p.hy - p.hx) * up / (2 * p.hz)
        return lx * lx + ly * ly <= radius * radius
    if abs(ly) > p.hy - p.ky * up:
        return False
    return -p.hx + p.kb * up <= lx <= p.hx - p.kf * up


@njit(cache=True, error_model='numpy')
def _hit_box(p, ox, oy, oz, dx, dy, dz):
    """Entry of a local ray into six half-spaces f + t g <= 0."""
    near, far = 1e-6, np.inf
    up = oz + p.hz
    for side in range(6):
        if side == 0:
            f, g = ox - p.hx + p.kf * up, dx + p.kf * dz
        elif side == 1:
            f, g = -ox - p.hx + p.kb * up, -dx + p.kb * dz
        elif side == 2:
            f, g = oy - p.hy + p.ky * up, dy + p.ky * dz
        elif side == 3:
            f, g = -oy - p.hy + p.ky * up, -dy + p.ky * dz
        elif side == 4:
            f, g = oz - p.hz, dz
        else:
            f, g = -up, -dz
        if g < 0.0:
            near = max(near, -f / g)
        elif g > 0.0:
            far = min(far, -f / g)
        elif f > 0.0:
            return np.inf
        if near > far:
            return np.inf
    return near if near > 1e-6 else np.inf


@njit(cache=True, error_model='numpy')
def _hit_round(r0, r1, h, ox, oy, oz, dx, dy, dz):
    """Entry into a truncated cone about z, |z| <= h."""
    k = (r1 - r0) / (2 * h)
    a, b = r0 + k * (oz + h), k * dz
    qa = dx * dx + dy * dy - b * b
    qb = ox * dx + oy * dy - a * b
    qc = ox * ox + oy * oy - a * a
    best = np.inf
    disc = qb * qb - qa * qc
    if disc >= 0.0 and qa != 0.0:
        root = math.sqrt(disc)
        for sign in (-1.0, 1.0):
            t = (-qb + sign * root) / qa
            if 1e-6 < t < best and abs(oz + t * dz) <= h and a + b * t >= 0.0:
                best = t
    if dz != 0.0:
        for sign in (-1.0, 1.0):
            t = (sign * h - oz) / dz
            if 1e-6 < t < best:
                x, y = ox + t * dx, oy + t * dy
                radius = r1 if sign > 0 else r0
                if x * x + y * y <= radius * radius:
                    best = t
    return best


@njit(cache=True, error_model='numpy')
def hit_local(p, ox, oy, oz, dx, dy, dz):
    """Distance parameter t at which a ray enters primitive p.

    The ray is given in the primitive's local frame, its origin outside.

    Returns:
        float: t > 0, or inf for a miss.
    """
    if p.kind == BOX:
        return _hit_box(p, ox, oy, oz, dx, dy, dz)
    if p.kind == CONE:
        return _hit_round(p.hx, p.hy, p.hz, ox, oy, oz, dx, dy, dz)
    if p.kind == WHEEL:
        return _hit_round(p.hx, p.hx, p.hy, ox, oz, oy, dx, dz, dy)
    ax, ay, az = ox / p.hx, oy / p.hy, oz / p.hz
    bx, by, bz = dx / p.hx, dy / p.hy, dz / p.hz
    qa = bx * bx + by * by + bz * bz
    qb = ax * bx + ay * by + az * bz
    disc = qb * qb - qa * (ax * ax + ay * ay + az * az - 1.0)
    if disc < 0.0:
        return np.inf
    t = (-qb - math.sqrt(disc)) / qa
    return t if t > 1e-6 else np.inf


@njit(cache=True, error_model='numpy')
def to_local(p, x, y, z):
    """A vector's components along the local axes of primitive p."""
    return p.c * x + p.s * y, p.c * y - p.s * x, z


@njit(cache=True, error_model='numpy')
def normal_local(p, x, y, z):
    """Outward unit normal at a local point on the surface of p."""
    if p.kind == ELLIPSOID:
        nx, ny, nz = x / p.hx**2, y / p.hy**2, z / p.hz**2
    elif p.kind == WHEEL:
        if abs(y) > p.hy - 1e-6:
            return 0.0, math.copysign(1.0, y), 0.0
        nx, ny, nz = x, 0.0, z
    elif abs(z) > p.hz - 1e-6:
        return 0.0, 0.0, math.copysign(1.0, z)
    elif p.kind == CONE:
        radius = math.sqrt(x * x + y * y)
        nx, ny, nz = x, y, radius * (p.hx - p.hy) / (2 * p.hz)
    else:
        up = z + p.hz
        front = abs(x - p.hx + p.kf * up)
        back = abs(-x - p.hx + p.kb * up)
        side = abs(abs(y) - p.hy + p.ky * up)
        nx, ny, nz = 0.0, math.copysign(1.0, y), p.ky
        if min(front, back) < side:
            nx, ny, nz = 1.0, 0.0, p.kf
            if back < front:
                nx, nz = -1.0, p.kb
    length = math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
    return nx / length, ny / length, nz / length
