"""Runs along rays: against a plain twin, and by hand."""

from itertools import groupby

import pytest
import torch

from occsplat.ops import cast_rays, count_runs
from occsplat.structures import VoxelGrid

GRID = VoxelGrid(range=(-4, -3, -1, 4, 3, 2), shape=(8, 6, 3))
FLAT = VoxelGrid(range=(0, 0, 0, 4, 6, 1), shape=(8, 6, 4))


def runs_by_slabs(occupied, truth, unknown, origin, direction, grid):
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
        return 0, 0.0, 0, 0.0, 0.0
    fine = truth | unknown
    ghosts = [not fine[tuple(cells[run].T)].any() for run in runs[1:]]
    thickness = float(far[runs[0][-1]] - near[runs[0][0]])
    hits = [float(near[i]) for i in order if truth[tuple(cells[i])]]
    surface = min(hits, default=float('inf'))
    before = behind = 0.0
    for i in torch.cat(runs):
        if not fine[tuple(cells[i])]:
            if near[i] > surface:
                behind += float(far[i] - near[i])
            else:
                before += float(far[i] - near[i])
    return len(runs), thickness, sum(ghosts), before, behind


def random_volumes(grid, *densities, seed=0):
    make = torch.Generator().manual_seed(seed)
    return [torch.rand(grid.shape, generator=make) < d for d in densities]


def random_rays(grid, count, spread, seed=0):
    make = torch.Generator().manual_seed(seed)
    low, high = torch.tensor(grid.min), torch.tensor(grid.max)
    where = torch.rand(count, 3, generator=make, dtype=torch.float64)
    origins = (low + high) / 2 + (where - 0.5) * (high - low) * spread
    directions = torch.randn(count, 3, generator=make, dtype=torch.float64)
    return origins, directions


def one_ray(occupied, origin, direction, truth=None, unknown=None):
    rays = torch.tensor([origin, direction], dtype=torch.float64)[:, None]
    runs = count_runs(occupied, *rays, GRID, truth, unknown)
    return tuple(values.item() for values in runs)


def one_count(*args, **kwargs):
    """Runs, thickness and ghosts of a ray."""
    return one_ray(*args, **kwargs)[:3]


def false_metres(occupied, truth, unknown=None):
    """Before and behind the truth, of a ray along the row from x = -3.5."""
    ray = (-3.5, 0.5, 0.5), (1, 0, 0)
    return one_ray(occupied, *ray, truth, unknown)[3:]


def row(*cells):
    """Voxels ahead of the ray along x at y = z = 0.5; x of voxel 4 is 0."""
    occupied = torch.zeros(GRID.shape, dtype=torch.bool)
    occupied[list(cells), 3, 1] = True
    return occupied


@pytest.mark.parametrize('grid', [GRID, FLAT], ids=['cubes', 'flat voxels'])
@pytest.mark.parametrize('density', [0.1, 0.5, 0.9])
@pytest.mark.parametrize('spread', [1.0, 3.0])
def test_equals_the_twin(grid, density, spread):
    occupied, truth, unknown = random_volumes(grid, density, density, 0.1)
    unknown &= ~truth
    origins, directions = random_rays(grid, 150, spread)
    runs = count_runs(occupied, origins, directions, grid, truth, unknown)
    for r in range(len(origins)):
        twin = runs_by_slabs(
            occupied, truth, unknown, origins[r], directions[r], grid
        )
        for value, expected in zip(runs, twin):
            assert value[r].item() == pytest.approx(expected, abs=1e-9)
    assert runs.runs.max() > 1
    assert (runs.before + runs.behind).max() > 0.1


def test_by_hand():
    # a wall of two voxels, then a single one; the ray starts at x = -3.5
    wall = row(2, 3, 6)
    assert one_count(wall, (-3.5, 0.5, 0.5), (1, 0, 0)) == (2, 2.0, 0)
    # from the other side the single voxel is first
    assert one_count(wall, (3.5, 0.5, 0.5), (-2, 0, 0)) == (2, 1.0, 0)
    # a slanted ray is longer in it: 1 m in x is 1.25 m along (4, 3, 0)
    slab = torch.zeros(GRID.shape, dtype=torch.bool)
    slab[5] = True
    count, thickness, _ = one_count(slab, (0.5, -0.9, 0.5), (4, 3, 0))
    assert count == 1 and thickness == pytest.approx(1.25)


def test_ghosts_are_runs_behind_the_first_without_truth():
    occupied, ray = row(1, 4, 5, 7), ((-3.5, 0.5, 0.5), (1, 0, 0))
    assert one_count(occupied, *ray, truth=row(1, 4, 7)) == (3, 1.0, 0)
    assert one_count(occupied, *ray, truth=row(5)) == (3, 1.0, 1)
    assert one_count(occupied, *ray, truth=row()) == (3, 1.0, 2)
    # the first run is never one, however wrong it is
    assert one_count(row(1), *ray, truth=row(7)) == (1, 1.0, 0)


def test_an_origin_inside_a_run_begins_it():
    everything = torch.ones(GRID.shape, dtype=torch.bool)
    assert one_count(everything, (0.25, 0.5, 0.5), (1, 0, 0)) == (1, 3.75, 0)
    # from outside: from where the ray enters the grid to where it leaves it
    assert one_count(everything, (-50, 0.5, 0.5), (1, 0, 0)) == (1, 8.0, 0)


def test_nothing_is_met():
    nothing = torch.zeros(GRID.shape, dtype=torch.bool)
    everything = ~nothing
    assert one_count(nothing, (0, 0.5, 0.5), (1, 2, 3)) == (0, 0.0, 0)
    # never inside the grid
    assert one_count(everything, (-5, 0.5, 0.5), (-1, 0, 0)) == (0, 0.0, 0)
    assert one_count(everything, (4, 0.5, 0.5), (0, 1, 0)) == (0, 0.0, 0)


def test_false_metres_before_and_behind_the_first_true_surface():
    # the ray starts half a metre before the end of voxel 0
    assert false_metres(row(2, 4, 5), truth=row(4)) == (1.0, 1.0)
    assert false_metres(row(0), truth=row(4)) == (0.5, 0.0)
    # the truth is no fault, whether or not it is the first surface
    assert false_metres(row(4, 6), truth=row(4, 6)) == (0.0, 0.0)
    # what is not predicted parts before and behind all the same
    assert false_metres(row(3, 5, 6), truth=row(4)) == (1.0, 2.0)
    # without a true surface there is no behind
    assert false_metres(row(3, 5, 6), truth=row()) == (3.0, 0.0)
    # nobody knows whether it is false; nor is it a surface
    unknown = row(1, 5)
    assert false_metres(row(1, 3, 5), row(4), unknown) == (1.0, 0.0)
    assert false_metres(row(1, 2), row(), unknown) == (1.0, 0.0)
    # against itself nothing is
    assert false_metres(row(1, 2), None) == (0.0, 0.0)


def test_thick_surfaces_and_fog_cost_what_they_fill():
    """They merge runs: their ghosts are fewer than those of a copy."""
    truth, ray = row(2), ((-3.5, 0.5, 0.5), (1, 0, 0))
    copy = one_ray(row(2, 5), *ray, truth=truth)
    thick = one_ray(row(2, 3, 4, 5), *ray, truth=truth)
    fog = one_ray(row(*range(1, 8)), *ray, truth=truth)
    assert copy[2] == 1 and thick[2] == fog[2] == 0
    assert copy[3:] == (0.0, 1.0)
    assert thick[3:] == (0.0, 3.0) and fog[3:] == (1.0, 5.0)


def test_rays_with_a_run_are_those_that_hit():
    # through corners of voxels, too: the traversal is that of cast_rays
    (occupied,) = random_volumes(GRID, 0.1)
    make = torch.Generator().manual_seed(3)
    steps = torch.randint(-2, 3, (300, 3), generator=make)
    steps = steps[steps.any(dim=1)].double()
    origins = torch.zeros_like(steps) + 0.5
    hit = cast_rays(occupied, origins, steps, GRID)[2]
    assert torch.equal(
        count_runs(occupied, origins, steps, GRID).runs > 0, hit
    )
    assert hit.any() and not hit.all()


def test_types_and_no_rays():
    empty = torch.zeros(0, 3)
    runs = count_runs(row(), empty, empty, GRID, row())
    metres = empty.dtype
    kinds = [torch.int64, metres, torch.int64, metres, metres]
    assert [v.dtype for v in runs] == kinds
    assert all(v.shape == (0,) for v in runs)


def test_wrong_inputs_are_named():
    rays = torch.ones(1, 3), torch.ones(1, 3), GRID
    with pytest.raises(ValueError, match='count_runs: occupied must be bool'):
        count_runs(row().float(), *rays)
    with pytest.raises(ValueError, match='count_runs: truth must be bool'):
        count_runs(row(), *rays, truth=row().float())
    with pytest.raises(ValueError, match='count_runs: unknown must be bool'):
        count_runs(row(), *rays, unknown=row().int())
    with pytest.raises(ValueError, match=r'count_runs truth.*\(8, 6, 3\)'):
        count_runs(row(), *rays, truth=row()[:4])
