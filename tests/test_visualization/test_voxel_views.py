"""Cubes appear where cameras say, in front of what is behind them."""

import numpy as np
import pytest
import torch

from occsplat.structures import CameraRig, LabelSpec, VoxelGrid
from occsplat.visualization import (
    cast_views,
    chase_rig,
    render_occupancy,
    volume_colors,
    voxel_views,
)

SPEC = LabelSpec.named('openocc')
GRID = VoxelGrid((-8, -8, -1, 8, 8, 3), (40, 40, 10))
CAR, WALL = SPEC.classes.index('car'), SPEC.classes.index('manmade')


def empty() -> np.ndarray:
    return np.full(GRID.shape, SPEC.free, dtype=np.uint8)


def front_camera(x: float = 0.0) -> CameraRig:
    """Looks along x from (x, 0, 1)."""
    ref2cam = torch.eye(4, dtype=torch.float64)
    ref2cam[:3, :3] = torch.tensor([[0, -1, 0], [0, 0, -1], [1, 0, 0]])
    ref2cam[:3, 3] = -ref2cam[:3, :3] @ torch.tensor([x, 0, 1.0]).double()
    K = torch.tensor([[50.0, 0, 40], [0, 50, 30], [0, 0, 1]]).double()
    return CameraRig.from_matrices(ref2cam[None], K[None], 80, 60)


@pytest.mark.parametrize('voxel', [(35, 20, 5), (33, 26, 2), (30, 15, 8)])
def test_voxel_is_where_the_rig_projects_it(voxel):
    occ, rig = empty(), front_camera()
    occ[voxel] = CAR
    hits = cast_views(occ, GRID, SPEC, rig)
    center = GRID.centers(dtype=torch.float64)[voxel]
    uv, depth = rig.project(center[None])
    u, v = uv[0, 0].floor().long().tolist()
    classes = hits.pick(occ, SPEC.free)
    assert classes[0, v, u] == CAR
    assert set(np.unique(classes)) == {CAR, SPEC.free}
    # the face towards the camera is half a voxel nearer
    near = depth.item() - GRID.size[0] / 2
    assert hits.depth[0, v, u] == pytest.approx(near)
    assert (hits.face[0, v, u], hits.side[0, v, u]) == (0, -1)
    # nothing is painted outside the cube's outline
    corners = center + 0.5 * torch.tensor(GRID.size) * torch.tensor(
        [[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    )
    outline = rig.project(corners)[0][0].numpy()
    rows, columns = np.nonzero(hits.mask[0])
    painted = np.stack([columns, rows], axis=-1) + 0.5
    assert (painted >= outline.min(axis=0)).all()
    assert (painted <= outline.max(axis=0)).all()


def test_image_augmentation_moves_the_picture():
    occ, rig = empty(), front_camera()
    occ[35, 24, 5] = CAR
    flipped = front_camera()
    flipped.img_aug[0] = torch.tensor([[-1.0, 0, 80], [0, 1, 0], [0, 0, 1]])
    plain = cast_views(occ, GRID, SPEC, rig).mask[0]
    mirrored = cast_views(occ, GRID, SPEC, flipped).mask[0]
    assert plain.any() and not np.array_equal(plain, mirrored)
    np.testing.assert_array_equal(plain[:, ::-1], mirrored)


def test_the_nearer_voxel_hides_the_farther_one():
    occ, rig = empty(), front_camera()
    occ[38, 5:35, :] = WALL
    occ[30, 19:21, 4:6] = CAR
    classes = cast_views(occ, GRID, SPEC, rig).pick(occ, SPEC.free)[0]
    assert classes[30, 40] == CAR and classes[30, 55] == WALL
    # seen from the other side of the car there is no car
    behind = cast_views(occ, GRID, SPEC, front_camera(6.0))
    assert set(np.unique(behind.pick(occ, 99))) == {WALL}


def test_top_of_the_ground_is_a_z_face():
    occ = empty()
    occ[:, :, 0] = WALL
    hits = cast_views(occ, GRID, SPEC, front_camera())
    assert (hits.face[0, 55, 40], hits.side[0, 55, 40]) == (2, 1)
    assert hits.mask[0, 45:].all() and not hits.mask[0, :30].any()


def test_images_keep_the_hue_of_the_class_and_get_darker_by_face():
    occ = empty()
    occ[35, 10:30, 2:8] = CAR
    image = render_occupancy(occ, GRID, SPEC, front_camera())[0]
    assert image.shape == (60, 80, 3) and image.dtype == np.uint8
    pixel = image[30, 40].astype(float)
    palette = np.array(SPEC.palette[CAR], dtype=float)
    assert pixel.argsort().tolist() == palette.argsort().tolist()
    assert pixel.max() < palette.max()
    # the sky above it is plain
    assert (image[:5] == image[0, 0]).all()


def test_own_colors_replace_the_palette():
    occ = empty()
    occ[35, 10:30, 2:8] = CAR
    colors = volume_colors(occ, SPEC)
    colors[occ == CAR] = (250, 0, 0)
    red = render_occupancy(occ, GRID, SPEC, front_camera(), colors)[0, 30, 40]
    assert red[0] > 100 and red[1] < 30


def test_ignored_voxels_are_not_drawn():
    occ = np.full(GRID.shape, SPEC.ignore, dtype=np.uint8)
    assert not cast_views(occ, GRID, SPEC, front_camera()).mask.any()


def test_chase_camera_sees_the_ego_in_the_middle_and_right_side_up():
    rig = chase_rig(200, 100, eye=(-10, 0, 8), target=(0, 0, 0))
    points = torch.tensor([[0, 0, 0], [0, 0, 2], [0, 2, 0], [9, 0, 0.0]])
    uv, depth = rig.project(points.double())
    uv = uv[0].numpy()
    np.testing.assert_allclose(uv[0], (100, 50), atol=1e-6)
    assert uv[1, 1] < 50  # up is up
    assert uv[2, 0] < 100  # left is left
    assert depth[0, 3] > depth[0, 0]  # ahead is away
    assert torch.linalg.det(rig.ref2cam[0, :3, :3]) == pytest.approx(1)


def test_the_chase_camera_turns_with_the_frame():
    # in a LiDAR frame x is right and y ahead
    ego, lidar = (chase_rig(200, 100, frame=f) for f in ('ego', 'lidar'))
    ahead_left_up = torch.tensor([[0, 0, 0], [9, 0, 0], [0, 4, 0], [5, 1, 2]])
    x_y_z = torch.tensor([[0, 0, 0], [0, 9, 0], [-4, 0, 0], [-1, 5, 2]])
    uv, depth = ego.project(ahead_left_up.double())
    turned_uv, turned_depth = lidar.project(x_y_z.double())
    torch.testing.assert_close(uv, turned_uv)
    torch.testing.assert_close(depth, turned_depth)


def test_wrong_input_is_explained():
    with pytest.raises(ValueError, match='occupancy.*expected shape'):
        cast_views(empty()[1:], GRID, SPEC, front_camera())
    unknown = empty()
    unknown[0, 0, 0] = 40
    with pytest.raises(ValueError, match='class id 40'):
        cast_views(unknown, GRID, SPEC, front_camera())
    with pytest.raises(ValueError, match='horizon'):
        chase_rig(eye=(0, 0, 9), target=(0, 0, 0))


def test_colourings_share_their_rays(monkeypatch):
    """And each is the picture that it would be alone."""
    spec = LabelSpec.named('openocc')
    grid = VoxelGrid(range=(-4, -4, -1, 4, 4, 3), shape=(8, 8, 4))
    occ = np.full(grid.shape, spec.free, np.uint8)
    occ[:, :, 0], occ[6, 2:5, 1:3] = 10, 0
    rig = chase_rig(40, 24, eye=(-6.0, 1.0, 4.0))
    other = np.random.default_rng(0).integers(0, 255, (*occ.shape, 3))
    colorings = voxel_views.volume_colors(occ, spec), other.astype(np.uint8)
    alone = [
        render_occupancy(occ, grid, spec, rig, colors) for colors in colorings
    ]
    casts = []
    original = voxel_views.cast_views

    def spy(*arguments):
        casts.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(voxel_views, 'cast_views', spy)
    together = voxel_views.render_colors(occ, grid, spec, rig, colorings)
    assert len(casts) == 1
    assert np.array_equal(together, np.stack(alone))
    assert not np.array_equal(*together)
