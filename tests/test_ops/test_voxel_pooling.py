"""voxel_pooling against a loop."""

import pytest
import torch

from occsplat.ops import voxel_pooling

NUM_VOXELS = 7


def random_points(count=200):
    """Six sources and points in all voxels but the first and the last."""
    g = torch.Generator().manual_seed(0)
    features = torch.rand(6, 5, generator=g, dtype=torch.float64)
    weights = torch.rand(count, generator=g, dtype=torch.float64)
    source = torch.randint(0, 6, (count,), generator=g)
    voxel = torch.randint(1, NUM_VOXELS - 1, (count,), generator=g)
    return features, weights, source, voxel


def test_sums_like_a_loop():
    features, weights, source, voxel = random_points()
    expected = torch.zeros(NUM_VOXELS, 5, dtype=torch.float64)
    for w, s, v in zip(weights, source, voxel):
        expected[v] += w * features[s]
    out = voxel_pooling(features, weights, source, voxel, NUM_VOXELS)
    torch.testing.assert_close(out, expected)
    assert not out[[0, -1]].any() and out[1:-1].all()


def test_gradients_of_features_and_weights_are_right():
    features, weights, source, voxel = random_points(12)
    assert torch.autograd.gradcheck(
        lambda f, w: voxel_pooling(f, w, source, voxel, NUM_VOXELS),
        (features.requires_grad_(), weights.requires_grad_()),
    )


def test_no_points_give_zeros_with_a_graph():
    none = torch.zeros(0, dtype=torch.int64)
    features = torch.ones(3, 5, requires_grad=True)
    out = voxel_pooling(features, torch.zeros(0), none, none, NUM_VOXELS)
    assert out.shape == (NUM_VOXELS, 5) and not out.any()
    out.sum().backward()
    assert not features.grad.any()


def test_shapes_and_dtypes_must_fit():
    features, weights, source, voxel = random_points()
    with pytest.raises(ValueError, match=r'\(200,\), \(200,\), \(199,\)'):
        voxel_pooling(features, weights, source, voxel[1:], NUM_VOXELS)
    with pytest.raises(ValueError, match='torch.float32'):
        voxel_pooling(features, weights.float(), source, voxel, NUM_VOXELS)
