"""Splats blended into chosen pixels, and the gradient of that.

Shape letters: S splats, M groups of pixels, L pixels of a group, E entries
(a splat that may reach a group), A active splats (those that do), P pixels
of all cameras, p of one, Q cells, C channels.

The pixels of a camera are sorted into cells of CELL_WIDTH x CELL_HEIGHT and
go, up to LANES of a cell, into groups; a group is one vector. Each group has
a list of splats, front to back, that it walks like a block of the images
does (numba_blending), with the same operations in each lane; an image that
nobody looks at costs nothing. Every entry has a slot of its own for what it
contributes to the gradient of its splat. A splat's slots are neighbours,
added up in a fixed order: the number of threads does not change a bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from occsplat.kernels import njit

from .numba_blending import BLOCK_HEIGHT, BLOCK_WIDTH, MIDDLE_X, MIDDLE_Y
from .numba_lanes import (
    GROUP,
    HALF,
    ONE,
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
from .simd import broadcast, broadcast_from, highest, load, store

#: pixels of a group
LANES = 8
#: rows that may be written behind the last active splat: one that leaves
#: no trace, or an odd last one that is computed twice
SPARE = 2
#: wide and flat, as a LiDAR's returns lie in rows
CELL_WIDTH, CELL_HEIGHT = 32, 8


class Groups(NamedTuple):
    """One camera's pixels, cell by cell in groups of at most LANES."""

    targets: np.ndarray  # (P,) int64: where in the output a pixel goes
    rows: np.ndarray  # (P,) int32
    columns: np.ndarray  # (P,) int32
    bounds: np.ndarray  # (M + 1,) int64: where the pixels of a group begin
    boxes: np.ndarray  # (M, 4) int32: pixels x0 y0 x1 y1 around a group
    cells: np.ndarray  # (Q + 1,) int64: where the groups of a cell begin


class Matches(NamedTuple):
    """One camera's splats that may reach a group, see match."""

    splats: np.ndarray  # (S, 6) float32, front to back
    owners: np.ndarray  # (S,) int32: their Gaussians
    first_slots: np.ndarray  # (S + 1,) int64: where its slots begin
    starts: np.ndarray  # (M + 1,) int64: where a group's entries begin
    entries: np.ndarray  # (E,) int32: splats of each group, front to back
    slots: np.ndarray  # (E,) int64


@njit(cache=True, nogil=True, error_model='numpy')
def match(
    splats: np.ndarray,  # (S, 6) front to back
    boxes: np.ndarray,  # (S, 4)
    owners: np.ndarray,  # (S,)
    groups: Groups,
    cells_across: int,
) -> tuple[np.ndarray, ...]:
    """Which splats may reach which groups: the fields of Matches.

    Splats that reach none are left out.
    """
    found = np.empty(len(groups.boxes), np.int64)
    first_slots = np.zeros(len(splats) + 1, np.int64)
    starts = np.zeros(len(groups.boxes) + 1, np.int64)
    kept = np.empty(len(splats), np.int64)
    count = 0
    for i in range(len(splats)):
        number = _reached(boxes[i], groups, cells_across, found)
        for k in range(number):
            starts[found[k] + 1] += 1
        if number > 0:
            kept[count] = i
            first_slots[count + 1] = first_slots[count] + number
            count += 1
    for m in range(len(groups.boxes)):
        starts[m + 1] += starts[m]
    entries = np.empty(starts[-1], np.int32)
    slots = np.empty(starts[-1], np.int64)
    fill = starts[:-1].copy()
    for j in range(count):
        number = _reached(boxes[kept[j]], groups, cells_across, found)
        for k in range(number):
            entry = fill[found[k]]
            entries[entry] = j
            slots[entry] = first_slots[j] + k
            fill[found[k]] += 1
    kept = kept[:count]
    return (
        splats[kept],
        owners[kept],
        first_slots[: count + 1],
        starts,
        entries,
        slots,
    )


@njit(error_model='numpy')
def _reached(
    box: np.ndarray,  # (4,) of a splat
    groups: Groups,
    cells_across: int,
    found: np.ndarray,  # (M,) written
) -> int:
    """The groups in whose box a splat has pixels, and their number."""
    first, last = box[0] // CELL_WIDTH, (box[2] - 1) // CELL_WIDTH
    count = 0
    for row in range(box[1] // CELL_HEIGHT, (box[3] - 1) // CELL_HEIGHT + 1):
        begin = groups.cells[row * cells_across + first]
        end = groups.cells[row * cells_across + last + 1]
        for m in range(begin, end):
            other = groups.boxes[m]
            found[count] = m
            # added up, not branched on: no processor could guess
            count += (
                (box[0] < other[2])
                & (box[2] > other[0])
                & (box[1] < other[3])
                & (box[3] > other[1])
            )
    return count


@njit(error_model='numpy')
def _place(
    groups: Groups,
    m: int,
    places: np.ndarray,  # (4, L) written
    pixels: np.ndarray,  # (L,) written: -1 in the lanes to spare
) -> None:
    """Where the lanes are; those to spare repeat the last pixel.

    ``places`` are x within a block of the images, the x of the block's
    middle, and the same for y; ``pixels`` are targets.
    """
    first, last = groups.bounds[m], groups.bounds[m + 1] - 1
    for k in range(LANES):
        p = min(first + k, last)
        pixels[k] = groups.targets[p] if first + k <= last else -1
        x, y = groups.columns[p], groups.rows[p]
        # from the middle of a block, as the images are computed
        places[0, k] = np.float32(x % BLOCK_WIDTH) + HALF - MIDDLE_X
        places[1, k] = np.float32(x - x % BLOCK_WIDTH) + MIDDLE_X
        places[2, k] = np.float32(y % BLOCK_HEIGHT) + HALF - MIDDLE_Y
        places[3, k] = np.float32(y - y % BLOCK_HEIGHT) + MIDDLE_Y


@njit(error_model='numpy')
def _weigh(
    matches: Matches,
    opacities: np.ndarray,  # (S,)
    max_alpha: np.float32,
    m: int,
    places: np.ndarray,  # (4, L)
    keep: bool,
    entries: np.ndarray,  # (A,) written: those of the active splats
    scratch: Scratch,
) -> tuple[int, Light]:
    """Blend a group front to back.

    Fills the scratch's active splats and weights; with ``keep`` also what
    the backward pass needs. Returns the number of active splats and what
    comes of the pixels.
    """
    x = load(places, 0, LANES)
    middle_x = load(places, LANES, LANES)
    y = load(places, 2 * LANES, LANES)
    middle_y = load(places, 3 * LANES, LANES)
    light = full_light(broadcast(ZERO, LANES))
    count = 0
    begin, end = matches.starts[m], matches.starts[m + 1]
    for e in range(begin, end):
        i = matches.entries[e]
        splat = matches.splats[i]
        dx = x - (broadcast(splat[U], LANES) - middle_x)
        dy = y - (broadcast(splat[V], LANES) - middle_y)
        through = light.through
        light, weight, visible = pass_splat(
            light, splat, opacities[i], max_alpha, dx, dy
        )
        scratch.active[count] = i
        entries[count] = e
        store(scratch.weights, count * LANES, weight)
        if keep:
            store(scratch.visible, count * LANES, visible)
            store(scratch.through, count * LANES, through)
        # overwritten by the next splat unless it leaves a trace
        count += int(highest(weight) > ZERO)
        if (e - begin) % PATIENCE == 0 and is_opaque(light):
            break
    return count, light


@njit(cache=True, nogil=True, error_model='numpy')
def blend_groups(
    groups: Groups,
    matches: Matches,
    opacities: np.ndarray,  # (S,)
    features: np.ndarray,  # (G, C)
    background: np.ndarray,  # (C,)
    max_alpha: np.float32,
    part: int,
    parts: int,
    images: Images,  # written
) -> None:
    """Blend the groups part, part + parts, ..."""
    size = longest(matches.starts) + SPARE
    scratch = make_scratch(size, LANES)
    entries = np.empty(size, np.int64)
    places = np.empty((4, LANES), np.float32)
    pixels = np.empty(LANES, np.int64)
    sums = np.zeros((len(background) + 3, LANES), np.float32)
    for m in range(part, len(groups.boxes), parts):
        _place(groups, m, places, pixels)
        count, light = _weigh(
            matches, opacities, max_alpha, m, places, False, entries, scratch
        )
        feature_sums(
            matches.owners, features, 0, count, scratch,
            broadcast(ZERO, LANES), sums,
        )  # fmt: skip
        write_pixels(pixels, light, background, sums, images)


@njit(cache=True, nogil=True, error_model='numpy')
def blend_groups_backward(
    groups: Groups,
    matches: Matches,
    opacities: np.ndarray,  # (S,)
    features: np.ndarray,  # (G, C)
    background: np.ndarray,  # (C,)
    max_alpha: np.float32,
    part: int,
    parts: int,
    cotangents: Cotangents,
    slots: np.ndarray,  # (E, slot_size(C)) written where there is a trace
    traces: np.ndarray,  # (E,) bool, likewise
) -> None:
    """What each entry contributes to the gradient of its splat.

    The equations and what a slot holds: see numba_lanes.
    """
    columns = slots.shape[1] - GROUP
    size = longest(matches.starts) + SPARE
    scratch = make_scratch(size, LANES)
    entries = np.empty(size, np.int64)
    places = np.empty((4, LANES), np.float32)
    pixels = np.empty(LANES, np.int64)
    gradients = make_gradients(len(background), columns, LANES)
    shapes = np.zeros((LANES, GROUP), np.float32)
    for m in range(part, len(groups.boxes), parts):
        _place(groups, m, places, pixels)
        count, light = _weigh(
            matches, opacities, max_alpha, m, places, True, entries, scratch
        )
        if count == 0:
            continue
        read_gradients(pixels, cotangents, background, gradients)
        dot_products(
            matches.splats, matches.owners, features, gradients.by_channel,
            count, broadcast(ZERO, LANES), scratch,
        )  # fmt: skip
        behind = light.left * load(gradients.final, 0, LANES)
        slopes(opacities, max_alpha, behind, count, scratch)
        x, y = _shape_terms(groups, m, shapes)
        for s in range(count):
            slot = matches.slots[entries[s]]
            splat = matches.splats[scratch.active[s]]
            _write_slot(
                s, scratch, shapes, gradients.by_pixel, x - splat[U],
                y - splat[V], slot, slots,
            )  # fmt: skip
            traces[slot] = True


@njit(error_model='numpy')
def _write_slot(
    s: int,
    scratch: Scratch,
    shapes: np.ndarray,  # (L, GROUP): shape terms of the lanes
    by_pixel: np.ndarray,  # (L, N * GROUP): loss gradients of the lanes
    a: np.float32,
    b: np.float32,
    slot: int,
    slots: np.ndarray,  # (E, (1 + N) * GROUP)
) -> None:
    """The sums of an active splat whose centre is (-a, -b)."""
    at = slot * slots.shape[1]
    _product(scratch.visible, s, shapes, 0, slots, at)
    for g in range(0, by_pixel.shape[1], GROUP):
        _product(scratch.weights, s, by_pixel, g, slots, at + GROUP)
    sums = shifted(slots[slot], a, b)
    for k in range(6):
        slots[slot, k] = sums[k]


@njit(error_model='numpy')
def _shape_terms(groups: Groups, m: int, shapes: np.ndarray) -> tuple:
    """1, x, y, x2, xy, y2 of each lane, from the middle that it returns."""
    box = groups.boxes[m]
    middle_x = HALF * np.float32(box[0] + box[2])
    middle_y = HALF * np.float32(box[1] + box[3])
    first, last = groups.bounds[m], groups.bounds[m + 1] - 1
    for k in range(LANES):
        p = min(first + k, last)
        x = np.float32(groups.columns[p]) + HALF - middle_x
        y = np.float32(groups.rows[p]) + HALF - middle_y
        shapes[k, 0], shapes[k, 1], shapes[k, 2] = ONE, x, y
        shapes[k, 3], shapes[k, 4], shapes[k, 5] = x * x, x * y, y * y
    return middle_x, middle_y


@njit(error_model='numpy')
def _product(
    left: np.ndarray,  # (A, L)
    s: int,
    right: np.ndarray,  # (L, N * GROUP)
    g: int,
    out: np.ndarray,  # written
    at: int,
) -> None:
    """Row s of left @ right, the GROUP columns from g on, to out[at + g]."""
    columns = right.shape[1]
    row = broadcast(ZERO, GROUP)
    for k in range(LANES):
        factor = broadcast_from(left, s * LANES + k, GROUP)
        row = row + load(right, k * columns + g, GROUP) * factor
    store(out, at + g, row)


@njit(cache=True, nogil=True, error_model='numpy')
def gather_entries(
    matches: Matches,
    opacities: np.ndarray,  # (S,)
    slots: np.ndarray,  # (E, slot_size(C))
    traces: np.ndarray,  # (E,) bool
    first: int,
    last: int,
    grad_opacities: np.ndarray,  # (G,) added to
    grad_features: np.ndarray,  # (G, C) added to
) -> tuple[np.ndarray, ...]:
    """Add up the slots of the splats [first, last), group by group.

    Returns:
        tuple: ``owners`` int32 (K,), ``splats`` float32 (K, 6) and the
        gradients of the latter, of the splats that left a trace.
    """
    size = slots.shape[1]
    total = np.empty(size, np.float32)
    owners = np.empty(last - first, np.int32)
    splats = np.empty((last - first, 6), np.float32)
    grads = np.empty((last - first, 6), np.float32)
    count = 0
    for i in range(first, last):
        seen = False
        for slot in range(matches.first_slots[i], matches.first_slots[i + 1]):
            if not traces[slot]:
                continue
            for g in range(0, size, GROUP):
                part = load(slots, slot * size + g, GROUP)
                if seen:
                    part = load(total, g, GROUP) + part
                store(total, g, part)
            seen = True
        if not seen:
            continue
        owners[count] = matches.owners[i]
        splats[count] = matches.splats[i]
        add_gradients(
            splats[count], owners[count], opacities[i], total, grads[count],
            grad_opacities, grad_features,
        )  # fmt: skip
        count += 1
    return owners[:count], splats[:count], grads[:count]
