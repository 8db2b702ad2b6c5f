"""VoxelGrid: metres, indices and sampling agree."""

import pytest
import torch

from occsplat.structures import VoxelGrid, as_grid

# three different extents, so that a transposed axis cannot hide
GRID = VoxelGrid(range=(-3, 0, -1, 3, 8, 2), shape=(6, 4, 3))


def test_centers_are_min_plus_half_a_voxel():
    centers = GRID.centers()
    assert centers.shape == (6, 4, 3, 3)
    assert centers[0, 0, 0].tolist() == [-2.5, 1.0, -0.5]
    assert centers[5, 3, 2].tolist() == [2.5, 7.0, 1.5]


def test_to_index_of_a_center_is_its_index():
    index = GRID.to_index(GRID.centers(dtype=torch.float64))
    expected = torch.stack(
        torch.meshgrid(*map(torch.arange, GRID.shape), indexing='ij'), -1
    )
    torch.testing.assert_close(index, expected.double())


def test_locate_rounds_down_and_reports_outside():
    # a point just below the minimum must not leak into voxel 0, which
    # is what truncation towards zero does
    points = torch.tensor([[-3.01, 0.5, 0.0], [-2.99, 0.5, 0.0]])
    index, inside = GRID.locate(points)
    assert index[:, 0].tolist() == [-1, 0]
    assert inside.tolist() == [False, True]


def test_sample_reads_a_coordinate_coded_volume():
    volume = GRID.centers().permute(3, 0, 1, 2)[None]
    generator = torch.Generator().manual_seed(0)
    low = torch.tensor([-2.5, 1.0, -0.5])
    high = torch.tensor([2.5, 7.0, 1.5])
    points = low + (high - low) * torch.rand(1, 50, 3, generator=generator)
    out = GRID.sample(volume, points)
    torch.testing.assert_close(out[0].T, points[0], atol=1e-5, rtol=0)


def test_sample_outside_is_zero():
    volume = torch.ones(1, 2, *GRID.shape)
    out = GRID.sample(volume, torch.tensor([[[10.0, 4.0, 0.0]]]))
    assert out.abs().max() == 0


def test_sample_works_at_another_resolution():
    fine = VoxelGrid(GRID.range, (12, 8, 6))
    volume = fine.centers().permute(3, 0, 1, 2)[None]
    points = torch.tensor([[[0.3, 3.0, 0.2]]])
    torch.testing.assert_close(
        GRID.sample(volume, points)[0, :, 0], points[0, 0]
    )


def test_sample_rejects_wrong_shapes():
    with pytest.raises(ValueError, match='B, C, X, Y, Z'):
        GRID.sample(torch.zeros(2, 6, 4, 3), torch.zeros(2, 1, 3))


def test_pooled_keeps_the_range():
    grid = VoxelGrid(GRID.range, (6, 4, 2)).pooled(2)
    assert grid.shape == (3, 2, 1)
    assert grid.range == GRID.range
    with pytest.raises(ValueError, match='divisible'):
        GRID.pooled(2)


@pytest.mark.parametrize(
    'bad',
    [
        dict(range=(0, 0, 0, 1, 1), shape=(1, 1, 1)),
        dict(range=(0, 0, 0, 1, 0, 1), shape=(1, 1, 1)),
        dict(range=(0, 0, 0, 1, 1, 1), shape=(1, 0, 1)),
    ],
)
def test_bad_grids_are_refused(bad):
    with pytest.raises(ValueError, match='VoxelGrid'):
        VoxelGrid(**bad)


@pytest.mark.parametrize(
    'bad',
    [
        'many',
        None,
        [1, 2],
        dict(range=GRID.range),
        dict(range=GRID.range, shape=(6, 4, 3), size=0.4),
        dict(range=3, shape=(6, 4, 3)),
        dict(range=(0, 0, 0, float('nan'), 4, 3), shape=(6, 4, 3)),
        dict(range=(0, 0, 0, float('inf'), 4, 3), shape=(6, 4, 3)),
        dict(range=(0, 0, 0, '6', 4, 3), shape=(6, 4, 3)),
        dict(range=GRID.range, shape=(6.5, 4, 3)),
        dict(range=GRID.range, shape=(6, 4, True)),
    ],
)
def test_what_is_no_grid_is_refused(bad):
    with pytest.raises(ValueError, match='grid|VoxelGrid'):
        as_grid(bad)


@pytest.mark.parametrize('stride', [1, 2, 4])
def test_strided_centres_are_those_of_every_sth_voxel(stride):
    grid = VoxelGrid((-4, 2, 0, 12, 10, 6), (16, 8, 12))
    every = grid.centers()[::stride, ::stride, ::stride]
    torch.testing.assert_close(grid.strided(stride).centers(), every)


def test_strided_needs_a_shape_that_divides():
    with pytest.raises(ValueError, match=r'\(6, 4, 3\) grid by 2'):
        VoxelGrid((0, 0, 0, 6, 4, 3), (6, 4, 3)).strided(2)


def test_crossing_is_the_part_of_a_ray_inside():
    rays = [
        # origin, direction, where it enters and leaves
        ((0, 4, 0), (1, 0, 0), (0, 3)),
        ((0, 4, 0), (0, -2, 0), (0, 2)),
        ((-5, 4, 0), (1, 0, 0), (2, 8)),
        ((-5, 4, 0), (-1, 0, 0), None),  # away from it
        ((-5, 9, 0), (1, 0, 0), None),  # beside it
        ((0, 8, 0), (1, 0, 0), None),  # along a face
        ((-4, -1, -1.5), (1, 1, 1), (1, 3.5)),
    ]
    origins, directions, expected = zip(*rays)
    enter, leave = GRID.crossing(
        torch.tensor(origins, dtype=torch.float64),
        torch.tensor(directions, dtype=torch.float64),
    )
    for near, far, where in zip(enter.tolist(), leave.tolist(), expected):
        assert (near, far) == where if where else not near < far


@pytest.mark.parametrize(
    'target',
    [
        GRID,
        GRID.pooled(1),
        VoxelGrid(GRID.range, (12, 2, 7)),
        VoxelGrid((-5, -2, -1, 3.5, 9, 4), (11, 8, 5)),  # reaches out
        VoxelGrid(GRID.range, (6, 4, 2)).strided(2),
    ],
)
@pytest.mark.parametrize('shape', [GRID.shape, (3, 8, 1)])
def test_resample_is_sample_at_all_centres(target, shape):
    """Values and gradients, also of a volume of another resolution."""
    g = torch.Generator().manual_seed(0)
    volume = torch.randn(2, 3, *shape, generator=g, dtype=torch.float64)
    volume.requires_grad_()
    points = target.centers(dtype=torch.float64)
    points = points.expand(2, *points.shape)
    expected = GRID.sample(volume, points, padding_mode='border')
    out = GRID.resample(volume, target)
    torch.testing.assert_close(out, expected)
    cotangent = torch.randn(out.shape, generator=g, dtype=torch.float64)
    (mine,) = torch.autograd.grad(out, volume, cotangent)
    (twin,) = torch.autograd.grad(expected, volume, cotangent)
    torch.testing.assert_close(mine, twin)


def test_resample_is_exact_under_autocast():
    volume = torch.randn(1, 2, *GRID.shape)
    target = VoxelGrid(GRID.range, (5, 5, 5))
    expected = GRID.resample(volume, target)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(GRID.resample(volume, target), expected)
        half = GRID.resample(volume.bfloat16(), target)
    assert half.dtype == torch.float32


def test_resample_at_every_second_voxel_picks_it():
    volume = torch.randn(1, 2, 6, 4, 2)
    grid = VoxelGrid(GRID.range, (6, 4, 2))
    out = grid.resample(volume, grid.strided(2))
    assert torch.equal(out, volume[:, :, ::2, ::2, ::2])
