"""Tiles of splats blended into pixels, and the gradient of that.

Shape letters: S splats, T tiles, E entries (a splat in a tile), U used
entries (in front of the point where a tile is opaque), H W pixels,
C channels, L lanes (C and the depth, rounded up).

The functions here run one part of a camera's tiles without the GIL. Tiles
do not share anything they write, so the result is the same however they
are distributed.
"""

from __future__ import annotations

import numba
import numpy as np

from .numba_projection import (
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    DEPTH,
    MIN_ALPHA,
    OPACITY,
    TILE,
    U,
    V,
)

#: a pixel is opaque before its transmittance falls to this
MIN_LEFT = np.float32(1e-4)
#: sums may be reordered, but NaN and infinity keep their meaning
FAST = {'contract', 'reassoc', 'arcp', 'nsz'}
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
LOG2_E = np.float32(1.4426950408889634)
#: exp(-40) is far below what alpha can tell from 0
MAX_SIGMA = np.float32(40)
#: ln(2)^k / k!: the series of 2^f for |f| <= 1/2, within 1e-7
EXP2 = tuple(
    np.float32(c)
    for c in (
        1.0,
        6.931471805599453e-1,
        2.402265069591007e-1,
        5.550410866482158e-2,
        9.618129107628477e-3,
        1.333355814642844e-3,
        1.540353039338161e-4,
    )
)


@numba.njit(fastmath=FAST, error_model='numpy')
def _exp_minus(x: np.float32) -> np.float32:
    """exp(-x) in arithmetic that vectorises (a call to expf would not)."""
    t = x * -LOG2_E
    whole = np.floor(t + HALF)
    f = t - whole
    p = EXP2[6]
    p = p * f + EXP2[5]
    p = p * f + EXP2[4]
    p = p * f + EXP2[3]
    p = p * f + EXP2[2]
    p = p * f + EXP2[1]
    p = p * f + EXP2[0]
    exponent = (np.int32(whole) + np.int32(127)) << np.int32(23)
    return p * np.int32(exponent).view(np.float32)


@numba.njit(fastmath=FAST, error_model='numpy')
def _visibility_row(
    splat: np.ndarray,  # (7,)
    x: int,
    y: int,
    row: np.ndarray,  # (TILE,) written
) -> np.float32:
    """exp(-sigma) at the pixels (x, y), (x + 1, y), ...; returns dy."""
    dy = splat[V] - (np.float32(y) + HALF)
    first = splat[U] - (np.float32(x) + HALF)
    half_xx = HALF * splat[CONIC_XX]
    slope = splat[CONIC_XY] * dy
    constant = HALF * splat[CONIC_YY] * dy * dy
    for j in range(TILE):
        dx = first - np.float32(j)
        sigma = half_xx * dx * dx + slope * dx + constant
        row[j] = _exp_minus(min(sigma, MAX_SIGMA))
    return dy


@numba.njit(fastmath=FAST, error_model='numpy')
def _add_scaled(
    sums: np.ndarray,  # (L,) added to
    scale: np.float32,
    values: np.ndarray,  # (L,)
) -> None:
    """sums += scale * values.

    With a length that the compiler does not know it vectorises the loop
    behind a test for overlap. It would unroll a known length instead, and
    for fear of overlap add one by one.
    """
    for c in range(len(values)):
        sums[c] += scale * values[c]


@numba.njit
def _lanes(channels: int) -> int:
    """Channels and depth, rounded up to a vector register."""
    return (channels + 8) // 8 * 8


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model='numpy')
def blend_tiles(
    splats: np.ndarray,  # (S, 7) front to back
    boxes: np.ndarray,  # (S, 4)
    owners: np.ndarray,  # (S,)
    starts: np.ndarray,  # (T + 1,)
    entries: np.ndarray,  # (E,)
    features: np.ndarray,  # (G, C), or (0, C) when there are labels
    labels: np.ndarray,  # (G,) int64 channels, or (0,)
    background: np.ndarray,  # (C,)
    max_alpha: np.float32,
    part: int,
    parts: int,
    image: np.ndarray,  # (H, W, C) written
    depth: np.ndarray,  # (H, W) written
    left: np.ndarray,  # (H, W) written: transmittance behind everything
    last: np.ndarray,  # (H, W) written: entries of the tile up to the last
    used: np.ndarray,  # (T,) written: the largest ``last`` of a tile
) -> None:
    """Front-to-back blending of the tiles part, part + parts, ..."""
    height, width, channels = image.shape
    across = (width + TILE - 1) // TILE
    size = _lanes(channels)
    sums = np.empty((TILE * TILE, size), np.float32)
    through = np.empty(TILE * TILE, np.float32)
    closed = np.empty(TILE * TILE, np.bool_)
    final = np.empty(TILE * TILE, np.int32)
    row = np.empty(TILE, np.float32)
    value = np.zeros(size, np.float32)
    for tile in range(part, len(used), parts):
        x0, y0 = tile % across * TILE, tile // across * TILE
        x1, y1 = min(x0 + TILE, width), min(y0 + TILE, height)
        sums[:] = ZERO
        through[:] = ONE
        closed[:] = False
        final[:] = 0
        open_pixels = (x1 - x0) * (y1 - y0)
        begin, end = starts[tile], starts[tile + 1]
        for e in range(begin, end):
            if open_pixels == 0:
                break
            i = entries[e]
            splat, box = splats[i], boxes[i]
            opacity, splat_depth = splat[OPACITY], splat[DEPTH]
            label = -1
            if len(labels):
                label = labels[owners[i]]
            else:
                for c in range(channels):
                    value[c] = features[owners[i], c]
                value[channels] = splat_depth
            left_x, right_x = max(x0, box[0]), min(x1, box[2])
            for y in range(max(y0, box[1]), min(y1, box[3])):
                _visibility_row(splat, x0, y, row)
                for x in range(left_x, right_x):
                    alpha = min(max_alpha, opacity * row[x - x0])
                    p = (y - y0) * TILE + x - x0
                    if alpha < MIN_ALPHA or closed[p]:
                        continue
                    behind = through[p] * (ONE - alpha)
                    if behind <= MIN_LEFT:
                        closed[p] = True
                        open_pixels -= 1
                        continue
                    weight = alpha * through[p]
                    through[p] = behind
                    final[p] = e - begin + 1
                    if label >= 0:
                        sums[p, label] += weight
                        sums[p, channels] += weight * splat_depth
                    else:
                        _add_scaled(sums[p], weight, value)
        deepest = 0
        for y in range(y0, y1):
            for x in range(x0, x1):
                p = (y - y0) * TILE + x - x0
                for c in range(channels):
                    image[y, x, c] = sums[p, c] + through[p] * background[c]
                depth[y, x] = sums[p, channels]
                left[y, x] = through[p]
                last[y, x] = final[p]
                deepest = max(deepest, final[p])
        used[tile] = deepest


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model='numpy')
def blend_tiles_backward(
    splats: np.ndarray,  # (S, 7)
    boxes: np.ndarray,  # (S, 4)
    owners: np.ndarray,  # (S,)
    starts: np.ndarray,  # (T + 1,)
    entries: np.ndarray,  # (E,)
    features: np.ndarray,  # (G, C)
    background: np.ndarray,  # (C,)
    max_alpha: np.float32,
    part: int,
    parts: int,
    left: np.ndarray,  # (H, W)
    last: np.ndarray,  # (H, W)
    row_starts: np.ndarray,  # (T + 1,) where the rows of a tile begin
    grad_image: np.ndarray,  # (H, W, C)
    grad_depth: np.ndarray,  # (H, W)
    grad_alpha: np.ndarray,  # (H, W)
    rows: np.ndarray,  # (U, 7 + C) written
) -> None:
    """What each used entry contributes to the gradient.

    With the weight w_i = alpha_i T_i, the loss gradient v of a pixel and
    everything behind splat i summed up in the scalar
    S_i = sum_{j > i} w_j (c_j . v) + T_end (background . v - v_alpha):

        dL/dc_i = w_i v
        dL/dalpha_i = T_i (c_i . v) - S_i / (1 - alpha_i)

    A row holds the gradient of the splat's 7 numbers, then of its
    features.
    """
    height, width, channels = grad_image.shape
    across = (width + TILE - 1) // TILE
    size = _lanes(channels)
    cotangent = np.zeros((TILE * TILE, size), np.float32)
    through = np.empty(TILE * TILE, np.float32)
    behind = np.empty(TILE * TILE, np.float32)
    row = np.empty(TILE, np.float32)
    value = np.zeros(size, np.float32)
    total = np.empty(size, np.float32)
    for tile in range(part, len(starts) - 1, parts):
        used = row_starts[tile + 1] - row_starts[tile]
        if used == 0:
            continue
        x0, y0 = tile % across * TILE, tile // across * TILE
        x1, y1 = min(x0 + TILE, width), min(y0 + TILE, height)
        for y in range(y0, y1):
            for x in range(x0, x1):
                p = (y - y0) * TILE + x - x0
                dot = -grad_alpha[y, x]
                for c in range(channels):
                    cotangent[p, c] = grad_image[y, x, c]
                    dot += background[c] * grad_image[y, x, c]
                cotangent[p, channels] = grad_depth[y, x]
                through[p] = left[y, x]
                behind[p] = left[y, x] * dot
        for k in range(used - 1, -1, -1):
            i = entries[starts[tile] + k]
            splat, box = splats[i], boxes[i]
            opacity = splat[OPACITY]
            for c in range(channels):
                value[c] = features[owners[i], c]
            value[channels] = splat[DEPTH]
            total[:] = ZERO
            g_u = g_v = g_xx = g_xy = g_yy = g_opacity = ZERO
            left_x, right_x = max(x0, box[0]), min(x1, box[2])
            for y in range(max(y0, box[1]), min(y1, box[3])):
                dy = _visibility_row(splat, x0, y, row)
                for x in range(left_x, right_x):
                    visible = row[x - x0]
                    alpha = min(max_alpha, opacity * visible)
                    if alpha < MIN_ALPHA or k >= last[y, x]:
                        continue
                    p = (y - y0) * TILE + x - x0
                    front = ONE / (ONE - alpha)
                    through[p] *= front
                    weight = alpha * through[p]
                    dot = ZERO
                    for c in range(size):
                        dot += value[c] * cotangent[p, c]
                    _add_scaled(total, weight, cotangent[p])
                    g_alpha = through[p] * dot - front * behind[p]
                    behind[p] += weight * dot
                    if opacity * visible > max_alpha:
                        continue
                    g_opacity += visible * g_alpha
                    g_sigma = -opacity * visible * g_alpha
                    dx = splat[U] - (np.float32(x) + HALF)
                    g_u += g_sigma * dx
                    g_v += g_sigma * dy
                    g_xx += g_sigma * dx * dx
                    g_xy += g_sigma * dx * dy
                    g_yy += g_sigma * dy * dy
            out = rows[row_starts[tile] + k]
            # d sigma / d(u, v) is the conic times (dx, dy)
            out[U] = splat[CONIC_XX] * g_u + splat[CONIC_XY] * g_v
            out[V] = splat[CONIC_XY] * g_u + splat[CONIC_YY] * g_v
            out[CONIC_XX] = HALF * g_xx
            out[CONIC_XY] = g_xy
            out[CONIC_YY] = HALF * g_yy
            out[OPACITY] = g_opacity
            out[DEPTH] = total[channels]
            for c in range(channels):
                out[7 + c] = total[c]


@numba.njit(cache=True, nogil=True, error_model='numpy')
def gather_rows(
    owners: np.ndarray,  # (S,)
    starts: np.ndarray,  # (T + 1,)
    entries: np.ndarray,  # (E,)
    row_starts: np.ndarray,  # (T + 1,)
    rows: np.ndarray,  # (U, 7 + C)
    first: int,
    last: int,
    grad_splats: np.ndarray,  # (S, 7) added to
    grad_opacities: np.ndarray,  # (G,) added to
    grad_features: np.ndarray,  # (G, C) added to
) -> None:
    """Add up the rows of the Gaussians [first, last), in a fixed order."""
    channels = grad_features.shape[1]
    for tile in range(len(starts) - 1):
        begin = row_starts[tile]
        for k in range(row_starts[tile + 1] - begin):
            i = entries[starts[tile] + k]
            g = owners[i]
            if g < first or g >= last:
                continue
            row = rows[begin + k]
            for c in range(7):
                grad_splats[i, c] += row[c]
            grad_opacities[g] += row[OPACITY]
            for c in range(channels):
                grad_features[g, c] += row[7 + c]
