"""Splats blended into pixels, and the gradient of that.

Shape letters: S splats, T tiles, E entries (a splat in a tile), A active
splats (those that reach a block of pixels), P pixels of a block, M slots
(a splat in a column of blocks), H W pixels, K classes, C channels.

Pixels are handled in blocks of BLOCK_WIDTH x BLOCK_HEIGHT; a block is one
vector. First comes the recurrence along the block's splats that yields the
weights w_i = alpha_i T_i (:func:`_weigh`). The rest are products of small
matrices: weights and features in the forward pass, features and loss
gradients, then weights and loss gradients in the backward pass.

The functions here run some columns of blocks without the GIL. One thread
walks a column from top to bottom, adds up what the column contributes to a
splat in the splat's slot, and shares nothing that it writes: neither the
number of threads nor the size of the tiles changes a bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from occsplat.kernels import njit

from . import definition
from .numba_projection import (
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    DEPTH,
    MIN_ALPHA,
    U,
    V,
)
from .simd import (
    broadcast,
    broadcast_from,
    exp_minus,
    highest,
    load,
    store,
    where_at_least,
    where_greater,
)

BLOCK_WIDTH, BLOCK_HEIGHT = 8, 4
#: pixels of a block
BLOCK = BLOCK_WIDTH * BLOCK_HEIGHT
#: channels of a vector: columns of a product that are computed at once
GROUP = 16
MIN_LEFT = np.float32(definition.MIN_LEFT)
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
#: splats after which a block is tested for being opaque
PATIENCE = 8
#: the middle of a block from its corner, and pixel centres from there
MIDDLE_X, MIDDLE_Y = np.float32(BLOCK_WIDTH / 2), np.float32(BLOCK_HEIGHT / 2)
CENTRES_Y, CENTRES_X = np.mgrid[
    0.5 - MIDDLE_Y : MIDDLE_Y, 0.5 - MIDDLE_X : MIDDLE_X
].reshape(2, BLOCK).astype(np.float32)  # fmt: skip
#: what the gradient of a splat's shape sums over a block: 1, x, y, x2, xy, y2
SHAPE_TERMS = np.zeros((BLOCK, GROUP), np.float32)
SHAPE_TERMS[:, :6] = np.stack(
    (
        np.ones_like(CENTRES_X), CENTRES_X, CENTRES_Y,
        CENTRES_X**2, CENTRES_X * CENTRES_Y, CENTRES_Y**2,
    ),
    axis=1,
)  # fmt: skip


def slot_size(channels: int) -> int:
    """Numbers in a slot: shape terms, features and depth, rounded up."""
    return GROUP + -(-(channels + 1) // GROUP) * GROUP


class TiledSplats(NamedTuple):
    """One camera's splats, sorted and put into tiles, see arrange."""

    splats: np.ndarray  # (S, 6) float32, front to back
    boxes: np.ndarray  # (S, 4) int32
    owners: np.ndarray  # (S,) int32: their Gaussians
    starts: np.ndarray  # (T + 1,) int64
    entries: np.ndarray  # (E,) int32
    first_slots: np.ndarray  # (S,) int64, the slot in column c is this + c
    num_slots: int  # M


class Scratch(NamedTuple):
    """What a block knows about its active splats."""

    active: np.ndarray  # (A,) int32
    visible: np.ndarray  # (A, P): exp(-sigma), later its dL/dalpha
    through: np.ndarray  # (A, P): T in front of a splat
    weights: np.ndarray  # (A, P): alpha T, or 0
    dots: np.ndarray  # (A, P): feature . loss gradient
    products: np.ndarray  # (A, N * GROUP)


@njit(error_model='numpy')
def _scratch(starts: np.ndarray, columns: int) -> Scratch:
    """Room for the longest list of a tile; sizes rounded up by a block."""
    size = 4
    for tile in range(len(starts) - 1):
        size = max(size, starts[tile + 1] - starts[tile] + 4)
    return Scratch(
        np.empty(size, np.int32),
        np.empty((size, BLOCK), np.float32),
        np.empty((size, BLOCK), np.float32),
        np.empty((size, BLOCK), np.float32),
        np.empty((size, BLOCK), np.float32),
        np.empty((size, columns), np.float32),
    )


@njit(error_model='numpy')
def _select(
    tiled: TiledSplats,
    begin: int,
    end: int,
    x: int,
    y: int,
    active: np.ndarray,
) -> int:
    """Splats among a tile's entries that reach a block, front to back."""
    count = 0
    for e in range(begin, end):
        i = tiled.entries[e]
        box = tiled.boxes[i]
        active[count] = i
        # added up, not branched on: no processor could guess
        count += (
            (box[0] < x + BLOCK_WIDTH)
            & (box[2] > x)
            & (box[1] < y + BLOCK_HEIGHT)
            & (box[3] > y)
        )
    return count


@njit(error_model='numpy')
def _weigh(
    tiled: TiledSplats,
    opacities: np.ndarray,  # (S,)
    max_alpha: np.float32,
    tile_size: int,
    tiles_across: int,
    x: int,
    y: int,
    keep: bool,
    scratch: Scratch,
) -> tuple:
    """Blend a block front to back.

    Fills the scratch's active splats and weights; with ``keep`` also what
    the backward pass needs. Returns the number of active splats, T behind
    the last of them, the depth, and the depth where T falls to a half.
    """
    tile = y // tile_size * tiles_across + x // tile_size
    begin, end = tiled.starts[tile], tiled.starts[tile + 1]
    count = _select(tiled, begin, end, x, y, scratch.active)
    zero, one = broadcast(ZERO, BLOCK), broadcast(ONE, BLOCK)
    min_alpha = broadcast(MIN_ALPHA, BLOCK)
    min_left = broadcast(MIN_LEFT, BLOCK)
    largest = broadcast(max_alpha, BLOCK)
    centres_x = load(CENTRES_X, 0, BLOCK)
    centres_y = load(CENTRES_Y, 0, BLOCK)
    half = broadcast(HALF, BLOCK)
    through, left, depth, hit = one, one, zero, zero
    for s in range(count):
        i = scratch.active[s]
        splat = tiled.splats[i]
        dx = centres_x - (splat[U] - (np.float32(x) + MIDDLE_X))
        dy = centres_y - (splat[V] - (np.float32(y) + MIDDLE_Y))
        sigma = dx * dx * (HALF * splat[CONIC_XX])
        sigma = sigma + dx * dy * splat[CONIC_XY]
        sigma = sigma + dy * dy * (HALF * splat[CONIC_YY])
        visible = exp_minus(sigma)
        alpha = visible * opacities[i]
        alpha = where_greater(alpha, largest, largest, alpha)
        alpha = where_at_least(alpha, min_alpha, alpha, zero)
        weight = alpha * through
        behind = through - weight
        # the splat that would close a pixel is left out, as are the rest
        weight = where_greater(behind, min_left, weight, zero)
        far = broadcast(splat[DEPTH], BLOCK)
        nearest = where_greater(left, half, far, hit)
        hit = where_greater(weight, zero, nearest, hit)
        left = where_greater(behind, min_left, behind, left)
        store(scratch.weights, s * BLOCK, weight)
        if keep:
            store(scratch.visible, s * BLOCK, visible)
            store(scratch.through, s * BLOCK, through)
        through = where_greater(behind, min_left, behind, zero)
        depth = depth + weight * far
        if s % PATIENCE == 0 and highest(through) == ZERO:
            count = s + 1
            break
    return count, left, depth, where_greater(left, half, zero, hit)


@njit(cache=True, nogil=True, error_model='numpy')
def blend_columns(
    tiled: TiledSplats,
    opacities: np.ndarray,  # (S,)
    features: np.ndarray,  # (G, C)
    labels: np.ndarray,  # (G,) int64, or (0,) when K is 0
    background: np.ndarray,  # (K + C,)
    max_alpha: np.float32,
    tile_size: int,
    part: int,
    parts: int,
    image: np.ndarray,  # (H, W, K + C) written
    depth: np.ndarray,  # (H, W) written
    left: np.ndarray,  # (H, W) written: transmittance behind everything
    first_hit: np.ndarray,  # (H, W) written
) -> None:
    """Blend the columns part, part + parts, ... of blocks.

    Labels blend like one-hot features in front of the others.
    """
    height, width, channels = image.shape
    classes = channels - features.shape[1]
    scratch = _scratch(tiled.starts, 0)
    sums = np.zeros((channels + 3, BLOCK), np.float32)
    for x in range(part * BLOCK_WIDTH, width, parts * BLOCK_WIDTH):
        for y in range(0, height, BLOCK_HEIGHT):
            count, behind, far, hit = _weigh(
                tiled, opacities, max_alpha, tile_size,
                (width + tile_size - 1) // tile_size, x, y, False, scratch,
            )  # fmt: skip
            if classes:
                _label_sums(tiled, labels, classes, count, scratch, sums)
            _feature_sums(tiled, features, classes, count, scratch, sums)
            store(sums, channels * BLOCK, behind)
            store(sums, (channels + 1) * BLOCK, far)
            store(sums, (channels + 2) * BLOCK, hit)
            for k in range(min(BLOCK_HEIGHT, height - y)):
                for j in range(min(BLOCK_WIDTH, width - x)):
                    p = k * BLOCK_WIDTH + j
                    rest = sums[channels, p]
                    pixel = image[y + k, x + j]
                    for c in range(channels):
                        pixel[c] = sums[c, p] + rest * background[c]
                    left[y + k, x + j] = rest
                    depth[y + k, x + j] = sums[channels + 1, p]
                    first_hit[y + k, x + j] = sums[channels + 2, p]


@njit(error_model='numpy')
def _feature_sums(
    tiled: TiledSplats,
    features: np.ndarray,  # (G, C)
    offset: int,
    count: int,
    scratch: Scratch,
    sums: np.ndarray,  # (offset + C + 3, P) written
) -> None:
    """Features times weights, two channels at a time."""
    channels = features.shape[1]
    for c in range(0, channels, 2):
        first = second = broadcast(ZERO, BLOCK)
        # an odd last channel is computed twice
        step = min(1, channels - 1 - c)
        for s in range(count):
            weight = load(scratch.weights, s * BLOCK, BLOCK)
            at = np.intp(tiled.owners[scratch.active[s]]) * channels + c
            first = first + weight * broadcast_from(features, at, BLOCK)
            at += step
            second = second + weight * broadcast_from(features, at, BLOCK)
        store(sums, (offset + c) * BLOCK, first)
        store(sums, (offset + c + step) * BLOCK, second)


@njit(error_model='numpy')
def _label_sums(
    tiled: TiledSplats,
    labels: np.ndarray,  # (G,)
    classes: int,
    count: int,
    scratch: Scratch,
    sums: np.ndarray,  # (K + ..., P) written
) -> None:
    """One-hot labels times weights: a sum for each class."""
    sums[:classes] = ZERO
    for s in range(count):
        at = labels[tiled.owners[scratch.active[s]]] * BLOCK
        weight = load(scratch.weights, s * BLOCK, BLOCK)
        store(sums, at, load(sums, at, BLOCK) + weight)


@njit(cache=True, nogil=True, error_model='numpy')
def blend_columns_backward(
    tiled: TiledSplats,
    opacities: np.ndarray,  # (S,)
    features: np.ndarray,  # (G, C)
    background: np.ndarray,  # (C,)
    max_alpha: np.float32,
    tile_size: int,
    part: int,
    parts: int,
    grad_image: np.ndarray,  # (H, W, C)
    grad_depth: np.ndarray,  # (H, W)
    grad_alpha: np.ndarray,  # (H, W)
    slots: np.ndarray,  # (M, slot_size(C)) added to
) -> None:
    """What each column contributes to the gradient of each splat.

    With the loss gradient v of a pixel and everything behind splat i
    summed up in the scalar
    S_i = sum_{j > i} w_j (c_j . v) + T_end (background . v - v_alpha):

        dL/dc_i = w_i v
        dL/dalpha_i = T_i (c_i . v) - S_i / (1 - alpha_i)

    A slot holds the sums of g = exp(-sigma) dL/dalpha times 1, x, y, x2,
    xy, y2 from the splat's centre in its first GROUP numbers, then the
    gradients of the features and of the depth.
    """
    height, width, channels = grad_image.shape
    columns = slots.shape[1] - GROUP
    scratch = _scratch(tiled.starts, columns)
    # v of a block, channel by channel and pixel by pixel
    by_channel = np.zeros((channels + 1, BLOCK), np.float32)
    by_pixel = np.zeros((BLOCK, columns), np.float32)
    final = np.zeros(BLOCK, np.float32)
    for x in range(part * BLOCK_WIDTH, width, parts * BLOCK_WIDTH):
        for y in range(0, height, BLOCK_HEIGHT):
            count, left, _, _ = _weigh(
                tiled, opacities, max_alpha, tile_size,
                (width + tile_size - 1) // tile_size, x, y, True, scratch,
            )  # fmt: skip
            if count == 0:
                continue
            _read_block(
                grad_image, grad_depth, grad_alpha, background, x, y,
                by_channel, by_pixel, final,
            )  # fmt: skip
            _dots(tiled, features, by_channel, count, scratch)
            behind = left * load(final, 0, BLOCK)
            _slopes(opacities, max_alpha, behind, count, scratch)
            column = x // BLOCK_WIDTH
            _products(scratch.visible, SHAPE_TERMS, count, scratch.products)
            _add_shapes(tiled, count, column, y, scratch, slots)
            _products(scratch.weights, by_pixel, count, scratch.products)
            _add_features(tiled, count, column, scratch, slots)


@njit(error_model='numpy')
def _read_block(
    grad_image: np.ndarray,  # (H, W, C)
    grad_depth: np.ndarray,  # (H, W)
    grad_alpha: np.ndarray,  # (H, W)
    background: np.ndarray,  # (C,)
    x: int,
    y: int,
    by_channel: np.ndarray,  # (C + 1, P) written
    by_pixel: np.ndarray,  # (P, C + 1) written
    final: np.ndarray,  # (P,) written: background . v - v_alpha
) -> None:
    """Loss gradients of a block, 0 beyond the image."""
    height, width, channels = grad_image.shape
    for p in range(BLOCK):
        v, u = y + p // BLOCK_WIDTH, x + p % BLOCK_WIDTH
        if u >= width or v >= height:
            by_pixel[p] = ZERO
            final[p] = ZERO
            continue
        dot = -grad_alpha[v, u]
        for c in range(channels):
            by_pixel[p, c] = grad_image[v, u, c]
            dot += background[c] * grad_image[v, u, c]
        by_pixel[p, channels] = grad_depth[v, u]
        final[p] = dot
    for c in range(channels + 1):
        for p in range(BLOCK):
            by_channel[c, p] = by_pixel[p, c]


@njit(error_model='numpy')
def _dots(
    tiled: TiledSplats,
    features: np.ndarray,  # (G, C)
    by_channel: np.ndarray,  # (C + 1, P)
    count: int,
    scratch: Scratch,
) -> None:
    """c . v, with the depth as the last channel, two splats at a time."""
    channels = features.shape[1]
    grad_depth = load(by_channel, channels * BLOCK, BLOCK)
    for s in range(0, count, 2):
        # an odd last splat is computed twice
        i, k = scratch.active[s], scratch.active[min(s + 1, count - 1)]
        first = grad_depth * tiled.splats[i, DEPTH]
        second = grad_depth * tiled.splats[k, DEPTH]
        at = np.intp(tiled.owners[i]) * channels
        to = np.intp(tiled.owners[k]) * channels
        for c in range(channels):
            grad = load(by_channel, c * BLOCK, BLOCK)
            first = first + grad * broadcast_from(features, at + c, BLOCK)
            second = second + grad * broadcast_from(features, to + c, BLOCK)
        store(scratch.dots, s * BLOCK, first)
        store(scratch.dots, (s + 1) * BLOCK, second)


@njit(error_model='numpy')
def _slopes(
    opacities: np.ndarray,  # (S,)
    max_alpha: np.float32,
    behind,  # Lanes: T_end (background . v - v_alpha)
    count: int,
    scratch: Scratch,
) -> None:
    """exp(-sigma) dL/dalpha, from back to front, in place of exp(-sigma)."""
    zero, one = broadcast(ZERO, BLOCK), broadcast(ONE, BLOCK)
    largest = broadcast(max_alpha, BLOCK)
    for s in range(count - 1, -1, -1):
        visible = load(scratch.visible, s * BLOCK, BLOCK)
        weight = load(scratch.weights, s * BLOCK, BLOCK)
        dot = load(scratch.dots, s * BLOCK, BLOCK)
        alpha = visible * opacities[scratch.active[s]]
        slope = load(scratch.through, s * BLOCK, BLOCK) * dot
        slope = visible * (slope - behind / (one - alpha))
        # where alpha was cut off it does not change
        slope = where_greater(alpha, largest, zero, slope)
        slope = where_greater(weight, zero, slope, zero)
        store(scratch.visible, s * BLOCK, slope)
        behind = behind + weight * dot


@njit(error_model='numpy')
def _products(
    left: np.ndarray,  # (A, P)
    right: np.ndarray,  # (P, N * GROUP)
    count: int,
    out: np.ndarray,  # (A, at least N * GROUP) written
) -> None:
    """left @ right for the first rows, four rows at a time.

    The last rows may be computed from what happens to lie behind them.
    """
    columns, size = right.shape[1], out.shape[1]
    for s in range(0, count, 4):
        for g in range(0, columns, GROUP):
            a = b = c = d = broadcast(ZERO, GROUP)
            for p in range(BLOCK):
                at = s * BLOCK + p
                row = load(right, p * columns + g, GROUP)
                a = a + row * broadcast_from(left, at, GROUP)
                b = b + row * broadcast_from(left, at + BLOCK, GROUP)
                c = c + row * broadcast_from(left, at + 2 * BLOCK, GROUP)
                d = d + row * broadcast_from(left, at + 3 * BLOCK, GROUP)
            store(out, s * size + g, a)
            store(out, (s + 1) * size + g, b)
            store(out, (s + 2) * size + g, c)
            store(out, (s + 3) * size + g, d)


@njit(error_model='numpy')
def _add_shapes(
    tiled: TiledSplats,
    count: int,
    column: int,
    y: int,
    scratch: Scratch,  # products: sums from the middle of the block
    slots: np.ndarray,  # (M, ...) added to: sums from the splats' centres
) -> None:
    middle_x = np.float32(column * BLOCK_WIDTH) + MIDDLE_X
    middle_y = np.float32(y) + MIDDLE_Y
    for s in range(count):
        i = scratch.active[s]
        slot = slots[tiled.first_slots[i] + column]
        a = middle_x - tiled.splats[i, U]
        b = middle_y - tiled.splats[i, V]
        one, x, y_, xx, xy, yy = (
            scratch.products[s, 0], scratch.products[s, 1],
            scratch.products[s, 2], scratch.products[s, 3],
            scratch.products[s, 4], scratch.products[s, 5],
        )  # fmt: skip
        slot[0] += one
        slot[1] += x + a * one
        slot[2] += y_ + b * one
        slot[3] += xx + a * (x + x + a * one)
        slot[4] += xy + a * y_ + b * (x + a * one)
        slot[5] += yy + b * (y_ + y_ + b * one)


@njit(error_model='numpy')
def _add_features(
    tiled: TiledSplats,
    count: int,
    column: int,
    scratch: Scratch,  # products: gradients of features and depth
    slots: np.ndarray,  # (M, ...) added to
) -> None:
    columns = scratch.products.shape[1]
    for s in range(count):
        slot = tiled.first_slots[scratch.active[s]] + column
        for g in range(0, columns, GROUP):
            at = slot * slots.shape[1] + GROUP + g
            more = load(scratch.products, s * columns + g, GROUP)
            store(slots, at, load(slots, at, GROUP) + more)


@njit(cache=True, nogil=True, error_model='numpy')
def gather_slots(
    tiled: TiledSplats,
    opacities: np.ndarray,  # (S,)
    slots: np.ndarray,  # (M, slot_size(C))
    first: int,
    last: int,
    grad_splats: np.ndarray,  # (S, 6) written
    grad_opacities: np.ndarray,  # (G,) added to
    grad_features: np.ndarray,  # (G, C) added to
) -> None:
    """Add up the slots of the splats [first, last), left to right."""
    size = slots.shape[1]
    total = np.empty(size, np.float32)
    for i in range(first, last):
        left = tiled.first_slots[i] + tiled.boxes[i, 0] // BLOCK_WIDTH
        right = tiled.first_slots[i] + (tiled.boxes[i, 2] - 1) // BLOCK_WIDTH
        for group in range(0, size, GROUP):
            part = load(slots, left * size + group, GROUP)
            for slot in range(left + 1, right + 1):
                part = part + load(slots, slot * size + group, GROUP)
            store(total, group, part)
        add_gradients(
            tiled.splats[i], tiled.owners[i], opacities[i], total,
            grad_splats[i], grad_opacities, grad_features,
        )  # fmt: skip


@njit(error_model='numpy')
def add_gradients(
    splat: np.ndarray,  # (6,)
    owner: int,
    opacity: np.float32,
    total: np.ndarray,  # (slot_size(C),): the sum of a splat's slots
    grad_splat: np.ndarray,  # (6,) written
    grad_opacities: np.ndarray,  # (G,) added to
    grad_features: np.ndarray,  # (G, C) added to
) -> None:
    """What the pixels say of one splat, as gradients of its numbers."""
    channels = grad_features.shape[1]
    for c in range(channels):
        grad_features[owner, c] += total[GROUP + c]
    grad_opacities[owner] += total[0]
    # alpha = opacity exp(-sigma), sigma = d^T conic d / 2
    xx, xy, yy = splat[CONIC_XX], splat[CONIC_XY], splat[CONIC_YY]
    grad_splat[U] = opacity * (xx * total[1] + xy * total[2])
    grad_splat[V] = opacity * (xy * total[1] + yy * total[2])
    grad_splat[CONIC_XX] = -HALF * opacity * total[3]
    grad_splat[CONIC_XY] = -opacity * total[4]
    grad_splat[CONIC_YY] = -HALF * opacity * total[5]
    grad_splat[DEPTH] = total[GROUP + channels]
