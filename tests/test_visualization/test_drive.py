"""Films as long as the drive: what is where, and for how long."""

import numpy as np
import pytest
import torch

from occsplat.structures import CameraRig, LabelSpec, OccDataSample, VoxelGrid
from occsplat.visualization import (
    BevMap,
    bev_image,
    chase_rig,
    drive_film,
    drive_fps,
    drive_frame,
)

SPEC = LabelSpec.named('openocc')
GRID = VoxelGrid(SPEC.grid.range, (50, 50, 4))
ROAD, CAR = (SPEC.classes.index(n) for n in ('driveable_surface', 'car'))
#: six cameras as nuScenes has them: degrees to the left of ahead
AROUND = dict(
    CAM_BACK=180,
    CAM_FRONT_RIGHT=-55,
    CAM_FRONT=0,
    CAM_BACK_LEFT=110,
    CAM_FRONT_LEFT=55,
    CAM_BACK_RIGHT=-110,
)


def sample_of(**volumes) -> OccDataSample:
    sample = OccDataSample()
    for name, label in volumes.items():
        occ = torch.full(GRID.shape, SPEC.free, dtype=torch.uint8)
        occ[:, :, 0] = ROAD
        occ[30:34, 20:24, 1:] = label
        sample.set_data({name: occ})
    return sample


def drive_frame_of(sample: OccDataSample, names=tuple(AROUND)):
    rigs = []
    for name in names:
        turn = np.radians(AROUND[name])
        ahead = (10 * np.cos(turn), 10 * np.sin(turn), 1.0)
        rigs.append(chase_rig(80, 48, (0.0, 0.0, 1.0), ahead)[0])
    images = [
        np.full((48, 80, 3), 10 + 10 * n, np.uint8) for n in range(len(names))
    ]
    return drive_frame(sample, images, SPEC, CameraRig.stack(rigs), names)


def test_cameras_are_where_the_car_has_them():
    found = drive_frame_of(sample_of(pred_occ=CAR))
    titles = [[name for name, _ in row] for row in found.above]
    assert titles == [
        ['front left', 'front', 'front right'],
        ['back left', 'back', 'back right'],
    ]
    shades = [[image[0, 0, 0] for _, image in row] for row in found.above]
    assert shades == [[50, 30, 20], [40, 10, 60]]


FRONT = ['CAM_FRONT_LEFT', 'CAM_FRONT', 'CAM_FRONT_RIGHT']


@pytest.mark.parametrize(
    'names, shapes',
    [
        ([*FRONT, 'CAM_BACK'], [[80, 80, 80], [80, 80, 80]]),
        (FRONT[::2], [[40, 80, 80, 40]]),
        (FRONT[1:2], [[80, 80, 80]]),
    ],
)
def test_few_cameras_do_not_grow(names, shapes):
    found = drive_frame_of(sample_of(pred_occ=CAR), names)
    widths = [[image.shape[1] for _, image in row] for row in found.above]
    assert widths == shapes
    assert found.above[-1][0][0] == found.above[-1][-1][0] == ''


def test_a_picture_has_cameras_volumes_and_both_from_above(monkeypatch):
    sample = sample_of(pred_occ=CAR, gt_occ=SPEC.free)
    sample.pred_flow = torch.zeros(*GRID.shape, 2)
    sample.pred_flow[30:34, 20:24, 1:, 0] = 8.0
    pictures = drive_film([drive_frame_of(sample)] * 2, SPEC)
    picture = next(pictures)
    height, width, _ = picture.shape
    assert width == 1600 and sum(1 for _ in pictures) == 15
    # two rows of cameras, and below them volumes and views from above
    assert (picture[200, 20:-20:600] == [[50] * 3, [30] * 3, [20] * 3]).all()
    assert (picture[500, 20:-20:600] == [[40] * 3, [10] * 3, [60] * 3]).all()
    top, low = 6 + 2 * (315 + 6), 6 + 2 * (315 + 6) + 340
    view = BevMap(GRID, 340 / 80)
    for name, right in (('pred', -352), ('gt', -6)):
        occ = sample.get(f'{name}_occ').numpy()
        flow = sample.pred_flow.numpy() if name == 'pred' else None
        above = bev_image(occ, SPEC, view, flow)
        shown = picture[top + 24 : low, right - 340 : right]
        assert np.array_equal(shown, above[24:])
    # the car is predicted, and not in the truth
    volumes = picture[top + 24 : low, 6:451], picture[top + 24 : low, 457:902]
    blue = [
        (volume[..., 2] > 2 * volume[..., 0].astype(int) + 40).sum()
        for volume in volumes
    ]
    assert blue[0] > 200 and blue[1] == 0


def test_a_film_takes_the_time_of_the_drive():
    times = [1.5e9, 1.5e9 + 0.5, 1.5e9 + 1.25, 1.5e9 + 1.5]
    assert drive_fps(times) * 1.5 == pytest.approx(3 * 8)
    assert drive_fps(times[:1]) == 16
