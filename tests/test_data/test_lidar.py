"""LoadLidarPoints and LidarDepth."""

import numpy as np
import pytest
import torch
from little_drive import LIDAR2EGO, write_drive

from occsplat.data import NuScenesOccDataset
from occsplat.data.layout import CAMERAS
from occsplat.data.transforms import ImageAug, LidarDepth, LoadLidarPoints
from occsplat.structures import CameraRig

LOAD = [dict(type='LoadMultiViewImages'), dict(type='LoadLidarPoints')]


def looking_ahead(width=80, height=40, points=()):
    """One camera in the origin, looking along z of the reference frame."""
    eye = torch.eye(4, dtype=torch.float64)[None, None]
    K = [[40.0, 0, width / 2], [0, 40.0, height / 2], [0, 0, 1]]
    K = torch.tensor(K, dtype=torch.float64)[None, None]
    return dict(
        imgs=[[np.zeros((height, width, 3), np.uint8)]],
        rig=CameraRig.from_matrices(eye, K, width, height),
        raw_size=(width, height),
        points=np.array(points, dtype=np.float64),
    )


def test_points_are_in_the_ego_frame(tmp_path):
    write_drive(tmp_path, (('a', 1),))
    data = NuScenesOccDataset(
        str(tmp_path), 'infos.json', pipeline=LOAD, label_spec='openocc'
    )
    record = data[0]
    raw = np.fromfile(record['lidar_path'], np.float32).reshape(-1, 5)
    np.testing.assert_allclose(
        record['points'],
        raw[:, :3] @ LIDAR2EGO[:3, :3].T + LIDAR2EGO[:3, 3],
        atol=1e-6,
    )


def test_nearest_return_of_a_pixel():
    points = [
        [0.26, 0.1, 10.0],  # u 41.04, v 20.4
        [0.51, 0.2, 20.0],  # u 41.02, v 20.4: hidden behind the first
        [-1.0, -0.5, 8.0],  # u 35.0, v 17.5
        [0.0, 0.0, -5.0],  # behind the camera
        [90.0, 0.0, 10.0],  # beside the image
        [0.0, 0.0, 0.5],  # the own car
        [1.0, 1.0, 200.0],  # too far
    ]
    results = looking_ahead(points=points)
    depth = LidarDepth()(results)['gt_depth']
    assert depth.shape == (1, 40, 80) and depth.dtype == torch.float32
    assert depth.nonzero().tolist() == [[0, 17, 35], [0, 20, 41]]
    assert depth[0, 20, 41] == 10 and depth[0, 17, 35] == 8


def test_depth_follows_the_image():
    results = looking_ahead(points=[[2.02, 1.02, 10.0]])  # u 48.08, v 24.08
    depth = LidarDepth()(ImageAug((40, 20))(results))['gt_depth']
    assert depth.nonzero().tolist() == [[0, 12, 24]]


def test_no_depth_in_black_padding():
    """A point beside the raw image may land in the padded one."""
    points = [[0.9, 0.0, 1.0], [1.1, 0.0, 1.0]]  # u 76 and 84 of 80
    results = looking_ahead(points=points)
    aug = ImageAug((80, 40), resize=(-0.5, -0.5))
    depth = LidarDepth(min_depth=0.5)(aug(results))['gt_depth']
    assert depth.nonzero().tolist() == [[0, 30, 38]]


def test_depth_sees_what_each_camera_sees(tmp_path):
    """Independent of the rig: through lidar2cam of the info entry."""
    info = write_drive(tmp_path, (('a', 1),))[0]
    steps = [*LOAD, dict(type='LidarDepth')]
    data = NuScenesOccDataset(
        str(tmp_path), 'infos.json', pipeline=steps, label_spec='openocc'
    )
    record = data[0]
    raw = np.fromfile(record['lidar_path'], np.float32).reshape(-1, 5)
    for n, name in enumerate(CAMERAS):
        camera = info['images'][name]
        matrix = np.array(camera['lidar2cam'])
        local = raw[:, :3] @ matrix[:3, :3].T + matrix[:3, 3]
        expected = np.full((90, 160), np.inf)
        for x, y, z in local[local[:, 2] >= 1]:
            u, v = 80 * x / z + 80, 80 * y / z + 45
            if 0 <= u < 160 and 0 <= v < 90:
                pixel = int(v), int(u)
                expected[pixel] = min(expected[pixel], z)
        expected[np.isinf(expected)] = 0
        assert (expected > 0).sum() > 20
        np.testing.assert_allclose(record['gt_depth'][n], expected, rtol=1e-5)


def test_bad_point_clouds(tmp_path):
    path = tmp_path / 'x.pcd.bin'
    results = dict(lidar_path=str(path), num_pts_feats=5, lidar2ref=np.eye(4))
    with pytest.raises(FileNotFoundError, match=r'x\.pcd\.bin is missing'):
        LoadLidarPoints()(results)
    np.zeros(13, np.float32).tofile(path)
    match = r'x\.pcd\.bin has 52 bytes.*multiple of 20'
    with pytest.raises(ValueError, match=match):
        LoadLidarPoints()(results)
    path.write_bytes(b'')
    with pytest.raises(ValueError, match='0 bytes'):
        LoadLidarPoints()(results)


def test_depth_needs_points():
    results = looking_ahead()
    del results['points']
    with pytest.raises(ValueError, match=r"no \['points'\]"):
        LidarDepth()(results)
