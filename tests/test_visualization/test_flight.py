"""A flight through a scene: where the camera is between key frames."""

import numpy as np
import pytest
import torch

from occsplat.structures import LabelSpec, OccDataSample, VoxelGrid
from occsplat.visualization import (
    FlightFrame,
    chase_rig,
    flight_film,
    flight_frame,
    render_occupancy,
)
from occsplat.visualization.flight import (
    _EYE,
    _TARGET,
    DrivePath,
    flight_rig,
)
from occsplat.visualization.heading import from_forward_left

SPEC = LabelSpec.named('openocc')
GRID = VoxelGrid(SPEC.grid.range, (50, 50, 4))
CAR = SPEC.classes.index('car')
#: not evenly spaced, as large as time stamps are
TIMES = 1.5e9 + np.array([0.0, 0.5, 0.95, 1.5])


def pose(yaw, x, y, pitch=0.0) -> np.ndarray:
    """A car's in a large town, angles in radians."""
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    c, s = np.cos(pitch), np.sin(pitch)
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    matrix[:3, 3] = 1010.0 + x, 610.0 + y, 0.3
    return matrix


#: around a corner, across the angle where a turn of 180 degrees changes sign
POSES = [
    pose(3.0, 0, 0),
    pose(3.1, -4, 0.2, 0.02),
    pose(-3.0, -8, 0.1, 0.03),
    pose(-2.6, -12, -2),
]


@pytest.mark.parametrize('frame', ['ego', 'lidar'])
def test_at_a_key_frame_the_camera_is_where_it_belongs(frame):
    path = DrivePath(TIMES, POSES)
    nominal = chase_rig(64, 40, _EYE, _TARGET, frame=frame)
    for time, ref2global in zip(TIMES, POSES):
        rig = flight_rig(path(time), ref2global, 64, 40, frame)
        torch.testing.assert_close(
            rig.ref2cam, nominal.ref2cam, rtol=0, atol=1e-6
        )
    ahead = dict(ego=[[20.0, 0, 0]], lidar=[[0, 20.0, 0]])[frame]
    points = torch.tensor(ahead, dtype=torch.float64)
    uv, depth = nominal.project(points)
    assert abs(uv[0, 0, 0] - 32) < 1e-6 and depth[0, 0] > 20


@pytest.mark.parametrize('frame', ['ego', 'lidar'])
def test_what_stands_still_is_the_same_pixel_of_two_key_frames(frame):
    path = DrivePath(TIMES, POSES)
    for left in range(3):
        moment = TIMES[left] + 0.4 * (TIMES[left + 1] - TIMES[left])
        # points ahead of the camera, in the world
        local = [[15.0, 2, 1], [25, -9, 2], [0, 0, 0], [5, 3, -1]]
        local = from_forward_left(np.array(local), frame)
        world = np.c_[local, np.ones(4)] @ path(moment).T
        pixels = []
        for ref2global in POSES[left : left + 2]:
            rig = flight_rig(path(moment), ref2global, 640, 400, frame)
            seen = (world @ np.linalg.inv(ref2global).T)[:, :3]
            pixels.append(rig.project(torch.from_numpy(seen)))
        (uv, depth), (again, distance) = pixels
        assert (depth > 5).all()
        torch.testing.assert_close(uv, again, rtol=0, atol=1e-5)
        torch.testing.assert_close(depth, distance, rtol=0, atol=1e-6)


def test_between_key_frames_the_car_is_between_them():
    # 6 m/s straight on, then a turn of constant speed
    straight = [pose(0.0, 6 * t, 0) for t in TIMES - TIMES[0]]
    turning = [pose(0.4 * t + 3, 0, 0) for t in TIMES - TIMES[0]]
    for seconds in (0.0, 0.3, 0.7, 1.2, 1.5):
        moment = TIMES[0] + seconds
        for poses, expected in (
            (straight, pose(0.0, 6 * seconds, 0)),
            (turning, pose(0.4 * seconds + 3, 0, 0)),
        ):
            found = DrivePath(TIMES, poses)(moment)
            assert np.allclose(found, expected, rtol=0, atol=1e-6)
    # around the corner without a jerk, on the short way around
    path = DrivePath(TIMES, POSES)
    moments = np.arange(TIMES[0], TIMES[-1], 1 / 64)
    turns = np.array([path(moment)[:2, 0] for moment in moments])
    steps = np.diff(np.unwrap(np.arctan2(turns[:, 1], turns[:, 0])))
    assert (np.abs(steps) < 0.03).all()
    assert (np.abs(np.diff(steps)) < 0.002).all()


def frame_of(number: int, *names: str) -> FlightFrame:
    """A key frame with one car, which stands still in the world."""
    occ = np.full(GRID.shape, SPEC.free, dtype=np.uint8)
    occ[32 - number : 36 - number, 23:27, 1:3] = CAR
    volumes = {name: occ for name in names}
    return FlightFrame(volumes, 2.0 + 0.25 * number, pose(0, 1.6 * number, 0))


def test_a_picture_shows_the_nearest_key_frame_from_where_the_car_is():
    frames = [frame_of(n, 'prediction', 'truth') for n in range(3)]
    frames[1].volumes['prediction'] = np.full_like(
        frames[1].volumes['truth'], SPEC.free
    )
    pictures = list(flight_film(frames, SPEC, 'a'))
    # half a second; in the middle of two key frames is the earlier one
    assert len(pictures) == 8
    blue = np.array([_blue(p[80:442, 6:637]) for p in pictures])
    assert (blue[[0, 1, 2]] > 300).all()
    assert (blue[3:7] == 0).all() and blue[7] > 300
    # the true car grows as the camera comes nearer, at each picture
    blue = np.array([_blue(p[80:442, 643:1274]) for p in pictures])
    assert (np.diff(blue) > 0).all()
    rig = chase_rig(631, 400, _EYE, _TARGET)
    occ = frames[0].volumes['truth']
    (view,) = render_occupancy(occ, GRID, SPEC, rig, supersample=1)
    assert np.array_equal(pictures[0][48 + 24 : 448, 643:1274], view[24:])


def _blue(panel: np.ndarray) -> int:
    """Pixels in a car's colour, whatever the light."""
    red, _, blue = np.moveaxis(panel.astype(int), -1, 0)
    return int((blue > 2 * red + 40).sum())


def test_one_key_frame_stands_still_and_none_is_refused():
    (picture,) = flight_film([frame_of(0, 'truth')], SPEC)
    assert picture.shape[1] == 1280 and _blue(picture[80:442]) > 300
    with pytest.raises(ValueError, match='got 0 frames'):
        flight_film([], SPEC)
    with pytest.raises(ValueError, match='same volumes'):
        flight_film([frame_of(0, 'truth'), frame_of(1, 'prediction')], SPEC)


def test_a_frame_has_what_the_sample_says():
    sample = OccDataSample()
    sample.gt_occ = torch.zeros(4, 4, 2, dtype=torch.uint8)
    sample.set_metainfo(dict(timestamp=3.5, ref2global=POSES[1]))
    found = flight_frame(sample)
    assert list(found.volumes) == ['truth'] and found.timestamp == 3.5
    assert np.array_equal(found.ref2global, POSES[1])
