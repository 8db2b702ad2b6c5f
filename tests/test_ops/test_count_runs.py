"""Runs along rays: against a plain twin, and by hand."""

from itertools import groupby

import pytest
import torch

from occsplat.ops import cast_rays, count_runs
from occsplat.structures import VoxelGrid

GRID = VoxelGrid(range=(-4, -3, -1, 4, 3, 2), shape=(8, 6, 3))
FLAT = VoxelGrid(range=(0, 0, 0, 4, 6, 1), shape=(8, 6, 4))


def runs_by_slabs(occupied, truth, origin, direction, grid):
    """The twin: cut the ray with every voxel's box, then sort the pieces.

    Good for rays that pass no edge of a voxel.
    """
    direction = direction / direction.norm()
    cells = torch.cartesian_prod(*(torch.arange(n) for n in grid.shape))
    size = torch.tensor(grid.size, dtype=torch.float64)
    low = torch.tensor(grid.min, dtype=torch.float64) + cells * size
    a, b = (low - origin) / direction, (low + size - origin) / direction
    near = torch.minimum(a, b).amax(dim=1).clamp(min=0)
    far = torch.maximum(a, b).amin(dim=1)
    order = near.argsort()
    order = order[(far - near)[order] > 0]
    runs = [
        torch.stack(list(run))
        for solid, run in groupby(
            order, key=lambda i: bool(occupied[tuple(cells[i])])
        )
        if solid
    ]
    if not runs:
        return 0, 0.0, 0
    ghosts = [not truth[tuple(cells[run].T)].any() for run in runs[1:]]
    thickness = float(far[runs[0][-1]] - near[runs[0][0]])
    return len(runs), thickness, sum(ghosts)


def random_volumes(grid, density, seed=0):
    make = torch.Generator().manual_seed(seed)
    return [torch.rand(grid.shape, generator=make) < density for _ in range(2)]


def random_rays(grid, count, spread, seed=0):
    make = torch.Generator().manual_seed(seed)
    low, high = torch.tensor(grid.min), torch.tensor(grid.max)
    where = torch.rand(count, 3, generator=make, dtype=torch.float64)
    origins = (low + high) / 2 + (where - 0.5) * (high - low) * spread
    directions = torch.randn(count, 3, generator=make, dtype=torch.float64)
    return origins, directions


def one_ray(occupied, origin, direction, truth=None):
    rays = torch.tensor([origin, direction], dtype=torch.float64)[:, None]
    runs = count_runs(occupied, *rays, GRID, truth)
    return tuple(values.item() for values in runs)


def row(*cells):
    """Voxels ahead of the ray along x at y = z = 0.5; x of voxel 4 is 0."""
    occupied = torch.zeros(GRID.shape, dtype=torch.bool)
    occupied[list(cells), 3, 1] = True
    return occupied


@pytest.mark.parametrize('grid', [GRID, FLAT], ids=['cubes', 'flat voxels'])
@pytest.mark.parametrize('density', [0.1, 0.5, 0.9])
@pytest.mark.parametrize('spread', [1.0, 3.0])
def test_equals_the_twin(grid, density, spread):
    occupied, truth = random_volumes(grid, density)
    origins, directions = random_rays(grid, 150, spread)
    runs = count_runs(occupied, origins, directions, grid, truth)
    for r in range(len(origins)):
        count, thickness, ghosts = runs_by_slabs(
            occupied, truth, origins[r], directions[r], grid
        )
        assert runs.count[r] == count
        assert runs.thickness[r] == pytest.approx(thickness, abs=1e-9)
        assert runs.ghosts[r] == ghosts
    assert runs.count.max() > 1


def test_by_hand():
    # a wall of two voxels, then a single one; the ray starts at x = -3.5
    wall = row(2, 3, 6)
    assert one_ray(wall, (-3.5, 0.5, 0.5), (1, 0, 0)) == (2, 2.0, 0)
    # from the other side the single voxel is first
    assert one_ray(wall, (3.5, 0.5, 0.5), (-2, 0, 0)) == (2, 1.0, 0)
    # a slanted ray is longer in it: 1 m in x is 1.25 m along (4, 3, 0)
    slab = torch.zeros(GRID.shape, dtype=torch.bool)
    slab[5] = True
    count, thickness, _ = one_ray(slab, (0.5, -0.9, 0.5), (4, 3, 0))
    assert count == 1 and thickness == pytest.approx(1.25)


def test_ghosts_are_runs_behind_the_first_without_truth():
    occupied, ray = row(1, 4, 5, 7), ((-3.5, 0.5, 0.5), (1, 0, 0))
    assert one_ray(occupied, *ray, truth=row(1, 4, 7)) == (3, 1.0, 0)
    assert one_ray(occupied, *ray, truth=row(5)) == (3, 1.0, 1)
    assert one_ray(occupied, *ray, truth=row()) == (3, 1.0, 2)
    # the first run is never one, however wrong it is
    assert one_ray(row(1), *ray, truth=row(7)) == (1, 1.0, 0)


def test_an_origin_inside_a_run_begins_it():
    everything = torch.ones(GRID.shape, dtype=torch.bool)
    assert one_ray(everything, (0.25, 0.5, 0.5), (1, 0, 0)) == (1, 3.75, 0)
    # from outside: from where the ray enters the grid to where it leaves it
    assert one_ray(everything, (-50, 0.5, 0.5), (1, 0, 0)) == (1, 8.0, 0)


def test_nothing_is_met():
    nothing = torch.zeros(GRID.shape, dtype=torch.bool)
    everything = ~nothing
    assert one_ray(nothing, (0, 0.5, 0.5), (1, 2, 3)) == (0, 0.0, 0)
    # never inside the grid
    assert one_ray(everything, (-5, 0.5, 0.5), (-1, 0, 0)) == (0, 0.0, 0)
    assert one_ray(everything, (4, 0.5, 0.5), (0, 1, 0)) == (0, 0.0, 0)


def test_rays_with_a_run_are_those_that_hit():
    # through corners of voxels, too: the traversal is that of cast_rays
    occupied, _ = random_volumes(GRID, 0.1)
    make = torch.Generator().manual_seed(3)
    steps = torch.randint(-2, 3, (300, 3), generator=make)
    steps = steps[steps.any(dim=1)].double()
    origins = torch.zeros_like(steps) + 0.5
    hit = cast_rays(occupied, origins, steps, GRID)[2]
    assert torch.equal(
        count_runs(occupied, origins, steps, GRID).count > 0, hit
    )
    assert hit.any() and not hit.all()


def test_types_and_no_rays():
    empty = torch.zeros(0, 3)
    runs = count_runs(row(), empty, empty, GRID, row())
    assert [v.dtype for v in runs] == [torch.int64, empty.dtype, torch.int64]
    assert all(v.shape == (0,) for v in runs)


def test_wrong_inputs_are_named():
    rays = torch.ones(1, 3), torch.ones(1, 3), GRID
    with pytest.raises(ValueError, match='count_runs: occupied must be bool'):
        count_runs(row().float(), *rays)
    with pytest.raises(ValueError, match='count_runs: truth must be bool'):
        count_runs(row(), *rays, truth=row().float())
    with pytest.raises(ValueError, match=r'count_runs truth.*\(8, 6, 3\)'):
        count_runs(row(), *rays, truth=row()[:4])
