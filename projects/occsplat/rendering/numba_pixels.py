"""Splats blended into chosen pixels, and the gradient of that.

Shape letters: S splats, M groups of pixels, L pixels of a group, E entries
(a splat that may reach a group), A active splats (those that do), P pixels,
Q cells, C channels.

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

from .numba_blending import (
    BLOCK_HEIGHT,
    BLOCK_WIDTH,
    GROUP,
    HALF,
    MIDDLE_X,
    MIDDLE_Y,
    MIN_LEFT,
    ONE,
    PATIENCE,
    ZERO,
    add_gradients,
)
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

#: pixels of a group
LANES = 8
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


class Scratch(NamedTuple):
    """What a group knows about its pixels and its active splats."""

    places: np.ndarray  # (4, L): x in a block, the block's middle; y, middle
    active: np.ndarray  # (A,) int64: entries
    visible: np.ndarray  # (A, L): exp(-sigma), later its dL/dalpha
    through: np.ndarray  # (A, L): T in front of a splat
    weights: np.ndarray  # (A, L): alpha T, or 0
    dots: np.ndarray  # (A, L): feature . loss gradient


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
def _scratch(starts: np.ndarray) -> Scratch:
    """Room for the longest list of a group, and for an odd last splat."""
    size = 2
    for m in range(len(starts) - 1):
        size = max(size, starts[m + 1] - starts[m] + 2)
    return Scratch(
        np.empty((4, LANES), np.float32),
        np.empty(size, np.int64),
        np.empty((size, LANES), np.float32),
        np.empty((size, LANES), np.float32),
        np.empty((size, LANES), np.float32),
        np.empty((size, LANES), np.float32),
    )


@njit(error_model='numpy')
def _place(groups: Groups, m: int, places: np.ndarray) -> None:
    """Where the lanes are; those to spare repeat the last pixel."""
    first, last = groups.bounds[m], groups.bounds[m + 1] - 1
    for k in range(LANES):
        p = min(first + k, last)
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
    keep: bool,
    scratch: Scratch,  # with the places of the group
) -> tuple:
    """Blend a group front to back.

    Fills the scratch's active splats and weights; with ``keep`` also what
    the backward pass needs. Returns the number of active splats, T behind
    the last of them, the depth, and the depth where T falls to a half.
    """
    zero, one = broadcast(ZERO, LANES), broadcast(ONE, LANES)
    min_alpha = broadcast(MIN_ALPHA, LANES)
    min_left = broadcast(MIN_LEFT, LANES)
    largest = broadcast(max_alpha, LANES)
    half = broadcast(HALF, LANES)
    x = load(scratch.places, 0, LANES)
    middle_x = load(scratch.places, LANES, LANES)
    y = load(scratch.places, 2 * LANES, LANES)
    middle_y = load(scratch.places, 3 * LANES, LANES)
    through, left, depth, hit = one, one, zero, zero
    count = 0
    begin, end = matches.starts[m], matches.starts[m + 1]
    for e in range(begin, end):
        i = matches.entries[e]
        splat = matches.splats[i]
        dx = x - (broadcast(splat[U], LANES) - middle_x)
        dy = y - (broadcast(splat[V], LANES) - middle_y)
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
        far = broadcast(splat[DEPTH], LANES)
        nearest = where_greater(left, half, far, hit)
        hit = where_greater(weight, zero, nearest, hit)
        left = where_greater(behind, min_left, behind, left)
        scratch.active[count] = e
        store(scratch.weights, count * LANES, weight)
        if keep:
            store(scratch.visible, count * LANES, visible)
            store(scratch.through, count * LANES, through)
        # overwritten by the next splat unless it leaves a trace
        count += highest(weight) > ZERO
        through = where_greater(behind, min_left, behind, zero)
        depth = depth + weight * far
        if (e - begin) % PATIENCE == 0 and highest(through) == ZERO:
            break
    return count, left, depth, where_greater(left, half, zero, hit)


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
    image: np.ndarray,  # (P of all cameras, C), as are the next: written
    depth: np.ndarray,
    left: np.ndarray,  # transmittance behind everything
    first_hit: np.ndarray,
) -> None:
    """Blend the groups part, part + parts, ..."""
    channels = features.shape[1]
    scratch = _scratch(matches.starts)
    sums = np.zeros((channels + 3, LANES), np.float32)
    for m in range(part, len(groups.boxes), parts):
        _place(groups, m, scratch.places)
        count, behind, far, hit = _weigh(
            matches, opacities, max_alpha, m, False, scratch
        )
        _feature_sums(matches, features, count, scratch, sums)
        store(sums, channels * LANES, behind)
        store(sums, (channels + 1) * LANES, far)
        store(sums, (channels + 2) * LANES, hit)
        first = groups.bounds[m]
        for k in range(groups.bounds[m + 1] - first):
            p = groups.targets[first + k]
            rest = sums[channels, k]
            for c in range(channels):
                image[p, c] = sums[c, k] + rest * background[c]
            left[p] = rest
            depth[p] = sums[channels + 1, k]
            first_hit[p] = sums[channels + 2, k]


@njit(error_model='numpy')
def _feature_sums(
    matches: Matches,
    features: np.ndarray,  # (G, C)
    count: int,
    scratch: Scratch,
    sums: np.ndarray,  # (C + 3, L) written
) -> None:
    """Features times weights, two channels at a time."""
    channels = features.shape[1]
    for c in range(0, channels, 2):
        first = second = broadcast(ZERO, LANES)
        # an odd last channel is computed twice
        step = min(1, channels - 1 - c)
        for s in range(count):
            weight = load(scratch.weights, s * LANES, LANES)
            owner = matches.owners[matches.entries[scratch.active[s]]]
            at = np.intp(owner) * channels + c
            first = first + weight * broadcast_from(features, at, LANES)
            at += step
            second = second + weight * broadcast_from(features, at, LANES)
        store(sums, c * LANES, first)
        store(sums, (c + step) * LANES, second)


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
    grad_image: np.ndarray,  # (P of all cameras, C)
    grad_depth: np.ndarray,  # (P of all cameras,)
    grad_alpha: np.ndarray,  # (P of all cameras,)
    slots: np.ndarray,  # (E, slot_size(C)) written where there is a trace
    traces: np.ndarray,  # (E,) bool, likewise
) -> None:
    """What each entry contributes to the gradient of its splat.

    The equations and what a slot holds: see blend_columns_backward.
    """
    channels, size = grad_image.shape[1], slots.shape[1]
    scratch = _scratch(matches.starts)
    # v of a group, channel by channel and pixel by pixel
    by_channel = np.zeros((channels + 1, LANES), np.float32)
    by_pixel = np.zeros((LANES, size - GROUP), np.float32)
    final = np.zeros(LANES, np.float32)
    shapes = np.zeros((LANES, GROUP), np.float32)
    for m in range(part, len(groups.boxes), parts):
        _place(groups, m, scratch.places)
        count, left, _, _ = _weigh(
            matches, opacities, max_alpha, m, True, scratch
        )
        if count == 0:
            continue
        _read_group(
            groups, m, grad_image, grad_depth, grad_alpha, background,
            by_channel, by_pixel, final,
        )  # fmt: skip
        _dots(matches, features, by_channel, count, scratch)
        behind = left * load(final, 0, LANES)
        _slopes(matches, opacities, max_alpha, behind, count, scratch)
        x, y = _shape_terms(groups, m, shapes)
        for s in range(count):
            e = scratch.active[s]
            at = matches.slots[e] * size
            _product(scratch.visible, s, shapes, 0, slots, at)
            for g in range(0, size - GROUP, GROUP):
                _product(scratch.weights, s, by_pixel, g, slots, at + GROUP)
            splat = matches.splats[matches.entries[e]]
            _shift(x - splat[U], y - splat[V], slots[matches.slots[e]])
            traces[matches.slots[e]] = True


@njit(error_model='numpy')
def _read_group(
    groups: Groups,
    m: int,
    grad_image: np.ndarray,  # (P of all cameras, C)
    grad_depth: np.ndarray,  # (P of all cameras,)
    grad_alpha: np.ndarray,  # (P of all cameras,)
    background: np.ndarray,  # (C,)
    by_channel: np.ndarray,  # (C + 1, L) written
    by_pixel: np.ndarray,  # (L, at least C + 1) written
    final: np.ndarray,  # (L,) written: background . v - v_alpha
) -> None:
    """Loss gradients of a group, 0 in the lanes to spare."""
    channels = grad_image.shape[1]
    first = groups.bounds[m]
    number = groups.bounds[m + 1] - first
    for k in range(LANES):
        if k >= number:
            by_pixel[k] = ZERO
            final[k] = ZERO
            continue
        p = groups.targets[first + k]
        dot = -grad_alpha[p]
        for c in range(channels):
            by_pixel[k, c] = grad_image[p, c]
            dot += background[c] * grad_image[p, c]
        by_pixel[k, channels] = grad_depth[p]
        final[k] = dot
    for c in range(channels + 1):
        for k in range(LANES):
            by_channel[c, k] = by_pixel[k, c]


@njit(error_model='numpy')
def _dots(
    matches: Matches,
    features: np.ndarray,  # (G, C)
    by_channel: np.ndarray,  # (C + 1, L)
    count: int,
    scratch: Scratch,
) -> None:
    """c . v, with the depth as the last channel, two splats at a time."""
    channels = features.shape[1]
    grad_depth = load(by_channel, channels * LANES, LANES)
    for s in range(0, count, 2):
        # an odd last splat is computed twice
        i = matches.entries[scratch.active[s]]
        k = matches.entries[scratch.active[min(s + 1, count - 1)]]
        first = grad_depth * matches.splats[i, DEPTH]
        second = grad_depth * matches.splats[k, DEPTH]
        at = np.intp(matches.owners[i]) * channels
        to = np.intp(matches.owners[k]) * channels
        for c in range(channels):
            grad = load(by_channel, c * LANES, LANES)
            first = first + grad * broadcast_from(features, at + c, LANES)
            second = second + grad * broadcast_from(features, to + c, LANES)
        store(scratch.dots, s * LANES, first)
        store(scratch.dots, (s + 1) * LANES, second)


@njit(error_model='numpy')
def _slopes(
    matches: Matches,
    opacities: np.ndarray,  # (S,)
    max_alpha: np.float32,
    behind,  # Lanes: T_end (background . v - v_alpha)
    count: int,
    scratch: Scratch,
) -> None:
    """exp(-sigma) dL/dalpha, from back to front, in place of exp(-sigma)."""
    zero, one = broadcast(ZERO, LANES), broadcast(ONE, LANES)
    largest = broadcast(max_alpha, LANES)
    for s in range(count - 1, -1, -1):
        visible = load(scratch.visible, s * LANES, LANES)
        weight = load(scratch.weights, s * LANES, LANES)
        dot = load(scratch.dots, s * LANES, LANES)
        alpha = visible * opacities[matches.entries[scratch.active[s]]]
        slope = load(scratch.through, s * LANES, LANES) * dot
        slope = visible * (slope - behind / (one - alpha))
        # where alpha was cut off it does not change
        slope = where_greater(alpha, largest, zero, slope)
        slope = where_greater(weight, zero, slope, zero)
        store(scratch.visible, s * LANES, slope)
        behind = behind + weight * dot


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


@njit(error_model='numpy')
def _shift(a: np.float32, b: np.float32, slot: np.ndarray) -> None:
    """Sums of 1, x, y, x2, xy, y2 from a point (a, b) further away."""
    one, x, y, xx, xy = slot[0], slot[1], slot[2], slot[3], slot[4]
    slot[1] = x + a * one
    slot[2] = y + b * one
    slot[3] = xx + a * (x + x + a * one)
    slot[4] = xy + a * y + b * (x + a * one)
    slot[5] += b * (y + y + b * one)


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
