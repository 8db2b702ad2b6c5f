"""Boundaries counted by hand, and by an erosion."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from occsplat.evaluation import BoundaryIoUMetric, near_boundary
from occsplat.structures import LabelSpec, VoxelGrid

FREE, CAR, ROAD, IGNORE = 0, 1, 2, 255
GRID = VoxelGrid(range=(0, 0, 0, 4.8, 4.0, 3.2), shape=(12, 10, 8))  # 0.4 m
SPEC = LabelSpec(
    name='street',
    classes=('free', 'car', 'road'),
    free=FREE,
    movable=(CAR,),
    palette=((0, 0, 0),) * 3,
    counts=(1, 1, 1),
    grid=GRID,
)


def block(start, shape, label=CAR):
    """A block of voxels in free space."""
    occ = torch.full(GRID.shape, FREE, dtype=torch.uint8)
    occ[tuple(slice(a, a + n) for a, n in zip(start, shape))] = label
    return occ


def score(pred, truth, **options):
    metric = BoundaryIoUMetric(SPEC, **options)
    metric.add('frame', pred, truth)
    return metric.score()


def test_only_the_shell_of_a_block_counts():
    # 6 x 5 x 4 = 120 voxels, of which 4 x 3 x 2 are inside
    truth = block((2, 2, 2), (6, 5, 4))
    hollow = truth.clone()
    hollow[4, 4, 4] = FREE
    metric = BoundaryIoUMetric(SPEC)
    metric.add('frame', truth, truth)
    counts = metric.frames['frame']
    assert counts.truth[CAR] == counts.predicted[CAR] == 120 - 24
    assert metric.score()['BoundaryIoU_car'] == 1
    # a hole has a boundary: five of its six neighbours were inside
    metric = BoundaryIoUMetric(SPEC)
    metric.add('frame', hollow, truth)
    counts = metric.frames['frame']
    inner = [(3, 4, 4), (5, 4, 4), (4, 3, 4), (4, 5, 4), (4, 4, 3)]
    assert counts.predicted[CAR] == 96 + len(inner)
    assert metric.score()['BoundaryIoU_car'] == pytest.approx(96 / 101)


def test_a_shift_costs_more_than_it_costs_iou():
    truth = block((2, 2, 2), (6, 5, 4))
    pred = block((3, 2, 2), (6, 5, 4))
    # IoU is 100 / 140. Of the 5 common layers across x the outer two are a
    # cap of one block only: 14 of 20 voxels are on the other one's rim
    both = 3 * 14 + 2 * 14
    union = 2 * 96 - both
    result = score(pred, truth)['BoundaryIoU_car']
    assert result == pytest.approx(both / union) and result < 100 / 140


def test_the_end_of_the_grid_is_no_boundary():
    # a slab on the floor: only its top has free voxels above
    slab = block((0, 0, 0), (12, 10, 3), ROAD)
    metric = BoundaryIoUMetric(SPEC)
    metric.add('frame', slab, slab)
    assert metric.frames['frame'].truth[ROAD] == 120
    # what is wrong below the layer under the top is the inside's matter
    pred = slab.clone()
    pred[:, :, 0] = FREE
    # the new boundary is below: road has 2 layers, all of them near one
    assert score(pred, slab)['BoundaryIoU_road'] == pytest.approx(120 / 240)
    full = torch.full_like(slab, ROAD)
    assert math.isnan(score(full, full)['BoundaryIoU_road'])


def test_occupied_classes_are_boundaries_of_each_other():
    occ = block((0, 0, 0), (12, 10, 8), ROAD)
    occ[6:] = CAR
    metric = BoundaryIoUMetric(SPEC)
    metric.add('frame', occ, occ)
    assert metric.frames['frame'].truth[[CAR, ROAD]].tolist() == [80, 80]
    assert metric.score()['BoundaryIoU'] == 1
    swapped = torch.where(occ == CAR, ROAD, CAR).to(torch.uint8)
    assert score(swapped, occ)['BoundaryIoU'] == 0


def test_unknown_voxels_are_no_boundary_and_do_not_count():
    truth = block((0, 0, 0), (12, 10, 3), ROAD)
    truth[..., 3] = IGNORE
    # between road and free nothing is known: no boundary in the truth
    guess = torch.where(truth == IGNORE, FREE, truth)
    assert math.isnan(score(guess, truth)['BoundaryIoU_road'])
    # nor in a prediction that says something there
    pred = truth.clone()
    pred[..., 3] = CAR
    assert math.isnan(score(pred, truth)['BoundaryIoU'])
    # half of it known: half of the boundary
    truth[:, :5, 3] = FREE
    metric = BoundaryIoUMetric(SPEC)
    metric.add('frame', pred, truth)
    assert metric.frames['frame'].truth[ROAD] == 60


@pytest.mark.parametrize('width', [0.4, 0.8, 1.3])
@pytest.mark.parametrize('size', [(0.4, 0.4, 0.4), (0.2, 0.4, 0.3)])
def test_agrees_with_a_distance_transform(size, width):
    make = torch.Generator().manual_seed(0)
    draw = torch.rand(12, 10, 8, generator=make)
    occ = torch.where(draw < 0.03, CAR, ROAD).to(torch.uint8)
    known = torch.rand(12, 10, 8, generator=make) < 0.8
    near = near_boundary(occ, known, size, width)
    for label in (CAR, ROAD):
        outside = (known & (occ != label)).numpy()
        distance = ndimage.distance_transform_edt(~outside, sampling=size)
        mask = (known & (occ == label)).numpy()
        expected = mask & (distance <= width + 1e-6)
        np.testing.assert_array_equal(near.numpy() & mask, expected)
        assert 0 < expected.sum()
    assert not near[~known].any()


def test_width_is_in_metres():
    occ = block((0, 0, 0), (12, 10, 5), ROAD)
    for width, layers in ((None, 1), (0.4, 1), (0.79, 1), (0.8, 2), (9, 5)):
        metric = BoundaryIoUMetric(SPEC, width=width)
        metric.add('frame', occ, occ)
        assert metric.frames['frame'].truth[ROAD] == 120 * layers, width
    coarse = dict(range=GRID.range, shape=(6, 5, 4))
    assert BoundaryIoUMetric(SPEC, grid=coarse).width == pytest.approx(0.8)
    wide = BoundaryIoUMetric(SPEC, grid=coarse, width=0.8)
    wide.add('frame', occ[::2, ::2, ::2], occ[::2, ::2, ::2])
    assert wide.frames['frame'].truth[ROAD] == 30


def test_frames_are_pooled():
    truth = block((2, 2, 2), (6, 5, 4))
    metric = BoundaryIoUMetric(SPEC)
    metric.add('a', truth, truth)
    metric.add('b', torch.full_like(truth, FREE), truth)
    scores = metric.evaluate(size=2)
    assert scores['BoundaryIoU_car'] == scores['BoundaryIoU'] == 1 / 2
    assert math.isnan(scores['BoundaryIoU_road'])
    assert 'BoundaryIoU_free' not in scores


def test_wrong_inputs_are_named():
    occ = block((2, 2, 2), (6, 5, 4))
    with pytest.raises(ValueError, match='voxel, 0.4 m, got 0.3'):
        BoundaryIoUMetric(SPEC, width=0.3)
    with pytest.raises(ValueError, match='gt_occ: expected shape'):
        score(occ, occ[:3])
    with pytest.raises(ValueError, match='pred_occ: expected shape'):
        score(occ[:3], occ)
    # without any boundary, too
    with pytest.raises(ValueError, match='pred_occ holds class id 9'):
        score(torch.full_like(occ, 9), occ)
