"""Vectors in compiled code, against numpy."""

import numba
import numpy as np
import pytest

from occsplat.rendering.simd import (
    broadcast,
    broadcast_from,
    exp_minus,
    highest,
    load,
    power_of_two,
    round_down,
    store,
    where_at_least,
    where_greater,
)

COUNT = 8


@numba.njit(error_model='numpy')
def arithmetic(a, b, out):
    x, y = load(a, 0, COUNT), load(b, 0, COUNT)
    half = np.float32(0.5)
    store(out, 0, x + y)
    store(out, 8, x - y)
    store(out, 16, x * y)
    store(out, 24, x / y)
    store(out, 32, x + half)
    store(out, 40, x * half)
    store(out, 48, broadcast(half, COUNT))
    store(out, 56, broadcast_from(a, 3, COUNT))
    store(out, 64, where_greater(x, y, x, y))
    store(out, 72, where_at_least(x, y, y, x))
    store(out, 80, round_down(x))
    return highest(x)


@numba.njit(error_model='numpy')
def as_wide_as_another(a, out):
    x = load(a, 0, COUNT)
    store(out, 0, load(a, 1, x))
    store(out, 8, broadcast(np.float32(len(x)), x))
    store(out, 16, broadcast_from(a, 3, x))


def test_a_vector_tells_its_width():
    a = np.arange(9, dtype=np.float32)
    out = np.empty((3, COUNT), np.float32)
    as_wide_as_another(a, out)
    expected = (a[1:], [COUNT] * COUNT, [3] * COUNT)
    np.testing.assert_array_equal(out, expected)


def test_arithmetic_lane_by_lane():
    a = np.array([-2.5, -1, -0.5, 0, 0.5, 1, 2.5, 7], np.float32)
    b = np.array([1, -1, 3, -4, 0.5, 2, 2.25, -7], np.float32)
    out = np.empty((11, COUNT), np.float32)
    assert arithmetic(a, b, out) == 7
    expected = (
        a + b, a - b, a * b, a / b, a + 0.5, a * 0.5, np.full(8, 0.5),
        np.full(8, a[3]), np.maximum(a, b), np.where(a >= b, b, a),
        np.floor(a),
    )  # fmt: skip
    for row, values in zip(out, expected):
        np.testing.assert_array_equal(row, values.astype(np.float32))


def test_nan_compares_as_false():
    a = np.full(COUNT, np.nan, np.float32)
    b = np.arange(1, COUNT + 1, dtype=np.float32)
    out = np.empty((11, COUNT), np.float32)
    arithmetic(a, b, out)
    np.testing.assert_array_equal(out[8], b)
    np.testing.assert_array_equal(out[9], a)


@numba.njit(error_model='numpy')
def exponentials(x, out):
    store(out, 0, exp_minus(load(x, 0, COUNT)))
    store(out, COUNT, power_of_two(round_down(load(x, 0, COUNT))))


def test_exp_minus():
    for x in np.random.default_rng(0).uniform(0, 20, (200, COUNT)):
        x = x.astype(np.float32)
        out = np.empty((2, COUNT), np.float32)
        exponentials(x, out)
        np.testing.assert_allclose(
            out[0], np.exp(-x.astype(np.float64)), rtol=2e-6
        )
        np.testing.assert_array_equal(out[1], 2.0 ** np.floor(x))


@pytest.mark.parametrize('x', [87.0, 1e4, np.inf])
def test_exp_minus_far_out_is_next_to_nothing(x):
    out = np.empty((2, COUNT), np.float32)
    exponentials(np.full(COUNT, x, np.float32), out)
    assert 0 <= out[0].max() < 2e-38


@numba.njit(error_model='numpy', boundscheck=True)
def copy(a, source, out, target):
    store(out, target, load(a, source, COUNT))


@numba.njit(error_model='numpy', boundscheck=True)
def spread(a, source, out):
    store(out, 0, broadcast_from(a, source, COUNT))


@pytest.mark.parametrize('outside', [-1, 3, 1000])
def test_bounds_are_checked_on_request(outside):
    """Of the first number and of the last."""
    a, out = np.zeros(10, np.float32), np.zeros(10, np.float32)
    copy(a, 2, out, 2)
    spread(a, 9, out)
    with pytest.raises(IndexError):
        copy(a, outside, out, 0)
    with pytest.raises(IndexError):
        copy(a, 0, out, outside)
    with pytest.raises(IndexError):
        spread(a, 7 + outside if outside > 0 else outside, out)
