"""Errors of run lengths, counted by hand."""

import math

import numpy as np
import pytest
import torch

from occsplat.evaluation import (
    DIRECTIONS,
    OffsetMetric,
    count_offsets,
    run_offsets,
)
from occsplat.structures import LabelSpec, VoxelGrid

FREE, CAR, ROAD, IGNORE = 0, 1, 2, 255
# voxels of 0.5 x 1 x 2 m
GRID = VoxelGrid(range=(0, 0, 0, 4, 6, 4), shape=(8, 6, 2))
SPEC = LabelSpec(
    name='street',
    classes=('free', 'car', 'road'),
    free=FREE,
    movable=(CAR,),
    palette=((0, 0, 0),) * 3,
    counts=(1, 1, 1),
    grid=GRID,
)


def car(x=slice(2, 5), y=slice(1, 5), z=slice(0, 1)):
    """A car in free space, 3 x 4 x 1 voxels unless told."""
    occ = torch.full(GRID.shape, FREE, dtype=torch.uint8)
    occ[x, y, z] = CAR
    return occ


def score(pred, truth, offsets=None, **options):
    metric = OffsetMetric(SPEC, **options)
    metric.add('frame', pred, truth, offsets)
    return metric.score()


def test_labels_have_no_error():
    scores = score(car(), car())
    assert {v for k, v in scores.items() if 'road' not in k} == {0.0}
    assert all(math.isnan(v) for k, v in scores.items() if 'road' in k)
    keys = {'OffsetError', *(f'OffsetError_{d}' for d in DIRECTIONS)}
    classes = {f'{k}_{name}' for k in keys for name in SPEC.classes}
    assert set(scores) == keys | classes


def test_offsets_are_metres_of_each_direction():
    offsets = run_offsets(car(), GRID)
    # the car's first voxel along x and second along y
    assert offsets[:, 2, 2, 0].tolist() == [1.5, 0.5, 3, 2, 2, 2]
    cells = run_offsets(car(), GRID, stride=2)
    assert cells.shape == (6, 4, 3, 1)
    torch.testing.assert_close(cells, offsets[:, ::2, ::2, ::2])


def test_a_car_that_is_too_long():
    # one voxel (0.5 m) more ahead: wrong along x+ alone, and there by 0.5 m
    scores = score(car(x=slice(2, 6)), car())
    assert scores['OffsetError_x+_car'] == pytest.approx(0.5)
    for name in DIRECTIONS[1:]:
        assert scores[f'OffsetError_{name}_car'] == 0
    assert scores['OffsetError_car'] == pytest.approx(0.5 / 6)
    # the mean is over what is there but free: the car alone
    assert scores['OffsetError'] == scores['OffsetError_car']
    assert scores['OffsetError_x+'] == scores['OffsetError_x+_car']
    assert scores['OffsetError_free'] > 0
    # one voxel more on top of it, 2 m
    tall = score(car(z=slice(0, 2)), car())
    assert tall['OffsetError_z+'] == pytest.approx(2)
    assert tall['OffsetError_z-'] == tall['OffsetError_y+'] == 0


def test_classes_weigh_the_same():
    truth = car()
    truth[7] = ROAD  # 12 voxels, 12 of the car
    pred = truth.clone()
    pred[6] = ROAD  # x-: 1 instead of 0.5 m
    pred[7, 0] = FREE  # 2 of the 12: a run of one voxel, as the road's
    scores = score(pred, truth)
    assert scores['OffsetError_car'] == 0
    assert scores['OffsetError'] == pytest.approx(
        scores['OffsetError_road'] / 2
    )
    assert scores['OffsetError_x-_road'] == pytest.approx(10 / 12 * 0.5)


def test_predicted_offsets_go_before_runs_of_classes():
    nothing = torch.full_like(car(), FREE)
    for stride in (1, 2):
        offsets = run_offsets(car(), GRID, stride)
        scores = score(nothing, car(), offsets)
        assert scores['OffsetError'] == scores['OffsetError_free'] == 0
        # half a metre too short everywhere
        scores = score(nothing, car(), offsets - 0.5)
        assert scores['OffsetError'] == pytest.approx(0.5)
        assert scores['OffsetError_y-_free'] == pytest.approx(0.5)
    assert score(nothing, car())['OffsetError'] > 0.5


def test_cells_are_voxels_apart():
    truth = car()
    pred = car(x=slice(2, 6))
    pred[3] = FREE  # voxels 3 are no cells
    whole = OffsetMetric(SPEC)
    whole.add('frame', pred, truth)
    cells = OffsetMetric(SPEC, stride=2)
    cells.add('frame', pred, truth)
    given = OffsetMetric(SPEC)
    given.add('frame', pred, truth, run_offsets(pred, GRID, 2))
    # x 2 and 4, y 2 and 4, z 0
    assert cells.frames['frame'].cells[CAR].tolist() == [4] * 6
    assert whole.frames['frame'].cells[CAR].tolist() == [12] * 6
    np.testing.assert_array_equal(
        given.frames['frame'].error, cells.frames['frame'].error
    )
    # too short by 2 voxels at 2, too long by one at 4
    assert cells.score()['OffsetError_x+_car'] == pytest.approx(0.75)


def test_censored_runs_and_unknown_cells_do_not_count():
    truth = car()
    truth[5, :, 0] = IGNORE  # where the car ends, nobody knows
    pred = car(x=slice(2, 7))
    metric = OffsetMetric(SPEC)
    metric.add('frame', pred, truth)
    counts = metric.frames['frame']
    assert counts.cells[CAR].tolist() == [0, 12, 12, 12, 12, 12]
    assert counts.cells.sum(axis=0)[2] == 8 * 6 * 2 - 6
    scores = metric.score()
    # the other five directions are right
    assert scores['OffsetError_car'] == scores['OffsetError'] == 0
    assert math.isnan(scores['OffsetError_x+_car'])
    assert math.isnan(scores['OffsetError_x+'])


def test_runs_at_the_end_of_the_grid_count():
    truth = car(x=slice(5, 8))
    metric = OffsetMetric(SPEC)
    metric.add('frame', car(x=slice(5, 7)), truth)
    assert metric.frames['frame'].cells[CAR, 0] == 12
    # too short by a voxel in two cells of three; in the last one, which is
    # taken for free, a run of one voxel is right
    assert metric.score()['OffsetError_x+_car'] == pytest.approx(0.5 * 2 / 3)


def test_frames_are_pooled_by_cell():
    metric = OffsetMetric(SPEC)
    metric.add('a', car(x=slice(2, 6)), car())  # 12 cells, x+ 0.5 m
    small = car(x=slice(2, 3))
    metric.add('b', small, small)  # 4 cells
    metric.add('b', car(), small)  # counted once
    scores = metric.evaluate(size=2)
    assert scores['OffsetError_x+_car'] == pytest.approx(0.5 * 12 / 16)


def test_wrong_inputs_are_named():
    occ = car()
    offsets = run_offsets(occ, GRID)
    with pytest.raises(ValueError, match=r'divide .*\(8, 6, 2\), got 4'):
        OffsetMetric(SPEC, stride=4)
    with pytest.raises(ValueError, match='got 0'):
        OffsetMetric(SPEC, stride=0)
    with pytest.raises(ValueError, match='gt_occ: expected shape'):
        score(occ, occ[:4])
    with pytest.raises(ValueError, match='pred_occ: expected shape'):
        score(occ[:4], occ)
    with pytest.raises(ValueError, match='pred_occ holds class id 8'):
        score(occ + 7, occ)
    with pytest.raises(ValueError, match='gt_occ holds class id 8'):
        score(occ, occ + 7)
    for wrong in (
        offsets[:3],
        offsets[0],
        offsets.flatten(),
        offsets[:, :0],
        offsets[:, ::2],
        offsets[:, ::3],
        torch.zeros(6, 16, 12, 4),
    ):
        with pytest.raises(ValueError, match=r'pred_offsets: .*\(6, X/s'):
            count_offsets(wrong, occ, SPEC, GRID)
    offsets[2, 3, 1, 1] = math.nan
    with pytest.raises(ValueError, match='got nan or inf'):
        score(occ, occ, offsets)
