"""The ray caster against a plain twin and cases worked out by hand."""

import math

import pytest
import torch

from occsplat.ops import cast_rays, visible_voxels
from occsplat.structures import VoxelGrid

GRID = VoxelGrid(range=(-4, -3, -1, 4, 3, 2), shape=(8, 6, 3))


def step_through(occupied, origin, direction, grid):
    """The twin: walk voxel by voxel from the origin, in plain Python.

    Outside the grid it walks as well, until some axis leads away from it.
    """
    length = math.sqrt(sum(float(v) ** 2 for v in direction))
    d = [float(v) / length for v in direction]
    p = [float(v) for v in origin]
    low, size, shape = grid.min, grid.size, grid.shape
    cell = [math.floor((p[a] - low[a]) / size[a]) for a in range(3)]
    step = [1 if d[a] >= 0 else -1 for a in range(3)]
    inside_once = False
    last = ((0, 0, 0), -size[0], False)
    while True:
        leave = [
            (low[a] + (cell[a] + (step[a] > 0)) * size[a] - p[a]) / d[a]
            if d[a] != 0
            else math.inf
            for a in range(3)
        ]
        if leave[0] < leave[1]:
            axis = 0 if leave[0] < leave[2] else 2
        else:
            axis = 1 if leave[1] < leave[2] else 2
        if all(0 <= cell[a] < shape[a] for a in range(3)):
            inside_once = True
            found = bool(occupied[tuple(cell)])
            last = (tuple(cell), leave[axis], found)
            if found:
                return last
        elif inside_once:
            return last
        else:
            away = [
                (cell[a] >= shape[a] and (step[a] > 0 or d[a] == 0))
                or (cell[a] < 0 and (step[a] < 0 or d[a] == 0))
                for a in range(3)
            ]
            if any(away):
                return last
        cell[axis] += step[axis]


def one_ray(occupied, origin, direction, grid=GRID):
    index, distance, hit = cast_rays(
        occupied,
        torch.tensor([origin], dtype=torch.float64),
        torch.tensor([direction], dtype=torch.float64),
        grid,
    )
    return tuple(index[0].tolist()), distance.item(), hit.item()


def random_rays(count, spread=1.0, seed=0):
    make = torch.Generator().manual_seed(seed)
    low, high = torch.tensor(GRID.min), torch.tensor(GRID.max)
    where = torch.rand(count, 3, generator=make, dtype=torch.float64)
    origins = (low + high) / 2 + (where - 0.5) * (high - low) * spread
    directions = torch.randn(count, 3, generator=make, dtype=torch.float64)
    return origins, directions


def random_grid(density, seed=0):
    make = torch.Generator().manual_seed(seed)
    return torch.rand(GRID.shape, generator=make) < density


@pytest.mark.parametrize('density', [0.0, 0.05, 0.4])
@pytest.mark.parametrize('spread', [1.0, 4.0])
def test_equals_the_twin(density, spread):
    occupied = random_grid(density)
    origins, directions = random_rays(400, spread)
    index, distance, hit = cast_rays(occupied, origins, directions, GRID)
    for r in range(len(origins)):
        expected = step_through(occupied, origins[r], directions[r], GRID)
        assert tuple(index[r].tolist()) == expected[0]
        assert distance[r].item() == pytest.approx(expected[1], abs=1e-9)
        assert hit[r].item() == expected[2]
    if density and spread == 1.0:
        assert hit.any() and not hit.all()


def test_anisotropic_voxels_equal_the_twin():
    grid = VoxelGrid(range=(0, 0, 0, 4, 6, 1), shape=(8, 6, 4))
    make = torch.Generator().manual_seed(1)
    occupied = torch.rand(8, 6, 4, generator=make) < 0.1
    origins, directions = random_rays(200)
    origins = origins.abs() / 4
    index, distance, hit = cast_rays(occupied, origins, directions, grid)
    for r in range(200):
        expected = step_through(occupied, origins[r], directions[r], grid)
        assert tuple(index[r].tolist()) == expected[0]
        assert distance[r].item() == pytest.approx(expected[1], abs=1e-9)


def test_distance_is_where_the_ray_leaves_the_voxel():
    occupied = torch.zeros(GRID.shape, dtype=torch.bool)
    occupied[6, 3, 1] = True  # x in [2, 3]
    assert one_ray(occupied, (0.5, 0.5, 0.5), (1, 0, 0)) == (
        (6, 3, 1),
        2.5,
        True,
    )
    # towards negative x the voxel is left through its lower face
    assert one_ray(occupied, (3.25, 0.5, 0.5), (-1, 0, 0)) == (
        (6, 3, 1),
        1.25,
        True,
    )


def test_no_hit_ends_in_the_last_voxel_of_the_grid():
    occupied = torch.zeros(GRID.shape, dtype=torch.bool)
    assert one_ray(occupied, (0.5, 0.5, 0.5), (0, -1, 0)) == (
        (4, 0, 1),
        3.5,
        False,
    )


def test_directions_need_not_be_unit_vectors():
    occupied = random_grid(0.1)
    origins, directions = random_rays(100)
    index, distance, hit = cast_rays(occupied, origins, directions, GRID)
    scaled = cast_rays(occupied, origins, 7.5 * directions, GRID)
    assert torch.equal(index, scaled[0]) and torch.equal(hit, scaled[2])
    torch.testing.assert_close(distance, scaled[1])


def test_origin_inside_an_occupied_voxel_hits_it():
    occupied = torch.ones(GRID.shape, dtype=torch.bool)
    assert one_ray(occupied, (0.25, 0.5, 0.5), (1, 0, 0)) == (
        (4, 3, 1),
        0.75,
        True,
    )


def test_origin_outside_enters_later():
    occupied = torch.zeros(GRID.shape, dtype=torch.bool)
    occupied[0, 3, 1] = True  # x in [-4, -3]
    assert one_ray(occupied, (-104, 0.5, 0.5), (1, 0, 0)) == (
        (0, 3, 1),
        101.0,
        True,
    )


@pytest.mark.parametrize(
    'origin, direction',
    [
        ((-5, 0.5, 0.5), (-1, 0, 0)),  # away from the grid
        ((-5, 3.5, 0.5), (1, 0, 0)),  # past it, along an axis
        ((-5, 0, 0.5), (1, 9, 0)),  # past a corner
        ((4, 0.5, 0.5), (1, 0, 0)),  # from its upper face outwards
        ((4, 0.5, 0.5), (0, 1, 0)),  # along its upper face
    ],
)
def test_never_inside(origin, direction):
    occupied = torch.ones(GRID.shape, dtype=torch.bool)
    # minus one voxel: the mark of 4D-Occ's caster, times the voxel size
    assert one_ray(occupied, origin, direction) == ((0, 0, 0), -1.0, False)


def test_start_voxel_is_rounded_down_not_towards_zero():
    # Regression: truncation puts an origin 0.5 m below the grid into voxel
    # 0, so that a ray which runs beside the grid hits it.
    occupied = torch.ones(GRID.shape, dtype=torch.bool)
    beside = one_ray(occupied, (-4.5, 0.5, 0.5), (0, 1, 0))
    assert beside == ((0, 0, 0), -1.0, False)


@pytest.mark.parametrize(
    'direction, expected',
    [
        ((1, 1, 0), (4, 4, 1)),  # x and y tie: y first
        ((1, 0, 1), (4, 3, 2)),  # x and z tie: z first
        ((0, 1, 1), (4, 3, 2)),  # y and z tie: z first
        ((1, 1, 1), (4, 3, 2)),  # all three tie: z first
    ],
)
def test_ties(direction, expected):
    occupied = torch.ones(GRID.shape, dtype=torch.bool)
    occupied[4, 3, 1] = False
    index, _, hit = one_ray(occupied, (0.5, 0.5, 0.5), direction)
    assert hit and index == expected


def test_translation():
    occupied = random_grid(0.1)
    origins, directions = random_rays(300)
    shift = torch.tensor([16.0, -8.0, 4.0], dtype=torch.float64)
    moved = VoxelGrid(
        range=(
            *(a + b for a, b in zip(GRID.min, shift.tolist())),
            *(a + b for a, b in zip(GRID.max, shift.tolist())),
        ),
        shape=GRID.shape,
    )
    here = cast_rays(occupied, origins, directions, GRID)
    there = cast_rays(occupied, origins + shift, directions, moved)
    assert torch.equal(here[0], there[0]) and torch.equal(here[2], there[2])
    torch.testing.assert_close(here[1], there[1])


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_mirror_symmetry(axis):
    occupied = random_grid(0.1)
    origins, directions = random_rays(300)
    centre = (GRID.min[axis] + GRID.max[axis]) / 2
    flipped, turned = origins.clone(), directions.clone()
    flipped[:, axis] = 2 * centre - flipped[:, axis]
    turned[:, axis] *= -1
    index, distance, hit = cast_rays(occupied, origins, directions, GRID)
    mirrored = cast_rays(occupied.flip(axis), flipped, turned, GRID)
    index[:, axis] = GRID.shape[axis] - 1 - index[:, axis]
    assert torch.equal(index, mirrored[0]) and torch.equal(hit, mirrored[2])
    torch.testing.assert_close(distance, mirrored[1])


def test_types_and_no_rays():
    occupied = random_grid(0.1)
    empty = torch.zeros(0, 3)
    index, distance, hit = cast_rays(occupied, empty, empty, GRID)
    assert index.shape == (0, 3) and index.dtype == torch.int64
    assert distance.shape == (0,) and distance.dtype == torch.float32
    assert hit.shape == (0,) and hit.dtype == torch.bool


@pytest.mark.parametrize(
    'occupied, origins, directions, message',
    [
        (torch.ones(8, 6, 3), (1, 3), (1, 3), 'must be bool'),
        (torch.ones(8, 6, 4).bool(), (1, 3), (1, 3), r'\(8, 6, 3\)'),
        (torch.ones(8, 6, 3).bool(), (2, 2), (2, 2), r'\(2, 3\)'),
        (torch.ones(8, 6, 3).bool(), (2, 3), (3, 3), r'\(2, 3\)'),
    ],
)
def test_wrong_inputs_are_named(occupied, origins, directions, message):
    with pytest.raises(ValueError, match=message):
        cast_rays(occupied, torch.zeros(origins), torch.ones(directions), GRID)


@pytest.mark.parametrize('bad', [(0, 0, 0), (math.nan, 0, 1)])
def test_rays_without_direction_are_refused(bad):
    with pytest.raises(ValueError, match='non-zero length'):
        one_ray(torch.ones(GRID.shape).bool(), (0, 0, 0), bad)


def passed(occupied, origin, direction, grid=GRID):
    """Voxels that one ray marks, as a set of indices."""
    seen = visible_voxels(
        occupied,
        torch.tensor([origin], dtype=torch.float64),
        torch.tensor([direction], dtype=torch.float64),
        grid,
    )
    return {tuple(index) for index in seen.nonzero().tolist()}


def test_a_ray_marks_up_to_and_including_the_first_occupied_voxel():
    occupied = torch.zeros(GRID.shape, dtype=torch.bool)
    occupied[6:, 3, 1] = True
    seen = passed(occupied, (0.5, 0.5, 0.5), (1, 0, 0))
    assert seen == {(4, 3, 1), (5, 3, 1), (6, 3, 1)}
    # nothing in the way: up to the edge of the grid
    seen = passed(occupied, (0.5, 0.5, 0.5), (0, -1, 0))
    assert seen == {(4, y, 1) for y in range(4)}
    # from outside: from where the ray enters
    seen = passed(occupied, (-50, 0.5, 0.5), (1, 0, 0))
    assert seen == {(x, 3, 1) for x in range(7)}
    assert not passed(occupied, (-50, 0.5, 0.5), (-1, 0, 0))


@pytest.mark.parametrize('density', [0.0, 0.05, 0.4])
@pytest.mark.parametrize('spread', [1.0, 4.0])
def test_marks_equal_a_brute_force_march(density, spread):
    # tiny steps, each of which asks in which voxel it is
    occupied = random_grid(density)
    origins, directions = random_rays(60, spread)
    directions /= directions.norm(dim=-1, keepdim=True)
    for origin, direction in zip(origins, directions):
        along = torch.arange(0, 40, 1e-3, dtype=torch.float64)[:, None]
        index, inside = GRID.locate(origin + along * direction)
        index = index[inside]
        hits = occupied[tuple(index.T)].nonzero()
        marched = index[: hits[0] + 1] if len(hits) else index
        marched = {tuple(v) for v in marched.unique(dim=0).tolist()}
        seen = passed(occupied, origin.tolist(), direction.tolist())
        assert marched <= seen
        # what the steps jump over are corners of voxels
        for voxel in seen - marched:
            assert length_inside(voxel, origin, direction) < 2e-3


def length_inside(voxel, origin, direction):
    """Metres of a ray within a voxel of GRID."""
    low = torch.tensor(GRID.min).double() + torch.tensor(voxel)
    a, b = (low - origin) / direction, (low + 1 - origin) / direction
    near, far = torch.minimum(a, b).max(), torch.maximum(a, b).min()
    return (far - near.clamp(min=0)).item()


def test_the_last_marked_voxel_is_that_of_cast_rays():
    # rays through corners of voxels, so that ties matter, too
    occupied = random_grid(0.1)
    make = torch.Generator().manual_seed(3)
    steps = torch.randint(-2, 3, (300, 3), generator=make)
    steps = steps[steps.any(dim=1)].double()
    index, _, hit = cast_rays(
        occupied, torch.zeros_like(steps) + 0.5, steps, GRID
    )
    assert hit.any() and not hit.all()
    for i, step in enumerate(steps):
        seen = passed(occupied, (0.5, 0.5, 0.5), step.tolist())
        assert tuple(index[i].tolist()) in seen
        assert sum(bool(occupied[v]) for v in seen) == hit[i]


def test_marks_of_many_rays_are_the_union():
    occupied = random_grid(0.1)
    origins, directions = random_rays(50, 2.0)
    union = set()
    for origin, direction in zip(origins.tolist(), directions.tolist()):
        union |= passed(occupied, origin, direction)
    seen = visible_voxels(occupied, origins, directions, GRID)
    assert seen.dtype == torch.bool
    assert {tuple(v) for v in seen.nonzero().tolist()} == union
    none = visible_voxels(occupied, origins[:0], directions[:0], GRID)
    assert not none.any()


def test_visible_voxels_names_wrong_inputs():
    rays = torch.ones(1, 3)
    with pytest.raises(ValueError, match='visible_voxels: occupied must be'):
        visible_voxels(torch.ones(GRID.shape), rays, rays, GRID)
    with pytest.raises(ValueError, match='visible_voxels: rays need'):
        visible_voxels(random_grid(0.1), rays, 0 * rays, GRID)
