"""Splats blended into whole images, and the gradient of that.

Shape letters: S splats, T tiles, E entries (a splat in a tile), A active
splats (those that reach a block of pixels), L pixels of a block, M slots
(a splat in a column of blocks), P = H W pixels, K classes, C channels.

Pixels are handled in blocks of BLOCK_WIDTH x BLOCK_HEIGHT; a block is one
vector, see numba_lanes.

The functions here run some columns of blocks without the GIL. One thread
walks a column from top to bottom, adds up what the column contributes to a
splat in the splat's slot, and shares nothing that it writes: neither the
number of threads nor the size of the tiles changes a bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from occsplat.kernels import njit

from .numba_lanes import (
    GROUP,
    PATIENCE,
    ZERO,
    Cotangents,
    Images,
    Light,
    Scratch,
    add_gradients,
    dot_products,
    feature_sums,
    full_light,
    is_opaque,
    longest,
    make_gradients,
    make_scratch,
    pass_splat,
    read_gradients,
    shifted,
    slopes,
    write_pixels,
)
from .numba_projection import U, V
from .simd import broadcast, broadcast_from, load, store

BLOCK_WIDTH, BLOCK_HEIGHT = 8, 4
#: pixels of a block
BLOCK = BLOCK_WIDTH * BLOCK_HEIGHT
#: rows of a product that are computed at once, and so may be computed beyond
#: the last
ROWS = 4
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


class TiledSplats(NamedTuple):
    """One camera's splats, sorted and put into tiles, see arrange."""

    splats: np.ndarray  # (S, 6) float32, front to back
    boxes: np.ndarray  # (S, 4) int32
    owners: np.ndarray  # (S,) int32: their Gaussians
    starts: np.ndarray  # (T + 1,) int64
    entries: np.ndarray  # (E,) int32
    first_slots: np.ndarray  # (S,) int64, the slot in column c is this + c
    num_slots: int  # M


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
) -> tuple[int, Light]:
    """Blend a block front to back.

    Fills the scratch's active splats and weights; with ``keep`` also what
    the backward pass needs. Returns the number of active splats and what
    comes of the pixels.
    """
    tile = y // tile_size * tiles_across + x // tile_size
    begin, end = tiled.starts[tile], tiled.starts[tile + 1]
    count = _select(tiled, begin, end, x, y, scratch.active)
    centres_x = load(CENTRES_X, 0, BLOCK)
    centres_y = load(CENTRES_Y, 0, BLOCK)
    light = full_light(broadcast(ZERO, BLOCK))
    for s in range(count):
        i = scratch.active[s]
        splat = tiled.splats[i]
        dx = centres_x - (splat[U] - (np.float32(x) + MIDDLE_X))
        dy = centres_y - (splat[V] - (np.float32(y) + MIDDLE_Y))
        through = light.through
        light, weight, visible = pass_splat(
            light, splat, opacities[i], max_alpha, dx, dy
        )
        store(scratch.weights, s * BLOCK, weight)
        if keep:
            store(scratch.visible, s * BLOCK, visible)
            store(scratch.through, s * BLOCK, through)
        if s % PATIENCE == 0 and is_opaque(light):
            count = s + 1
            break
    return count, light


@njit(error_model='numpy')
def _block_pixels(
    x: int,
    y: int,
    width: int,
    height: int,
    pixels: np.ndarray,  # (L,) written: -1 beyond the image
) -> None:
    """Where the pixels of a block are in an image."""
    for k in range(BLOCK):
        v, u = y + k // BLOCK_WIDTH, x + k % BLOCK_WIDTH
        pixels[k] = v * width + u if u < width and v < height else -1


@njit(cache=True, nogil=True, error_model='numpy')
def blend_columns(
    tiled: TiledSplats,
    opacities: np.ndarray,  # (S,)
    features: np.ndarray,  # (G, C)
    labels: np.ndarray,  # (G,) int64, or (0,) when K is 0
    background: np.ndarray,  # (K + C,)
    max_alpha: np.float32,
    width: int,
    height: int,
    tile_size: int,
    part: int,
    parts: int,
    images: Images,  # with K + C channels, written
) -> None:
    """Blend the columns part, part + parts, ... of blocks.

    Labels blend like one-hot features in front of the others.
    """
    channels = len(background)
    classes = channels - features.shape[1]
    scratch = make_scratch(longest(tiled.starts) + ROWS, BLOCK)
    sums = np.zeros((channels + 3, BLOCK), np.float32)
    pixels = np.empty(BLOCK, np.int64)
    for x in range(part * BLOCK_WIDTH, width, parts * BLOCK_WIDTH):
        for y in range(0, height, BLOCK_HEIGHT):
            count, light = _weigh(
                tiled, opacities, max_alpha, tile_size,
                (width + tile_size - 1) // tile_size, x, y, False, scratch,
            )  # fmt: skip
            if classes:
                _label_sums(tiled, labels, classes, count, scratch, sums)
            feature_sums(
                tiled.owners, features, classes, count, scratch,
                broadcast(ZERO, BLOCK), sums,
            )  # fmt: skip
            _block_pixels(x, y, width, height, pixels)
            write_pixels(pixels, light, background, sums, images)


@njit(error_model='numpy')
def _label_sums(
    tiled: TiledSplats,
    labels: np.ndarray,  # (G,)
    classes: int,
    count: int,
    scratch: Scratch,
    sums: np.ndarray,  # (K + ..., L) written
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
    width: int,
    height: int,
    tile_size: int,
    part: int,
    parts: int,
    cotangents: Cotangents,
    slots: np.ndarray,  # (M, slot_size(C)) added to
) -> None:
    """What each column contributes to the gradient of each splat.

    The equations and what a slot holds: see numba_lanes.
    """
    columns = slots.shape[1] - GROUP
    size = longest(tiled.starts) + ROWS
    scratch = make_scratch(size, BLOCK)
    products = np.empty((size, columns), np.float32)
    gradients = make_gradients(len(background), columns, BLOCK)
    pixels = np.empty(BLOCK, np.int64)
    for x in range(part * BLOCK_WIDTH, width, parts * BLOCK_WIDTH):
        for y in range(0, height, BLOCK_HEIGHT):
            count, light = _weigh(
                tiled, opacities, max_alpha, tile_size,
                (width + tile_size - 1) // tile_size, x, y, True, scratch,
            )  # fmt: skip
            if count == 0:
                continue
            _block_pixels(x, y, width, height, pixels)
            read_gradients(pixels, cotangents, background, gradients)
            dot_products(
                tiled.splats, tiled.owners, features, gradients.by_channel,
                count, broadcast(ZERO, BLOCK), scratch,
            )  # fmt: skip
            behind = light.left * load(gradients.final, 0, BLOCK)
            slopes(opacities, max_alpha, behind, count, scratch)
            column = x // BLOCK_WIDTH
            _products(scratch.visible, SHAPE_TERMS, count, products)
            _add_shapes(
                tiled, scratch.active, count, column, y, products, slots
            )
            _products(scratch.weights, gradients.by_pixel, count, products)
            _add_features(
                tiled, scratch.active, count, column, products, slots
            )


@njit(error_model='numpy')
def _products(
    left: np.ndarray,  # (A, L)
    right: np.ndarray,  # (L, N * GROUP)
    count: int,
    out: np.ndarray,  # (A, at least N * GROUP) written
) -> None:
    """left @ right for the first rows, ROWS at a time.

    The last rows may be computed from what happens to lie behind them.
    """
    columns, size = right.shape[1], out.shape[1]
    for s in range(0, count, ROWS):
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
    active: np.ndarray,  # (A,)
    count: int,
    column: int,
    y: int,
    products: np.ndarray,  # (A, ...): sums from the middle of the block
    slots: np.ndarray,  # (M, ...) added to: sums from the splats' centres
) -> None:
    """Sums of shape terms, moved from the block to the splats' centres."""
    middle_x = np.float32(column * BLOCK_WIDTH) + MIDDLE_X
    middle_y = np.float32(y) + MIDDLE_Y
    for s in range(count):
        i = active[s]
        slot = slots[tiled.first_slots[i] + column]
        sums = shifted(
            products[s],
            middle_x - tiled.splats[i, U],
            middle_y - tiled.splats[i, V],
        )
        for k in range(6):
            slot[k] += sums[k]


@njit(error_model='numpy')
def _add_features(
    tiled: TiledSplats,
    active: np.ndarray,  # (A,)
    count: int,
    column: int,
    products: np.ndarray,  # (A, ...): gradients of features and depth
    slots: np.ndarray,  # (M, ...) added to
) -> None:
    """Gradients of features and depth."""
    columns = products.shape[1]
    for s in range(count):
        slot = tiled.first_slots[active[s]] + column
        for g in range(0, columns, GROUP):
            at = slot * slots.shape[1] + GROUP + g
            more = load(products, s * columns + g, GROUP)
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
