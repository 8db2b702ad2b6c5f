"""RayPQ: segments of rays, matched and missed."""

import math

import numpy as np
import pytest
import torch

from occsplat.evaluation import RayPQMetric
from occsplat.evaluation.panoptic_counts import (
    MIN_RAYS,
    PanopticCounts,
    _match,
    count_panoptic,
    things_in_boxes,
)
from occsplat.evaluation.ray_counts import lidar_rays
from occsplat.structures import LabelSpec, VoxelGrid

SPEC = LabelSpec.named('openocc')
CAR, ROAD = SPEC.classes.index('car'), SPEC.classes.index('driveable_surface')
GRID = VoxelGrid((-8, -8, -1, 8, 8, 3), (32, 32, 8))
ORIGIN = torch.tensor([[0.0, 0.0, 1.0]])


def boxes_at(*places):
    """Cars of 3 x 2 x 2 m; their labels."""
    rows = [[x, y, 0.5, 3.0, 2.0, 2.0, 0.0] for x, y in places]
    return torch.tensor(rows), torch.full((len(rows),), CAR)


def scene(*places):
    occ = torch.full(GRID.shape, SPEC.free, dtype=torch.uint8)
    occ[..., 0] = ROAD
    centers = GRID.centers()
    for x, y in places:
        inside = ((centers - torch.tensor([x, y, 0.5])).abs()) < torch.tensor(
            [1.5, 1.0, 1.0]
        )
        occ[inside.all(-1)] = CAR
    return occ


def panoptic(pred, truth, true_places):
    boxes, labels = boxes_at(*true_places)
    metric = RayPQMetric(SPEC, GRID)
    metric.add('frame', pred, truth, ORIGIN, boxes, labels)
    return metric.score()


def test_the_truth_has_all_of_it():
    truth = scene((4, 3), (-4, -3))
    found = panoptic(truth, truth, [(4, 3), (-4, -3)])
    for key in ('RayPQ', 'RaySQ', 'RayRQ', 'RayPQ@1', 'RayPQ_car'):
        assert found[key] == pytest.approx(1)
    assert math.isnan(found['RayPQ_bus'])


def test_a_thing_that_is_missed_and_one_that_is_invented():
    truth, pred = scene((4, 3), (-4, -3)), scene((4, 3), (-4, 4))
    found = panoptic(pred, truth, [(4, 3), (-4, -3)])
    # one of two matched, one missed. What stands where the truth has road
    # is seen by rays that hit something: it is invented
    assert found['RayPQ_car'] == pytest.approx(0.5, abs=0.02)
    assert 0.5 < found['RayPQ_driveable_surface'] < 1
    assert found['RayPQ_things'] == found['RayPQ_car']


def test_three_things_in_one_are_not_three():
    """Right classes everywhere, RayIoU 1, and things run into one."""
    truth = scene((4, 1.0), (4, -1.0))
    # as if slices of it were parked beside each other
    true = (torch.arange(GRID.shape[1]) % 3 + 1)[None, :, None] * (
        truth == CAR
    )
    one = (truth == CAR).long()
    counts = count_panoptic(
        truth, one, truth, true, ORIGIN, lidar_rays(), SPEC, GRID
    )
    found = counts.summary(SPEC)
    assert found['RayPQ_driveable_surface'] == pytest.approx(1)
    # thirds: none has an IoU above a half
    assert found['RayPQ_car'] == 0
    assert counts.missed[:, CAR].tolist() == [3, 3, 3]
    assert counts.invented[:, CAR].tolist() == [1, 1, 1]


def test_far_off_is_no_match():
    truth, pred = scene((6, 0)), scene((5, 0))
    found = panoptic(pred, truth, [(6, 0)])
    # a metre: too far at the first threshold alone
    assert found['RayPQ@1'] < found['RayPQ@2'] == found['RayPQ@4']


def naive(guess, truth, near):
    """PQ's sums, pair after pair."""
    iou, pairs = 0.0, set()
    for p in set(guess[guess >= 0].tolist()):
        for t in set(truth[truth >= 0].tolist()):
            inside = (near & (guess == p) & (truth == t)).sum()
            union = (guess == p).sum() + (truth == t).sum() - inside
            if inside / union > 0.5:
                iou += inside / union
                pairs.add((p, t))

    def alone(part, taken):
        return sum(
            (part == k).sum() >= MIN_RAYS
            for k in set(part[part >= 0].tolist()) - taken
        )

    return (
        iou,
        len(pairs),
        alone(guess, {p for p, _ in pairs}),
        alone(truth, {t for _, t in pairs}),
    )


def test_sums_are_those_of_all_pairs():
    rng = np.random.default_rng(0)
    for _ in range(20):
        truth = rng.integers(-1, 6, 300)
        guess = np.where(
            rng.random(300) < 0.75, truth, rng.integers(-1, 9, 300)
        )
        guess[rng.random(300) < 0.05] = 17  # a few rays: too few to count
        near = rng.random(300) < 0.9
        counts = PanopticCounts.zeros(SPEC.num_classes)
        _match(counts, (1, 4), guess, truth, near)
        found = [
            part[1, 4]
            for part in (
                counts.iou, counts.matched, counts.invented, counts.missed
            )
        ]  # fmt: skip
        assert found == pytest.approx(naive(guess, truth, near))
        assert counts.matched.sum() == counts.matched[1, 4]


def test_things_beyond_the_boxes_are_connected_parts():
    occ = scene((4, 3), (-4, -3), (-4, 4))
    boxes, labels = boxes_at((4, 3))
    ids = things_in_boxes(occ, boxes, labels, SPEC, GRID)
    assert set(ids[occ == CAR].tolist()) == {1, 2, 3}
    assert (ids[occ != CAR] == 0).all()
    # a box of another class has no car in it
    ids = things_in_boxes(occ, boxes, labels + 1, SPEC, GRID)
    assert set(ids[occ == CAR].tolist()) == {2, 3, 4}


def test_frames_pool_before_ratios():
    truth = scene((4, 3), (-4, -3))
    metric = RayPQMetric(SPEC, GRID)
    for token, places in (('a', [(4, 3), (-4, -3)]), ('b', [(4, 3)])):
        boxes, labels = boxes_at((4, 3), (-4, -3))
        metric.add(token, scene(*places), truth, ORIGIN, boxes, labels)
    found = metric.evaluate(2)
    # three of four, and one missed
    assert found['RayPQ_car'] == pytest.approx(3 / 3.5, abs=0.02)
