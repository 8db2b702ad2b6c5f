"""2D labels: the projection against the devkit's, files, loud failures."""

import importlib
import json
import pickle
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.geometry_utils import transform_matrix, view_points
from pyquaternion import Quaternion
from scipy.spatial import cKDTree

from occsplat.data import DataError
from occsplat.data.frame_records import frame_record
from occsplat.data.info_files import read_infos
from occsplat.data.infos import create_infos
from occsplat.data.layout import CAMERAS
from occsplat.data.lidar2d import create_lidar2d, hidden_returns
from occsplat.data.lidarseg import UNKNOWN, class_table
from occsplat.data.pixel_files import SweepPixels, read_packed, write_packed
from occsplat.data.transforms import LoadOccLabels
from occsplat.minitown.classes import CATEGORIES
from occsplat.structures import LabelSpec

SPEC = LabelSpec.named('occ3d')
#: RenderOcc's table, by the official lidarseg index
OFFICIAL = [0, 0, 7, 7, 7, 0, 7, 0, 0, 1, 0, 0, 8, 0, 2, 3]
OFFICIAL += [3, 4, 5, 0, 0, 6, 9, 10, 11, 12, 13, 14, 15, 0, 16, 0]


@pytest.fixture(scope='module')
def nusc(minitown_root):
    return NuScenes('v1.0-mini', str(minitown_root), verbose=False)


@pytest.fixture(scope='module')
def frames(minitown_lidar2d):
    """(info, its file) of every key frame."""
    return [
        (info, read_packed(str(minitown_lidar2d / info['lidar2d_path'])))
        for split in ('train', 'val')
        for info in read_infos(minitown_lidar2d, split)['data_list']
    ]


def matrix(nusc, table, token):
    row = nusc.get(table, token)
    return transform_matrix(row['translation'], Quaternion(row['rotation']))


def sensor2global(nusc, data):
    return matrix(nusc, 'ego_pose', data['ego_pose_token']) @ matrix(
        nusc, 'calibrated_sensor', data['calibrated_sensor_token']
    )


def test_pixels_are_where_the_tables_put_the_returns(frames, nusc):
    """Every one of them, in order, with nothing of OccSplat's between."""
    for info, pixels in frames:
        sample = nusc.get('sample', info['token'])['data']
        lidar = nusc.get('sample_data', sample['LIDAR_TOP'])
        cloud = f'{nusc.dataroot}/{lidar["filename"]}'
        points = np.fromfile(cloud, np.float32).reshape(-1, 5)[:, :3]
        bins = nusc.get('lidarseg', sample['LIDAR_TOP'])['filename']
        raw = np.fromfile(f'{nusc.dataroot}/{bins}', np.uint8)
        for camera, name in enumerate(CAMERAS):
            data = nusc.get('sample_data', sample[name])
            mount = nusc.get(
                'calibrated_sensor', data['calibrated_sensor_token']
            )
            lidar2cam = np.linalg.inv(
                sensor2global(nusc, data)
            ) @ sensor2global(nusc, lidar)
            local = lidar2cam[:3, :3] @ points.T + lidar2cam[:3, 3:]
            uv = view_points(local, np.array(mount['camera_intrinsic']), True)
            uv, z = uv[:2].T, local[2]
            size = data['width'], data['height']
            assert size[0] > size[1]
            inside = (z > 1) & ((uv >= 0) & (uv < size)).all(axis=1)
            mine = pixels.camera == camera
            assert inside.sum() == mine.sum() > 100
            # 1/64 of a pixel and 1/512 m are what rounding takes
            error = np.abs(pixels.uv[mine] - uv[inside])
            assert error.max() < 1 / 64 + 1e-6
            assert (
                np.abs(pixels.depth[mine] - z[inside]).max() < 1 / 512 + 1e-6
            )
            official = np.array(OFFICIAL)[raw[inside]]
            np.testing.assert_array_equal(pixels.label[mine], official)


def test_the_devkits_own_picture_is_the_same(frames, nusc):
    info, pixels = frames[1]
    sample = nusc.get('sample', info['token'])['data']
    for camera, name in enumerate(CAMERAS):
        points, depth, image = nusc.explorer.map_pointcloud_to_image(
            sample['LIDAR_TOP'], sample[name]
        )
        truth = cKDTree(np.column_stack([points[:2].T, depth]))
        mine = pixels.camera == camera
        uv, z = pixels.uv[mine], pixels.depth[mine, None]
        # the devkit leaves a frame of a pixel out
        inner = ((uv > 1.1) & (uv < np.array(image.size) - 1.1)).all(axis=1)
        assert inner.sum() > 100
        distance, _ = truth.query(np.hstack([uv, z])[inner])
        # it computes in single precision, in global coordinates
        assert distance.max() < 0.1
        swapped, _ = truth.query(np.hstack([uv[:, ::-1], z])[inner])
        assert np.median(swapped) > 1


def test_classes_are_those_of_the_voxels_there(frames, minitown_lidar2d):
    counts = np.zeros(4, int)
    for info, pixels in frames:
        record = frame_record(info, minitown_lidar2d)
        occ = LoadOccLabels('occ3d')(dict(record))['gt_occ']
        ray = np.column_stack([pixels.uv, np.ones(len(pixels))])
        local = (
            np.linalg.inv(record['cam2img'])[pixels.camera] @ ray[..., None]
        )
        local = local[..., 0] * pixels.depth[:, None]
        cam2ref = np.linalg.inv(record['ref2cam'])[pixels.camera]
        points = (cam2ref[:, :3, :3] @ local[..., None])[..., 0]
        points += cam2ref[:, :3, 3]
        grid = SPEC.grid
        index = np.floor((points - grid.min) / grid.size).astype(int)
        inside = ((index >= 0) & (index < grid.shape)).all(axis=1)
        index, label = index[inside], pixels.label[inside]
        there = occ[tuple(index.T)]
        known = (there != SPEC.free) & (there != SPEC.ignore)
        same = there == label
        # returns lie on surfaces, and half of those are in the next voxel
        near = np.any(
            [
                occ[tuple(np.clip(index + step, 0, np.array(occ.shape) - 1).T)]
                == label
                for step in np.array([*np.ndindex(3, 3, 3)]) - 1
            ],
            axis=0,
        )
        counts += len(there), near.sum(), known.sum(), same.sum()
    every, near, known, same = counts
    assert known > 10000
    assert near / every > 0.95
    assert same / known > 0.9


def test_names_decide_not_indices():
    rows = [dict(name=n, index=i) for i, n in enumerate(CATEGORIES)]
    table = class_table(rows)
    assert table[:32].tolist() == OFFICIAL
    assert (table[32:] == UNKNOWN).all()
    shuffled = np.random.default_rng(0).permutation(200)[:32]
    rows = [dict(name=n, index=i) for i, n in zip(shuffled, CATEGORIES)]
    assert class_table(rows)[shuffled].tolist() == OFFICIAL
    with pytest.raises(DataError, match="'vehicle.ufo'"):
        class_table([dict(name='vehicle.ufo', index=0)])


def some_pixels(size=(1600, 900), count=500):
    rng = np.random.default_rng(0)
    return SweepPixels(
        np.sort(rng.integers(0, 6, count)),
        rng.uniform(0, size, (count, 2)),
        rng.uniform(1, 250, count),
        rng.integers(0, 17, count).astype(np.uint8),
        np.tile(size, (6, 1)),
        7,
    )


def test_what_is_written_comes_back(tmp_path):
    path = tmp_path / 'scene/a.npz'
    pixels = some_pixels()
    # the last place inside, where rounding up would leave the image
    pixels.uv[0] = np.nextafter(1600.0, 0), np.nextafter(900.0, 0)
    pixels.depth[3] = 255.5
    write_packed(path, pixels)
    back = read_packed(str(path))
    kept = np.arange(500) != 3
    np.testing.assert_array_equal(back.camera, pixels.camera[kept])
    np.testing.assert_array_equal(back.label, pixels.label[kept])
    assert np.abs(back.uv - pixels.uv[kept]).max() <= 1 / 64
    assert np.abs(back.depth - pixels.depth[kept]).max() <= 1 / 512
    assert (np.floor(back.uv) == np.floor(pixels.uv[kept])).all()
    assert back.sizes.tolist() == [[1600, 900]] * 6 and back.dropped == 7
    assert [p.name for p in path.parent.iterdir()] == ['a.npz']


def test_images_too_large_for_16_bits_are_refused(tmp_path):
    write_packed(tmp_path / 'a.npz', some_pixels((2048, 1024)))
    with pytest.raises(ValueError, match='at most 2048 .*2049, 1024'):
        write_packed(tmp_path / 'b.npz', some_pixels((2049, 1024)))


@pytest.mark.parametrize(
    'wrong',
    [
        dict(label=np.zeros(499, np.uint8)),
        dict(uv=np.zeros((500, 2))),
        dict(uv=np.full((500, 2), 65535, np.uint16)),
        dict(label=np.full(500, 17, np.uint8)),
        dict(depth=np.zeros(500, np.uint16)),
        dict(offsets=np.array([0, 500])),
        dict(offsets=np.array([0, 10, 5, 20, 30, 40, 500])),
        dict(offsets=np.array([0, 1, 2, 3, 4, 5, 6])),
        dict(offsets=np.zeros((0,), int)),
    ],
)
def test_damaged_packed_files_are_named(wrong, tmp_path):
    path = tmp_path / 'a.npz'
    write_packed(path, some_pixels())
    arrays = {**np.load(path), **wrong}
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=str(path)):
        read_packed(str(path))


def test_a_wall_hides_what_is_behind_it_and_a_road_nothing():
    K = np.array([[1266.0, 0, 800], [0, 1266.0, 450], [0, 0, 1]])
    # beams 1.33 degrees apart meet a wall at 10 m, from 6 m left to right
    v, u = np.meshgrid(450 + 29.4 * np.arange(-8, 9), np.arange(40, 1560, 7.3))
    wall = np.column_stack([u.ravel(), v.ravel()])
    behind = np.array([[700.0, 463.0], [900.0, 337.0], [400.0, 590.0]])
    uv = np.concatenate([wall, behind])
    depth = np.append(np.full(len(wall), 10.0), [14.0, 40.0, 11.3])
    hidden = hidden_returns(uv, depth, K)
    # the last one is only a little behind: a step in the wall
    assert hidden[-3:].tolist() == [True, True, False]
    assert not hidden[:-3].any()
    # a road from 4 to 80 m, seen from 1.5 m above by a beam 1.8 m above
    angle = np.radians(np.arange(1.33, 25, 1.33))
    z = 1.8 / np.tan(angle)
    v, u = np.meshgrid(450 + 1266 * 1.5 / z, np.arange(40, 1560, 7.3))
    road = np.column_stack([u.ravel(), v.ravel()])
    depth = np.tile(z, len(u))
    inside = road[:, 1] < 900
    assert depth[inside].max() > 70
    assert not hidden_returns(road[inside], depth[inside], K).any()
    assert hidden_returns(np.zeros((0, 2)), np.zeros(0), K).shape == (0,)


def own_copy(source, target, *parts):
    """A root with links to what is not among the parts, which are copied."""
    for path in source.iterdir():
        if path.name == 'lidar2d' and path.name not in parts:
            continue
        if path.name in parts and path.is_dir():
            shutil.copytree(path, target / path.name)
        elif path.is_dir():
            (target / path.name).symlink_to(path)
        else:
            shutil.copy(path, target)
    return target


def files(root):
    return sorted(root.glob('lidar2d/*/*'))


def make(root, **options):
    return create_lidar2d(
        root, 'v1.0-mini', 'train', **{'progress': False, **options}
    )


def test_files_are_written_and_the_infos_name_them(minitown_lidar2d):
    for split in ('train', 'val'):
        infos = read_infos(minitown_lidar2d, split)['data_list']
        for info in infos:
            path = f'lidar2d/{info["scene_name"]}/{info["token"]}.npz'
            assert info['lidar2d_path'] == path
            assert (minitown_lidar2d / path).is_file()
    assert len(files(minitown_lidar2d)) == 8
    assert {path.suffix for path in files(minitown_lidar2d)} == {'.npz'}


def test_infos_made_again_still_name_them(minitown_lidar2d, tmp_path):
    root = own_copy(minitown_lidar2d, tmp_path, 'lidar2d')
    files(root)[0].unlink()
    create_infos(root, 'v1.0-mini')
    named = [
        info['lidar2d_path']
        for split in ('train', 'val')
        for info in read_infos(root, split)['data_list']
    ]
    assert named.count(None) == 1 and len(named) == 8


def test_a_second_run_makes_what_is_missing_or_damaged(
    minitown_lidar2d, tmp_path
):
    root = own_copy(minitown_lidar2d, tmp_path, 'lidar2d')
    train = [
        root / info['lidar2d_path']
        for info in read_infos(root, 'train')['data_list']
    ]
    first, second, third, _ = train
    whole = first.read_bytes()
    first.unlink()
    second.write_bytes(second.read_bytes()[:500])
    before = third.stat().st_mtime_ns
    counts = make(root, workers=2)
    assert (counts['frames'], counts['written']) == (4, 2)
    assert first.read_bytes() == whole
    assert len(read_packed(str(second))) > 1000
    assert third.stat().st_mtime_ns == before
    assert counts['pixels'] == sum(len(read_packed(str(p))) for p in train)
    assert make(root)['written'] == 0
    assert {path.suffix for path in files(root)} == {'.npz'}


def test_the_filter_makes_files_of_its_own(minitown_lidar2d, tmp_path):
    root = own_copy(minitown_lidar2d, tmp_path, 'lidar2d')
    every = make(root)
    assert every['dropped'] == 0
    fewer = make(root, occlusion_filter=True)
    assert fewer['written'] == 4
    assert fewer['pixels'] + fewer['dropped'] == every['pixels']
    assert 0.003 < fewer['dropped'] / every['pixels'] < 0.1
    # counts are those of the files, made now or before
    assert make(root, occlusion_filter=True) == {**fewer, 'written': 0}
    assert make(root) == {**every, 'written': 4}


def test_the_tool_says_what_it_made(
    minitown_infos, tmp_path, monkeypatch, capsys
):
    root = own_copy(minitown_infos, tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / 'tools'))
    tool = importlib.import_module('create_data')
    arguments = f'lidar2d --root {root} --version v1.0-mini --workers 1'
    arguments = [*arguments.split(), '--split', 'val', '--occlusion-filter']
    monkeypatch.setattr(sys, 'argv', ['create_data.py', *arguments])
    tool.main()
    said = capsys.readouterr().out
    assert f'val: 4 files written; {root / "occsplat_infos_val.pkl"}' in said
    assert re.search(r'dropped \d+ returns of \d+ \([1-9]\.\d%\)', said)
    assert len(files(root)) == 4


def lidarseg_root(source, target):
    return own_copy(source, target, 'v1.0-mini', 'lidarseg')


def train_bin(root):
    """lidarseg file of the first key frame of train."""
    token = read_infos(root, 'train')['data_list'][0]['token']
    nusc = NuScenes('v1.0-mini', str(root), verbose=False)
    sweep = nusc.get('sample', token)['data']['LIDAR_TOP']
    return root / nusc.get('lidarseg', sweep)['filename']


def test_missing_lidarseg_is_told_before_any_work(minitown_infos, tmp_path):
    root = lidarseg_root(minitown_infos, tmp_path)
    path = train_bin(root)
    content = path.read_bytes()
    path.unlink()
    match = f'1 of 8 files .* the first is {path}.*Unpack'
    with pytest.raises(FileNotFoundError, match=match):
        make(root)
    path.write_bytes(content)
    # one file too many
    (path.parent / 'more.bin').write_bytes(content)
    with pytest.raises(DataError, match='9 label files.*Unpack'):
        make(root)
    table = root / 'v1.0-mini/lidarseg.json'
    table.write_text('[{"token": ""}]')
    with pytest.raises(DataError, match=f'{table} is damaged.*filename'):
        make(root)
    table.unlink()
    with pytest.raises(FileNotFoundError, match=f'{table} is missing.*Unpack'):
        make(root)
    assert not files(root)


def test_lidarseg_files_of_another_length_or_with_strange_ids(
    minitown_infos, tmp_path
):
    root = lidarseg_root(minitown_infos, tmp_path)
    path = train_bin(root)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    match = f'{path} has {len(content) - 1} bytes: expected {len(content)}'
    with pytest.raises(DataError, match=match):
        make(root)
    path.write_bytes(b'\x63' + content[1:])
    with pytest.raises(DataError, match=rf'{path} has the ids \[99\]'):
        make(root, workers=2)
    # frames that failed are not in the infos
    infos = read_infos(root, 'train')['data_list']
    assert all(info['lidar2d_path'] is None for info in infos)


def test_a_category_table_without_indices_is_refused(minitown_infos, tmp_path):
    """The one of plain nuScenes, unpacked over that of lidarseg."""
    root = lidarseg_root(minitown_infos, tmp_path)
    table = root / 'v1.0-mini/category.json'
    rows = json.loads(table.read_text())
    for row in rows:
        del row['index']
    table.write_text(json.dumps(rows))
    with pytest.raises(DataError, match='category.json.*Unpack'):
        make(root)


def test_missing_and_damaged_point_clouds_are_named(minitown_infos, tmp_path):
    root = own_copy(minitown_infos, tmp_path, 'samples')
    info = read_infos(root, 'train')['data_list'][0]
    name = info['lidar_points']['lidar_path']
    path = root / 'samples/LIDAR_TOP' / name
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DataError, match=f'{path} has'):
        make(root)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f'{path} is missing'):
        make(root)


def changed_infos(root, change):
    infos = read_infos(root, 'train')
    change(infos['data_list'][0])
    with open(root / 'occsplat_infos_train.pkl', 'wb') as file:
        pickle.dump(infos, file)


def test_key_frames_that_the_tables_lack_are_named(minitown_infos, tmp_path):
    root = own_copy(minitown_infos, tmp_path)
    changed_infos(root, lambda info: info.update(token='stranger'))
    with pytest.raises(DataError, match="'stranger' has no lidarseg file"):
        make(root)


def test_cameras_that_see_nothing_are_an_error(minitown_infos, tmp_path):
    root = own_copy(minitown_infos, tmp_path)

    def turn_up(info):
        for camera in info['images'].values():
            up = np.eye(4)
            up[2, 3] = -90  # far above all, looking up
            camera.update(lidar2cam=up.tolist(), cam2ego=None)

    changed_infos(root, turn_up)
    with pytest.raises(DataError, match='no camera sees any LiDAR return'):
        make(root)
