"""NuScenesOccDataset: records, neighbours, streams and its complaints."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from little_drive import ego2global, pose, write_drive, write_infos

from occsplat.data import NuScenesOccDataset
from occsplat.data.frame_records import ray_origins
from occsplat.data.layout import CAMERAS
from occsplat.data.transforms.key_frames import key_frame, seen_from
from occsplat.structures import LabelSpec


def dataset(root, label_spec='openocc', **kwargs):
    return NuScenesOccDataset(str(root), 'infos.json', label_spec, **kwargs)


def test_record_of_a_frame(tmp_path):
    infos = write_drive(tmp_path)
    record = dataset(tmp_path)[1]
    assert record['token'] == 'a-1' and record['sample_idx'] == 1
    front = CAMERAS.index('CAM_FRONT')
    samples = tmp_path / 'samples'
    assert record['img_paths'][front] == str(
        samples / 'CAM_FRONT/a_1_CAM_FRONT.png'
    )
    assert record['openocc_path'] == str(tmp_path / infos[1]['openocc_path'])
    # the reference frame is the ego frame when the LiDAR fired; the front
    # camera is the second that fires, 0.02 frames (of 4 m) earlier
    cam2ref = np.linalg.inv(record['ref2cam'][front])
    camera = infos[1]['images']['CAM_FRONT']
    expected = (
        np.linalg.inv(ego2global(1))
        @ np.array(camera['ego2global'])
        @ np.array(camera['cam2ego'])
    )
    np.testing.assert_allclose(cam2ref, expected, atol=1e-9)
    assert record['ref2cam'].dtype == np.float64


def test_frames_come_by_scene_and_time(tmp_path):
    infos = write_drive(tmp_path, (('a', 3), ('b', 2)), sensors=False)
    write_infos(tmp_path, [infos[i] for i in (4, 2, 0, 3, 1)])
    data = dataset(tmp_path)
    tokens = [data.get_data_info(i)['token'] for i in range(5)]
    assert tokens == ['b-0', 'b-1', 'a-0', 'a-1', 'a-2']


def test_pickle_and_json_say_the_same(tmp_path):
    write_drive(tmp_path, sensors=False)
    content = json.loads((tmp_path / 'infos.json').read_text())
    (tmp_path / 'infos.pkl').write_bytes(pickle.dumps(content))
    other = NuScenesOccDataset(
        str(tmp_path), 'infos.pkl', label_spec='openocc'
    )
    a, b = dataset(tmp_path).get_data_info(2), other.get_data_info(2)
    for key in set(a) - {'neighbour'}:
        np.testing.assert_array_equal(a[key], b[key])


def test_neighbours_end_with_the_scene(tmp_path):
    write_drive(tmp_path, (('a', 3), ('b', 3)), sensors=False)
    info = dataset(tmp_path).get_data_info(1)
    tokens = [info['neighbour'](offset) for offset in (-2, -1, 0, 1, 2)]
    tokens = [record and record['token'] for record in tokens]
    assert tokens == [None, 'a-0', 'a-1', 'a-2', None]


def test_subsets_know_their_neighbours(tmp_path):
    write_drive(tmp_path, sensors=False)
    part = dataset(tmp_path).get_subset([0, 2, 3])
    info = part.get_data_info(1)
    assert info['neighbour'](1)['token'] == 'a-3'
    assert info['neighbour'](-1) is None
    # the ray origins are those of the whole scene all the same
    assert len(info['ray_origins']) == 5


def test_sequences(tmp_path):
    write_drive(tmp_path, (('a', 5), ('b', 1)), sensors=False)
    whole, halves = [[0, 1, 2, 3, 4], [5]], [[0, 1, 2], [3, 4], [5]]
    assert dataset(tmp_path, test_mode=True).sequences() == whole
    assert dataset(tmp_path).sequences() == halves
    assert dataset(tmp_path, sequence_splits=1).sequences() == whole
    with pytest.raises(ValueError, match='sequence_splits'):
        dataset(tmp_path, sequence_splits=0)


def write_towns(tmp_path):
    """Two drives with the same scene name, of 3 and of 2 frames."""
    roots = [tmp_path / 'one', tmp_path / 'two']
    for root, scene, count in zip(roots, 'ab', (3, 2)):
        infos = write_drive(root, ((scene, count),))
        for info in infos:
            info['scene_name'] = 'scene-0061'
        write_infos(root, infos)
    return roots


def test_several_roots(tmp_path):
    roots = write_towns(tmp_path)
    points = dict(type='LoadLidarPoints')
    towns = NuScenesOccDataset(
        roots, 'infos.json', extra_transforms=[points], label_spec='openocc'
    )
    tokens = ['a-0', 'a-1', 'a-2', 'b-0', 'b-1']
    assert [frame['token'] for frame in towns] == tokens
    # a frame is what it is in a data set of its town alone
    alone = dataset(roots[1], extra_transforms=[points])
    for index in range(2):
        here, there = towns[3 + index], alone[index]
        assert here.pop('sample_idx') == 3 + index
        assert there.pop('sample_idx') == index
        assert here.pop('neighbour') and there.pop('neighbour')
        assert here['img_paths'][0].startswith(str(roots[1]))
        assert len(here['points']) == 500
        np.testing.assert_equal(here, there)


def test_streams_and_neighbours_stay_in_their_town(tmp_path):
    towns = NuScenesOccDataset(
        write_towns(tmp_path),
        'infos.json',
        sequence_splits=1,
        label_spec='openocc',
    )
    assert towns.sequences() == [[0, 1, 2], [3, 4]]
    last, first = towns.get_data_info(2), towns.get_data_info(3)
    assert last['scene_name'] == first['scene_name']
    assert last['neighbour'](-1)['token'] == 'a-1'
    assert first['neighbour'](1)['token'] == 'b-1'
    assert last['neighbour'](1) is None and first['neighbour'](-1) is None


def test_indices_count_over_all_roots(tmp_path):
    roots = write_towns(tmp_path)
    some = NuScenesOccDataset(
        roots, 'infos.json', indices=[1, 4], label_spec='openocc'
    )
    assert [frame['token'] for frame in some] == ['a-1', 'b-1']
    with pytest.raises(ValueError, match='of the 5 key frames of .*one.*two'):
        NuScenesOccDataset(
            roots, 'infos.json', indices=6, label_spec='openocc'
        )


def test_roots_that_do_not_go_together(tmp_path):
    one, two = write_towns(tmp_path)
    (tmp_path / 'link').symlink_to(one)
    twice = [one, two, tmp_path / 'link']
    with pytest.raises(ValueError, match="'a-0' is both in .*one.*link"):
        NuScenesOccDataset(twice, 'infos.json', label_spec='openocc')
    with pytest.raises(ValueError, match='data_root must name a folder'):
        NuScenesOccDataset([], 'infos.json', label_spec='openocc')
    with pytest.raises(ValueError, match='data_root must be'):
        NuScenesOccDataset([one, 3], 'infos.json', label_spec='openocc')
    with pytest.raises(FileNotFoundError, match='root .*nowhere.*--seed'):
        NuScenesOccDataset(
            [one, tmp_path / 'nowhere'], 'infos.json', label_spec='openocc'
        )
    (two / 'infos.json').unlink()
    with pytest.raises(FileNotFoundError, match=r'two.infos\.json does not'):
        NuScenesOccDataset([one, two], 'infos.json', label_spec='openocc')


def test_ray_origins(tmp_path):
    write_drive(tmp_path, (('a', 25),), sensors=False)
    info = dataset(tmp_path).get_data_info(12)
    here = np.linalg.inv(ego2global(12))
    lidar = np.array([0.9, 0, 1.8, 1])
    places = [(here @ ego2global(k) @ lidar)[:3] for k in range(25)]
    kept = [p for p in places if abs(p[0]) < 39 and abs(p[1]) < 39]
    # of 17 near enough, 0, 2.3, 4.6, 6.9, 9.1, 11.4, 13.7 and 16
    assert len(kept) == 17
    expected = np.array([kept[i] for i in (0, 2, 5, 7, 9, 11, 14, 16)])
    np.testing.assert_allclose(info['ray_origins'], expected, atol=1e-5)
    assert info['ray_origins'].dtype == np.float32


@pytest.mark.parametrize('seed', range(20))
def test_the_own_ray_origin_is_where_the_lidar_is(seed):
    """Through the global frame and back, y came out as +-2e-13, not 0."""
    rng = np.random.default_rng(seed)
    lidar2ref = pose(0.943713, 0.0, 1.84023, -90)
    grid = LabelSpec.named('openocc').grid
    for _ in range(20):
        # straight ahead: all of the places are at y = 0
        start = pose(*rng.uniform(0, 3000, 3), rng.uniform(0, 360))
        records = [
            dict(
                ref2global=start @ pose(x=x), lidar2ref=lidar2ref, timestamp=x
            )
            for x in (-7.3, 0.0, 0.0, 5.1)
        ]
        for index, record in enumerate(records):
            origins = ray_origins(records, index, grid)
            own = record['lidar2ref'][:3, 3].astype(np.float32)
            np.testing.assert_array_equal(origins[index], own)
            assert (origins[:, 1] == 0).all()
            assert not np.signbit(origins[:, 1]).any()
        # others as near as rounding allows
        ahead = origins[:, 0] - origins[-1, 0]
        np.testing.assert_allclose(ahead, [-12.4, -5.1, -5.1, 0], atol=5e-6)


def test_the_way_to_the_own_frame_is_the_identity(tmp_path):
    """Inverted onto itself, a pose gave an identity that is off by 1e-13."""
    write_drive(tmp_path, (('a', 3),), sensors=False)
    same = torch.eye(4, dtype=torch.float64)
    for record in map(dataset(tmp_path).get_data_info, range(3)):
        record['raw_size'] = (160, 90)
        records = [key_frame(record, offset) for offset in (0, -1, 1)]
        rig, frame2ref, dt = seen_from(record, records, 0.5)
        for m, other in enumerate(records):
            if other is record:
                own = torch.from_numpy(record['ref2cam'])
                assert torch.equal(frame2ref[m], same)
                assert torch.equal(rig.ref2cam[m], own)
        # a car that stands still
        twin = dict(record, timestamp=1.0)
        assert torch.equal(seen_from(record, [twin], 0.5)[1][0], same)


def test_flat_folder_without_scenes(tmp_path):
    """A lone info.json with its files beside it, as mmdet3d's demo data."""
    info = write_drive(tmp_path, (('a', 1),))[0]
    for file in [p for p in tmp_path.glob('samples/*/*')]:
        file.rename(tmp_path / file.name)
    shutil.rmtree(tmp_path / 'samples')
    for key in ('scene_token', 'scene_name', 'prev', 'next'):
        del info[key]
    write_infos(tmp_path, [info])
    steps = [dict(type='LoadMultiViewImages'), dict(type='LoadLidarPoints')]
    record = dataset(tmp_path, pipeline=steps)[0]
    assert record['imgs'][0][5].shape == (90, 160, 3)
    assert record['points'].shape == (500, 3)
    assert record['neighbour'](1) is None
    np.testing.assert_allclose(record['ray_origins'], [[0.9, 0, 1.8]])


def test_missing_root_and_info_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='create_data.py minitown'):
        dataset(tmp_path / 'nowhere')
    (tmp_path / 'v1.0-mini').mkdir()
    match = r'infos\.json does not exist.*\n.*nuscenes --root .*v1\.0-mini'
    with pytest.raises(FileNotFoundError, match=match):
        dataset(tmp_path)


def test_info_files_of_others(tmp_path):
    (tmp_path / 'infos.json').write_text('{"infos": [], "metadata": {}}')
    with pytest.raises(ValueError, match=r"got \['infos', 'metadata'\]"):
        dataset(tmp_path)
    write_infos(tmp_path, [])
    with pytest.raises(ValueError, match='holds no key frame'):
        dataset(tmp_path)
    info = write_drive(tmp_path, (('a', 1),), sensors=False)[0]
    del info['images']['CAM_BACK']['lidar2cam']
    write_infos(tmp_path, [info])
    with pytest.raises(ValueError, match="'a-0'.*'lidar2cam'"):
        dataset(tmp_path)


def test_a_loop_over_the_frames_ends(minitown_infos):
    dataset = NuScenesOccDataset(
        str(minitown_infos), 'occsplat_infos_train.pkl', label_spec='openocc'
    )
    assert sum(1 for _ in dataset) == len(dataset)
    assert dataset[-1]['token'] == dataset[len(dataset) - 1]['token']
    with pytest.raises(IndexError, match='of'):
        dataset[len(dataset)]
