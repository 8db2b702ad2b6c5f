"""Splats blended lane by lane: what images and chosen pixels have in common.

Shape letters: S splats, A active splats (those that reach some of the
pixels at hand), L lanes, P pixels of the output, G Gaussians, C channels.

Pixels are handled some at a time, each in a lane of one vector: blocks of
an image (numba_blending), groups of chosen pixels (numba_pixels). First
comes the recurrence along their active splats, one :func:`pass_splat` after
the other, that yields the weights w_i = alpha_i T_i. The rest are products
of small matrices: weights and features in the forward pass, features and
loss gradients, then weights and loss gradients in the backward pass.

With the loss gradient v of a pixel and everything behind splat i summed up
in the scalar

    S_i = sum_{j > i} w_j (c_j . v) + T_end (background . v - v_alpha)

the gradients are

    dL/dc_i = w_i v
    dL/dalpha_i = T_i (c_i . v) - S_i / (1 - alpha_i)

What some pixels contribute to the gradient of a splat adds up in a slot: the
sums of g = exp(-sigma) dL/dalpha times 1, x, y, x2, xy, y2 from the splat's
centre in its first GROUP numbers, then the gradients of the features and of
the depth.
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
    Lanes,
    broadcast,
    broadcast_from,
    exp_minus,
    highest,
    load,
    store,
    where_at_least,
    where_greater,
)

#: channels of a vector: columns of a product that are computed at once
GROUP = 16
MIN_LEFT = np.float32(definition.MIN_LEFT)
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
#: splats after which pixels are tested for being opaque
PATIENCE = 8
#: for loops over an array's columns: seen on their own, without the number
#: of lanes, LLVM would unroll them and could not vectorise them any more
_pasted_njit = njit(error_model='numpy', inline='always')


def slot_size(channels: int) -> int:
    """Numbers in a slot: shape terms, features and depth, rounded up."""
    return GROUP + -(-(channels + 1) // GROUP) * GROUP


class Scratch(NamedTuple):
    """What is known about active splats."""

    active: np.ndarray  # (A,) int32: which of the splats
    visible: np.ndarray  # (A, L): exp(-sigma), later its dL/dalpha
    through: np.ndarray  # (A, L): T in front of a splat
    weights: np.ndarray  # (A, L): alpha T, or 0
    dots: np.ndarray  # (A, L): feature . loss gradient


class Light(NamedTuple):
    """What has come of pixels on the way from front to back."""

    through: Lanes  # T, and 0 once a splat would have closed the pixel
    left: Lanes  # T behind the last splat that was blended
    depth: Lanes
    hit: Lanes  # depth of the last splat in front of which T exceeds a half


class Images(NamedTuple):
    """The pixels to write."""

    features: np.ndarray  # (P, C)
    depth: np.ndarray  # (P,)
    left: np.ndarray  # (P,): transmittance behind everything
    first_hit: np.ndarray  # (P,)


class Cotangents(NamedTuple):
    """Loss gradients of all pixels."""

    features: np.ndarray  # (P, C)
    depth: np.ndarray  # (P,)
    alpha: np.ndarray  # (P,)


class PixelGradients(NamedTuple):
    """Loss gradients v of the pixels at hand, the depth's behind the rest."""

    by_channel: np.ndarray  # (C + 1, L)
    by_pixel: np.ndarray  # (L, at least C + 1), zeros behind
    final: np.ndarray  # (L,): background . v - v_alpha


@njit(error_model='numpy')
def longest(starts: np.ndarray) -> int:
    """The most entries that lie between a start and the next."""
    size = 0
    for n in range(len(starts) - 1):
        size = max(size, starts[n + 1] - starts[n])
    return size


@njit(error_model='numpy')
def make_scratch(size: int, lanes: int) -> Scratch:
    """Room for some active splats."""
    return Scratch(
        np.empty(size, np.int32),
        np.empty((size, lanes), np.float32),
        np.empty((size, lanes), np.float32),
        np.empty((size, lanes), np.float32),
        np.empty((size, lanes), np.float32),
    )


@njit(error_model='numpy')
def make_gradients(channels: int, columns: int, lanes: int) -> PixelGradients:
    """Room for the loss gradients of some pixels, ``columns`` for each."""
    return PixelGradients(
        np.zeros((channels + 1, lanes), np.float32),
        np.zeros((lanes, columns), np.float32),
        np.zeros(lanes, np.float32),
    )


@njit(error_model='numpy')
def full_light(zero: Lanes) -> Light:
    """In front of the first splat."""
    one = broadcast(ONE, zero)
    return Light(one, one, zero, zero)


@njit(error_model='numpy')
def pass_splat(
    light: Light,
    splat: np.ndarray,  # (6,)
    opacity: np.float32,
    max_alpha: np.float32,
    dx: Lanes,
    dy: Lanes,
) -> tuple[Light, Lanes, Lanes]:
    """Blend a splat at offsets from its centre, in pixels.

    Returns:
        tuple: the light behind it, its weight and exp(-sigma).
    """
    zero, half = broadcast(ZERO, dx), broadcast(HALF, dx)
    largest, min_alpha = broadcast(max_alpha, dx), broadcast(MIN_ALPHA, dx)
    min_left = broadcast(MIN_LEFT, dx)
    sigma = dx * dx * (HALF * splat[CONIC_XX])
    sigma = sigma + dx * dy * splat[CONIC_XY]
    sigma = sigma + dy * dy * (HALF * splat[CONIC_YY])
    visible = exp_minus(sigma)
    alpha = visible * opacity
    alpha = where_greater(alpha, largest, largest, alpha)
    alpha = where_at_least(alpha, min_alpha, alpha, zero)
    weight = alpha * light.through
    behind = light.through - weight
    # the splat that would close a pixel is left out, as are the rest
    weight = where_greater(behind, min_left, weight, zero)
    far = broadcast(splat[DEPTH], dx)
    nearest = where_greater(light.left, half, far, light.hit)
    passed = Light(
        where_greater(behind, min_left, behind, zero),
        where_greater(behind, min_left, behind, light.left),
        light.depth + weight * far,
        where_greater(weight, zero, nearest, light.hit),
    )
    return passed, weight, visible


@njit(error_model='numpy')
def is_opaque(light: Light) -> bool:
    """Whether no splat can leave a trace any more."""
    return highest(light.through) == ZERO


@njit(error_model='numpy')
def feature_sums(
    owners: np.ndarray,  # (S,)
    features: np.ndarray,  # (G, C)
    offset: int,
    count: int,
    scratch: Scratch,
    zero: Lanes,
    sums: np.ndarray,  # (at least offset + C, L) written from offset on
) -> None:
    """Features times weights, two channels at a time."""
    channels, lanes = features.shape[1], len(zero)
    for c in range(0, channels, 2):
        first = second = zero
        # an odd last channel is computed twice
        step = min(1, channels - 1 - c)
        for s in range(count):
            weight = load(scratch.weights, s * lanes, zero)
            at = np.intp(owners[scratch.active[s]]) * channels + c
            first = first + weight * broadcast_from(features, at, zero)
            at += step
            second = second + weight * broadcast_from(features, at, zero)
        store(sums, (offset + c) * lanes, first)
        store(sums, (offset + c + step) * lanes, second)


@_pasted_njit
def write_pixels(
    pixels: np.ndarray,  # (L,) int64, or -1 for lanes without a pixel
    light: Light,
    background: np.ndarray,  # (C,)
    sums: np.ndarray,  # (C + 3, L) of the features; the rest is written
    images: Images,
) -> None:
    """Put lanes where they belong, in front of the background."""
    channels, lanes = len(background), len(light.left)
    zero, half = broadcast(ZERO, light.left), broadcast(HALF, light.left)
    hit = where_greater(light.left, half, zero, light.hit)
    store(sums, channels * lanes, light.left)
    store(sums, (channels + 1) * lanes, light.depth)
    store(sums, (channels + 2) * lanes, hit)
    features, depth, left, first_hit = images
    for k in range(lanes):
        p = pixels[k]
        if p < 0:
            continue
        rest = sums[channels, k]
        pixel = features[p]
        for c in range(channels):
            pixel[c] = sums[c, k] + rest * background[c]
        left[p] = rest
        depth[p] = sums[channels + 1, k]
        first_hit[p] = sums[channels + 2, k]


@_pasted_njit
def read_gradients(
    pixels: np.ndarray,  # (L,) int64, or -1 for lanes without a pixel
    cotangents: Cotangents,
    background: np.ndarray,  # (C,)
    gradients: PixelGradients,  # written: 0 in lanes without a pixel
) -> None:
    """Loss gradients of the pixels at hand."""
    channels = len(background)
    by_channel, by_pixel, final = gradients
    for k in range(len(pixels)):
        p = pixels[k]
        if p < 0:
            by_pixel[k] = ZERO
            final[k] = ZERO
            continue
        dot = -cotangents.alpha[p]
        pixel = cotangents.features[p]
        for c in range(channels):
            by_pixel[k, c] = pixel[c]
            dot += background[c] * pixel[c]
        by_pixel[k, channels] = cotangents.depth[p]
        final[k] = dot
    for c in range(channels + 1):
        for k in range(len(pixels)):
            by_channel[c, k] = by_pixel[k, c]


@njit(error_model='numpy')
def dot_products(
    splats: np.ndarray,  # (S, 6)
    owners: np.ndarray,  # (S,)
    features: np.ndarray,  # (G, C)
    by_channel: np.ndarray,  # (C + 1, L)
    count: int,
    zero: Lanes,
    scratch: Scratch,  # dots written
) -> None:
    """c . v, with the depth as the last channel, two splats at a time."""
    channels, lanes = features.shape[1], len(zero)
    grad_depth = load(by_channel, channels * lanes, zero)
    for s in range(0, count, 2):
        # an odd last splat is computed twice
        i, k = scratch.active[s], scratch.active[min(s + 1, count - 1)]
        first = grad_depth * splats[i, DEPTH]
        second = grad_depth * splats[k, DEPTH]
        at = np.intp(owners[i]) * channels
        to = np.intp(owners[k]) * channels
        for c in range(channels):
            grad = load(by_channel, c * lanes, zero)
            first = first + grad * broadcast_from(features, at + c, zero)
            second = second + grad * broadcast_from(features, to + c, zero)
        store(scratch.dots, s * lanes, first)
        store(scratch.dots, (s + 1) * lanes, second)


@njit(error_model='numpy')
def slopes(
    opacities: np.ndarray,  # (S,)
    max_alpha: np.float32,
    behind: Lanes,  # T_end (background . v - v_alpha)
    count: int,
    scratch: Scratch,
) -> None:
    """exp(-sigma) dL/dalpha, from back to front, in place of exp(-sigma)."""
    lanes = len(behind)
    zero, one = broadcast(ZERO, behind), broadcast(ONE, behind)
    largest = broadcast(max_alpha, behind)
    for s in range(count - 1, -1, -1):
        visible = load(scratch.visible, s * lanes, zero)
        weight = load(scratch.weights, s * lanes, zero)
        dot = load(scratch.dots, s * lanes, zero)
        alpha = visible * opacities[scratch.active[s]]
        slope = load(scratch.through, s * lanes, zero) * dot
        slope = visible * (slope - behind / (one - alpha))
        # where alpha was cut off it does not change
        slope = where_greater(alpha, largest, zero, slope)
        slope = where_greater(weight, zero, slope, zero)
        store(scratch.visible, s * lanes, slope)
        behind = behind + weight * dot


@njit(error_model='numpy')
def shifted(
    sums: np.ndarray,  # (at least 6,): of 1, x, y, x2, xy, y2
    a: np.float32,
    b: np.float32,
) -> tuple[np.float32, ...]:
    """The same sums from a point (a, b) further away."""
    one, x, y, xx, xy, yy = (
        sums[0],
        sums[1],
        sums[2],
        sums[3],
        sums[4],
        sums[5],
    )
    return (
        one,
        x + a * one,
        y + b * one,
        xx + a * (x + x + a * one),
        xy + a * y + b * (x + a * one),
        yy + b * (y + y + b * one),
    )


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
