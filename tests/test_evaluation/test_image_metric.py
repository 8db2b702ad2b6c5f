"""Image metrics on walls whose images can be worked out by hand."""

import math

import numpy as np
import pytest
import torch

from occsplat.evaluation import ImageMetric, count_pixels, render_occ

FREE, CAR, ROAD, IGNORE = 0, 1, 2, 255


def volume(spec, *parts):
    """Free but for (where, class) parts."""
    occ = torch.full(spec.grid.shape, spec.free, dtype=torch.uint8)
    for where, label in parts:
        occ[where] = label
    return occ


def scores(spec, rig, pred, truth, **options):
    metric = ImageMetric(spec, resize=1.0, **options)
    metric.add('frame', pred, truth, rig)
    return metric.score()


# at 5.5 m, wider and higher than what the camera sees
WALL = np.s_[5]


def test_a_wall_has_neither_holes_nor_depth(look, corridor):
    occ = volume(corridor, (WALL, ROAD))
    classes, depth = render_occ(occ, look(), corridor, corridor.grid)
    assert classes.shape == (1, 16, 32) and (classes == ROAD).all()
    torch.testing.assert_close(depth, torch.full_like(depth, 5.5))


def test_identical_volumes_are_perfect(look, corridor):
    occ = volume(corridor, (WALL, ROAD), (np.s_[3, 6:8, 3:5], CAR))
    result = scores(corridor, look(), occ, occ)
    for key in ('image_IoU', 'image_mIoU', 'image_mIoU_car'):
        assert result[key] == 1
    assert result['image_depth_L1'] == result['image_depth_L1_car'] == 0


def test_depth_error_is_in_metres_of_camera_depth(look, corridor):
    truth = volume(corridor, (WALL, ROAD))
    far = volume(corridor, (np.s_[7], ROAD))
    result = scores(corridor, look(), far, truth)
    assert result['image_IoU'] == result['image_mIoU'] == 1
    # two voxels of 1 m, in every pixel, however oblique its ray
    assert result['image_depth_L1'] == pytest.approx(2, abs=1e-5)
    assert result['image_depth_L1_road'] == pytest.approx(2, abs=1e-5)
    assert math.isnan(result['image_depth_L1_car'])


def test_a_wrong_class_costs_miou_alone(look, corridor):
    truth, pred = (volume(corridor, (WALL, c)) for c in (ROAD, CAR))
    result = scores(corridor, look(), pred, truth)
    assert result['image_IoU'] == 1
    assert result['image_mIoU'] == 0
    assert result['image_depth_L1'] == 0


def test_half_a_wall(look, corridor):
    truth = volume(corridor, (WALL, ROAD))
    # y above 0 is the left half of the image, 16 of 32 columns; at 5.5 m a
    # voxel is 16 / 5.5 pixels, and half opaque to 0.09 voxels beyond it
    pred = volume(corridor, (np.s_[5, 8:], ROAD))
    result = scores(corridor, look(), pred, truth)
    assert result['image_IoU'] == pytest.approx(0.5, abs=1 / 32)
    assert result['image_mIoU_road'] == result['image_IoU']
    # the other way round a half is invented
    again = scores(corridor, look(), truth, pred)
    assert again['image_IoU'] == result['image_IoU']
    assert again['image_depth_L1'] < 0.05


@pytest.mark.parametrize(
    'empty_depth, position, error',
    [
        # straight ahead the grid ends at x = 16, 10.5 m behind the wall
        ('exit', (0.0, 0.0, 0.0), 10.5),
        ('exit', (2.0, 0.0, 0.0), 10.5),
        # the wall's own depth
        ('zero', (0.0, 0.0, 0.0), 5.5),
        ('zero', (2.0, 0.0, 0.0), 3.5),
    ],
)
def test_pixels_in_which_the_prediction_sees_nothing(
    look, corridor, empty_depth, position, error
):
    truth = volume(corridor, (WALL, ROAD))
    # long focal length: every ray leaves through the far end
    rig = look(position, focal=200.0)
    result = scores(
        corridor, rig, volume(corridor), truth, empty_depth=empty_depth
    )
    assert result['image_IoU'] == 0
    assert result['image_depth_L1'] == pytest.approx(error, abs=1e-5)


def test_pixels_in_which_the_truth_sees_nothing(look, corridor):
    pred = volume(corridor, (WALL, ROAD))
    result = scores(corridor, look(), pred, volume(corridor))
    assert result['image_IoU'] == result['image_mIoU'] == 0
    assert math.isnan(result['image_depth_L1'])
    nothing = scores(corridor, look(), volume(corridor), volume(corridor))
    assert all(math.isnan(value) for value in nothing.values())


def test_what_is_hidden_does_not_matter(look, corridor):
    truth = volume(corridor, (WALL, ROAD))
    pred = volume(corridor, (WALL, ROAD), (np.s_[6:], CAR))
    result = scores(corridor, look(), pred, truth)
    assert result['image_IoU'] == result['image_mIoU_road'] == 1
    # less than a 20th of the way to the next voxel shines through
    assert result['image_depth_L1'] < 0.05


def test_ignored_voxels_are_looked_through(look, corridor):
    truth = volume(corridor, (WALL, ROAD), (np.s_[2], IGNORE))
    pred = volume(corridor, (WALL, ROAD), (np.s_[2], CAR))
    result = scores(corridor, look(), pred, truth)
    assert result['image_IoU'] == result['image_mIoU'] == 1
    assert result['image_depth_L1'] == 0


def test_the_camera_that_looks_away_sees_nothing(look, corridor):
    occ = volume(corridor, (WALL, ROAD))
    classes, _ = render_occ(occ, look(turn=math.pi), corridor, corridor.grid)
    assert (classes == FREE).all()


def test_scale_is_a_standard_deviation_in_metres(look, corridor):
    # one voxel, at 5.5 m and 200 pixels per metre at 1 m
    occ = volume(corridor, (np.s_[5, 8, 4], CAR))
    rig = look((0.0, 0.5, 0.5), size=(128, 64), focal=200.0)
    for scale, options in ((0.5, {}), (0.25, dict(scale=0.25))):
        classes, _ = render_occ(occ, rig, corridor, corridor.grid, **options)
        # half opaque within sqrt(2 ln 2) standard deviations
        radius = math.sqrt(2 * math.log(2)) * scale * 200 / 5.5
        pixels = (classes == CAR).sum().item()
        assert pixels == pytest.approx(math.pi * radius**2, rel=0.04)


def test_images_are_a_quarter_unless_asked_otherwise(look, corridor):
    occ = volume(corridor, (WALL, ROAD))
    sizes = {}
    for name, options in dict(
        quarter={}, half=dict(resize=0.5), sensor=dict(image_size=(64, 32))
    ).items():
        metric = ImageMetric(corridor, **options)
        metric.add('frame', occ, occ, look())
        sizes[name] = metric.frames['frame'].classes.voxels
    assert sizes == dict(quarter=8 * 4, half=16 * 8, sensor=16 * 8)


def test_depth_is_summed_by_true_class_and_pooled(look, corridor):
    # road on the left, 2 m too far; a car on the right, 1 m too far
    left, right = np.s_[5, 8:], np.s_[5, :8]
    truth = volume(corridor, (left, ROAD), (right, CAR))
    pred = volume(corridor, (np.s_[7, 8:], ROAD), (np.s_[6, :8], CAR))
    rig = look(size=(32, 16))
    counts = count_pixels(pred, truth, rig, corridor, corridor.grid)
    result = counts.summary(corridor)
    # where the two meet a pixel sees some of both
    assert result['image_depth_L1_road'] == pytest.approx(2, abs=0.15)
    assert result['image_depth_L1_car'] == pytest.approx(1, abs=0.15)
    total = counts.depth_error.sum() / counts.classes.truth[1:].sum()
    assert result['image_depth_L1'] == pytest.approx(total)
    # two frames, one of them perfect: errors are pooled, not averaged
    both = counts + count_pixels(truth, truth, rig, corridor, corridor.grid)
    assert both.summary(corridor)['image_depth_L1'] == pytest.approx(total / 2)
    assert both.classes.frames == 2


def test_wrong_inputs_are_named(look, corridor):
    occ = volume(corridor, (WALL, ROAD))
    for options, message in (
        (dict(empty_depth='inf'), "one of .*got 'inf'"),
        (dict(scale=0.0), 'scale must be a number above 0'),
        (dict(resize=-1.0), 'resize must be a number above 0'),
    ):
        with pytest.raises(ValueError, match=message):
            ImageMetric(corridor, **options)
    with pytest.raises(ValueError, match='gt_occ: expected shape'):
        scores(corridor, look(), occ, occ[:4])
    with pytest.raises(ValueError, match='pred_occ: expected shape'):
        scores(corridor, look(), occ[:4], occ)
    with pytest.raises(ValueError, match='pred_occ holds class id 3'):
        scores(corridor, look(), occ + 1, occ)
    with pytest.raises(ValueError, match='pred_occ holds class id 255'):
        scores(corridor, look(), volume(corridor, (WALL, IGNORE)), occ)
