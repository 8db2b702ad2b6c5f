"""voxel_pooling against a loop."""

import pytest
import torch

from occsplat.ops import voxel_pooling
from occsplat.structures import VoxelGrid

GRID = VoxelGrid(range=(-1, 0, 0, 2, 2, 1), shape=(3, 4, 2))


def random_points(count=200):
    g = torch.Generator().manual_seed(0)
    low, high = torch.tensor([-2.0, -1, -1]), torch.tensor([3.0, 3, 2])
    points = low + (high - low) * torch.rand(count, 3, generator=g)
    return torch.rand(count, 5, generator=g).double(), points


def test_sums_like_a_loop():
    features, points = random_points()
    expected = torch.zeros(5, *GRID.shape, dtype=torch.float64)
    for feature, point in zip(features, points):
        index, inside = GRID.locate(point)
        if inside:
            expected[:, index[0], index[1], index[2]] += feature
    torch.testing.assert_close(
        voxel_pooling(features, points, GRID), expected
    )


def test_gradient_is_the_identity_for_points_inside():
    features, points = random_points()
    features.requires_grad_()
    voxel_pooling(features, points, GRID).sum().backward()
    inside = GRID.locate(points)[1]
    assert 0 < inside.sum() < len(points)
    assert torch.equal(features.grad[:, 0], inside.double())


def test_no_points_give_an_empty_volume():
    out = voxel_pooling(torch.zeros(0, 5), torch.zeros(0, 3), GRID)
    assert out.shape == (5, *GRID.shape) and not out.any()


def test_numbers_of_points_must_agree():
    with pytest.raises(ValueError, match=r'\(3, 5\) and \(4, 3\)'):
        voxel_pooling(torch.zeros(3, 5), torch.zeros(4, 3), GRID)
