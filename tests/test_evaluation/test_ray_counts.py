"""RayIoU and both flow errors on cases counted by hand."""

import math

import numpy as np
import pytest
import torch

from occsplat.evaluation import RayCounts, count_rays, lidar_rays
from occsplat.structures import LabelSpec, VoxelGrid

# Four lanes of 1 m voxels along x. One ray runs down each lane from
# x = 0.5, so a surface in voxel i lies at i + 0.5 metres, and scores can
# be counted on the fingers.
CAR, ROAD, FREE, IGNORE = 0, 1, 2, 255
GRID = VoxelGrid(range=(0, 0, 0, 20, 4, 1), shape=(20, 4, 1))
SPEC = LabelSpec(
    name='corridor',
    classes=('car', 'road', 'free'),
    free=FREE,
    movable=(CAR,),
    palette=((0, 0, 0),) * 3,
    counts=(1, 1, 1),
    grid=GRID,
    has_flow=True,
)
ORIGINS = torch.tensor([[0.5, lane + 0.5, 0.5] for lane in range(4)])
FORWARD = torch.tensor([[1.0, 0.0, 0.0]])


def lanes(*things):
    """Labels and flow of (voxel, class[, flow]) or None, one a lane."""
    occ = torch.full(GRID.shape, FREE, dtype=torch.uint8)
    flow = torch.zeros(*GRID.shape, 2)
    for lane, thing in enumerate(things):
        if thing is None:
            continue
        occ[thing[0], lane, 0] = thing[1]
        if len(thing) == 3:
            flow[thing[0], lane, 0] = torch.tensor(thing[2])
    return occ, flow


def counts_of(pred, truth, flow=True):
    return count_rays(
        pred[0],
        truth[0],
        ORIGINS,
        FORWARD,
        SPEC,
        GRID,
        pred[1] if flow else None,
        truth[1] if flow else None,
    )


TRUTH = lanes((10, CAR, (3.0, 4.0)), (10, CAR, (1.0, 0.0)), (5, ROAD), None)
PRED = lanes((10, CAR), (11, CAR, (1.0, 0.0)), (8, CAR, (0.0, 2.0)), (3, CAR))


def test_ray_set():
    rays = lidar_rays()
    assert rays.shape == (39 * 360, 3)
    pitch = torch.asin(rays[:, 2]).reshape(39, 360)
    assert pitch[0, 0].item() == pytest.approx(-math.pi / 4)
    assert pitch[9, 0].item() == pytest.approx(-math.atan(0.1))
    assert pitch[-1, 0].item() == pytest.approx(0.21900, abs=5e-6)
    torch.testing.assert_close(pitch, pitch[:, :1].expand(39, 360))
    azimuth = torch.rad2deg(torch.atan2(rays[:, 1], rays[:, 0]))
    expected = torch.arange(360.0, dtype=torch.float64).repeat(39)
    torch.testing.assert_close(azimuth % 360, expected)
    torch.testing.assert_close(rays.norm(dim=-1), torch.ones(14040).double())


def test_iou_by_hand():
    counts = counts_of(PRED, TRUTH)
    assert counts.rays == 3  # the lane whose truth is free is dropped
    assert counts.truth.tolist() == [2, 1, 0]
    assert counts.predicted.tolist() == [3, 0, 0]
    # lane 1 is off by exactly 1 m, which is not within 1 m
    assert counts.matched.tolist() == [[1, 0, 0], [2, 0, 0], [2, 0, 0]]
    scores = counts.summary(SPEC, flow=True)
    assert scores['RayIoU@1_car'] == pytest.approx(1 / 4)
    assert scores['RayIoU@2_car'] == pytest.approx(2 / 3)
    assert scores['RayIoU@1'] == pytest.approx(1 / 8)
    assert scores['RayIoU@2'] == scores['RayIoU@4'] == pytest.approx(1 / 3)
    assert scores['RayIoU'] == pytest.approx((1 / 8 + 1 / 3 + 1 / 3) / 3)
    assert scores['RayIoU_car'] == pytest.approx((1 / 4 + 4 / 3) / 3)
    assert scores['RayIoU_road'] == 0


def test_both_flow_errors_by_hand():
    # errors: lane 0 |(3,4)|, lane 1 none, lane 2 (background) |(0,2)|
    scores = counts_of(PRED, TRUTH).summary(SPEC, flow=True)
    assert scores['mAVE_TP'] == pytest.approx((5 + 0) / 2)
    assert scores['mAVE'] == pytest.approx((5 + 0 + 2) / 3)
    assert scores['mAVE_car'] == scores['mAVE']
    assert scores['mAVE_TP_car'] == scores['mAVE_TP']
    assert 'mAVE_road' not in scores
    assert scores['OccScore'] == pytest.approx(0.9 * scores['RayIoU'])


def test_occ_score_adds_a_tenth_for_flow():
    slow = lanes((10, CAR, (0.5, 0.0)), (5, ROAD), None, None)
    still = lanes((10, CAR), (5, ROAD), None, None)
    scores = counts_of(still, slow).summary(SPEC, flow=True)
    assert scores['RayIoU'] == 1 and scores['mAVE'] == 0.25
    assert scores['OccScore'] == pytest.approx(0.9 + 0.1 * 0.75)


def test_frames_without_a_hit_do_not_enter_either_flow_error():
    missed = lanes((10, CAR, (6.0, 0.0)), None, None, None)
    empty = lanes(None, None, None, None)
    both = counts_of(PRED, TRUTH) + counts_of(empty, missed)
    scores = both.summary(SPEC, flow=True)
    assert scores['mAVE'] == pytest.approx(7 / 3)
    assert scores['mAVE_TP'] == pytest.approx(5 / 2)
    assert both.truth.tolist() == [3, 1, 0]


def test_a_match_beyond_two_metres_is_no_hit_for_flow():
    truth = lanes((10, CAR, (6.0, 0.0)), None, None, None)
    late = lanes((13, CAR), None, None, None)
    scores = counts_of(late, truth).summary(SPEC, flow=True)
    assert scores['RayIoU@4_car'] == 1 and scores['RayIoU@2_car'] == 0
    assert math.isnan(scores['mAVE']) and math.isnan(scores['mAVE_TP'])
    assert scores['OccScore'] == pytest.approx(0.9 * scores['RayIoU'])


def test_pooled_over_frames_not_averaged():
    one = lanes((10, CAR), None, None, None)
    three = lanes((10, CAR), (10, CAR), (10, CAR), None)
    empty = lanes(None, None, None, None)
    total = counts_of(one, one) + counts_of(empty, three)
    # by frame it would be (1 + 0) / 2
    assert total.summary(SPEC, flow=True)['RayIoU'] == pytest.approx(1 / 4)


def test_flow_errors_are_pooled_over_rays():
    # 1 ray with an error of 4 m/s, then 3 rays without error
    first = lanes((10, CAR, (4.0, 0.0)), None, None, None)
    still = lanes((10, CAR), None, None, None)
    rest = lanes((10, CAR), (10, CAR), (10, CAR), None)
    total = counts_of(still, first) + counts_of(rest, rest)
    scores = total.summary(SPEC, flow=True)
    assert scores['mAVE'] == scores['mAVE_TP'] == pytest.approx(1.0)


def test_predictions_on_rays_without_truth_are_free_of_charge():
    wild = lanes((10, CAR), (5, ROAD), (2, CAR), (2, ROAD))
    truth = lanes((10, CAR), (5, ROAD), None, None)
    assert counts_of(wild, truth).summary(SPEC, flow=False)['RayIoU'] == 1


def test_ignored_voxels_are_transparent():
    truth, flow = lanes((10, CAR), None, None, None)
    truth[4, 0, 0] = IGNORE  # in front of the car
    truth[19, 1, 0] = IGNORE  # where a ray leaves the grid
    counts = counts_of(lanes((10, CAR), None, None, None), (truth, flow))
    assert counts.rays == 1
    assert counts.matched[0].tolist() == [1, 0, 0]


def test_flow_of_a_ray_that_hits_nothing_is_zero():
    truth = lanes((10, CAR), (10, CAR, (3.0, 0.0)), None, None)
    occ, flow = lanes((10, CAR), None, None, None)
    flow[19, 1, 0] = torch.tensor([9.0, 9.0])  # the free voxel it ends in
    scores = counts_of((occ, flow), truth).summary(SPEC, flow=True)
    assert scores['mAVE'] == pytest.approx((0 + 3) / 2)


def test_flow_is_read_where_each_ray_hits():
    truth = lanes((10, CAR, (2.0, 0.0)), None, None, None)
    occ, flow = lanes((11, CAR, (2.0, 0.0)), None, None, None)
    flow[10, 0, 0] = torch.tensor([7.0, 0.0])  # not on its surface
    scores = counts_of((occ, flow), truth).summary(SPEC, flow=True)
    assert scores['mAVE_TP'] == 0


def test_sum_of_counts_equals_one_pass():
    # Two frames of one origin each are one frame of two origins, for all
    # but the error of hit frames, which is by frame.
    split = sum(
        (
            count_rays(PRED[0], TRUTH[0], o[None], FORWARD, SPEC, GRID)
            for o in ORIGINS
        ),
        RayCounts.zeros(SPEC.num_classes),
    )
    whole = counts_of(PRED, TRUTH, flow=False)
    assert split.rays == whole.rays and split.frames == 4
    np.testing.assert_array_equal(split.truth, whole.truth)
    np.testing.assert_array_equal(split.predicted, whole.predicted)
    np.testing.assert_array_equal(split.matched, whole.matched)


def test_absent_classes_do_not_enter_the_mean():
    only_road = lanes((5, ROAD), None, None, None)
    scores = counts_of(only_road, only_road).summary(SPEC, flow=False)
    assert math.isnan(scores['RayIoU_car'])
    assert scores['RayIoU'] == 1
    assert not any('AVE' in key or 'Score' in key for key in scores)


def test_wrong_inputs_are_named():
    with pytest.raises(ValueError, match='both flows'):
        count_rays(PRED[0], TRUTH[0], ORIGINS, FORWARD, SPEC, GRID, PRED[1])
    with pytest.raises(ValueError, match='pred_occ: expected shape'):
        counts_of((PRED[0][:-1], PRED[1]), TRUTH)
    with pytest.raises(ValueError, match='gt_flow: expected shape'):
        counts_of(PRED, (TRUTH[0], TRUTH[1][..., :1]))
    other = PRED[0].clone()
    other[1, 0, 0] = 17
    with pytest.raises(ValueError, match='class id 17.*ids 0 to 2'):
        counts_of((other, PRED[1]), TRUTH)
