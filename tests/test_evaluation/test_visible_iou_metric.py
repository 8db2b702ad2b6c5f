"""Visible voxels: what walls hide, and what they don't."""

import numpy as np
import pytest
import torch

from occsplat.evaluation import (
    VisibleIoUMetric,
    pixel_rays,
    seen_by_cameras,
    sensor_cameras,
)

FREE, CAR, ROAD, IGNORE = 0, 1, 2, 255


def volume(spec, *parts):
    """Free but for (where, class) parts."""
    occ = torch.full(spec.grid.shape, spec.free, dtype=torch.uint8)
    for where, label in parts:
        occ[where] = label
    return occ


def scores(spec, rig, pred, truth, **options):
    metric = VisibleIoUMetric(spec, stride=1, **options)
    metric.add('frame', pred, truth, rig)
    return metric.score()


@pytest.fixture
def pixel(look):
    """A camera of one pixel, in the middle of voxel (0, 8, 4)."""
    return look((0.5, 0.5, 0.5), size=(1, 1))


def row(spec, **labels):
    """A volume with some voxels ahead set: x3=CAR is voxel (3, 8, 4)."""
    return volume(spec, *(((int(x[1:]), 8, 4), c) for x, c in labels.items()))


def test_by_hand(pixel, corridor):
    # voxels 0 to 5 are visible: five free ones and a wall
    truth = row(corridor, x5=ROAD, x6=ROAD, x9=CAR)
    metric = VisibleIoUMetric(corridor, stride=1)
    # free in front of the wall is wrongly filled, the wall is a car
    pred = row(corridor, x3=ROAD, x5=CAR)
    metric.add('frame', pred, truth, pixel)
    counts = metric.frames['frame']
    assert counts.voxels == 6 and counts.truth.tolist() == [5, 0, 1]
    result = metric.score()
    # occupied in both: 5; in either: 3 and 5
    assert result['visible_IoU'] == pytest.approx(1 / 2)
    assert result['visible_mIoU'] == 0
    assert 'visible_mIoU_free' not in result and 'IoU' not in result


def test_a_wall_hides_what_is_behind_it(pixel, corridor):
    truth = row(corridor, x5=ROAD, x6=ROAD, x9=CAR)
    for pred in (
        row(corridor, x5=ROAD),
        row(corridor, x5=ROAD, x6=CAR, x12=CAR),
    ):
        assert scores(corridor, pixel, pred, truth)['visible_mIoU'] == 1
    # beside the rays nothing counts either
    pred = volume(corridor, (np.s_[:, 0], CAR), (np.s_[5, 8, 4], ROAD))
    assert scores(corridor, pixel, pred, truth)['visible_IoU'] == 1


def test_free_voxels_in_front_count(pixel, corridor):
    truth = row(corridor, x5=ROAD)
    for filled in range(5):
        pred = row(corridor, x5=ROAD, **{f'x{filled}': ROAD})
        result = scores(corridor, pixel, pred, truth)
        assert result['visible_IoU'] == pytest.approx(1 / 2)


def test_the_prediction_has_no_say_in_what_is_visible(pixel, corridor):
    truth = row(corridor, x5=ROAD)
    near, nothing = row(corridor, x1=ROAD), volume(corridor)
    counts = {}
    for name, pred in dict(near=near, nothing=nothing).items():
        metric = VisibleIoUMetric(corridor, stride=1)
        metric.add('frame', pred, truth, pixel)
        counts[name] = metric.frames['frame']
    assert counts['near'].voxels == counts['nothing'].voxels == 6
    # without a wall the ray runs to the end of the grid
    metric.add('empty', near, nothing, pixel)
    assert metric.frames['empty'].voxels == 16


def test_rays_pass_ignored_voxels_which_do_not_count(pixel, corridor):
    truth = row(corridor, x2=IGNORE, x3=IGNORE, x5=ROAD)
    metric = VisibleIoUMetric(corridor, stride=1)
    metric.add('frame', row(corridor, x2=CAR, x5=ROAD), truth, pixel)
    assert metric.frames['frame'].voxels == 4
    assert metric.score()['visible_IoU'] == 1


def test_equals_a_brute_force_march(look, corridor):
    make = torch.Generator().manual_seed(0)
    occupied = torch.rand(corridor.grid.shape, generator=make) < 0.03
    rig = sensor_cameras(look((1.31, 0.17, 0.63), size=(9, 5), focal=4.37))
    seen = seen_by_cameras(occupied, rig, corridor.grid, stride=1)
    origins, directions = pixel_rays(rig)
    marched = torch.zeros_like(occupied)
    along = torch.arange(0, 40, 1e-3, dtype=torch.float64)[:, None]
    for direction in directions.reshape(-1, 3):
        index, inside = corridor.grid.locate(origins[0] + along * direction)
        index = index[inside]
        hits = occupied[tuple(index.T)].nonzero()
        last = int(hits[0]) if len(hits) else len(index)
        marched[tuple(index[: last + 1].T)] = True
    # odd numbers: no ray cuts a corner by less than a step
    assert torch.equal(seen, marched)
    assert 100 < seen.sum() < occupied.numel()


def test_cameras_add_up(look, corridor):
    nothing = torch.zeros(corridor.grid.shape, dtype=torch.bool)
    views = [look((8.0, 0.0, 0.0), turn=t) for t in (0.0, 1.5)]
    seen = [
        seen_by_cameras(nothing, sensor_cameras(v), corridor.grid, 2)
        for v in views
    ]
    both = type(views[0])(
        *(
            torch.cat([getattr(v, name) for v in views])
            for name in ('ref2cam', 'K', 'img_aug')
        ),
        views[0].width,
        views[0].height,
    )
    union = seen_by_cameras(nothing, sensor_cameras(both), corridor.grid, 2)
    assert torch.equal(union, seen[0] | seen[1])
    # the second camera looks along y, the first along x
    assert seen[0][15].any() and not seen[0][:7].any()
    assert seen[1][:, 15].any() and not seen[1][:, :7].any()


def test_sparser_rays_see_no_more(look, corridor):
    nothing = torch.zeros(corridor.grid.shape, dtype=torch.bool)
    rig = sensor_cameras(look(size=(15, 9), focal=8.0))
    # pixels 1, 4, 7, ... are among all pixels
    every, third = (
        seen_by_cameras(nothing, rig, corridor.grid, stride)
        for stride in (1, 3)
    )
    assert not (third & ~every).any()
    assert 0 < third.sum() < every.sum()


def test_size_of_the_images(look, corridor):
    # the network gets the left half of the image alone
    rig = look(size=(32, 16))
    rig.width = 16
    truth = volume(corridor)
    counts = []
    for size in (None, (32, 16)):
        metric = VisibleIoUMetric(corridor, image_size=size)
        metric.add('frame', truth, truth, rig)
        counts.append(metric.frames['frame'].voxels)
    assert counts[1] == pytest.approx(2 * counts[0], rel=0.15)


def test_wrong_inputs_are_named(pixel, corridor):
    occ = volume(corridor)
    with pytest.raises(ValueError, match='stride must be .*at least 1, got 0'):
        VisibleIoUMetric(corridor, stride=0)
    with pytest.raises(ValueError, match='gt_occ: expected shape'):
        scores(corridor, pixel, occ, occ[:4])
    with pytest.raises(ValueError, match='pred_occ: expected shape'):
        scores(corridor, pixel, occ[:4], occ)
