"""SurroundOcc labels: the sparse files, and samples in the LiDAR frame."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.geometry_utils import view_points
from pyquaternion import Quaternion

from occsplat.data import DataError, NuScenesOccDataset
from occsplat.data.layout import CAMERAS
from occsplat.data.transforms import LoadOccLabels
from occsplat.engine import load_config
from occsplat.structures import LabelSpec

SPEC = LabelSpec.named('surroundocc')
SHAPE = SPEC.grid.shape
CONFIGS = Path(__file__).parents[2] / 'occupancy_configs'
STEPS = [
    dict(type='LoadMultiViewImages', frames=(0, -1)),
    dict(type='LoadLidarPoints'),
    dict(type='LidarDepth'),
    dict(type='RenderViews', frames=(0, 1, -1), scale=0.5),
    dict(type='PackOccInputs'),
]


@pytest.fixture
def results(tmp_path):
    """A function from rows to a frame that has them."""

    def write(rows, **changes):
        path = tmp_path / 'x.pcd.bin.npy'
        np.save(path, rows)
        frame = dict(
            token='t',
            scene_name='s',
            lidar_path='samples/LIDAR_TOP/x.pcd.bin',
            ref_frame='lidar',
            surroundocc_path=str(path),
            visibility_path='masks of another label set',
        )
        return {**frame, **changes}

    return write


def load(frame, **kwargs):
    return LoadOccLabels('surroundocc', **kwargs)(frame)


@pytest.mark.parametrize('dtype', [np.uint8, np.int16, np.int64])
def test_rows_become_a_volume(results, dtype):
    rows = [[10, 20, 3, 4], [199, 0, 15, 16], [7, 8, 9, 0], [1, 1, 1, 255]]
    out = load(results(np.array(rows, dtype)))
    occ = out['gt_occ']
    assert occ.dtype == np.uint8 and occ.shape == SHAPE
    assert np.argwhere(occ).tolist() == [
        [1, 1, 1],
        [7, 8, 9],
        [10, 20, 3],
        [199, 0, 15],
    ]
    assert occ[10, 20, 3] == 4 and occ[199, 0, 15] == 16
    # noise is not free: it is nothing that a loss may look at
    assert occ[7, 8, 9] == occ[1, 1, 1] == 255
    assert out['label_grid'] == SPEC.grid
    assert 'gt_flow' not in out and 'gt_visible' not in out


def test_the_last_of_repeated_rows_counts(results):
    rows = np.array([[5, 5, 5, 3], [5, 5, 5, 0], [5, 5, 5, 9]])
    assert load(results(rows))['gt_occ'][5, 5, 5] == 9


def test_against_a_plain_loop(results):
    rng = np.random.default_rng(0)
    rows = np.column_stack(
        [rng.integers(0, SHAPE, (3000, 3)), rng.integers(0, 17, 3000)]
    )
    expected = np.zeros(SHAPE, np.uint8)
    for x, y, z, label in rows.tolist():
        expected[x, y, z] = label or 255
    np.testing.assert_array_equal(load(results(rows))['gt_occ'], expected)


def test_a_frame_without_voxels_is_free(results):
    occ = load(results(np.zeros((0, 4), np.int64)))['gt_occ']
    assert (occ == SPEC.free).all()


def test_pooled_to_a_metre(results):
    grid = dict(range=SPEC.grid.range, shape=(100, 100, 8))
    # one voxel of vegetation among free ones; two barriers and a bus; a
    # voxel of noise among free ones; nothing but noise
    rows = [[0, 0, 0, 16], [2, 2, 2, 1], [3, 3, 3, 1], [3, 2, 2, 3]]
    rows += [[4, 4, 4, 0]]
    rows += [[6 + i % 2, 6 + i // 2 % 2, 6 + i // 4, 0] for i in range(8)]
    out = load(results(np.array(rows)), grid=grid)
    occ = out['gt_occ']
    assert [occ[i, i, i] for i in range(4)] == [16, 1, 0, 255]
    assert (occ != 0).sum() == 3
    assert out['label_grid'].size == (1, 1, 1)


def test_absent_and_missing_files(results, tmp_path):
    frame = results(np.zeros((0, 4), int), surroundocc_path=None)
    match = (
        r"'t' has no SurroundOcc labels: expected "
        r'.*/surroundocc/samples/x\.pcd\.bin\.npy .*create_data'
    )
    with pytest.raises(FileNotFoundError, match=match):
        load(frame)
    frame['surroundocc_path'] = str(tmp_path / 'nowhere.npy')
    with pytest.raises(FileNotFoundError, match=r'nowhere\.npy is missing'):
        load(frame)


@pytest.mark.parametrize(
    'rows, match',
    [
        ([[1, 2, 3]], r'integers of shape \(M, 4\).*shape \(1, 3\)'),
        (np.zeros(SHAPE, int), r'shape \(200, 200, 16\).*another label set'),
        ([[1.0, 2, 3, 4]], 'got float64'),
        ([[0, 0, 0, 4], [0, 200, 0, 4]], r'1 of 2 .*\[0, 200, 0\]'),
        ([[0, 0, 0, 4], [0, 0, -1, 4]], r'outside .*\[0, 0, -1\]'),
        ([[0, 0, 0, 17]], r'ids \[17\].*0\.\.16 and 255'),
        ([[0, 0, 0, -1]], r'ids \[-1\]'),
        ([[0, 0, i % 9, i] for i in range(99)], r'\[17, .*, 26, \.\.\.\]'),
    ],
)
def test_files_of_another_kind(results, rows, match):
    with pytest.raises(DataError, match=match) as error:
        load(results(np.array(rows)))
    assert 'x.pcd.bin.npy' in str(error.value)


@pytest.mark.parametrize('keep', [0, 5, 30, 100, -1])
def test_cut_files(results, keep):
    frame = results(np.zeros((50, 4), np.int64))
    path = Path(frame['surroundocc_path'])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r'bin\.npy is damaged.*copy it again'):
        load(frame)


@pytest.mark.parametrize('shape', ['(9e', '(9999999999999,', '(((50,'])
def test_damaged_headers(results, shape):
    """A header may ask for all memory, or be no Python at all."""
    frame = results(np.zeros((50, 4), np.int64))
    path = Path(frame['surroundocc_path'])
    content = path.read_bytes()
    path.write_bytes(content.replace(b'(50,', shape.encode()))
    with pytest.raises(DataError, match='is damaged'):
        load(frame)


def test_nothing_is_unpickled(results, tmp_path):
    frame = results(np.array([[{}] * 4], dtype=object))
    with pytest.raises(DataError, match='is damaged.*allow_pickle'):
        load(frame)
    with open(frame['surroundocc_path'], 'wb') as file:
        np.savez(file, rows=np.zeros((0, 4)))
    with pytest.raises(DataError, match=r'is an \.npz archive'):
        load(frame)


def test_there_are_no_masks():
    with pytest.raises(ValueError, match='come without any'):
        LoadOccLabels('surroundocc', use_camera_mask=True)


@pytest.mark.parametrize(
    'name, frame', [('surroundocc', 'ego'), ('openocc', 'lidar')]
)
def test_labels_of_the_other_frame_are_refused(results, name, frame):
    frame = results(np.zeros((0, 4), int), ref_frame=frame)
    with pytest.raises(ValueError, match='the same label_spec'):
        LoadOccLabels(name)(frame)


# ---- on MiniTown: the same world, whatever the frame ----


def dataset(root, label_spec, steps=STEPS, split='train'):
    return NuScenesOccDataset(
        str(root), f'occsplat_infos_{split}.pkl', label_spec, steps
    )


def test_info_files_know_the_labels(minitown_infos):
    for split in ('train', 'val'):
        data = dataset(minitown_infos, 'surroundocc', (), split)
        for index in range(len(data)):
            record = data.get_data_info(index)
            assert record['ref_frame'] == 'lidar'
            name = Path(record['lidar_path']).name
            assert record['surroundocc_path'] == str(
                minitown_infos / f'surroundocc/samples/{name}.npy'
            )
            assert Path(record['surroundocc_path']).is_file()


def moved(matrix, points):
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def test_both_frames_show_the_same_world(minitown_infos):
    """Pixels, depths, points and ray origins of one world, twice."""
    lidar, ego = (
        dataset(minitown_infos, name)[1]['data_samples']
        for name in ('surroundocc', 'occ3d')
    )
    lidar2ego = np.linalg.inv(ego.ref2global) @ lidar.ref2global
    # really two frames: a quarter turn and nearly two metres apart
    assert lidar2ego[0, 1] > 0.99 and lidar2ego[2, 3] > 1.8
    rng = np.random.default_rng(0)
    points = rng.uniform((-40, -40, -2), (40, 40, 3), (4000, 3))
    for name in ('rig', 'render_rig'):
        views = [
            getattr(sample, name)
            .to(torch.float64)
            .project(
                torch.from_numpy(local).expand(
                    *getattr(sample, name).K.shape[:-3], -1, -1
                )
            )
            for sample, local in (
                (lidar, points),
                (ego, moved(lidar2ego, points)),
            )
        ]
        (uv, depth), (other_uv, other_depth) = views
        torch.testing.assert_close(depth, other_depth, atol=1e-3, rtol=0)
        seen = depth > 1
        assert seen.sum() > 5000
        torch.testing.assert_close(
            uv[seen], other_uv[seen], atol=2e-2, rtol=1e-4
        )
    assert torch.equal(lidar.render_dt, ego.render_dt)
    np.testing.assert_allclose(
        moved(lidar2ego, lidar.ray_origins), ego.ray_origins, atol=1e-4
    )
    # rounding may carry a point over the border of a pixel
    differs = (lidar.gt_depth - ego.gt_depth).abs() > 1e-3
    assert differs.float().mean() < 1e-3 and (lidar.gt_depth > 0).sum() > 500


def test_points_stay_as_the_lidar_saw_them(minitown_infos):
    record = dataset(minitown_infos, 'surroundocc', STEPS[:2])[0]
    raw = np.fromfile(record['lidar_path'], np.float32).reshape(-1, 5)
    np.testing.assert_array_equal(record['points'], raw[:, :3])
    # the LiDAR of this frame is where rays come from, too
    nearest = np.abs(record['ray_origins']).sum(axis=1).min()
    assert nearest < 1e-6


def pose(nusc, table, token):
    record = nusc.get(table, token)
    matrix = Quaternion(record['rotation']).transformation_matrix
    matrix[:3, 3] = record['translation']
    return matrix


def test_voxels_are_where_the_devkit_sees_them(minitown_infos):
    """Centres of labelled voxels through the tables alone."""
    nusc = NuScenes('v1.0-mini', str(minitown_infos), verbose=False)
    steps = [STEPS[0], dict(type='LoadOccLabels', label_spec='surroundocc')]
    data = dataset(minitown_infos, 'surroundocc', [*steps, STEPS[-1]])
    sample = data[2]['data_samples']
    tables = nusc.get('sample', sample.token)['data']
    index = (sample.gt_occ != SPEC.free).nonzero()
    index = index[:: len(index) // 3000]
    centres = SPEC.grid.centers(dtype=torch.float64)[tuple(index.T)]
    lidar = nusc.get('sample_data', tables['LIDAR_TOP'])
    sensor = 'calibrated_sensor'
    lidar2global = pose(nusc, 'ego_pose', lidar['ego_pose_token']) @ pose(
        nusc, sensor, lidar[f'{sensor}_token']
    )
    world = moved(lidar2global, centres.numpy())
    uv, depth = sample.rig[0].to(torch.float64).project(centres)
    compared = 0
    for n, name in enumerate(CAMERAS):
        camera = nusc.get('sample_data', tables[name])
        cam2global = pose(nusc, 'ego_pose', camera['ego_pose_token']) @ pose(
            nusc, sensor, camera[f'{sensor}_token']
        )
        K = nusc.get(sensor, camera[f'{sensor}_token'])['camera_intrinsic']
        local = moved(np.linalg.inv(cam2global), world)
        expected = view_points(local.T, np.array(K), True)[:2].T
        front = local[:, 2] > 1
        np.testing.assert_allclose(depth[n], local[:, 2], atol=1e-3)
        np.testing.assert_allclose(
            uv[n, front], expected[front], atol=2e-2, rtol=1e-4
        )
        compared += front.sum()
    assert compared > 3000


@pytest.mark.parametrize('aug', [(), [dict(type='VolumeAug', rotate=90.0)]])
def test_depth_maps_meet_the_labels(minitown_infos, aug):
    """Unprojected through the packed cameras: augmentation turns about
    the LiDAR, labels and cameras alike."""
    labels = dict(type='LoadOccLabels', label_spec='surroundocc')
    data = dataset(minitown_infos, 'surroundocc', [labels, *aug, *STEPS])
    np.random.seed(3)
    sample = data[1]['data_samples']
    rig = sample.rig[0]
    camera, row, column = sample.gt_depth.nonzero(as_tuple=True)
    depth = sample.gt_depth[camera, row, column]
    pixel = torch.stack([column + 0.5, row + 0.5, torch.ones(len(row))], -1)
    local = torch.linalg.solve(rig.image_K[camera], pixel) * depth[:, None]
    to_ref = rig.cam2ref[camera]
    points = (to_ref[:, :3, :3] @ local[..., None])[..., 0]
    index, inside = SPEC.grid.locate(points + to_ref[:, :3, 3])
    # a pixel is wide, and labels are turned to the nearest voxel
    solid = (sample.gt_occ != SPEC.free)[None, None].float()
    near = torch.nn.functional.max_pool3d(solid, 3, 1, 1)[0, 0]
    assert inside.sum() > 500
    assert near[tuple(index[inside].T)].mean() > 0.97


@pytest.mark.parametrize('size', ['minitown', 'nuscenes'])
def test_the_configs_make_samples(minitown_infos, size, tmp_path):
    base = CONFIGS / f'_base_/datasets/surroundocc_{size}.py'
    path = tmp_path / 'c.py'
    path.write_text(f"_base_ = ['{base}']\nmodel = dict(type='OccDetector')\n")
    cfg = load_config(path)
    shape = (100, 100, 8) if size == 'minitown' else SHAPE
    for split in ('train', 'val'):
        config = cfg[f'{split}_dataloader'].dataset
        config.data_root = str(minitown_infos)
        sample = DATASETS.build(config)[0]['data_samples']
        assert tuple(sample.gt_occ.shape) == shape
        ids = set(sample.gt_occ.unique().tolist())
        assert ids <= {*range(17), 255} and len(ids) > 5
        assert 'gt_flow' not in sample
