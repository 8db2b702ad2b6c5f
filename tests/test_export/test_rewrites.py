"""What stands in for geometry and memory in a graph gives the same."""

import numpy as np
import pytest
import torch
from small_rig import make_rig

from occsplat.export import ExportError, Past
from occsplat.export.past import FunctionalHistory
from occsplat.export.rewrites import Geometry, affine_inverse
from occsplat.models.lifting import forward_projection
from occsplat.models.lifting.backward_projection import BackwardProjection
from occsplat.models.lifting.forward_projection import DepthBins
from occsplat.models.volume import RewarpedHistory, StreamingHistory
from occsplat.structures import VoxelGrid

GRID = VoxelGrid(range=(-6, -6, -1, 6, 6, 2), shape=(12, 12, 3))
BINS = DepthBins(start=1.0, stop=9.0, step=1.0)


def features():
    torch.manual_seed(0)
    context = torch.rand(1, 3, 8, 4, 8)
    return context, torch.rand(1, 3, BINS.count, 4, 8).softmax(2)


def both(fixed, function):
    """What the network's geometry gives, and twice what a graph's does."""
    geometry = Geometry(fixed)
    expected, found = function(), []
    for _ in range(2):
        with geometry.run():
            found.append(function())
    return expected, found


@pytest.mark.parametrize('fixed', [True, False])
@pytest.mark.parametrize('name', ['forward_projection', 'mean_projection'])
def test_points_land_where_they_landed(fixed, name):
    context, depth = features()
    rig = make_rig()
    project = getattr(forward_projection, name)
    expected, found = both(
        fixed, lambda: project(context, depth, rig, BINS, GRID)
    )
    # some voxels have points
    assert 0.1 < float((expected[0, 0] > 0).float().mean()) < 0.9
    for one in found:
        torch.testing.assert_close(one, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('fixed', [True, False])
def test_queries_read_what_they_read(fixed):
    context, depth = features()
    rig = make_rig()
    torch.manual_seed(1)
    module = BackwardProjection(8, GRID, num_heads=2, feedforward_channels=8)
    volume = torch.rand(1, 8, *GRID.shape)
    with torch.no_grad():
        expected, found = both(
            fixed, lambda: module(volume, context, depth, rig, BINS)
        )
    for one in found:
        torch.testing.assert_close(one, expected, rtol=1e-5, atol=1e-5)


def test_fixed_cameras_are_those_of_the_first_run():
    context, depth = features()
    turned = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0]))
    geometry = Geometry(True)
    rigs, found = [make_rig(), make_rig(volume_aug=turned)], []
    for rig in rigs:
        with geometry.run():
            found.append(
                forward_projection.forward_projection(
                    context, depth, rig, BINS, GRID
                )
            )
    assert torch.equal(*found)
    other = forward_projection.forward_projection(
        context, depth, rigs[1], BINS, GRID
    )
    assert not torch.allclose(other, found[0])


def test_the_network_has_its_geometry_back():
    before = forward_projection._landed
    with pytest.raises(RuntimeError), Geometry(True).run():
        assert forward_projection._landed is not before
        raise RuntimeError
    assert forward_projection._landed is before


def test_inverses():
    torch.manual_seed(0)
    linear = torch.rand(5, 3, 3, dtype=torch.float64) + torch.eye(3)
    affine = torch.eye(4, dtype=torch.float64).repeat(5, 1, 1)
    affine[:, :3] = torch.rand(5, 3, 4, dtype=torch.float64)
    for matrices in (linear, affine):
        torch.testing.assert_close(
            affine_inverse(matrices), torch.linalg.inv(matrices)
        )


@pytest.mark.parametrize('kind', [StreamingHistory, RewarpedHistory])
def test_a_past_that_goes_in_and_out(kind):
    """Frame by frame what the network gives that remembers itself."""
    torch.manual_seed(0)
    history = kind(4, GRID, num_frames=3).eval()
    functional, past = FunctionalHistory(history), Past(history)
    pose, last = np.eye(4), ''
    for step in range(6):
        volume = torch.rand(1, 4, *GRID.shape)
        # a drive ahead and to the left, not by whole voxels
        pose = pose @ np.array(
            [[0.8, -0.6, 0, 0.7], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
        )
        meta = dict(
            token=str(step), prev=last, timestamp=0.45 * step, ref2global=pose
        )
        last = meta['token']
        with torch.no_grad():
            expected = history(volume, [meta])
            found = functional(volume, [past.inputs(meta)])
            past.remember(functional.taken(), meta)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert int(past.inputs(meta).known.sum()) == 3


def test_no_past_is_a_first_frame():
    torch.manual_seed(0)
    history = StreamingHistory(4, GRID, num_frames=3).eval()
    volume = torch.rand(1, 4, *GRID.shape)
    meta = dict(token='a', prev='', timestamp=0.0, ref2global=np.eye(4))
    with torch.no_grad():
        expected = history(volume, [meta])
        found = FunctionalHistory(history)(volume, [])
    torch.testing.assert_close(found, expected)


def test_a_history_of_somebody_else():
    with pytest.raises(ExportError, match='history: Identity is not known'):
        FunctionalHistory(torch.nn.Identity())
