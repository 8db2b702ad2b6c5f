"""Depth and class of cells, on maps that can be scored by hand."""

import math

import pytest
import torch

from occsplat.evaluation import DepthMetric, PixelIoUMetric, count_metric
from occsplat.structures import DataError

CAR, ROAD, IGNORE = 1, 2, 255


@pytest.fixture
def maps():
    """One camera, cells of 2 x 2 pixels: 2 x 3 of them."""
    depth, label = torch.zeros(1, 4, 6), torch.full((1, 4, 6), IGNORE)
    for (row, column), z, name in (
        ((0, 0), 4.0, CAR),
        ((1, 1), 9.0, ROAD),  # behind the first, in the same cell
        ((0, 2), 10.0, ROAD),
        ((3, 3), 25.0, CAR),
        ((2, 5), 40.0, CAR),  # too far to count
        ((2, 0), 8.0, IGNORE),  # a depth whose class is unknown
    ):
        depth[0, row, column], label[0, row, column] = z, name
    return depth, label


def depth_scores(guess, depth):
    metric = DepthMetric()
    metric.add('a', torch.tensor(guess), depth)
    return metric.score()


def test_depth_errors_by_hand(maps):
    guess = [[[5.0, 12.5, 7.0], [8.0, 20.0, 7.0]]]
    scores = depth_scores(guess, maps[0])
    # 1, 2.5, 0 and 5 m in four cells
    assert scores['depth_L1'] == 8.5 / 4
    assert scores['depth_L1_0-10'] == 1 / 2
    assert scores['depth_L1_10-20'] == 2.5
    assert scores['depth_L1_20-30'] == 5
    assert math.isnan(scores['depth_L1_30-40'])
    # 5 / 4, 12.5 / 10 and 25 / 20 are 1.25, which is too much
    assert scores['depth_close'] == 1 / 4
    assert scores['depth_close_0-10'] == 1 / 2
    nearer = depth_scores([[[4.9, 12.4, 7.0], [8.0, 20.1, 7.0]]], maps[0])
    assert nearer['depth_close'] == 1


def test_frames_are_pooled_and_counted_once(maps):
    metric = DepthMetric(prefix='x')
    metric.add('a', torch.full((1, 2, 3), 10.0), maps[0])
    metric.add('a', torch.full((1, 2, 3), 1.0), maps[0])
    one = torch.zeros(1, 4, 6)
    one[0, 0, 0] = 30.0
    metric.add('b', torch.full((1, 2, 3), 39.0), one)
    scores = metric.evaluate(2)
    # 6, 0, 2, 15 and 9 m
    assert scores['x/depth_L1'] == 32 / 5
    assert scores['x/depth_L1_30-40'] == 9


def test_class_ious_by_hand(maps, corridor):
    depth, label = maps
    guess = torch.tensor([[[CAR, CAR, ROAD], [ROAD, ROAD, ROAD]]])
    metric = PixelIoUMetric(corridor)
    metric.add('a', guess, label, depth)
    scores = metric.score()
    # truth: car, road, car; guess: car, car, road; nothing else counts
    assert scores['pixel_mIoU_car'] == 1 / 3
    assert scores['pixel_mIoU_road'] == 0
    assert scores['pixel_mIoU'] == 1 / 6
    # all that is seen is something
    assert 'pixel_IoU' not in scores


def test_classes_without_a_cell_are_left_out(maps, corridor):
    depth, label = maps
    label[label == ROAD] = CAR
    metric = PixelIoUMetric(corridor)
    metric.add('a', torch.full((1, 2, 3), CAR), label, depth)
    scores = metric.score()
    assert scores['pixel_mIoU'] == scores['pixel_mIoU_car'] == 1
    assert math.isnan(scores['pixel_mIoU_road'])


def test_a_frame_has_depth_scores_of_its_own(maps):
    metric = DepthMetric(prefix='net')
    metric.add('a', torch.full((1, 2, 3), 10.0), maps[0])
    (scores,) = metric.frame_scores().values()
    whole = {f'net/{k}': v for k, v in metric.score().items()}
    assert scores == pytest.approx(whole, nan_ok=True)


@pytest.mark.parametrize('kind', ['depth', 'pixel'])
def test_the_result_line_names_its_policy(maps, corridor, kind, monkeypatch):
    lines = []
    monkeypatch.setattr(
        count_metric, 'report', lambda title, rows: lines.append(title)
    )
    depth, label = maps
    if kind == 'depth':
        metric = DepthMetric()
        metric.add('a', torch.ones(1, 2, 3), depth)
    else:
        metric = PixelIoUMetric(corridor)
        metric.add('a', torch.full((1, 2, 3), CAR), label, depth)
    metric.score()
    assert 'mask policy: cells with a LiDAR return within 40 m' in lines[0]
    cells = 4 if kind == 'depth' else 3
    assert f'1 frames, {cells} cells' in lines[0]


def test_what_makes_no_sense_is_refused(maps, corridor):
    depth, label = maps
    good = torch.ones(1, 2, 3)
    for wrong, match in (
        (good * torch.nan, 'pred_depth: expected finite'),
        (-good, 'pred_depth: expected metres, 0 or more, got -1'),
        (good.int(), 'pred_depth: expected floating'),
        (good[0], 'pred_depth: expected'),
    ):
        with pytest.raises(DataError, match=match):
            DepthMetric().add('a', wrong, depth)
    with pytest.raises(ValueError, match='does not divide'):
        DepthMetric().add('a', torch.ones(1, 3, 3), depth)
    with pytest.raises(ValueError, match='pred_depth'):
        DepthMetric().add('a', torch.ones(2, 2, 3), depth)
    ids = torch.full((1, 2, 3), CAR)
    metric = PixelIoUMetric(corridor)
    for wrong in (3, IGNORE):
        with pytest.raises(DataError, match=f'class id {wrong}'):
            metric.add('a', torch.full_like(ids, wrong), label, depth)
    with pytest.raises(DataError, match='class id 7'):
        metric.add('a', ids, torch.full_like(label, 7), depth)
    with pytest.raises(ValueError, match='gt_pixel_semantics'):
        metric.add('a', ids, label[:, :2], depth)
    with pytest.raises(ValueError, match=r"missing \['pred_depth'\]"):
        DepthMetric().process(None, [dict(token='a', gt_depth=depth)])
