"""Instances counted by hand."""

import math

import pytest
import torch

from occsplat.evaluation import InstanceMetric, count_instances
from occsplat.structures import LabelSpec, VoxelGrid

FREE, CAR, ROAD, PERSON, IGNORE = 0, 1, 2, 3, 255
SPEC = LabelSpec(
    name='street',
    classes=('free', 'car', 'road', 'person'),
    free=FREE,
    movable=(CAR, PERSON),
    palette=((0, 0, 0),) * 4,
    counts=(1, 1, 1, 1),
    grid=VoxelGrid(range=(0, 0, 0, 10, 4, 3), shape=(10, 4, 3)),
)


def volume(**boxes):
    """Labels with slices of x, y and z by class."""
    occ = torch.full(SPEC.grid.shape, FREE, dtype=torch.uint8)
    occ[..., 0] = ROAD
    for name, parts in boxes.items():
        for part in parts:
            occ[part] = SPEC.classes.index(name)
    return occ


BIG = (slice(0, 4), slice(0, 2), slice(1, 2))  # 8 voxels
SMALL = (slice(6, 8), slice(0, 1), slice(1, 2))  # 2 voxels
ADULT = (slice(9, 10), slice(3, 4), slice(0, 3))  # 3 voxels
TRUTH = volume(car=[BIG, SMALL], person=[ADULT])


def score(pred, truth=TRUTH):
    metric = InstanceMetric(SPEC)
    metric.add('frame', pred, truth)
    return metric.score()


def test_by_hand():
    pred = TRUTH.clone()
    pred[0, :2, 1] = FREE  # 6 of 8 are left
    pred[6, 0, 1] = PERSON  # 1 of 2
    pred[9, 3, :2] = CAR  # 1 of 3
    counts = count_instances(pred, TRUTH, SPEC)
    assert counts.instances.tolist() == [0, 2, 0, 1]
    assert counts.found.tolist() == [0, 2, 0, 0]
    scores = counts.summary(SPEC)
    # instances weigh the same, whatever their size, then classes do
    assert scores['Completeness_car'] == pytest.approx((6 / 8 + 1 / 2) / 2)
    assert scores['Completeness_person'] == pytest.approx(1 / 3)
    assert scores['Completeness'] == pytest.approx((5 / 8 + 1 / 3) / 2)
    # one half is enough to be found
    assert scores['Found@0.5_car'] == 1 and scores['Found@0.5_person'] == 0
    assert scores['Found@0.5'] == 1 / 2
    assert not any('road' in key or 'free' in key for key in scores)


def test_labels_are_complete_and_nothing_is_not():
    assert set(score(TRUTH).values()) == {1.0}
    assert set(score(torch.full_like(TRUTH, ROAD)).values()) == {0.0}


def test_more_than_the_object_is_not_punished():
    # that is what IoU is for
    assert set(score(torch.full_like(TRUTH, CAR)).values()) == {0.0, 0.5, 1.0}


@pytest.mark.parametrize(
    'second', [(3, 1, 1), (3, 2, 1), (3, 2, 2)], ids=['face', 'edge', 'corner']
)
def test_voxels_that_touch_are_one_instance(second):
    truth = volume()
    truth[2, 1, 1] = truth[second] = CAR
    assert count_instances(truth, truth, SPEC).instances[CAR] == 1
    truth[second] = FREE
    truth[4, 2, 2] = CAR
    assert count_instances(truth, truth, SPEC).instances[CAR] == 2


def test_classes_do_not_join():
    truth = volume(car=[BIG])
    truth[1] = torch.where(truth[1] == CAR, PERSON, truth[1])
    counts = count_instances(truth, truth, SPEC)
    # the person parts the car
    assert counts.instances.tolist() == [0, 2, 0, 1]


def test_unknown_voxels_do_not_count_and_part_instances():
    truth = TRUTH.clone()
    truth[1, :2, 1] = IGNORE
    pred = TRUTH.clone()
    pred[1, :2, 1] = FREE  # nobody knows
    pred[0, 0, 1] = FREE
    counts = count_instances(pred, truth, SPEC)
    assert counts.instances[CAR] == 3
    # of 2, of 4, and the small car
    assert counts.complete[CAR] == pytest.approx(1 / 2 + 1 + 1)


def test_instances_of_all_frames_are_pooled():
    metric = InstanceMetric(SPEC)
    metric.add('a', TRUTH, TRUTH)  # 2 cars
    empty = volume()
    one = volume(car=[BIG])
    metric.add('b', empty, one)  # none of 1
    metric.add('c', TRUTH, empty)  # there is none
    scores = metric.evaluate(size=3)
    assert scores['Completeness_car'] == pytest.approx(2 / 3)
    assert scores['Completeness'] == pytest.approx((2 / 3 + 1) / 2)


def test_without_instances_all_is_undefined():
    scores = score(TRUTH, volume())
    assert all(math.isnan(value) for value in scores.values())


def test_wrong_inputs_are_named():
    with pytest.raises(ValueError, match='gt_occ: expected shape'):
        score(TRUTH, TRUTH[:3])
    with pytest.raises(ValueError, match='pred_occ: expected shape'):
        score(TRUTH[:3])
    with pytest.raises(ValueError, match='pred_occ holds class id 10'):
        score(TRUTH + 7)
    with pytest.raises(ValueError, match='gt_occ holds class id 10'):
        score(TRUTH, TRUTH + 7)
