"""Points move between frames as homogeneous coordinates would."""

import numpy as np
import pytest
import torch

from occsplat.structures import transform_points


def pose(seed):
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    matrix[:3, 3] = rng.normal(size=3)
    return matrix


POINTS = np.random.default_rng(0).normal(size=(2, 5, 3))


@pytest.mark.parametrize('kind', [np.asarray, torch.from_numpy])
def test_homogeneous_coordinates_agree(kind):
    matrix = pose(1)
    found = transform_points(kind(matrix), kind(POINTS))
    assert type(found) is type(kind(POINTS)) and found.shape == (2, 5, 3)
    ones = np.ones((2, 5, 1))
    expected = np.concatenate([POINTS, ones], axis=-1) @ matrix.T
    np.testing.assert_allclose(found, expected[..., :3], atol=1e-12)


def test_one_after_the_other_is_their_product():
    a, b = pose(2), pose(3)
    np.testing.assert_allclose(
        transform_points(b, transform_points(a, POINTS)),
        transform_points(b @ a, POINTS),
        atol=1e-12,
    )
    back = transform_points(np.linalg.inv(a), transform_points(a, POINTS))
    np.testing.assert_allclose(back, POINTS, atol=1e-12)
