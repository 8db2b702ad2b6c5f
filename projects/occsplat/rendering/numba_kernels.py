"""The numba renderer's loops: one tile of one camera at a time.

Everything is float32 and every sum has a fixed order, so that images and
gradients do not depend on the number of threads, bit for bit. Helpers
and constants stand at module level: a closure over another compiled
function defeats numba's cache on disk.

Shape letters: N cameras, G Gaussians, M visible pairs (sorted by camera,
depth and index), E (tile, pair) entries, C channels (depth comes last).
"""

from __future__ import annotations

import numba
import numpy as np

TILE = 16  # pixels along each edge of a tile
#: partial gradient buffers; fixed, so that sums keep their order
CHUNKS = 8

_HALF = np.float32(0.5)
_ZERO = np.float32(0)
_ONE = np.float32(1)
_MIN_ALPHA = np.float32(1.0 / 255.0)
_MIN_PASSED = np.float32(1e-4)
# contraction and reassociation within one expression; NaN and infinity
# keep their meaning
_MATH = {'contract', 'arcp', 'nsz'}
_OPTIONS = dict(
    cache=True, nogil=True, error_model='numpy', fastmath=_MATH
)


@numba.njit(**_OPTIONS)
def tile_ranges(means2d, radii, tiles_x, tiles_y):
    """Tiles that each splat touches, int32 (M, 4): x0, y0, x1, y1."""
    bounds = np.empty((len(means2d), 4), np.int32)
    for m in range(len(means2d)):
        for axis in range(2):
            limit = tiles_x if axis == 0 else tiles_y
            low = (means2d[m, axis] - radii[m, axis]) / TILE
            high = (means2d[m, axis] + radii[m, axis]) / TILE
            bounds[m, axis] = min(max(int(np.floor(low)), 0), limit)
            bounds[m, axis + 2] = min(max(int(np.ceil(high)), 0), limit)
    return bounds


@numba.njit(**_OPTIONS)
def bin_splats(bounds, camera, num_tiles, tiles_x, tiles_y):
    """Stable counting scatter of splats into tiles.

    Splats come sorted by depth, so every tile's list is sorted, too.

    Returns:
        tuple: start of each tile's list (tiles + 1,), and the lists of
        splat ids, one after another (E,).
    """
    per_camera = tiles_x * tiles_y
    start = np.zeros(num_tiles + 1, np.int64)
    for m in range(len(bounds)):
        base = camera[m] * per_camera
        for ty in range(bounds[m, 1], bounds[m, 3]):
            for tx in range(bounds[m, 0], bounds[m, 2]):
                start[base + ty * tiles_x + tx + 1] += 1
    for t in range(num_tiles):
        start[t + 1] += start[t]
    fill = start[:-1].copy()
    entries = np.empty(start[-1], np.int32)
    for m in range(len(bounds)):
        base = camera[m] * per_camera
        for ty in range(bounds[m, 1], bounds[m, 3]):
            for tx in range(bounds[m, 0], bounds[m, 2]):
                tile = base + ty * tiles_x + tx
                entries[fill[tile]] = m
                fill[tile] += 1
    return start, entries


@numba.njit(**_OPTIONS)
def _alpha(x, y, m, means2d, conics, opacity, limit, max_alpha):
    """alpha and exp(-sigma) of splat m at (x, y); (0, 0) if it is out.

    ``limit`` is the sigma at which alpha falls to 1/255 (a little above,
    so that the exact test decides): most pairs end here without an exp.
    """
    dx = means2d[m, 0] - x
    dy = means2d[m, 1] - y
    sigma = (
        _HALF * (conics[m, 0] * dx * dx + conics[m, 2] * dy * dy)
        + conics[m, 1] * dx * dy
    )
    if sigma < _ZERO or sigma > limit:
        return _ZERO, _ZERO
    visible = np.exp(-sigma)
    alpha = min(max_alpha, opacity * visible)
    if alpha < _MIN_ALPHA:
        return _ZERO, _ZERO
    return alpha, visible


@numba.njit(parallel=True, **_OPTIONS)
def render_forward(
    means2d,
    conics,
    opacity,
    limit,
    rows,
    channels,
    depths,
    background,
    start,
    entries,
    tiles_x,
    tiles_y,
    max_alpha,
    image,
    passed,
    last,
):
    """Composite every pixel front to back.

    Fills image (N, H, W, C), the light that passes (N, H, W), and the
    position in the tile's list behind the last splat that counted.
    """
    height, width, count = image.shape[1:]
    for tile in numba.prange(len(start) - 1):
        n = tile // (tiles_x * tiles_y)
        top = (tile // tiles_x % tiles_y) * TILE
        left = (tile % tiles_x) * TILE
        for i in range(top, min(top + TILE, height)):
            for j in range(left, min(left + TILE, width)):
                x, y = np.float32(j) + _HALF, np.float32(i) + _HALF
                light = _ONE
                end = start[tile]
                pixel = image[n, i, j]
                for e in range(start[tile], start[tile + 1]):
                    m = entries[e]
                    alpha, _ = _alpha(
                        x, y, m, means2d, conics, opacity[m], limit[m],
                        max_alpha,
                    )  # fmt: skip
                    if alpha == _ZERO:
                        continue
                    left_over = light * (_ONE - alpha)
                    if left_over <= _MIN_PASSED:
                        break
                    weight = alpha * light
                    g = rows[m]
                    for c in range(count - 1):
                        pixel[c] += weight * channels[g, c]
                    pixel[count - 1] += weight * depths[m]
                    light = left_over
                    end = e + 1
                for c in range(count - 1):
                    pixel[c] += light * background[c]
                passed[n, i, j] = light
                last[n, i, j] = end


@numba.njit(parallel=True, **_OPTIONS)
def render_backward(
    means2d,
    conics,
    opacity,
    limit,
    rows,
    channels,
    depths,
    background,
    start,
    entries,
    tiles_x,
    tiles_y,
    max_alpha,
    passed,
    last,
    grad_image,
    grad_alpha,
    grad_geometry,
    grad_features,
):
    """Gradients, back to front, with a scalar suffix buffer.

    With v the pixel's gradient and c_i the channels of splat i, the loss
    moves with alpha_i by T_i (c_i . v) - S_i / (1 - alpha_i), S_i the
    weighted sum of (c_j . v) over all splats behind i and of the
    background. Only the scalar S has to be carried, not C of them.

    Fills, per chunk of tiles, grad_geometry (CHUNKS, M, 7): mean2d x y,
    conic a b c, opacity, depth; and grad_features (CHUNKS, G, C - 1).
    """
    height, width, count = grad_image.shape[1:]
    num_tiles = len(start) - 1
    for chunk in numba.prange(CHUNKS):
        geometry, features = grad_geometry[chunk], grad_features[chunk]
        first = num_tiles * chunk // CHUNKS
        for tile in range(first, num_tiles * (chunk + 1) // CHUNKS):
            n = tile // (tiles_x * tiles_y)
            top = (tile // tiles_x % tiles_y) * TILE
            left = (tile % tiles_x) * TILE
            for i in range(top, min(top + TILE, height)):
                for j in range(left, min(left + TILE, width)):
                    x, y = np.float32(j) + _HALF, np.float32(i) + _HALF
                    v = grad_image[n, i, j]
                    final = passed[n, i, j]
                    light = final
                    # what passes shows the background and lowers alpha
                    suffix = -final * grad_alpha[n, i, j]
                    for c in range(count - 1):
                        suffix += final * background[c] * v[c]
                    for e in range(last[n, i, j] - 1, start[tile] - 1, -1):
                        m = entries[e]
                        alpha, visible = _alpha(
                            x, y, m, means2d, conics, opacity[m], limit[m],
                            max_alpha,
                        )  # fmt: skip
                        if alpha == _ZERO:
                            continue
                        rest = _ONE / (_ONE - alpha)
                        light *= rest
                        weight = alpha * light
                        g = rows[m]
                        dot = depths[m] * v[count - 1]
                        for c in range(count - 1):
                            dot += channels[g, c] * v[c]
                            features[g, c] += weight * v[c]
                        geometry[m, 6] += weight * v[count - 1]
                        v_alpha = light * dot - suffix * rest
                        suffix += weight * dot
                        if opacity[m] * visible > max_alpha:
                            continue  # alpha is clamped: no slope
                        geometry[m, 5] += visible * v_alpha
                        v_sigma = -opacity[m] * visible * v_alpha
                        dx = means2d[m, 0] - x
                        dy = means2d[m, 1] - y
                        a, b, d = conics[m, 0], conics[m, 1], conics[m, 2]
                        geometry[m, 0] += v_sigma * (a * dx + b * dy)
                        geometry[m, 1] += v_sigma * (b * dx + d * dy)
                        geometry[m, 2] += v_sigma * _HALF * dx * dx
                        geometry[m, 3] += v_sigma * dx * dy
                        geometry[m, 4] += v_sigma * _HALF * dy * dy
