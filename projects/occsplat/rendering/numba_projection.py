"""Gaussians of one camera: projected, sorted by depth, put into tiles.

Shape letters: G Gaussians, S splats (the Gaussians that one camera sees),
T tiles, E entries (a splat in a tile).

Everything a camera does to a Gaussian is computed in double precision and
stored in single precision: it costs next to nothing beside the blending,
and planes of equal depth stay equal.
"""

from __future__ import annotations

import math

import numpy as np

from occsplat.kernels import njit

from . import definition
from .definition import MARGIN, REACH, SLOPE_MARGIN

#: splats, boxes and owners, see :func:`project`
Projected = tuple[np.ndarray, np.ndarray, np.ndarray]
MIN_ALPHA = np.float32(definition.MIN_ALPHA)
#: what a row of ``splats`` holds
U, V, CONIC_XX, CONIC_XY, CONIC_YY, DEPTH = range(6)


@njit(cache=True, nogil=True, error_model='numpy')
def project(
    means: np.ndarray,  # (G, 3)
    scales: np.ndarray,  # (G, 3)
    quats: np.ndarray,  # (G, 4) wxyz, or (0, 4) for none
    opacities: np.ndarray,  # (G,)
    kept: np.ndarray,  # (K,) int32, ascending: Gaussians to project
    camera: np.ndarray,  # (16,) float64: rotation, offset, fx, fy, cx, cy
    width: int,
    height: int,
    near: float,
    far: float,
    eps2d: float,
    ortho: bool,
) -> Projected:
    """The splats of some Gaussians in one camera.

    Returns:
        tuple: ``splats`` float32 (S, 6), see the constants; ``boxes``
        int32 (S, 4), the pixels x0 y0 x1 y1 they can reach; ``owners``
        int32 (S,), their Gaussians, ascending.
    """
    splats = np.empty((len(kept), 6), np.float32)
    boxes = np.empty((len(kept), 4), np.int32)
    owners = np.empty(len(kept), np.int32)
    jacobian, axes = np.empty((2, 3)), np.empty((2, 3))
    rotation = np.empty((3, 3))
    stretch_x, stretch_y = _largest_stretch(camera, width, height, ortho)
    count = 0
    for g in kept:
        x, y, z = _to_camera(camera, means[g])
        # written so that NaN fails each test
        if not (near <= z <= far):
            continue
        per_depth = 1.0 if ortho else 1.0 / z
        u = camera[12] * x * per_depth + camera[14]
        v = camera[13] * y * per_depth + camera[15]
        size = max(scales[g, 0], scales[g, 1], scales[g, 2]) * per_depth
        if _beyond(u, width, size * stretch_x, eps2d):
            continue
        if _beyond(v, height, size * stretch_y, eps2d):
            continue
        _linearise(camera, x, y, z, width, height, ortho, jacobian)
        xx, xy, yy = _spread(jacobian, scales, quats, g, rotation, axes)
        xx, yy = xx + eps2d, yy + eps2d
        determinant = xx * yy - xy * xy
        if not determinant > 0.0:
            continue
        # below this many standard deviations alpha reaches MIN_ALPHA
        reach = math.sqrt(2.0 * math.log(255.0 * opacities[g]) + 1e-6)
        reach = min(REACH, reach)
        reach_x = reach * math.sqrt(xx) + MARGIN
        reach_y = reach * math.sqrt(yy) + MARGIN
        x0 = max(math.ceil(u - reach_x - 0.5), 0.0)
        x1 = min(math.floor(u + reach_x + 0.5), float(width))
        y0 = max(math.ceil(v - reach_y - 0.5), 0.0)
        y1 = min(math.floor(v + reach_y + 0.5), float(height))
        if not (x0 < x1 and y0 < y1):
            continue
        splat, box = splats[count], boxes[count]
        splat[U], splat[V] = u, v
        splat[CONIC_XX] = yy / determinant
        splat[CONIC_XY] = -xy / determinant
        splat[CONIC_YY] = xx / determinant
        splat[DEPTH] = z
        box[0], box[1], box[2], box[3] = int(x0), int(y0), int(x1), int(y1)
        owners[count] = g
        count += 1
    return splats[:count], boxes[:count], owners[:count]


@njit(cache=True, nogil=True, error_model='numpy')
def arrange(
    splats: np.ndarray,  # (S, 6)
    boxes: np.ndarray,  # (S, 4)
    owners: np.ndarray,  # (S,) ascending
    width: int,
    height: int,
    tile_size: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sort splats by depth, then by index, and put them into tiles.

    Returns:
        tuple: the sorted ``splats``, ``boxes`` and ``owners``; ``starts``
        int64 (T + 1,), where the entries of a tile begin, row by row of
        tiles; ``entries`` int32 (E,), splats of each tile from front to
        back.
    """
    order = _order_by_depth(splats[:, DEPTH].copy())
    sorted_splats, sorted_boxes = np.empty_like(splats), np.empty_like(boxes)
    for i in range(len(order)):
        for k in range(6):
            sorted_splats[i, k] = splats[order[i], k]
        for k in range(4):
            sorted_boxes[i, k] = boxes[order[i], k]
    starts, entries = _sort_into_tiles(sorted_boxes, width, height, tile_size)
    return sorted_splats, sorted_boxes, owners[order], starts, entries


@njit(cache=True, nogil=True, error_model='numpy')
def project_backward(
    means: np.ndarray,  # (G, 3)
    scales: np.ndarray,  # (G, 3)
    quats: np.ndarray,  # (G, 4) or (0, 4)
    owners: np.ndarray,  # (S,)
    splats: np.ndarray,  # (S, 6)
    grad_splats: np.ndarray,  # (S, 6)
    camera: np.ndarray,  # (16,) float64
    width: int,
    height: int,
    ortho: bool,
    first: int,
    last: int,
    grad_means: np.ndarray,  # (G, 3) added to
    grad_scales: np.ndarray,  # (G, 3) added to
    grad_quats: np.ndarray,  # (G, 4) or (0, 4), added to
) -> None:
    """Chain rule through the projection for the splats [first, last)."""
    jacobian, axes = np.empty((2, 3)), np.empty((2, 3))
    grad_axes, grad_jacobian = np.empty((2, 3)), np.empty((2, 3))
    rotation, grad_rotation = np.empty((3, 3)), np.empty((3, 3))
    for i in range(first, last):
        g = owners[i]
        x, y, z = _to_camera(camera, means[g])
        _linearise(camera, x, y, z, width, height, ortho, jacobian)
        _turn(jacobian, quats, g, rotation, axes)
        xx, xy, yy = _conic_backward(splats[i], grad_splats[i])
        for k in range(3):
            s = float(scales[g, k])
            a, b = axes[0, k], axes[1, k]
            grad_scales[g, k] += (
                2.0 * s * (xx * a * a + xy * a * b + yy * b * b)
            )
            grad_axes[0, k] = s * s * (2.0 * xx * a + xy * b)
            grad_axes[1, k] = s * s * (2.0 * yy * b + xy * a)
        if len(quats) == 0:
            grad_jacobian[:] = grad_axes
        else:
            for a in range(3):
                for row in range(2):
                    grad_jacobian[row, a] = (
                        grad_axes[row, 0] * rotation[a, 0]
                        + grad_axes[row, 1] * rotation[a, 1]
                        + grad_axes[row, 2] * rotation[a, 2]
                    )
                for k in range(3):
                    grad_rotation[a, k] = (
                        jacobian[0, a] * grad_axes[0, k]
                        + jacobian[1, a] * grad_axes[1, k]
                    )
            _quat_backward(quats[g], grad_rotation, grad_quats[g])
        _mean_backward(
            camera,
            (x, y, z),
            width,
            height,
            ortho,
            grad_splats[i],
            grad_jacobian,
            grad_means[g],
        )


@njit(cache=True, error_model='numpy')
def _to_camera(camera: np.ndarray, mean: np.ndarray) -> tuple:
    """The centre in the camera's frame, metres."""
    x, y, z = float(mean[0]), float(mean[1]), float(mean[2])
    return (
        camera[0] * x + camera[1] * y + camera[2] * z + camera[9],
        camera[3] * x + camera[4] * y + camera[5] * z + camera[10],
        camera[6] * x + camera[7] * y + camera[8] * z + camera[11],
    )


@njit(cache=True, error_model='numpy')
def _slope_limits(focal: float, centre: float, size: float) -> tuple:
    """x/z is clamped to these in the Jacobian: the image and 15 % more."""
    margin = SLOPE_MARGIN * size / focal
    return -(centre / focal + margin), (size - centre) / focal + margin


@njit(cache=True, error_model='numpy')
def _largest_stretch(
    camera: np.ndarray, width: int, height: int, ortho: bool
) -> tuple:
    """Bounds of the Jacobian's two rows times z (without z for ortho)."""
    fx, fy = camera[12], camera[13]
    x = math.sqrt(camera[0] ** 2 + camera[1] ** 2 + camera[2] ** 2)
    y = math.sqrt(camera[3] ** 2 + camera[4] ** 2 + camera[5] ** 2)
    z = math.sqrt(camera[6] ** 2 + camera[7] ** 2 + camera[8] ** 2)
    if ortho:
        return fx * x, fy * y
    low_x, high_x = _slope_limits(fx, camera[14], width)
    low_y, high_y = _slope_limits(fy, camera[15], height)
    return (
        fx * (x + max(abs(low_x), abs(high_x)) * z),
        fy * (y + max(abs(low_y), abs(high_y)) * z),
    )


@njit(cache=True, error_model='numpy')
def _beyond(centre: float, size: int, spread: float, eps2d: float) -> bool:
    """Whether a splat ends before the image begins, whatever its shape."""
    outside = max(-centre, centre - size) - MARGIN
    limit = REACH * REACH * (spread * spread + eps2d)
    return outside > 0.0 and outside * outside > limit


@njit(cache=True, error_model='numpy')
def _linearise(
    camera: np.ndarray,
    x: float,
    y: float,
    z: float,
    width: int,
    height: int,
    ortho: bool,
    jacobian: np.ndarray,  # (2, 3) written: d pixels / d world
) -> tuple:
    """Pixel of a point, and the projection's Jacobian there.

    The Jacobian, not the pixel, uses slopes clamped to slightly more than
    the field of view: the linearisation (Zwicker et al., EWA splatting,
    2001) explodes towards the sides.
    """
    fx, fy = camera[12], camera[13]
    if ortho:
        for k in range(3):
            jacobian[0, k] = fx * camera[k]
            jacobian[1, k] = fy * camera[3 + k]
        return fx * x + camera[14], fy * y + camera[15]
    low_x, high_x = _slope_limits(fx, camera[14], width)
    low_y, high_y = _slope_limits(fy, camera[15], height)
    slope_x = min(max(x / z, low_x), high_x)
    slope_y = min(max(y / z, low_y), high_y)
    for k in range(3):
        jacobian[0, k] = fx / z * (camera[k] - slope_x * camera[6 + k])
        jacobian[1, k] = fy / z * (camera[3 + k] - slope_y * camera[6 + k])
    return fx * x / z + camera[14], fy * y / z + camera[15]


@njit(cache=True, error_model='numpy')
def _turn(
    jacobian: np.ndarray,  # (2, 3)
    quats: np.ndarray,  # (G, 4) or (0, 4)
    g: int,
    rotation: np.ndarray,  # (3, 3) written, if there are quats
    axes: np.ndarray,  # (2, 3) written
) -> None:
    """The Gaussian's axes in the image: Jacobian times its rotation."""
    if len(quats) == 0:
        axes[:] = jacobian
        return
    w, x, y, z = _unit(quats[g])
    rotation[0, 0] = 1.0 - 2.0 * (y * y + z * z)
    rotation[0, 1] = 2.0 * (x * y - w * z)
    rotation[0, 2] = 2.0 * (x * z + w * y)
    rotation[1, 0] = 2.0 * (x * y + w * z)
    rotation[1, 1] = 1.0 - 2.0 * (x * x + z * z)
    rotation[1, 2] = 2.0 * (y * z - w * x)
    rotation[2, 0] = 2.0 * (x * z - w * y)
    rotation[2, 1] = 2.0 * (y * z + w * x)
    rotation[2, 2] = 1.0 - 2.0 * (x * x + y * y)
    for row in range(2):
        for k in range(3):
            axes[row, k] = (
                jacobian[row, 0] * rotation[0, k]
                + jacobian[row, 1] * rotation[1, k]
                + jacobian[row, 2] * rotation[2, k]
            )


@njit(cache=True, error_model='numpy')
def _unit(quat: np.ndarray) -> tuple:
    w, x, y, z = float(quat[0]), float(quat[1]), float(quat[2]), float(quat[3])
    norm = max(math.sqrt(w * w + x * x + y * y + z * z), 1e-12)
    return w / norm, x / norm, y / norm, z / norm


@njit(cache=True, error_model='numpy')
def _spread(
    jacobian: np.ndarray,  # (2, 3)
    scales: np.ndarray,  # (G, 3)
    quats: np.ndarray,  # (G, 4) or (0, 4)
    g: int,
    rotation: np.ndarray,  # (3, 3) scratch
    axes: np.ndarray,  # (2, 3) scratch
) -> tuple:
    """2D covariance before the blur: xx, xy, yy in square pixels."""
    a, b, c = float(scales[g, 0]), float(scales[g, 1]), float(scales[g, 2])
    xx = xy = yy = 0.0
    if a == b and b == c:
        # isotropic: a rotation changes nothing, J S J^T = a^2 J J^T
        for k in range(3):
            xx += jacobian[0, k] * jacobian[0, k]
            xy += jacobian[0, k] * jacobian[1, k]
            yy += jacobian[1, k] * jacobian[1, k]
        return a * a * xx, a * a * xy, a * a * yy
    _turn(jacobian, quats, g, rotation, axes)
    for k in range(3):
        variance = float(scales[g, k]) * float(scales[g, k])
        xx += variance * axes[0, k] * axes[0, k]
        xy += variance * axes[0, k] * axes[1, k]
        yy += variance * axes[1, k] * axes[1, k]
    return xx, xy, yy


@njit(cache=True, error_model='numpy')
def _conic_backward(splat: np.ndarray, grad: np.ndarray) -> tuple:
    """d(inverse) -> d(covariance): -X dX X, with the xy term doubled."""
    a, b, c = (
        float(splat[CONIC_XX]),
        float(splat[CONIC_XY]),
        float(splat[CONIC_YY]),
    )
    ga, gb, gc = (
        float(grad[CONIC_XX]),
        0.5 * float(grad[CONIC_XY]),
        float(grad[CONIC_YY]),
    )
    left_a, left_b = a * ga + b * gb, a * gb + b * gc
    right_a, right_b = b * ga + c * gb, b * gb + c * gc
    return (
        -(left_a * a + left_b * b),
        -2.0 * (left_a * b + left_b * c),
        -(right_a * b + right_b * c),
    )


@njit(cache=True, error_model='numpy')
def _quat_backward(
    quat: np.ndarray,  # (4,)
    grad: np.ndarray,  # (3, 3) of the rotation matrix
    out: np.ndarray,  # (4,) added to
) -> None:
    w, x, y, z = _unit(quat)
    skew_x = grad[2, 1] - grad[1, 2]
    skew_y = grad[0, 2] - grad[2, 0]
    skew_z = grad[1, 0] - grad[0, 1]
    both_xy = grad[0, 1] + grad[1, 0]
    both_xz = grad[0, 2] + grad[2, 0]
    both_yz = grad[1, 2] + grad[2, 1]
    gw = 2.0 * (x * skew_x + y * skew_y + z * skew_z)
    gx = 2.0 * (w * skew_x + y * both_xy + z * both_xz)
    gx -= 4.0 * x * (grad[1, 1] + grad[2, 2])
    gy = 2.0 * (w * skew_y + x * both_xy + z * both_yz)
    gy -= 4.0 * y * (grad[0, 0] + grad[2, 2])
    gz = 2.0 * (w * skew_z + x * both_xz + y * both_yz)
    gz -= 4.0 * z * (grad[0, 0] + grad[1, 1])
    # only what is tangent to the unit sphere survives the normalisation
    along = gw * w + gx * x + gy * y + gz * z
    norm = 0.0
    for k in range(4):
        norm += float(quat[k]) * float(quat[k])
    norm = max(math.sqrt(norm), 1e-12)
    out[0] += (gw - along * w) / norm
    out[1] += (gx - along * x) / norm
    out[2] += (gy - along * y) / norm
    out[3] += (gz - along * z) / norm


@njit(cache=True, error_model='numpy')
def _mean_backward(
    camera: np.ndarray,
    point: tuple,
    width: int,
    height: int,
    ortho: bool,
    grad_splat: np.ndarray,  # (6,)
    grad_jacobian: np.ndarray,  # (2, 3)
    out: np.ndarray,  # (3,) added to
) -> None:
    fx, fy = camera[12], camera[13]
    gu, gv = float(grad_splat[U]), float(grad_splat[V])
    gz = float(grad_splat[DEPTH])
    if ortho:
        gx, gy = gu * fx, gv * fy
    else:
        x, y, z = point
        # the camera's rows against the gradient of the Jacobian's rows
        along_x = along_y = depth_x = depth_y = 0.0
        for k in range(3):
            along_x += grad_jacobian[0, k] * camera[k]
            along_y += grad_jacobian[1, k] * camera[3 + k]
            depth_x += grad_jacobian[0, k] * camera[6 + k]
            depth_y += grad_jacobian[1, k] * camera[6 + k]
        low_x, high_x = _slope_limits(fx, camera[14], width)
        low_y, high_y = _slope_limits(fy, camera[15], height)
        slope_x = min(max(x / z, low_x), high_x)
        slope_y = min(max(y / z, low_y), high_y)
        gx, gy = gu * fx / z, gv * fy / z
        if low_x <= x / z <= high_x:
            gx -= fx / (z * z) * depth_x
        if low_y <= y / z <= high_y:
            gy -= fy / (z * z) * depth_y
        gz -= (x * gx + y * gy) / z
        gz -= fx / (z * z) * (along_x - slope_x * depth_x)
        gz -= fy / (z * z) * (along_y - slope_y * depth_y)
    for k in range(3):
        out[k] += gx * camera[k] + gy * camera[3 + k] + gz * camera[6 + k]


@njit(cache=True, error_model='numpy')
def _order_by_depth(depths: np.ndarray) -> np.ndarray:
    """Stable argsort of positive float32, whose bits sort like integers."""
    keys = depths.view(np.uint32)
    order = np.arange(len(keys))
    other = np.empty_like(order)
    counts = np.empty(2049, np.int64)
    for shift in (0, 11, 22):
        counts[:] = 0
        for key in keys:
            counts[((key >> np.uint32(shift)) & 2047) + 1] += 1
        for digit in range(2048):
            counts[digit + 1] += counts[digit]
        for i in order:
            digit = (keys[i] >> np.uint32(shift)) & 2047
            other[counts[digit]] = i
            counts[digit] += 1
        order, other = other, order
    return order


@njit(cache=True, error_model='numpy')
def _sort_into_tiles(
    boxes: np.ndarray,  # (S, 4)
    width: int,
    height: int,
    tile_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Counting sort of the splats into tiles; a tile keeps their order."""
    across = (width + tile_size - 1) // tile_size
    down = (height + tile_size - 1) // tile_size
    starts = np.zeros(across * down + 1, np.int64)
    for box in boxes:
        x0, x1 = box[0] // tile_size, (box[2] - 1) // tile_size + 1
        y0, y1 = box[1] // tile_size, (box[3] - 1) // tile_size + 1
        for row in range(y0, y1):
            for column in range(x0, x1):
                starts[row * across + column + 1] += 1
    for tile in range(across * down):
        starts[tile + 1] += starts[tile]
    entries = np.empty(starts[-1], np.int32)
    fill = starts[:-1].copy()
    for i in range(len(boxes)):
        box = boxes[i]
        x0, x1 = box[0] // tile_size, (box[2] - 1) // tile_size + 1
        y0, y1 = box[1] // tile_size, (box[3] - 1) // tile_size + 1
        for row in range(y0, y1):
            for column in range(x0, x1):
                tile = row * across + column
                entries[fill[tile]] = i
                fill[tile] += 1
    return starts, entries
