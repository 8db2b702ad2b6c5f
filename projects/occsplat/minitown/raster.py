"""Which primitive each ray of a sensor meets first, and how far away.

Every primitive is intersected exactly, but only along the rays that can
meet it: those inside the rectangle around its projection.
"""

from __future__ import annotations

import math

import numpy as np

from ..kernels import njit
from . import primitives as pr
from .ground import GROUND_Z

SKY, GROUND = -1, -2

#: metres in front of a camera from which on it sees
NEAR = 0.2


@njit(cache=True, error_model='numpy')
def _include(rect, view, x, y, z):
    """Widen a rectangle by the projection of a point in view axes."""
    scale = 1.0 / z if view.perspective else 1.0
    u = view.fx * x * scale + view.cx
    v = view.fy * y * scale + view.cy
    rect[0] = min(rect[0], u)
    rect[1] = max(rect[1], u)
    rect[2] = min(rect[2], v)
    rect[3] = max(rect[3], v)


@njit(cache=True, error_model='numpy')
def _footprint(p, view, corners, rect):
    """Rectangle around the projection of p; returns its least depth.

    rect receives (u0, u1, v0, v1) in pixels; inf means it is behind.
    """
    rect[0], rect[1], rect[2], rect[3] = np.inf, -np.inf, np.inf, -np.inf
    box = pr._corners(p)
    nearest = np.inf
    for i in range(8):
        for k in range(3):
            corners[i, k] = (
                view.axes[k, 0] * (box[i, 0] - view.origin[0])
                + view.axes[k, 1] * (box[i, 1] - view.origin[1])
                + view.axes[k, 2] * (box[i, 2] - view.origin[2])
            )
        nearest = min(nearest, corners[i, 2])
    for i in range(8):
        if corners[i, 2] >= NEAR:
            x, y, z = corners[i, 0], corners[i, 1], corners[i, 2]
            _include(rect, view, x, y, z)
    if nearest < NEAR:
        # cut the edges that cross the near plane
        for i in range(8):
            for bit in (1, 2, 4):
                j = i | bit
                a, b = corners[i, 2] - NEAR, corners[j, 2] - NEAR
                if j != i and a * b < 0.0:
                    f = a / (a - b)
                    x = corners[i, 0] + f * (corners[j, 0] - corners[i, 0])
                    y = corners[i, 1] + f * (corners[j, 1] - corners[i, 1])
                    _include(rect, view, x, y, NEAR)
    if rect[1] < rect[0]:
        return np.inf
    return max(nearest, NEAR)


#: a family of rays: pixel (i, j) looks along axes' third row through
#: ((i + 0.5 - cx) / fx, (j + 0.5 - cy) / fy); depth is along that row
VIEW = np.dtype(
    [
        ('axes', np.float64, (3, 3)),  # rows: right, down, forward
        ('origin', np.float64, (3,)),
        ('fx', np.float64),
        ('fy', np.float64),
        ('cx', np.float64),
        ('cy', np.float64),
        ('perspective', np.int64),
    ],
    align=True,
)


def make_view(
    pose: np.ndarray, intrinsic: np.ndarray, perspective: bool = True
) -> np.ndarray:
    """A view for `draw`.

    Args:
        pose: view to global, OpenCV axes, shape (4, 4).
        intrinsic: shape (3, 3).
        perspective: False for parallel rays, K then scales metres.

    Returns:
        np.ndarray: shape (1,), dtype VIEW.
    """
    view = np.zeros(1, VIEW)
    view['axes'] = pose[:3, :3].T
    view['origin'] = pose[:3, 3]
    view['fx'], view['fy'] = intrinsic[0, 0], intrinsic[1, 1]
    view['cx'], view['cy'] = intrinsic[0, 2], intrinsic[1, 2]
    view['perspective'] = perspective
    return view


@njit(cache=True, error_model='numpy')
def draw_ground(view, depth, ids):
    """Fill depth (H,W) and ids (H,W) with the ground and the sky."""
    a = view.axes
    for v in range(depth.shape[0]):
        y = (v + 0.5 - view.cy) / view.fy
        for u in range(depth.shape[1]):
            x = (u + 0.5 - view.cx) / view.fx
            dz = x * a[0, 2] + y * a[1, 2] + a[2, 2]
            if dz < -1e-9:
                depth[v, u] = (GROUND_Z - view.origin[2]) / dz
                ids[v, u] = GROUND
            else:
                depth[v, u] = np.inf
                ids[v, u] = SKY


@njit(cache=True, error_model='numpy')
def draw(parts, first, view, depth, ids):
    """Draw primitives into a depth buffer.

    Args:
        parts: shape (n,), dtype PRIMITIVE.
        first: index that parts[0] gets in ids.
        view: a record of dtype VIEW.
        depth: float32, shape (H, W), metres along the view's axis; in place.
        ids: int32, shape (H, W), index of the primitive; in place.
    """
    height, width = depth.shape
    rects = np.empty((len(parts), 4))
    nearest = np.empty(len(parts))
    corners = np.empty((8, 3))
    for n in range(len(parts)):
        nearest[n] = _footprint(parts[n], view, corners, rects[n])
    for n in np.argsort(nearest):
        if nearest[n] == np.inf:
            break
        u0 = max(int(math.ceil(rects[n, 0] - 0.5)), 0)
        u1 = min(int(math.floor(rects[n, 1] - 0.5)) + 1, width)
        v0 = max(int(math.ceil(rects[n, 2] - 0.5)), 0)
        v1 = min(int(math.floor(rects[n, 3] - 0.5)) + 1, height)
        if u0 < u1 and v0 < v1:
            _fill(
                parts[n],
                first + n,
                nearest[n] - 1e-3,
                u0,
                u1,
                v0,
                v1,
                view,
                depth,
                ids,
            )


@njit(cache=True, error_model='numpy')
def _fill(p, index, nearest, u0, u1, v0, v1, view, depth, ids):
    """Intersect one primitive with the rays of a rectangle."""
    a, o = view.axes, view.origin
    ox, oy, oz = pr.to_local(p, o[0] - p.x, o[1] - p.y, o[2] - p.z)
    rx, ry, rz = pr.to_local(p, a[0, 0], a[0, 1], a[0, 2])
    dx, dy, dz = pr.to_local(p, a[1, 0], a[1, 1], a[1, 2])
    fx, fy, fz = pr.to_local(p, a[2, 0], a[2, 1], a[2, 2])
    for v in range(v0, v1):
        y = (v + 0.5 - view.cy) / view.fy
        for u in range(u0, u1):
            if depth[v, u] <= nearest:
                continue
            x = (u + 0.5 - view.cx) / view.fx
            sx = x * rx + y * dx
            sy = x * ry + y * dy
            sz = x * rz + y * dz
            if view.perspective:
                t = pr.hit_local(p, ox, oy, oz, sx + fx, sy + fy, sz + fz)
            else:
                t = pr.hit_local(p, ox + sx, oy + sy, oz + sz, fx, fy, fz)
            if t < depth[v, u]:
                depth[v, u] = t
                ids[v, u] = index


@njit(cache=True, error_model='numpy')
def scan(parts, origin, directions, yaw0, lowest, step, reach, t, ids):
    """Send out the rays of a spinning LiDAR.

    Args:
        parts: shape (n,), dtype PRIMITIVE.
        origin: global position, shape (3,).
        directions: unit vectors in the global frame, shape (A, R, 3);
            column a at azimuth yaw0 + 2 pi (a + 0.5) / A, ring r at
            elevation lowest + r step.
        yaw0: radians.
        lowest: radians.
        step: radians.
        reach: metres beyond which nothing is seen.
        t: float64, shape (A, R), receives the range, inf for no return.
        ids: int32, shape (A, R), receives the index of the primitive.
    """
    columns, rings = t.shape
    for a in range(columns):
        for r in range(rings):
            dz = directions[a, r, 2]
            t[a, r], ids[a, r] = np.inf, SKY
            if dz < -1e-9 and (GROUND_Z - origin[2]) / dz < reach:
                t[a, r], ids[a, r] = (GROUND_Z - origin[2]) / dz, GROUND
    pitch = 2 * math.pi / columns
    for n in range(len(parts)):
        p = parts[n]
        lo, hi, ey, ez = pr._extent(p)
        middle = 0.5 * (lo + hi)
        wx = p.x + p.c * middle - origin[0]
        wy = p.y + p.s * middle - origin[1]
        wz = p.z - origin[2]
        radius = math.sqrt((0.5 * (hi - lo)) ** 2 + ey * ey)
        flat = math.sqrt(wx * wx + wy * wy)
        if flat - radius > reach:
            continue
        count, a0 = columns, 0
        r0, r1 = 0, rings
        if flat > radius * 1.001:
            half = math.asin(radius / flat)
            bearing = math.atan2(wy, wx) - yaw0
            a0 = int(math.ceil((bearing - half) / pitch - 0.5))
            a1 = int(math.floor((bearing + half) / pitch - 0.5))
            count = min(a1 - a0 + 1, columns)
            near, far = flat - radius, flat + radius
            low, high = wz - ez, wz + ez
            bottom = math.atan2(low, near if low < 0.0 else far)
            top = math.atan2(high, far if high < 0.0 else near)
            r0 = max(int(math.ceil((bottom - lowest) / step)), 0)
            r1 = min(int(math.floor((top - lowest) / step)) + 1, rings)
        ox, oy, oz = pr.to_local(
            p, origin[0] - p.x, origin[1] - p.y, origin[2] - p.z
        )
        for k in range(count):
            a = (a0 + k) % columns
            for r in range(r0, r1):
                d = directions[a, r]
                lx, ly, lz = pr.to_local(p, d[0], d[1], d[2])
                hit = pr.hit_local(p, ox, oy, oz, lx, ly, lz)
                if hit < t[a, r] and hit < reach:
                    t[a, r], ids[a, r] = hit, n
