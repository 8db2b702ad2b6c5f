"""Distorted colours and covered squares."""

import numpy as np
import pytest

from occsplat.data.transforms import GridMask, PhotometricDistortion


def make_results(value=None):
    rng = np.random.default_rng(0)
    images = [
        rng.integers(0, 256, (40, 60, 3), np.uint8)
        if value is None
        else np.full((40, 60, 3), value, np.uint8)
        for _ in range(6)
    ]
    return dict(imgs=[images[:3], images[3:]])


def test_colours_change_and_the_layout_does_not():
    np.random.seed(0)
    before = make_results()
    after = PhotometricDistortion()(make_results())
    changed = 0
    for one, two in zip(before['imgs'], after['imgs']):
        for a, b in zip(one, two):
            assert b.shape == a.shape and b.dtype == np.uint8
            changed += (a != b).any()
    assert changed >= 4  # each draw may leave an image as it is


def test_a_hue_is_turned_as_far_as_mmdet_turns_it():
    """Pure red stays nearer to red than to green and blue: RGB in, RGB out."""
    red = [0.0, 0.0, 0.0]
    for seed in range(40):
        np.random.seed(seed)
        results = make_results(0)
        for views in results['imgs']:
            for image in views:
                image[..., 0] = 200
        out = PhotometricDistortion()(results)['imgs'][0][0]
        red = [r + m for r, m in zip(red, out.reshape(-1, 3).mean(0))]
    # channels may be swapped in half of the draws
    assert red[0] > red[1] and red[0] > red[2]


def test_squares_cover_a_quarter_of_all_images_alike():
    shares = []
    for seed in range(200):
        np.random.seed(seed)
        out = GridMask(probability=1.0, color=(0, 1, 2))(make_results(9))
        covered = (out['imgs'][0][0] == [0, 1, 2]).all(-1)
        for views in out['imgs']:
            for image in views:
                assert np.array_equal((image == [0, 1, 2]).all(-1), covered)
                assert (image[~covered] == 9).all()
        # squares: whole rows of columns
        rows, columns = covered.any(1), covered.any(0)
        assert np.array_equal(covered, rows[:, None] & columns[None])
        shares.append(covered.mean())
    assert 0.2 < np.mean(shares) < 0.3


def test_it_covers_as_often_as_it_is_told():
    np.random.seed(0)
    count = 0
    for _ in range(300):
        out = GridMask(probability=0.7, color=(0, 0, 0))(make_results(9))
        count += any((i == 0).any() for views in out['imgs'] for i in views)
    # a few draws put all squares beside the image
    assert 0.6 < count / 300 < 0.75
    out = GridMask(probability=0.0)(make_results(9))
    assert all((image == 9).all() for views in out['imgs'] for image in views)


@pytest.mark.parametrize('step', [PhotometricDistortion(), GridMask()])
def test_images_come_first(step):
    with pytest.raises(ValueError, match='needs LoadMultiViewImages'):
        step({})
