"""TPVFormer's planes: where they stand, look and add up."""

import pytest
import torch
import torch.nn.functional as F
from small_rig import make_rig

from occsplat.models.image_features import ImageFeatures
from occsplat.models.lifting import TPVLifter
from occsplat.models.lifting.tpv_lifter import PLANES, PlaneAttention
from occsplat.structures import VoxelGrid

# X, Y and Z differ, so that a transposed axis shows
GRID = VoxelGrid(range=(-12, -8, -2, 12, 8, 4), shape=(12, 8, 4))
SHAPES = [(4, 8), (2, 4)]


def make_lifter(**kwargs):
    torch.manual_seed(0)
    options = dict(
        grid=GRID,
        channels=8,
        num_layers=2,
        num_heads=2,
        anchors=(4, 8, 8),
        feedforward_channels=16,
        num_levels=2,
        num_cameras=3,
    )
    return TPVLifter(**{**options, **kwargs})


def make_features(batch=1):
    torch.manual_seed(1)
    maps = tuple(torch.randn(batch, 3, 8, *shape) for shape in SHAPES)
    return [ImageFeatures(maps)]


def lift(lifter, features=None, rig=None):
    rig = make_rig() if rig is None else rig
    return lifter(features or make_features(), rig[:, None])[0]


def test_a_voxel_is_the_sum_of_its_cells_of_the_planes():
    """Planes that hold their cells' places in metres, at their stride."""
    lifter = make_lifter(plane_stride=1, channels=6, num_layers=1)
    centers = GRID.centers()
    lines = centers[:, 0, 0, 0], centers[0, :, 0, 1], centers[0, 0, :, 2]
    planes = []
    for i, (row, column, _) in enumerate(PLANES):
        rows, columns = torch.meshgrid(
            lines[row], lines[column], indexing='ij'
        )
        plane = torch.zeros(1, rows.numel(), 6)
        plane[0, :, 2 * i] = rows.flatten()
        plane[0, :, 2 * i + 1] = columns.flatten()
        planes.append(plane)
    volume = lifter._spread(planes)[0].permute(1, 2, 3, 0)
    x, y, z = centers.unbind(-1)
    torch.testing.assert_close(volume, torch.stack([y, x, z, y, x, z], -1))


def test_planes_are_resized_between_the_centres_of_their_cells():
    lifter = make_lifter(channels=8)
    x = lifter.cells.centers()[:, 0, 0, 0]  # every second voxel
    planes = [torch.zeros(1, len(query), 8) for query in lifter.queries]
    planes[2] = x.repeat_interleave(lifter.cells.shape[2]).view(1, -1, 1)
    planes[2] = planes[2].expand(-1, -1, 8)
    volume = lifter._spread(planes)
    inner = GRID.centers()[1:-1, ..., 0]
    torch.testing.assert_close(volume[0, 0, 1:-1], inner)


def test_anchors_stand_in_their_cells_along_the_axis_that_is_lost():
    lifter = make_lifter()
    cells = lifter.cells
    for (row, column, lacks), points, count in zip(
        PLANES, lifter.anchors, (4, 8, 8)
    ):
        shape = cells.shape
        assert points.shape == (shape[row] * shape[column], count, 3)
        points = points.unflatten(0, (shape[row], shape[column]))
        for i, axis in enumerate((row, column)):
            moved = points.select(1 - i, 0)[..., axis]  # over the other
            line = cells.centers()[..., axis]
            line = line.movedim(axis, 0).flatten(1)[:, 0]
            torch.testing.assert_close(moved, line[:, None].expand_as(moved))
        # half a metre from both ends, evenly
        along = points[0, 0, :, lacks]
        torch.testing.assert_close(
            along,
            torch.linspace(
                GRID.min[lacks] + 0.5, GRID.max[lacks] - 0.5, count
            ),
        )


def test_occ3d_anchors_are_the_published_ones():
    grid = VoxelGrid((-40, -40, -1, 40, 40, 5.4), (20, 20, 16))
    lifter = TPVLifter(grid, channels=8, num_layers=1)
    above, side, _ = lifter.anchors
    torch.testing.assert_close(
        above[0, :, 2], torch.tensor([-0.5, 1.3, 3.1, 4.9])
    )
    steps = side[0, :, 0].diff()
    torch.testing.assert_close(steps, torch.full((31,), 79 / 31))


def test_attention_in_the_plane_is_two_sets_of_points_and_their_mean():
    """Point after point, on a plane of other height than width."""
    torch.manual_seed(0)
    rows, columns, channels, heads, points = 3, 5, 8, 2, 4
    layer = PlaneAttention(channels, heads, points).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    query = torch.randn(2, rows * columns, channels, dtype=torch.float64)
    position = torch.randn(rows, columns, channels, dtype=torch.float64)
    told = torch.cat([query, query + position.flatten(0, 1)], -1)
    offsets = layer.offsets(told).view(2, -1, heads, 2, points, 2)
    weights = layer.weights(told).view(2, -1, heads, 2, points).softmax(-1)
    value = layer.value(query).view(2, rows, columns, heads, -1)
    out = torch.zeros_like(query).view(2, -1, heads, channels // heads)
    for q in range(rows * columns):
        y, x = divmod(q, columns)
        for head in range(heads):
            image = value[..., head, :].permute(0, 3, 1, 2)
            for queue in range(2):
                for p in range(points):
                    shift = offsets[:, q, head, queue, p]
                    place = shift + shift.new_tensor([x + 0.5, y + 0.5])
                    grid = 2 * place / place.new_tensor([columns, rows]) - 1
                    read = F.grid_sample(
                        image, grid[:, None, None], align_corners=False
                    )[..., 0, 0]
                    share = weights[:, q, head, queue, p, None] / 2
                    out[:, q, head] += share * read
    expected = query + layer.output(out.flatten(2))
    torch.testing.assert_close(layer(query, position), expected)


def test_every_parameter_learns():
    lifter = make_lifter()
    for layer in lifter.layers:  # zeros hide what is in front of them
        torch.nn.init.normal_(layer.self_attention.offsets.weight, std=0.1)
    lift(lifter).square().sum().backward()
    for name, parameter in lifter.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_recomputing_changes_nothing():
    volumes, grads = [], []
    for with_cp in (False, True):
        lifter = make_lifter(with_cp=with_cp, dropout=0.0).train()
        volume = lift(lifter)
        volume.square().sum().backward()
        volumes.append(volume.detach())
        grads.append([p.grad for p in lifter.parameters()])
    assert torch.equal(*volumes)
    for one, two in zip(*grads):
        torch.testing.assert_close(one, two)


def test_samples_of_a_batch_do_not_mix():
    lifter = make_lifter().eval()
    features, rig = make_features(2), make_rig()[[0, 0]]
    rig.ref2cam[1, :, :3, 3] += 0.5
    with torch.no_grad():
        both = lift(lifter, features, rig)
        for b in range(2):
            alone = [
                ImageFeatures(tuple(m[b : b + 1] for m in features[0].maps))
            ]
            torch.testing.assert_close(
                lift(lifter, alone, rig[b : b + 1]), both[b : b + 1]
            )


def test_mistakes_are_told():
    lifter = make_lifter()
    with pytest.raises(ValueError, match='reads 2 image maps.*give 1'):
        lift(lifter, [ImageFeatures(make_features()[0].maps[:1])])
    with pytest.raises(ValueError, match=r'image features.*\(1, 3, 8\)'):
        lift(
            lifter,
            [ImageFeatures(tuple(m[:, :2] for m in make_features()[0].maps))],
        )
    with pytest.raises(ValueError, match='divisible'):
        make_lifter(plane_stride=5)
