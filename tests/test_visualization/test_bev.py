"""From above: ahead is up, left is left."""

from dataclasses import replace

import numpy as np
import pytest

from occsplat.structures import LabelSpec, VoxelGrid
from occsplat.visualization import (
    BevMap,
    Boxes,
    bev,
    bev_image,
    flow_colors,
    flow_key,
)
from occsplat.visualization.bev import flow_arrows
from occsplat.visualization.colors import BACKGROUND, OTHER

SPEC = LabelSpec.named('openocc')
GRID = VoxelGrid((-8, -16, -1, 8, 16, 3), (40, 80, 10))
VIEW = BevMap(GRID, 10)
CAR, TREE = SPEC.classes.index('car'), SPEC.classes.index('vegetation')


def empty() -> np.ndarray:
    return np.full(GRID.shape, SPEC.free, dtype=np.uint8)


def where(image: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Mean (u, v) of the pixels that differ."""
    rows, columns = np.nonzero((image != before).any(axis=-1))
    return np.array([columns.mean(), rows.mean()]) + 0.5


@pytest.mark.parametrize(
    'voxel, side',
    [
        ((38, 40, 3), 'ahead'),
        ((1, 40, 3), 'behind'),
        ((20, 78, 3), 'left'),
        ((20, 1, 3), 'right'),
    ],
)
def test_orientation(voxel, side):
    occ = empty()
    before = bev_image(occ, SPEC, VIEW)
    assert before.shape == (160, 320, 3)
    occ[voxel] = CAR
    u, v = where(bev_image(occ, SPEC, VIEW), before)
    expected = dict(ahead=v < 20, behind=v > 140, left=u < 20, right=u > 300)
    assert expected[side]
    center = GRID.centers().numpy()[voxel]
    np.testing.assert_allclose((u, v), VIEW.to_pixels(center), atol=0.6)


@pytest.mark.parametrize(
    'voxel, side',
    [
        ((40, 38, 3), 'ahead'),
        ((40, 1, 3), 'behind'),
        ((1, 20, 3), 'left'),
        ((78, 20, 3), 'right'),
    ],
)
def test_ahead_is_up_in_a_lidar_frame_too(voxel, side):
    # x is right and y ahead
    spec = LabelSpec.named('surroundocc')
    grid = VoxelGrid((-16, -8, -1, 16, 8, 3), (80, 40, 10))
    view = BevMap(grid, 10, spec.frame)
    occ = np.full(grid.shape, spec.free, dtype=np.uint8)
    before = bev_image(occ, spec, view)
    assert before.shape == (160, 320, 3)
    occ[voxel] = spec.classes.index('car')
    u, v = where(bev_image(occ, spec, view), before)
    expected = dict(ahead=v < 20, behind=v > 140, left=u < 20, right=u > 300)
    assert expected[side]
    center = grid.centers().numpy()[voxel]
    np.testing.assert_allclose((u, v), view.to_pixels(center), atol=0.6)


def test_pictures_do_not_depend_on_the_frame_of_the_labels():
    """The same street in an ego and in a LiDAR frame."""
    lidar = LabelSpec.named('surroundocc')
    ego = replace(lidar, frame='ego')
    generator = np.random.default_rng(0)
    occ = generator.integers(0, 17, (12, 20, 4)).astype(np.uint8)
    flow = generator.normal(size=(12, 20, 4, 2))
    box = np.array([[3.0, 2, 0.5, 2, 1, 1, 0.3]])
    car, speed = np.array([lidar.movable[0]]), np.array([[4.0, 1.0]])
    # ahead, left -> right, ahead
    turned = occ[:, ::-1].swapaxes(0, 1)
    turned_flow = np.stack([-flow[..., 1], flow[..., 0]], -1)
    turned_flow = turned_flow[:, ::-1].swapaxes(0, 1)
    turned_box = np.array([[-2.0, 3, 0.5, 2, 1, 1, 0.3 + np.pi / 2]])
    grid = VoxelGrid((-6, -10, 0, 6, 10, 2), occ.shape)
    turned_grid = VoxelGrid((-10, -6, 0, 10, 6, 2), turned.shape)
    away = speed[:, ::-1] * (-1, 1)
    images = [
        bev_image(
            occ,
            ego,
            BevMap(grid, 16),
            colors=flow_colors(occ, flow, ego),
            boxes=Boxes.from_arrays(box, car, ego, speed),
        ),
        bev_image(
            turned,
            lidar,
            BevMap(turned_grid, 16, lidar.frame),
            colors=flow_colors(turned, turned_flow, lidar),
            boxes=Boxes.from_arrays(turned_box, car, lidar, away),
        ),
    ]
    assert np.array_equal(*images)


@pytest.mark.parametrize(
    'low, high, rings',
    [
        ((-40, -40), (40, 40), (20, 40)),
        ((0, -25.6), (51.2, 25.6), (20, 40)),
        ((-50, -50), (50, 50), (20, 40, 60)),
    ],
)
def test_rings_carry_their_metres(low, high, rings, monkeypatch):
    written = []
    write = bev.write

    def note(image, text, middle, size):
        written.append((text, middle))
        return write(image, text, middle, size)

    monkeypatch.setattr(bev, 'write', note)
    grid = VoxelGrid((*low, -1, *high, 3), (40, 40, 4))
    view = BevMap(grid, 6)
    image = bev_image(np.full(grid.shape, SPEC.free, np.uint8), SPEC, view)
    assert [text for text, _ in written] == [f'{m} m' for m in rings]
    origin = view.to_pixels(np.zeros(2))
    for metres, (_, middle) in zip(rings, written):
        away = np.hypot(*(np.array(middle) - origin))
        np.testing.assert_allclose(away, 6 * metres, atol=1e-6)
        u, v = (round(x) for x in middle)
        # letters are brighter than the ring alone
        assert image[v - 8 : v + 9, u - 16 : u + 17].min(-1).max() > 200


def test_topmost_voxel_wins_and_height_brightens():
    occ = empty()
    occ[30, 30, 2], occ[30, 30, 5] = CAR, TREE
    occ[30, 50, 9] = TREE
    image = bev_image(occ, SPEC, VIEW)
    voxels = GRID.centers().numpy()[[30, 30], [30, 50], [5, 9]]
    (u, v), (u_high, v_high) = VIEW.to_pixels(voxels).astype(int)
    low, high = image[v, u], image[v_high, u_high]
    assert low.argmax() == np.argmax(SPEC.palette[TREE])
    assert low[2] < 20  # no blue of the car
    assert high[1] >= low[1]


def test_arrows_follow_the_mean_flow_of_a_patch():
    occ, flow = empty(), np.zeros((*GRID.shape, 2), dtype=np.float32)
    occ[10:20, 20:24, 1:4] = CAR
    flow[10:15, 20:24, 1:4] = (4.0, 2.0)
    flow[15:20, 20:24, 1:4] = (2.0, 0.0)
    occ[30:32, 60:62, 1:4] = CAR  # stands still: no arrow
    occ[0:10, 0:10, 0] = TREE
    flow[0:10, 0:10, 0] = 9.0  # nothing that moves
    ((position, velocity),) = flow_arrows(occ, flow, SPEC, GRID)
    np.testing.assert_allclose(velocity, (3, 1), atol=1e-5)
    np.testing.assert_allclose(position, (-8 + 15 * 0.4, -16 + 22 * 0.4))


def test_touching_columns_of_a_long_object_get_several_arrows():
    occ, flow = empty(), np.ones((*GRID.shape, 2), dtype=np.float32)
    occ[5:35, 40:46, 1:6] = SPEC.classes.index('bus')  # 12 m
    assert len(flow_arrows(occ, flow, SPEC, GRID)) == 2


def test_arrows_are_drawn_ahead_of_what_drives_ahead():
    occ, flow = empty(), np.zeros((*GRID.shape, 2), dtype=np.float32)
    occ[20:24, 60:63, 1:4] = CAR
    flow[20:24, 60:63] = (5.0, 0.0)
    plain = bev_image(occ, SPEC, VIEW)
    u, v = where(bev_image(occ, SPEC, VIEW, flow=flow), plain)
    start = VIEW.to_pixels(np.array([0.8, 8.6]))
    np.testing.assert_allclose(u, start[0], atol=1.5)
    assert v < start[1] - 15


def test_boxes_are_outlined_with_their_heading():
    info = dict(
        bbox_3d=[4.0, 6.0, 0.5, 4.0, 2.0, 1.5, np.pi / 2],
        bbox_label_3d=0,
        velocity=[0.0, 3.0],
    )
    unseen = dict(info, bbox_3d_isvalid=False)
    boxes = Boxes.from_instances([info, unseen], np.eye(4), dict(car=0), SPEC)
    assert len(boxes) == 1
    np.testing.assert_allclose(boxes.centers[0], (4, 6, 0.5))
    np.testing.assert_allclose(boxes.front[0], (4, 8, 0.5), atol=1e-9)
    occ = empty()
    before = bev_image(occ, SPEC, VIEW)
    after = bev_image(occ, SPEC, VIEW, boxes=boxes)
    changed = (after != before).any(axis=-1)
    for point in ((5, 6), (3, 6), (4, 4), (4, 8), (4, 10.9)):
        u, v = VIEW.to_pixels(np.array(point)).astype(int)
        assert changed[v - 2 : v + 3, u - 2 : u + 3].any(), point
    u, v = VIEW.to_pixels(np.array((4.5, 5.0))).astype(int)
    assert not changed[v, u]


@pytest.mark.parametrize('name', ['openocc', 'occ3d', 'surroundocc'])
def test_boxes_have_the_colours_of_the_legend(name):
    spec = LabelSpec.named(name)
    labels = np.array(spec.movable)
    boxes = np.zeros((len(labels), 7))
    boxes[:, 0] = np.linspace(-6, 6, len(labels))
    boxes[:, 1], boxes[:, 3:6] = 8, (1.2, 4, 1)
    occ = np.full(GRID.shape, spec.free, dtype=np.uint8)
    occ[..., 0] = spec.classes.index('driveable_surface')
    image = bev_image(
        occ, spec, VIEW, boxes=Boxes.from_arrays(boxes, labels, spec)
    )
    for label in labels:
        exact = (image == spec.palette[label]).all(axis=-1)
        assert exact.sum() > 50, spec.classes[label]


def test_categories_outside_the_set_are_named():
    info = dict(bbox_3d=[4, 6, 0.5, 4, 2, 1.5, 0], velocity=None)
    infos = [dict(info, bbox_label_3d=n) for n in (0, 7, 3, 7, -1)]
    categories = dict(car=0, animal=7, debris=3)
    boxes = Boxes.from_instances(infos, np.eye(4), categories, SPEC)
    assert boxes.others == ('animal', 'debris', 'unknown category')
    assert boxes.colors[1:].tolist() == [list(OTHER)] * 4
    known = Boxes.from_instances(infos[:1], np.eye(4), categories, SPEC)
    assert known.others == ()


def test_boxes_turn_into_the_reference_frame():
    lidar2ref = np.array(
        [[0, 1, 0, 1], [-1, 0, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1.0]]
    )
    info = dict(
        bbox_3d=[0, 10.0, 0, 4, 2, 1, np.pi / 2],
        bbox_label_3d=3,
        velocity=[float('nan'), 5.0],
    )
    boxes = Boxes.from_instances([info], lidar2ref, {}, SPEC)
    # the LiDAR's y is forward
    np.testing.assert_allclose(boxes.centers[0], (11, 0, 2), atol=1e-9)
    np.testing.assert_allclose(boxes.front[0], (13, 0, 2), atol=1e-9)
    np.testing.assert_allclose(boxes.velocity[0], (5, 0, 0), atol=1e-9)
    assert boxes.colors.tolist() == [[255, 255, 255]]


def test_boxes_from_arrays_are_those_of_an_info():
    box = [4.0, 6.0, 0.5, 4.0, 2.0, 1.5, 0.4]
    info = dict(bbox_3d=box, bbox_label_3d=0, velocity=[1.0, float('nan')])
    known = Boxes.from_instances([info], np.eye(4), dict(car=0), SPEC)
    car = np.array([SPEC.classes.index('car')])
    velocity = np.array([[1.0, np.nan]])
    boxes = Boxes.from_arrays(np.array([box]), car, SPEC, velocity)
    np.testing.assert_allclose(boxes.corners, known.corners)
    np.testing.assert_allclose(boxes.velocity, known.velocity)
    assert boxes.colors.tolist() == known.colors.tolist()
    assert not Boxes.from_arrays(np.array([box]), car, SPEC).velocity.any()


def test_flow_colors_tell_headings_apart():
    occ, flow = empty(), np.zeros((*GRID.shape, 2), dtype=np.float32)
    occ[:4, 0, 0], occ[4, 0, 0] = CAR, TREE
    flow[1, 0, 0], flow[2, 0, 0], flow[4, 0, 0] = (9, 0), (-9, 0), (9, 0)
    colors = flow_colors(occ, flow, SPEC)[:6, 0, 0].astype(int)
    assert colors[0].tolist() == [255, 255, 255]  # stands still
    assert colors[1].argmax() == 0 and colors[2].argmin() == 0
    assert np.ptp(colors[4]) == 0  # can't move: grey
    key = flow_key(41).astype(int)
    assert np.abs(key[1, 20] - colors[1]).max() < 40  # forward is up
    assert key[0, 0].tolist() == list(BACKGROUND)


def test_an_empty_world_can_be_drawn():
    flow = np.zeros((*GRID.shape, 2), dtype=np.float32)
    assert np.ptp(flow_colors(empty(), flow, SPEC), axis=(0, 1, 2)).max() == 0
    assert bev_image(empty(), SPEC, VIEW, flow=flow).shape == (160, 320, 3)


def test_wrong_shapes_are_explained():
    with pytest.raises(ValueError, match='occupancy.*expected shape'):
        bev_image(empty()[:5], SPEC, VIEW)
    with pytest.raises(ValueError, match='flow.*expected shape'):
        flow_arrows(empty(), np.zeros((2, 2, 2, 2)), SPEC, GRID)
