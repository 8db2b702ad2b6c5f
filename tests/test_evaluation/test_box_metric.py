"""Boxes are matched by their IoU, and objects of labels are found."""

import math

import numpy as np
import pytest
import torch

from occsplat.data import NuScenesOccDataset
from occsplat.evaluation import BoxMetric, box_ious, count_boxes

FREE, CAR, ROAD = 0, 1, 2
UNIT = [0.0, 0, 0, 4, 2, 2, 0]


def iou(one, other):
    return box_ious(np.array([one]), np.array([other])).item()


@pytest.mark.parametrize(
    'change, expected',
    [
        ({}, 1.0),
        # 3 of 4 m in common along x: 12 of 16 m3, union 20
        ({0: 1.0}, 12 / 20),
        # half of the height
        ({2: 1.0}, 8 / 24),
        # on top of each other, and side by side
        ({2: 2.0}, 0.0),
        ({1: 2.5}, 0.0),
        # across: a square of 2 m in common
        ({6: math.pi / 2}, 8 / 24),
        # a half turn is the same box
        ({6: math.pi}, 1.0),
    ],
)
def test_ious_by_hand(change, expected):
    other = list(UNIT)
    for i, value in change.items():
        other[i] = value
    assert iou(UNIT, other) == pytest.approx(expected, abs=1e-9)
    assert iou(other, UNIT) == pytest.approx(expected, abs=1e-9)


def test_iou_of_a_turned_square():
    # two squares of side 2 at 45 degrees share a regular octagon whose
    # incircle has radius 1: 8 (sqrt 2 - 1) square metres
    square = [5.0, -3, 1, 2, 2, 1, 0]
    common = 8 * (math.sqrt(2) - 1)
    turned = [*square[:6], math.pi / 4]
    assert iou(square, turned) == pytest.approx(common / (8 - common))


def test_each_box_is_matched_once_and_the_best_pair_first():
    truth = np.array([UNIT, [3.0, *UNIT[1:]]])
    pred = np.array([[1.0, *UNIT[1:]], [0.5, *UNIT[1:]], [30.0, *UNIT[1:]]])
    labels = np.full(3, CAR)
    counts = count_boxes(pred, labels, truth, labels[:2], 3, 0.25)
    assert counts.annotated.tolist() == [0, 2, 0]
    assert counts.predicted.tolist() == [0, 3, 0]
    # 0.5 with 0: 3.5 / 4.5; then 1 with 3: 2 / 6
    assert counts.matched.tolist() == [0, 2, 0]
    assert counts.iou[CAR] == pytest.approx(3.5 / 4.5 + 2 / 6)
    strict = count_boxes(pred, labels, truth, labels[:2], 3, 0.5)
    assert strict.matched[CAR] == 1
    other = count_boxes(pred, labels, truth, labels[:2] + 1, 3, 0.25)
    assert other.matched.sum() == 0


def a_car(spec):
    """A car of 4 x 2 x 2 voxels of 1 m, and its box."""
    occ = torch.full(spec.grid.shape, FREE, dtype=torch.uint8)
    occ[4:8, 7:9, 3:5] = CAR
    return occ, [6.0, 0.0, 0.0, 4.0, 2.0, 2.0, 0.0]


def test_a_car_is_found_and_frames_are_pooled(corridor):
    occ, box = a_car(corridor)
    metric = BoxMetric(corridor)
    metric.add('a', occ, torch.tensor([box]), torch.tensor([CAR]))
    metric.add('a', occ * 0, torch.tensor([box]), torch.tensor([CAR]))
    far = [box, [12.0, *box[1:]]]
    metric.add('b', occ, torch.tensor(far), torch.tensor([CAR, CAR]))
    metric.add('c', occ, torch.zeros(0, 7), torch.zeros(0))
    result = metric.evaluate(size=3)
    assert result['BoxRecall'] == result['BoxRecall_car']
    assert result['BoxRecall'] == pytest.approx(2 / 3)
    assert result['BoxPrecision'] == pytest.approx(2 / 3)
    assert result['BoxIoU'] == pytest.approx(1)


def test_what_is_outside_or_does_not_move_is_not_looked_for(corridor):
    occ, box = a_car(corridor)
    boxes = torch.tensor([box, [20.0, *box[1:]], box])
    metric = BoxMetric(corridor)
    metric.add('a', occ, boxes, torch.tensor([CAR, CAR, ROAD]))
    assert metric.frames['a'].annotated.tolist() == [0, 1, 0]
    assert metric.score()['BoxRecall'] == 1


def test_predicted_offsets_are_used(corridor):
    occ, _ = a_car(corridor)
    occ[4:8, 6:12, 3:5] = CAR
    boxes = [[6.0, y, 0.0, 4.0, 3.0, 2.0, 0.0] for y in (-0.5, 2.5)]
    truth = torch.tensor(boxes), torch.tensor([CAR, CAR])
    apart = torch.ones(6, *corridor.grid.shape)
    # how far it is to the ends of each of the two along y
    for j in range(3):
        apart[2, :, [6 + j, 9 + j]] = 3.0 - j
        apart[3, :, [6 + j, 9 + j]] = 1.0 + j
    for i in range(4):
        apart[0, 4 + i], apart[1, 4 + i] = 4.0 - i, 1.0 + i
    apart[4, :, :, 3], apart[5, :, :, 4] = 2.0, 2.0
    results = []
    for offsets in (None, apart):
        metric = BoxMetric(corridor, iou_threshold=0.6)
        metric.add('a', occ, *truth, pred_offsets=offsets)
        results.append(metric.score()['BoxRecall'])
    assert results == [0, 1]


def test_wrong_inputs_are_named(corridor):
    occ, box = a_car(corridor)
    metric = BoxMetric(corridor)
    none = torch.zeros(0, 7), torch.zeros(0)
    with pytest.raises(ValueError, match='above 0 and of at most 1, got 0'):
        BoxMetric(corridor, iou_threshold=0)
    with pytest.raises(ValueError, match='pred_occ: expected shape'):
        metric.add('a', occ[:4], *none)
    with pytest.raises(ValueError, match='pred_occ holds class id 17'):
        metric.add('a', torch.full_like(occ, 17), *none)
    with pytest.raises(ValueError, match='gt_boxes: expected shape'):
        metric.add('a', occ, torch.tensor([box]), torch.zeros(0))
    with pytest.raises(ValueError, match='gt_boxes'):
        metric.process(None, [dict(token='a', pred_occ=occ)])


@pytest.mark.parametrize('spec', ['openocc', 'surroundocc'])
def test_labels_of_minitown_have_the_annotated_boxes(minitown_infos, spec):
    dataset = NuScenesOccDataset(
        str(minitown_infos),
        'occsplat_infos_val.pkl',
        spec,
        [
            dict(type='LoadOccLabels', label_spec=spec),
            dict(type='LoadBoxes', label_spec=spec),
        ],
        test_mode=True,
    )
    metric = BoxMetric(spec)
    for sample in dataset:
        occ = torch.as_tensor(sample['gt_occ'])
        metric.add(
            sample['token'],
            torch.where(occ == metric.spec.ignore, metric.spec.free, occ),
            sample['gt_boxes'],
            sample['gt_box_labels'],
        )
    result = metric.score()
    total = sum(counts.annotated.sum() for counts in metric.frames.values())
    assert total > 40
    # cars are long and rarely hidden: all are there, turned as annotated
    assert result['BoxRecall_car'] > 0.95
    assert result['BoxIoU_car'] > 0.55
    assert result['BoxRecall'] > 0.6
