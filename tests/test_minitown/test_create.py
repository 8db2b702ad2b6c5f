import hashlib

import cv2
import numpy as np
import pytest

from occsplat.minitown import SCENES, build_world, create_minitown
from occsplat.minitown.frames import UNFINISHED, write_bytes
from occsplat.minitown.labels import camera_rays
from occsplat.minitown.sensors import CAMERA_NAMES, camera_rig

SMALL = dict(scenes=2, frames=2, image_size=(64, 36), progress=False)


def digest(root):
    """Every file of a folder and what is in it."""
    return {
        str(path.relative_to(root)): hashlib.md5(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    return create_minitown(tmp_path_factory.mktemp('small'), **SMALL)


def test_the_same_seed_gives_the_same_bytes(small, tmp_path):
    create_minitown(tmp_path / 'again', workers=2, **SMALL)
    assert digest(small) == digest(tmp_path / 'again')
    create_minitown(tmp_path / 'other', seed=1, **SMALL)
    other = digest(tmp_path / 'other')
    images = [name for name in digest(small) if name.endswith('.jpg')]
    assert images and all(
        other[name] != digest(small)[name] for name in images
    )


def test_a_second_run_writes_nothing_and_repairs_what_is_gone(tmp_path):
    root = create_minitown(tmp_path, **SMALL)
    before = digest(root)
    stamps = {name: (root / name).stat().st_mtime_ns for name in before}
    gone = [
        next(n for n in before if n.endswith(ending))
        for ending in (
            '.jpg',
            '.pcd.bin',
            '_lidarseg.bin',
            'labels.npz',
            '.npy',
        )
    ]
    gone += [
        next(n for n in before if n.startswith('.minitown/scene')),
        'v1.0-mini/sample.json',
    ]
    for name in gone:
        (root / name).unlink()
    # what a killed run leaves
    (root / f'samples/half.jpg.1{UNFINISHED}').write_bytes(b'half')
    create_minitown(root, **SMALL)
    assert digest(root) == before
    after = {name: (root / name).stat().st_mtime_ns for name in before}
    changed = {name for name in before if after[name] != stamps[name]}
    assert changed == set(gone)


def test_scenes_can_be_added_but_nothing_else_can_change(tmp_path):
    root = create_minitown(tmp_path, **SMALL)
    before = digest(root)
    create_minitown(root, **{**SMALL, 'scenes': 3})
    after = digest(root)
    assert all(
        after[n] == before[n] for n in before if not n.startswith('v1.0')
    )
    with pytest.raises(ValueError, match='more than the 2'):
        create_minitown(root, **SMALL)
    with pytest.raises(ValueError, match='another root'):
        create_minitown(root, **{**SMALL, 'scenes': 3, 'seed': 5})


def test_arguments_out_of_range_are_named(tmp_path):
    with pytest.raises(ValueError, match='scenes must be 2 to 10, got 11'):
        create_minitown(tmp_path, **{**SMALL, 'scenes': 11})
    with pytest.raises(ValueError, match='frames must be 2 to 20, got 1'):
        create_minitown(tmp_path, **{**SMALL, 'frames': 1})


def test_a_write_that_fails_leaves_no_file(tmp_path, monkeypatch):
    def fail(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr('pathlib.Path.replace', fail)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / 'sub' / 'file.bin', b'abc')
    assert not (tmp_path / 'sub' / 'file.bin').exists()


def test_the_devkit_opens_and_splits_it(nusc):
    from nuscenes.utils.splits import create_splits_scenes

    names = {scene['name'] for scene in nusc.scene}
    splits = create_splits_scenes()
    assert names & set(splits['mini_train'])
    assert names & set(splits['mini_val'])
    everything = set(splits['mini_train']) | set(splits['mini_val'])
    assert everything == set(SCENES)
    assert len(nusc.sample) == 8
    for scene in nusc.scene:
        token, count = scene['first_sample_token'], 0
        while token:
            sample = nusc.get('sample', token)
            assert set(sample['data']) == {*CAMERA_NAMES, 'LIDAR_TOP'}
            token, count = sample['next'], count + 1
        assert count == scene['nbr_samples'] == 4


def test_velocities_of_the_devkit_are_those_of_the_labels(nusc, minitown_root):
    checked = 0
    for sample in nusc.sample:
        scene = nusc.get('scene', sample['scene_token'])['name']
        path = minitown_root / 'openocc_v2' / scene / sample['token']
        labels = np.load(path / 'labels.npz')
        key = nusc.get('sample_data', sample['data']['LIDAR_TOP'])
        pose = nusc.get('ego_pose', key['ego_pose_token'])
        _, boxes, _ = nusc.get_sample_data(
            key['token'], use_flat_vehicle_coordinates=True
        )
        yaw = 2 * np.arctan2(pose['rotation'][3], pose['rotation'][0])
        c, s = np.cos(yaw), np.sin(yaw)
        for box in boxes:
            velocity = nusc.box_velocity(box.token)[:2]
            assert not np.isnan(velocity).any()
            local = np.array([[c, s], [-s, c]]) @ velocity
            voxel = np.floor((box.center - (-40, -40, -1)) / 0.4).astype(int)
            if (voxel < 0).any() or (voxel >= (200, 200, 16)).any():
                continue
            if labels['instances'][tuple(voxel)] == 0:
                continue
            if np.linalg.norm(local) < 0.5:
                continue
            checked += 1
            flow = labels['flow'][tuple(voxel)]
            assert flow == pytest.approx(local, abs=1e-4)
    assert checked > 10


def test_lidarseg_matches_the_points(nusc, minitown_root):
    sample = nusc.sample[1]
    data = nusc.get('sample_data', sample['data']['LIDAR_TOP'])
    points = np.fromfile(minitown_root / data['filename'], np.float32)
    points = points.reshape(-1, 5)
    record = nusc.get('lidarseg', data['token'])
    classes = np.fromfile(minitown_root / record['filename'], np.uint8)
    assert len(points) == len(classes) > 20000
    assert set(np.unique(points[:, 4])) <= set(range(32))
    road = nusc.lidarseg_name2idx_mapping['flat.driveable_surface']
    height = points[classes == road, 2]
    assert height == pytest.approx(0.05 - 1.84, abs=1e-4)
    # numbers of points in the boxes are counted from the same sweep
    counted = sum(
        nusc.get('sample_annotation', token)['num_lidar_pts']
        for token in sample['anns']
    )
    mine = np.isin(classes, np.r_[1:24])
    assert counted <= mine.sum() <= counted + 200


def test_images_and_labels_have_the_promised_shapes(nusc, minitown_root):
    sample = nusc.sample[5]
    scene = nusc.get('scene', sample['scene_token'])['name']
    for camera in CAMERA_NAMES:
        data = nusc.get('sample_data', sample['data'][camera])
        image = cv2.imread(str(minitown_root / data['filename']))
        assert image.shape == (90, 160, 3) and image.std() > 15
        assert (data['width'], data['height']) == (160, 90)
        assert data['timestamp'] < sample['timestamp']
    files = {
        'gts': {
            'semantics': np.uint8,
            'mask_lidar': np.uint8,
            'mask_camera': np.uint8,
        },
        'openocc_v2': {
            'semantics': np.uint8,
            'flow': np.float32,
            'instances': np.uint16,
        },
        'openocc_v2_ray_mask': {'ray_mask2': bool},
    }
    for folder, arrays in files.items():
        path = minitown_root / folder / scene / sample['token'] / 'labels.npz'
        found = np.load(path)
        assert set(found) == set(arrays)
        for name, kind in arrays.items():
            assert found[name].dtype == kind
            assert found[name].shape[:3] == (200, 200, 16)
    sweep = nusc.get('sample_data', sample['data']['LIDAR_TOP'])['filename']
    name = f'{sweep.rpartition("/")[2]}.npy'
    rows = np.load(minitown_root / 'surroundocc/samples' / name)
    assert rows.dtype == np.uint8 and rows.shape[1:] == (4,)
    assert len(rows) > 40000 and (rows.max(0) <= (199, 199, 15, 16)).all()


def test_poses_in_the_tables_are_those_of_the_rays(nusc):
    from pyquaternion import Quaternion

    def pose(record):
        matrix = Quaternion(record['rotation']).transformation_matrix
        matrix[:3, 3] = record['translation']
        return matrix

    world = build_world(0)
    rig = camera_rig(0, (160, 90))
    sample = nusc.get('sample', nusc.scene[0]['first_sample_token'])
    sample = nusc.get('sample', sample['next'])
    key = nusc.get('sample_data', sample['data']['LIDAR_TOP'])
    ref2global = pose(nusc.get('ego_pose', key['ego_pose_token']))
    for camera in rig:
        data = nusc.get('sample_data', sample['data'][camera.name])
        mount = nusc.get('calibrated_sensor', data['calibrated_sensor_token'])
        ego2global = pose(nusc.get('ego_pose', data['ego_pose_token']))
        cam2ref = np.linalg.inv(ref2global) @ ego2global @ pose(mount)
        assert np.allclose(mount['camera_intrinsic'], camera.intrinsic)
        origin, _ = camera_rays(world, 0.5, camera)
        assert origin == pytest.approx(cam2ref[:3, 3], abs=1e-6)
        # it looks to where its name says, from about head height
        assert 1.4 < origin[2] < 1.7
        assert cam2ref[2, 1] < -0.99
        ahead = cam2ref[:2, 2]
        assert ('FRONT' in camera.name) == (ahead[0] > 0.1)
        assert ('LEFT' in camera.name) == (ahead[1] > 0.5)
        assert ('RIGHT' in camera.name) == (ahead[1] < -0.5)
