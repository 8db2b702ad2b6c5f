"""The duplicate metric tells doubled walls from thick ones."""

import math

import numpy as np
import pytest
import torch

from occsplat.evaluation import DuplicateMetric

FREE, CAR, ROAD, IGNORE = 0, 1, 2, 255
KEYS = (
    *('FalseBehind', 'FalseBefore'),
    *('Runs', 'Runs_gt', 'GhostRate', 'Thickness', 'Thickness_gt'),
)


def walls(spec, *xs, label=ROAD):
    """Walls across the corridor, one voxel (1 m) thick each."""
    occ = torch.full(spec.grid.shape, FREE, dtype=torch.uint8)
    for x in xs:
        occ[x] = label
    return occ


def scores(spec, rig, pred, truth, **options):
    metric = DuplicateMetric(spec, stride=1, **options)
    metric.add('frame', pred, truth, rig)
    return metric.score()


@pytest.fixture
def pixel(look):
    """A camera of one pixel, whose ray runs along x from x = 0.5."""
    return look((0.5, 0.5, 0.5), size=(1, 1))


def test_labels_have_no_ghosts_of_themselves(look, corridor):
    make = torch.Generator().manual_seed(0)
    noise = torch.rand(corridor.grid.shape, generator=make) < 0.1
    occ = torch.where(noise, CAR, FREE).to(torch.uint8)
    result = scores(corridor, look((1.3, 0.2, 0.6)), occ, occ)
    assert tuple(result) == KEYS[:2] + tuple(list(result)[2:])
    assert set(result) == set(KEYS)
    assert result['FalseBehind'] == result['FalseBefore'] == 0
    assert result['GhostRate'] == 0 and result['Runs'] > 1.2
    assert result['Runs'] == result['Runs_gt']
    assert result['Thickness'] == result['Thickness_gt'] > 0


def test_a_doubled_wall(pixel, corridor):
    truth = walls(corridor, 5)
    result = scores(corridor, pixel, walls(corridor, 5, 8), truth)
    assert result == dict(
        FalseBehind=1.0,
        FalseBefore=0.0,
        Runs=2.0,
        Runs_gt=1.0,
        GhostRate=1.0,
        Thickness=1.0,
        Thickness_gt=1.0,
    )


def test_a_thick_wall(pixel, corridor):
    truth = walls(corridor, 5)
    result = scores(corridor, pixel, walls(corridor, 5, 6, 7), truth)
    assert result == dict(
        FalseBehind=2.0,
        FalseBefore=0.0,
        Runs=1.0,
        Runs_gt=1.0,
        GhostRate=0.0,
        Thickness=3.0,
        Thickness_gt=1.0,
    )


def test_fog_scores_worse_than_a_copy(pixel, corridor):
    """It has no ghost, since all of it is one run."""
    truth = walls(corridor, 5)
    copy = scores(corridor, pixel, walls(corridor, 5, 8), truth)
    fog = scores(corridor, pixel, walls(corridor, *range(2, 16)), truth)
    assert fog['GhostRate'] == 0 < copy['GhostRate']
    assert (fog['FalseBehind'], fog['FalseBefore']) == (10, 3)
    assert (copy['FalseBehind'], copy['FalseBefore']) == (1, 0)


def test_a_moved_wall_is_no_ghost(pixel, corridor):
    # one surface, at the wrong place: RayIoU's business
    result = scores(corridor, pixel, walls(corridor, 9), walls(corridor, 5))
    assert result['Runs'] == 1 and result['GhostRate'] == 0
    assert (result['FalseBehind'], result['FalseBefore']) == (1, 0)
    result = scores(corridor, pixel, walls(corridor, 3), walls(corridor, 5))
    assert (result['FalseBehind'], result['FalseBefore']) == (0, 1)


def test_something_true_behind_is_no_ghost(pixel, corridor):
    truth = walls(corridor, 3, 9)
    # the second run has one voxel of the true wall
    pred = walls(corridor, 3, 8, 9, 10)
    assert scores(corridor, pixel, pred, truth)['GhostRate'] == 0
    # one of another class is as good: the metric is about geometry
    pred = walls(corridor, 3, 9, label=CAR)
    assert scores(corridor, pixel, pred, truth)['GhostRate'] == 0


def test_rays_that_hit_nothing_do_not_count(look, corridor):
    # two pixels: left (y > 0) and right of the middle
    rig = look((0.5, 0.0, 0.5), size=(2, 1), focal=4.0)
    truth = walls(corridor, 5)
    pred = walls(corridor, 5, 8)
    pred[:, :8] = FREE
    pred[3, 8:] = FREE
    metric = DuplicateMetric(corridor, stride=1)
    metric.add('frame', pred, truth, rig)
    counts = metric.frames['frame']
    assert (counts.rays, counts.hits, counts.hits_gt) == (2, 1, 2)
    # one of the two sees a false wall, of the metres that it is long in it
    length = math.hypot(1, 1 / 8)
    assert metric.score()['FalseBehind'] == pytest.approx(length / 2)
    # one of the two sees two walls; means are over that one
    assert metric.score()['Runs'] == 2 and metric.score()['GhostRate'] == 1
    # the ray has slope 1/8 in y: longer within the wall by sqrt(1 + 1/64)
    assert metric.score()['Thickness'] == pytest.approx(length)


def test_frames_are_pooled_by_ray_and_counted_once(pixel, corridor):
    metric = DuplicateMetric(corridor, stride=1)
    truth = walls(corridor, 5)
    metric.add('a', walls(corridor, 5, 8), truth, pixel)
    metric.add('b', truth, truth, pixel)
    metric.add('b', walls(corridor), truth, pixel)
    metric.add('empty', walls(corridor), truth, pixel)
    result = metric.evaluate(size=3)
    assert result['Runs'] == 1.5 and result['GhostRate'] == 0.5
    # over all rays, also those that see nothing
    assert result['FalseBehind'] == pytest.approx(1 / 3)


def test_nothing_predicted_is_undefined(pixel, corridor):
    result = scores(corridor, pixel, walls(corridor), walls(corridor, 5))
    assert math.isnan(result['Runs']) and math.isnan(result['GhostRate'])
    assert result['Runs_gt'] == 1 and result['FalseBehind'] == 0
    # and with nothing in the truth there is no behind
    result = scores(corridor, pixel, walls(corridor, 5), walls(corridor))
    assert (result['FalseBehind'], result['FalseBefore']) == (0, 1)


def test_ignored_voxels_are_free_and_no_proof_of_a_ghost(pixel, corridor):
    truth = walls(corridor, 5)
    truth[7:10] = IGNORE
    result = scores(corridor, pixel, walls(corridor, 5, 8), truth)
    assert result['Runs'] == 2 and result['GhostRate'] == 0
    assert result['Runs_gt'] == 1 and result['FalseBehind'] == 0
    assert (
        scores(corridor, pixel, walls(corridor, 5, 11), truth)['GhostRate']
        == 1
    )


def test_rays_of_every_nth_pixel(look, corridor):
    occ = walls(corridor, 5)
    metric = DuplicateMetric(corridor)
    metric.add('frame', occ, occ, look(size=(32, 16)))
    assert metric.frames['frame'].rays == 8 * 4
    # the left half of the image, of which the network was fed the whole
    metric = DuplicateMetric(corridor, image_size=(16, 16))
    metric.add('frame', occ, occ, look(size=(32, 16)))
    assert metric.frames['frame'].rays == 4 * 4


def test_arrays_are_fine_too(pixel, corridor):
    truth = walls(corridor, 5).numpy()
    result = scores(corridor, pixel, np.roll(truth, 1, 0) | truth, truth)
    assert result['Thickness'] == 2


def test_wrong_inputs_are_named(pixel, corridor):
    occ = walls(corridor, 5)
    with pytest.raises(ValueError, match='stride must be .*at least 1, got 0'):
        DuplicateMetric(corridor, stride=0)
    with pytest.raises(ValueError, match='gt_occ: expected shape'):
        scores(corridor, pixel, occ, occ[:4])
    with pytest.raises(ValueError, match='pred_occ holds class id 17'):
        scores(corridor, pixel, torch.full_like(occ, 17), occ)
