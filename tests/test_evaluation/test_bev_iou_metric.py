"""Columns counted by hand."""

import math

import pytest
import torch

from occsplat.evaluation import BEVIoUMetric, count_columns, top_classes
from occsplat.structures import LabelSpec, VoxelGrid

GRID = VoxelGrid(range=(0, 0, 0, 6, 1, 3), shape=(6, 1, 3))
FREE, CAR, ROAD, IGNORE = 0, 1, 2, 255


def spec_of(*classes):
    return LabelSpec(
        name='street',
        classes=classes,
        free=classes.index('free'),
        movable=(),
        palette=((0, 0, 0),) * 3,
        counts=(1, 1, 1),
        grid=GRID,
    )


SPEC = spec_of('free', 'car', 'road')


def columns(*rows):
    """Labels (6, 1, 3) from one row per column, lowest voxel first."""
    return torch.tensor(rows, dtype=torch.uint8)[:, None]


TRUTH = columns(
    (ROAD, CAR, FREE),  # car
    (ROAD, FREE, FREE),  # road
    (ROAD, FREE, FREE),  # road
    (FREE, FREE, FREE),  # free
    (FREE, FREE, CAR),  # car
    (FREE, FREE, FREE),  # free
)
PRED = columns(
    (FREE, FREE, CAR),  # car: height does not matter
    (ROAD, CAR, FREE),  # car on the road
    (CAR, ROAD, FREE),  # road hides a car
    (FREE, ROAD, FREE),  # road
    (ROAD, FREE, FREE),  # road
    (FREE, FREE, FREE),  # free
)


def test_the_highest_occupied_voxel_counts():
    tops = top_classes(TRUTH, SPEC)
    assert tops.shape == (6, 1)
    assert tops.flatten().tolist() == [CAR, ROAD, ROAD, FREE, CAR, FREE]
    tops = top_classes(PRED, SPEC).flatten()
    assert tops.tolist() == [CAR, CAR, ROAD, ROAD, ROAD, FREE]


def test_by_hand():
    metric = BEVIoUMetric(SPEC)
    metric.add('frame', PRED, TRUTH)
    scores = metric.score()
    # occupied in both: 0, 1, 2, 4; in either: 0 to 4
    assert scores['bev_IoU'] == pytest.approx(4 / 5)
    # car in both: 0; in either: 0, 1, 4
    assert scores['bev_mIoU_car'] == pytest.approx(1 / 3)
    # road in both: 2; in either: 1, 2, 3, 4
    assert scores['bev_mIoU_road'] == pytest.approx(1 / 4)
    assert scores['bev_mIoU'] == pytest.approx((1 / 3 + 1 / 4) / 2)
    assert 'bev_mIoU_free' not in scores and 'mIoU' not in scores


def test_any_id_may_be_free():
    other = spec_of('road', 'car', 'free')
    swap = torch.tensor([2, 1, 0], dtype=torch.uint8)
    moved = count_columns(swap[PRED.long()], swap[TRUTH.long()], other)
    here = count_columns(PRED, TRUTH, SPEC)
    assert moved.summary(other) == pytest.approx(here.summary(SPEC))


def test_ignored_voxels_are_taken_out_of_both():
    truth = columns(
        (ROAD, IGNORE, FREE),  # road is the highest that is known
        (FREE, IGNORE, FREE),  # known to be free as far as known
        (IGNORE, IGNORE, IGNORE),  # nothing known: does not count
        (IGNORE, IGNORE, CAR),
        (ROAD, FREE, FREE),
        (FREE, FREE, FREE),
    )
    pred = columns(
        (ROAD, CAR, FREE),  # the car is where nobody knows
        (FREE, CAR, FREE),  # likewise
        (CAR, CAR, CAR),
        (ROAD, ROAD, CAR),
        (ROAD, FREE, FREE),
        (FREE, FREE, FREE),
    )
    counts = count_columns(pred, truth, SPEC)
    assert counts.voxels == 5
    assert counts.summary(SPEC)['IoU'] == 1
    assert counts.truth.tolist() == counts.predicted.tolist() == [2, 1, 2]
    # a car in a known voxel above them does count
    pred[0, 0, 2] = CAR
    scores = count_columns(pred, truth, SPEC).summary(SPEC)
    assert scores['mIoU_road'] == pytest.approx(1 / 2)


def test_an_unknown_world_is_undefined():
    metric = BEVIoUMetric(SPEC)
    metric.add('frame', PRED, torch.full_like(TRUTH, IGNORE))
    assert all(math.isnan(value) for value in metric.score().values())


def test_wrong_inputs_are_named():
    with pytest.raises(ValueError, match='gt_occ: expected shape'):
        BEVIoUMetric(SPEC).add('frame', PRED, TRUTH[:3])
    with pytest.raises(ValueError, match='pred_occ: expected shape'):
        BEVIoUMetric(SPEC).add('frame', PRED[:3], TRUTH)
    with pytest.raises(ValueError, match='pred_occ holds class id 9'):
        BEVIoUMetric(SPEC).add('frame', PRED + 7, TRUTH)
