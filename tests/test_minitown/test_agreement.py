"""Images, point clouds, boxes, voxels and flow describe the same world."""

from dataclasses import replace

import numpy as np
import pytest

from occsplat.minitown import (
    Renderer,
    build_world,
    camera_rig,
    lidar_to_ego,
    make_labels,
    take_sweep,
    voxelise,
)
from occsplat.minitown.raster import make_view
from occsplat.minitown.world import FRAME_STEP
from occsplat.structures import LabelSpec

GRID = LabelSpec.named('occ3d').grid


@pytest.fixture(scope='module')
def renderer(world):
    return Renderer(world)


def look_along(origin, direction):
    """A view of one pixel whose centre looks along a direction."""
    right = np.cross(direction, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack(
        [right, np.cross(direction, right), direction], axis=1
    )
    pose[:3, 3] = origin
    return make_view(pose, np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]]))


def test_a_pixel_measures_what_a_lidar_ray_measures(world, renderer):
    t = 1.5
    sweep = take_sweep(world, t)
    pose = world.ego_pose(t) @ lidar_to_ego()
    rng = np.random.default_rng(0)
    for n in rng.choice(len(sweep.points), 60, replace=False):
        xyz = sweep.points[n, :3].astype(float)
        reach = np.linalg.norm(xyz)
        view = look_along(pose[:3, 3], pose[:3, :3] @ xyz / reach)
        image = renderer.render_view(view, 1, 1, t)
        if abs(image.depth[0, 0] - reach) > 1e-2:
            # float32 points may fall off an edge, by a hair
            neighbours = np.linalg.norm(sweep.points[:, :3], axis=1)
            assert np.abs(neighbours - image.depth[0, 0]).min() < 0.5
            continue
        assert image.category[0, 0] == sweep.category[n]
        assert image.owner[0, 0] == sweep.owner[n]


@pytest.mark.parametrize('name', ['CAM_FRONT', 'CAM_BACK_LEFT'])
def test_lidar_points_land_on_pixels_of_their_class(world, renderer, name):
    t = 2.0
    rig = {camera.name: camera for camera in camera_rig(0, (800, 450))}
    # at the same instant: nothing has moved between the two
    camera = replace(rig[name], delay=0.0)
    image = renderer.render(camera, t)
    sweep = take_sweep(world, t)
    to_camera = np.linalg.inv(camera.cam2ego) @ lidar_to_ego()
    points = sweep.points[:, :3] @ to_camera[:3, :3].T + to_camera[:3, 3]
    front = points[:, 2] > 0.5
    points, category = points[front], sweep.category[front]
    uv = points @ camera.intrinsic.T / points[:, 2:]
    inside = (uv[:, :2] >= 0).all(1) & (uv[:, 0] < 800) & (uv[:, 1] < 450)
    u, v = uv[inside, :2].astype(int).T
    points, category = points[inside], category[inside]
    # the camera sits elsewhere: some points are hidden from it
    shown = np.abs(image.depth[v, u] / points[:, 2] - 1) < 0.03
    assert shown.sum() > 2000 and shown.mean() > 0.8
    same = image.category[v, u][shown] == category[shown]
    assert same.mean() > 0.985


def test_lidar_points_lie_on_the_surface_of_their_class(world):
    t = 1.0
    sweep = take_sweep(world, t)
    pose = world.ego_pose(t) @ lidar_to_ego()
    xyz = sweep.points[:, :3].astype(float)
    ray = xyz / np.linalg.norm(xyz, axis=1, keepdims=True)
    behind, before = (
        (xyz + d * ray) @ pose[:3, :3].T + pose[:3, 3] for d in (3e-3, -3e-3)
    )
    same = world.class_at(behind, t) == sweep.category
    # but for grazed edges and places where two solids overlap
    assert same.mean() > 0.98
    assert (world.class_at(before, t) == 0).mean() > 0.999


def test_points_of_things_lie_in_their_boxes(world):
    t = 2.5
    sweep = take_sweep(world, t)
    pose = world.ego_pose(t) @ lidar_to_ego()
    points = sweep.points[:, :3] @ pose[:3, :3].T + pose[:3, 3]
    seen = np.unique(sweep.owner[sweep.owner >= 0])
    assert len(seen) > 20
    for index in seen:
        box, size = world.box(index, t)
        local = (points[sweep.owner == index] - box[:3, 3]) @ box[:3, :3]
        assert (np.abs(local) <= size / 2 + 1e-3).all()


def test_labels_are_what_the_world_says_at_voxel_centres(world):
    t = 3.0
    category, _ = voxelise(world, t)
    rng = np.random.default_rng(0)
    index = rng.integers(0, GRID.shape, (40000, 3))
    # some of everything, not only of empty space
    occupied = np.argwhere(category)
    index = np.concatenate([index, occupied[rng.permutation(len(occupied))]])
    index = index[:60000]
    centres = np.array(GRID.min) + (index + 0.5) * np.array(GRID.size)
    pose = world.ego_pose(t)
    said = world.class_at(centres @ pose[:3, :3].T + pose[:3, 3], t)
    assert (said == category[tuple(index.T)]).all()


def test_flow_is_the_finite_difference_of_the_boxes(world):
    frame, frames = 5, 16
    rig = camera_rig(0, (160, 90))
    labels = make_labels(world, frame, frames, rig)
    assert not np.isnan(labels.flow).any()
    rotation = world.ego_pose(frame * FRAME_STEP)[:2, :2]
    moving = 0
    for index in np.unique(labels.instances)[1:].astype(int) - 1:
        flow = np.unique(labels.flow[labels.instances == index + 1], axis=0)
        assert len(flow) == 1  # constant per object
        ends = [
            world.box(index, (frame + d) * FRAME_STEP)[0][:2, 3]
            for d in (-1, 1)
        ]
        velocity = (ends[1] - ends[0]) / (2 * FRAME_STEP)
        assert flow[0] == pytest.approx(velocity @ rotation, abs=1e-4)
        moving += np.linalg.norm(flow[0]) > 0.5
    assert moving >= 5
    assert (labels.flow[labels.instances == 0] == 0).all()


def test_nothing_touches_anything_while_it_moves():
    world = build_world(3)
    for t in np.arange(0.0, 8.0, 0.5):
        index = np.arange(len(world.things))
        centres = np.array([world.box(i, t)[0][:3, 3] for i in index])
        # the middle of a thing is in no other thing, trailers excepted
        parts = world.primitives(t)
        owners = parts['owner']
        for i in index[: world.num_moving]:
            local = parts[(owners >= 0) & (owners != i)]
            gap = np.hypot(
                local['x'] - centres[i, 0], local['y'] - centres[i, 1]
            )
            assert gap.min() > 0.4


def test_only_movable_classes_move():
    for scene in range(4):
        world = build_world(scene)
        spec = LabelSpec.named('openocc')
        movable = {spec.classes[i] for i in spec.movable}
        labels = make_labels(world, 2, 16, ())
        speed = np.linalg.norm(labels.flow, axis=-1)
        moving = np.unique(labels.openocc[speed > 0])
        assert {spec.classes[i] for i in moving} <= movable
