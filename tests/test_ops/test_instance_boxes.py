"""Boxes of single objects come out of classes and offsets."""

import math

import numpy as np
import pytest
import torch

from occsplat.ops import instance_boxes, run_lengths
from occsplat.ops.instance_boxes import MAX_BOXES
from occsplat.structures import VoxelGrid

FREE, CAR, PERSON, WALL = 0, 1, 2, 3
CLASSES = (CAR, PERSON)
#: voxels of 0.4 x 0.4 x 0.5 m
GRID = VoxelGrid((-8, -6, -1, 8, 6, 3), (40, 30, 8))
#: metres, of a car and a person
SIZES = ((4.6, 2.0, 1.5), (0.8, 0.6, 1.8))


def empty():
    return torch.full(GRID.shape, FREE, dtype=torch.uint8)


def paint(occ, box, label=CAR):
    """Voxels whose centre is in a box (x y z l w h yaw)."""
    offset = GRID.centers(dtype=torch.float64) - torch.tensor(box[:3])
    cos, sin = math.cos(box[6]), math.sin(box[6])
    ahead = offset[..., 0] * cos + offset[..., 1] * sin
    aside = offset[..., 1] * cos - offset[..., 0] * sin
    inside = (ahead.abs() < box[3] / 2) & (aside.abs() < box[4] / 2)
    occ[inside & (offset[..., 2].abs() < box[5] / 2)] = label
    return occ


def metres(occ, stride=1):
    """Run lengths as a network would predict them, (6, x, y, z)."""
    size = torch.tensor(GRID.size).repeat_interleave(2)
    return run_lengths(occ, stride) * size[:, None, None, None]


def test_an_aligned_car_gets_its_own_box():
    occ = empty()
    occ[10:21, 12:17, 1:4] = CAR
    found = instance_boxes(occ, None, GRID, CLASSES)
    expected = [-1.8, -0.2, 0.25, 4.4, 2.0, 1.5, 0.0]
    assert found.boxes[0, :6].tolist() == pytest.approx(expected[:6], abs=1e-5)
    assert math.sin(found.boxes[0, 6]) == pytest.approx(0, abs=1e-6)
    assert len(found) == 1 and found.labels.tolist() == [CAR]
    # 165 voxels that fill the box, of which four are held against it
    assert found.scores.tolist() == pytest.approx([165 / 169])
    assert found.velocities.tolist() == [[0, 0]]
    assert torch.equal(found.ids, (occ == CAR).int())


@pytest.mark.parametrize('degrees', [20, 45, 70, 110, 160])
def test_a_turned_car_is_one_box_with_its_yaw(degrees):
    yaw = math.radians(degrees)
    box = [0.3, -0.1, 0.5, 4.6, 2.0, 1.5, yaw]
    found = instance_boxes(paint(empty(), box), None, GRID, CLASSES)
    assert len(found) == 1
    x, y, z, length, width, height, turn = found.boxes[0].tolist()
    assert (x, y, z) == pytest.approx(box[:3], abs=0.15)
    assert (length, width) == pytest.approx(box[3:5], abs=0.4)
    # a half turn is the same box
    assert abs(math.sin(turn - yaw)) < math.sin(math.radians(4))


def test_cars_side_by_side_are_two():
    occ = empty()
    occ[8:19, 8:13, 1:4] = CAR
    occ[9:20, 14:19, 1:4] = CAR
    found = instance_boxes(occ, None, GRID, CLASSES)
    assert len(found) == 2
    assert sorted(found.boxes[:, 1].tolist()) == pytest.approx([-1.8, 0.6])


def test_offsets_part_cars_that_touch():
    # one block of voxels for the eye, and two for who predicts offsets
    occ = empty()
    occ[8:19, 8:13, 1:4] = CAR
    apart = occ.clone()
    occ[8:19, 13:18, 1:4] = CAR
    apart[8:19, 13:18, 1:4] = CAR + 100
    assert len(instance_boxes(occ, None, GRID, CLASSES)) == 1
    found = instance_boxes(occ, metres(apart), GRID, CLASSES)
    assert len(found) == 2
    assert found.boxes[:, 4].tolist() == pytest.approx([2.0, 2.0])
    assert found.ids[8, 12, 1] != found.ids[8, 13, 1]


def test_staggered_cars_that_touch_are_two():
    # runs across both are fewer than those across one
    occ = empty()
    occ[4:15, 8:13, 1:4] = CAR
    occ[13:24, 13:18, 1:4] = CAR
    found = instance_boxes(occ, None, GRID, CLASSES)
    assert found.ids[4, 8, 1] != found.ids[23, 17, 1]


def test_offsets_beyond_the_run_of_the_class_change_nothing():
    """A regressed offset hedges between a car and the street around it."""
    occ = empty()
    occ[8:19, 8:13, 1:4] = CAR
    occ[22:33, 16:21, 1:4] = CAR
    plain = instance_boxes(occ, None, GRID, CLASSES)
    for stride in (1, 2):
        longer = metres(occ, stride) + 3.0
        found = instance_boxes(occ, longer, GRID, CLASSES)
        torch.testing.assert_close(found.boxes, plain.boxes)
        assert torch.equal(found.ids, plain.ids)


def test_noise_in_offsets_moves_boxes_little():
    occ = empty()
    occ[8:19, 8:13, 1:4] = CAR
    occ[9:20, 14:19, 1:4] = CAR
    make = torch.Generator().manual_seed(0)
    clean = metres(occ, 2)
    noise = torch.randn(clean.shape, generator=make) * 0.15
    found = instance_boxes(occ, clean + noise, GRID, CLASSES)
    assert len(found) == 2
    assert sorted(found.boxes[:, 1].tolist()) == pytest.approx([-1.8, 0.6])
    assert (found.boxes[:, 5] - 1.5).abs().max() < 0.75


@pytest.mark.parametrize('place', [(20, 15), (21, 15), (21, 14), (39, 29)])
def test_a_person_one_voxel_wide_is_found_beside_its_cells(place):
    # cells are every second voxel: most columns hold none
    occ = empty()
    occ[place[0], place[1], 1:5] = PERSON
    found = instance_boxes(occ, metres(occ, 2), GRID, CLASSES)
    assert len(found) == 1 and found.labels.tolist() == [PERSON]
    center = GRID.centers()[place[0], place[1], 3]
    expected = [*center[:2].tolist(), 0.5, 0.4, 0.4, 2.0]
    assert found.boxes[0, :6].tolist() == pytest.approx(expected, abs=1e-5)


def test_classes_do_not_mix_and_walls_have_no_boxes():
    occ = empty()
    occ[10:21, 12:17, 1:4] = CAR
    occ[21, 14, 1:5] = PERSON
    occ[22:30, 3:25] = WALL
    found = instance_boxes(occ, None, GRID, CLASSES)
    assert found.labels.tolist() == [CAR, PERSON]
    assert int(found.ids[21, 14, 1]) == 2 and int(found.ids[22, 3, 0]) == 0


def test_cells_of_another_class_have_no_say():
    occ = empty()
    occ[21, 15, 1:5] = PERSON
    offsets = torch.full((6, 20, 15, 4), 30.0)
    found = instance_boxes(occ, offsets, GRID, CLASSES)
    assert found.boxes[0, 5].item() == pytest.approx(2.0)


def test_velocity_is_the_mean_and_gives_the_heading():
    occ = empty()
    occ[10:21, 12:17, 1:4] = CAR
    occ[30, 5, 1:5] = PERSON
    flow = torch.zeros(*GRID.shape, 2)
    flow[10:15], flow[15:21] = torch.tensor([-4.0, 0]), torch.tensor([-1.8, 0])
    flow[30] = torch.tensor([0.0, -1.0])
    found = instance_boxes(occ, None, GRID, CLASSES, flow)
    # five of eleven slices at -4 m/s, six at -1.8
    assert found.velocities[0].tolist() == pytest.approx([-2.8, 0], abs=1e-4)
    assert math.cos(found.boxes[0, 6]) == pytest.approx(-1)
    # a round footprint has no long side: it looks where it goes
    assert found.boxes[1, 6].item() == pytest.approx(-math.pi / 2)


def test_a_row_of_cars_is_as_many_as_it_is_long():
    occ = empty()
    occ[4:36, 12:17, 1:4] = CAR  # 12.8 m
    assert len(instance_boxes(occ, None, GRID, CLASSES)) == 1
    found = instance_boxes(occ, None, GRID, CLASSES, sizes=SIZES)
    assert len(found) == 3
    # parts of 4.27 m, to whole voxels
    middles = sorted(found.boxes[:, 0].tolist())
    assert middles == pytest.approx([-4.27, 0, 4.27], abs=0.2)
    assert found.boxes[:, 1].tolist() == pytest.approx([-0.2] * 3, abs=1e-5)
    assert sorted(found.ids[4:36, 14, 2].unique().tolist()) == [1, 2, 3]
    assert torch.equal(found.ids > 0, occ == CAR)


@pytest.mark.parametrize('degrees', [20, 70, 115])
def test_a_turned_block_is_parted_along_its_own_axes(degrees):
    yaw = math.radians(degrees)
    block = paint(empty(), [0, 0, 0.5, 9.4, 4.2, 1.5, yaw])
    found = instance_boxes(block, None, GRID, CLASSES, sizes=SIZES)
    assert len(found) == 4
    cos, sin = math.cos(yaw), math.sin(yaw)
    x, y = found.boxes[:, 0], found.boxes[:, 1]
    along, aside = x * cos + y * sin, y * cos - x * sin
    assert along.abs().tolist() == pytest.approx([2.35] * 4, abs=0.25)
    assert aside.abs().tolist() == pytest.approx([1.05] * 4, abs=0.25)
    assert len({(a > 0, b > 0) for a, b in zip(along, aside)}) == 4
    turns = (found.boxes[:, 6] - yaw).sin().abs()
    assert turns.max() < math.sin(math.radians(8))


def test_a_long_car_is_one():
    occ = empty()
    occ[10:26, 12:17, 1:4] = CAR  # 6.4 m, of which 4.8 would be one
    assert len(instance_boxes(occ, None, GRID, CLASSES, sizes=SIZES)) == 1


def test_boxes_have_the_size_of_their_class():
    """What is seen of a car is its near side."""
    occ = empty()
    occ[10:21, 12:14, 1:3] = CAR
    occ[30, 5, 1:5] = PERSON
    found = instance_boxes(occ, None, GRID, CLASSES, sizes=SIZES)
    assert found.boxes[:, 3:6].tolist() == [
        pytest.approx(size) for size in SIZES
    ]
    assert found.boxes[0, :3].tolist() == pytest.approx([-1.8, -0.8, 0])
    # voxels of 0.08 m3 in boxes of 13.8 and 0.864 m3
    share = 44 * 0.08 / 13.8
    expected = [share * 44 / 48, 4 * 0.08 / 0.864 * 4 / 8]
    assert found.scores.tolist() == pytest.approx(expected)


def test_nothing_gives_no_box():
    found = instance_boxes(empty(), None, GRID, CLASSES, sizes=SIZES)
    assert found.boxes.shape == (0, 7) and found.velocities.shape == (0, 2)
    assert len(found.labels) == len(found.scores) == 0
    assert not found.ids.any() and found.ids.shape == GRID.shape


def test_a_frame_has_as_many_boxes_as_nuscenes_scores():
    occ = empty()
    occ[::3, ::3, ::3] = PERSON
    occ[10:13, 10:13, :3] = PERSON
    found = instance_boxes(occ, None, GRID, CLASSES)
    number = int((occ[::3, ::3, ::3] == PERSON).sum()) - 1
    assert number < MAX_BOXES == 500 and len(found) <= MAX_BOXES
    fine = VoxelGrid(GRID.range, (80, 60, 8))
    many = torch.zeros(fine.shape, dtype=torch.uint8)
    many[::3, ::3, ::3] = PERSON
    many[0, 0] = PERSON
    found = instance_boxes(many, None, fine, CLASSES)
    assert len(found) == MAX_BOXES
    # the one with most voxels comes first
    assert int((found.ids == 1).sum()) == 8
    assert int(found.ids.max()) == MAX_BOXES


def naive(occ, grid):
    """The same by loops over dictionaries, from runs alone."""
    runs = run_lengths(occ).numpy().astype(float)
    voxels = [tuple(v) for v in np.argwhere(np.isin(occ.numpy(), CLASSES))]
    low = {v: v - runs[(slice(1, None, 2), *v)] + 0.5 for v in voxels}
    high = {v: v + runs[(slice(0, None, 2), *v)] - 0.5 for v in voxels}
    label = {v: int(occ[v]) for v in voxels}

    def volume(a, b):
        return np.maximum(b - a, 0).prod()

    def common(a, b, c, d):
        return volume(np.maximum(a, c), np.minimum(b, d))

    def iou(v, u):
        both = common(low[v], high[v], low[u], high[u])
        return both / (
            volume(low[v], high[v]) + volume(low[u], high[u]) - both
        )

    def within(v):
        return [
            u
            for u in voxels
            if label[u] == label[v]
            and (np.array(u) > low[v]).all()
            and (np.array(u) < high[v]).all()
        ]

    support = [sum(iou(v, u) ** 2 for u in within(v)) for v in voxels]
    instance, count = {}, 0
    for n in np.argsort(-np.array(support), kind='stable'):
        seed = voxels[n]
        if seed in instance:
            continue
        instance[seed] = count
        queue = [seed]
        for u in within(seed):
            part = common(low[u], high[u], low[seed], high[seed])
            if u not in instance and part >= 0.5 * volume(low[u], high[u]):
                instance[u] = count
                queue.append(u)
        box = low[seed] - 1, high[seed] + 1
        for v in queue:
            box = (
                np.minimum(box[0], np.array(v) - 1.5),
                np.maximum(box[1], np.array(v) + 1.5),
            )
            for step in np.ndindex(3, 3, 3):
                step = np.array(step) - 1
                gap = np.linalg.norm(step * grid.size)
                u = tuple(np.array(v) + step)
                touches = np.abs(step).sum() == 1 or gap <= 0.75
                if not touches or u in instance or label.get(u) != label[v]:
                    continue
                part = common(low[u], high[u], *box)
                if part >= 0.5 * volume(low[u], high[u]):
                    instance[u] = count
                    queue.append(u)
        count += 1
    return instance


def test_the_kernels_do_what_is_written():
    grid = VoxelGrid((0, 0, 0, 5.6, 4.8, 2.0), (14, 12, 4))
    make = torch.Generator().manual_seed(1)
    noise = torch.rand(grid.shape, generator=make)
    occ = torch.full(grid.shape, FREE, dtype=torch.uint8)
    occ[noise < 0.25], occ[noise > 0.85] = CAR, PERSON
    occ[2:8, 2:5, 1:3], occ[7:12, 5:8, 1:3] = CAR, CAR
    expected = naive(occ, grid)
    ids = instance_boxes(occ, None, grid, CLASSES).ids
    assert int(ids.max()) == max(expected.values()) + 1 > 10
    pairs = {(int(ids[v]), number) for v, number in expected.items()}
    # the same parts, under other numbers
    assert len(pairs) == max(expected.values()) + 1
    assert int((ids > 0).sum()) == len(expected)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match='instance_boxes occ: expected'):
        instance_boxes(empty()[:4], None, GRID, CLASSES)
    with pytest.raises(ValueError, match='instance_boxes flow: expected'):
        instance_boxes(empty(), None, GRID, CLASSES, torch.zeros(2, 2, 2, 2))
    with pytest.raises(ValueError, match='instance_boxes sizes: expected'):
        instance_boxes(empty(), None, GRID, CLASSES, sizes=SIZES[:1])
    occ = empty()
    occ[3, 3, 3] = CAR
    with pytest.raises(ValueError, match='instance_boxes offsets: expected'):
        instance_boxes(occ, torch.zeros(6, 20, 15, 5), GRID, CLASSES)
