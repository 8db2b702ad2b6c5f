"""Rays of pixels against the projection of the rig itself."""

import pytest
import torch

from occsplat.evaluation import exit_depth, pixel_rays, sensor_cameras
from occsplat.ops import cast_rays
from occsplat.structures import CameraRig, VoxelGrid


def augmented(look):
    """Two frames of two cameras, with a flip and a rotation in the images."""
    views = [look(turn=t, position=(t, 0.5, 1.0)) for t in (0.0, 1.0)]
    now = CameraRig(
        torch.cat([v.ref2cam for v in views]),
        torch.cat([v.K for v in views]),
        torch.tensor(
            [
                [[-0.5, 0.0, 20.0], [0.0, 0.5, -1.0], [0, 0, 1]],
                [[0.4, -0.1, 3.0], [0.1, 0.4, -2.0], [0, 0, 1]],
            ]
        ),
        20,
        6,
    )
    before = CameraRig(now.ref2cam + 1, now.K, now.img_aug, 20, 6)
    return now, CameraRig.stack([now, before])


def test_the_current_frame_is_meant(look):
    now, both = augmented(look)
    for rig in (now, both):
        cameras = sensor_cameras(rig)
        assert (cameras.width, cameras.height) == (20, 6)
        torch.testing.assert_close(cameras.ref2cam, now.ref2cam.double())
        torch.testing.assert_close(cameras.image_K, now.image_K.double())


def test_images_as_taken(look):
    now, both = augmented(look)
    cameras = sensor_cameras(both, image_size=(32, 16))
    assert (cameras.width, cameras.height) == (32, 16)
    torch.testing.assert_close(cameras.image_K, now.K.double())


def test_a_batch_is_refused(look):
    _, both = augmented(look)
    with pytest.raises(ValueError, match=r'got \(3, 2, 2\)'):
        sensor_cameras(CameraRig.stack([both] * 3))


@pytest.mark.parametrize('stride', [1, 2, 3])
def test_rays_project_onto_the_centres_of_their_pixels(look, stride):
    cameras = sensor_cameras(augmented(look)[0])
    origins, directions = pixel_rays(cameras, stride)
    columns = torch.arange((stride - 1) // 2, 20, stride) + 0.5
    rows = torch.arange((stride - 1) // 2, 6, stride) + 0.5
    assert directions.shape == (2, len(rows), len(columns), 3)
    points = origins[:, None, None] + 7.5 * directions
    for n in range(2):
        uv, depth = cameras.project(points[n].reshape(-1, 3))
        expected = torch.cartesian_prod(rows, columns).flip(-1).double()
        torch.testing.assert_close(uv[n], expected)
        torch.testing.assert_close(depth[n], torch.full_like(depth[n], 7.5))


def test_exit_depth_is_where_cast_rays_leaves_an_empty_grid(look):
    grid = VoxelGrid(range=(-4, -3, -1, 4, 3, 2), shape=(8, 6, 3))
    cameras = sensor_cameras(augmented(look)[0])
    origins, directions = pixel_rays(cameras)
    flat = directions.reshape(-1, 3)
    starts = origins[:, None, None].expand_as(directions).reshape(-1, 3)
    nothing = torch.zeros(grid.shape, dtype=torch.bool)
    _, distance, _ = cast_rays(nothing, starts, flat, grid)
    depth = exit_depth(cameras, grid)
    assert depth.shape == directions.shape[:-1]
    torch.testing.assert_close(
        depth.flatten() * flat.norm(dim=-1), distance, rtol=1e-9, atol=1e-9
    )


def test_exit_depth_along_an_axis_and_past_the_grid(look):
    grid = VoxelGrid(range=(0, -1, -1, 10, 1, 1), shape=(10, 2, 2))
    # the centre of the only pixel looks straight ahead
    ahead = sensor_cameras(look(size=(1, 1)))
    assert exit_depth(ahead, grid).item() == 10
    behind = sensor_cameras(look((12.0, 0.0, 0.0), size=(1, 1)))
    assert exit_depth(behind, grid).item() == 0


@pytest.mark.parametrize('stride', [0, 7])
def test_a_stride_without_rays_is_refused(look, stride):
    with pytest.raises(ValueError, match=f'expected 1 to 6, .*got {stride}'):
        pixel_rays(augmented(look)[0], stride)
