import math

import numpy as np
import pytest

from occsplat.minitown.motion import Motion, Path, Speed, overlaps, standing


def test_a_left_arc_ends_a_quarter_turn_later():
    path = Path((0.0, 0.0, 0.0), ((10.0, 0.0), (math.pi, 0.5)))
    assert path.at(10.0) == pytest.approx((10.0, 0.0, 0.0))
    assert path.at(10.0 + math.pi) == pytest.approx((12.0, 2.0, math.pi / 2))
    assert path.at(13.0 + math.pi) == pytest.approx((12.0, 5.0, math.pi / 2))
    assert path.at(-3.0) == pytest.approx((-3.0, 0.0, 0.0))


def test_the_distance_is_the_integral_of_the_speed():
    knots = ((1.0, 4.0), (3.0, 8.0), (4.0, 0.0))
    speed = Speed(knots, offset=2.0)
    times = np.linspace(0.0, 5.0, 50001)
    values = np.interp(times, *zip(*knots))
    total = np.sum((values[1:] + values[:-1]) / 2 * np.diff(times))
    assert speed.travelled(0.0) == 2.0
    assert speed.travelled(5.0) - 2.0 == pytest.approx(total, abs=1e-6)
    assert speed.travelled(-2.0) == pytest.approx(2.0 - 8.0)


def test_moving_the_plane_moves_the_motion():
    path = Path((1.0, 2.0, 0.3), ((5.0, 0.1), (4.0, -0.2)))
    motion = Motion(path, Speed(((0.0, 3.0),)))
    x, y, yaw = motion.at(2.0)
    c, s = math.cos(0.5), math.sin(0.5)
    expected = (7 + c * x - s * y, -1 + s * x + c * y, yaw + 0.5)
    assert motion.moved(7.0, -1.0, 0.5).at(2.0) == pytest.approx(expected)


def test_overlap_of_turned_rectangles():
    def poses(*args):
        return np.array([standing(*args).at(0.0)])

    others = np.stack(
        [
            poses(2.9, 0.0, 0.0),
            poses(3.1, 0.0, 0.0),
            # a square on its corner reaches further
            poses(3.1, 0.0, math.pi / 4),
            # bounding boxes overlap, rectangles do not
            poses(2.3, 2.3, math.pi / 4),
        ]
    )
    halves = np.ones((4, 2))
    touched = overlaps(poses(0.0, 0.0, 0.0), (2.0, 1.0), others, halves)
    assert touched.tolist() == [True, False, True, False]
