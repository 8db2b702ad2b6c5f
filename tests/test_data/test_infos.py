"""create_infos against the tables, as nuscenes-devkit reads them."""

import os

import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.geometry_utils import view_points
from nuscenes.utils.splits import create_splits_scenes

from occsplat.data import NuScenesOccDataset
from occsplat.data.infos import create_infos
from occsplat.data.layout import CAMERAS
from occsplat.data.safe_pickle import load_plain
from occsplat.structures import OccBatch


@pytest.fixture(scope='module')
def nusc(minitown_root):
    return NuScenes('v1.0-mini', str(minitown_root), verbose=False)


@pytest.fixture(scope='module')
def infos(minitown_infos):
    """Info entries of both splits, by token."""
    return {
        info['token']: info
        for split in ('train', 'val')
        for info in load(minitown_infos, split)['data_list']
    }


def load(root, split):
    return load_plain(root / f'occsplat_infos_{split}.pkl')


def linked(source, target):
    """A second root of which single files can be taken away."""
    for path in source.rglob('*'):
        copy = target / path.relative_to(source)
        if path.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, copy)
    return target


def test_every_key_frame_is_in_its_split(minitown_infos, nusc):
    splits = create_splits_scenes()
    seen = []
    for split in ('train', 'val'):
        content = load(minitown_infos, split)
        assert content['metainfo']['version'] == 'v1.0-mini'
        assert content['metainfo']['categories']['pedestrian'] == 7
        data_list = content['data_list']
        assert data_list, split
        assert [i['sample_idx'] for i in data_list] == [*range(len(data_list))]
        for info in data_list:
            assert info['scene_name'] in splits[f'mini_{split}']
        seen += [info['token'] for info in data_list]
    assert sorted(seen) == sorted(s['token'] for s in nusc.sample)
    assert not list(minitown_infos.glob('*.part'))


def test_links_and_times(infos, nusc):
    for sample in nusc.sample:
        info = infos[sample['token']]
        assert (info['prev'], info['next']) == (sample['prev'], sample['next'])
        assert info['timestamp'] == pytest.approx(sample['timestamp'] / 1e6)
        assert info['scene_token'] == sample['scene_token']


def test_boxes_project_as_the_devkit_projects_them(infos, nusc):
    """LiDAR frame + lidar2cam + cam2img against get_sample_data."""
    compared = 0
    for sample in nusc.sample:
        info = infos[sample['token']]
        boxes = {i['instance_token']: i for i in info['instances']}
        assert len(boxes) == len(sample['anns'])
        for name in CAMERAS:
            camera = info['images'][name]
            path, expected, K = nusc.get_sample_data(sample['data'][name])
            assert path.endswith(f'samples/{name}/{camera["img_path"]}')
            for box in expected:
                record = nusc.get('sample_annotation', box.token)
                own = boxes[record['instance_token']]
                local = np.array(camera['lidar2cam']) @ [
                    *own['bbox_3d'][:3],
                    1,
                ]
                np.testing.assert_allclose(local[:3], box.center, atol=1e-6)
                pixel = np.array(camera['cam2img']) @ local[:3]
                pixel = pixel[:2] / pixel[2]
                there = view_points(box.center[:, None], K, True)[:2, 0]
                np.testing.assert_allclose(pixel, there, atol=1e-3)
                compared += 1
    assert compared > 10


def test_boxes_in_the_lidar_frame(infos, nusc):
    for sample in nusc.sample:
        info = infos[sample['token']]
        own = {i['instance_token']: i for i in info['instances']}
        to_global = np.array(info['ego2global']) @ np.array(
            info['lidar_points']['lidar2ego']
        )
        for token in sample['anns']:
            record = nusc.get('sample_annotation', token)
            box, truth = own[record['instance_token']], nusc.get_box(token)
            x, y, z, length, width, height, yaw = box['bbox_3d']
            np.testing.assert_allclose([width, length, height], truth.wlh)
            np.testing.assert_allclose(
                (to_global @ [x, y, z, 1])[:3], truth.center, atol=1e-6
            )
            # the corner ahead and to the left, and the velocity
            heading = [np.cos(yaw), np.sin(yaw), 0]
            np.testing.assert_allclose(
                to_global[:3, :3] @ heading,
                truth.rotation_matrix[:, 0],
                atol=0.02,  # yaw leaves the car's pitch and roll out
            )
            speed = nusc.box_velocity(token)
            if not np.isnan(speed).any():
                back = to_global[:3, :2] @ box['velocity']
                np.testing.assert_allclose(back[:2], speed[:2], atol=0.05)
            points = record['num_lidar_pts'] + record['num_radar_pts']
            assert box['bbox_3d_isvalid'] == (points > 0)


def test_label_paths(minitown_infos, infos):
    for info in infos.values():
        for key in ('occ3d_path', 'openocc_path', 'visibility_path'):
            assert info[key] is not None
            assert (minitown_infos / info[key]).is_file()


def test_whole_pipeline_on_minitown(minitown_infos):
    """Labels where the LiDAR says that there is something."""
    data = NuScenesOccDataset(
        str(minitown_infos),
        'occsplat_infos_train.pkl',
        pipeline=[
            dict(type='LoadMultiViewImages'),
            dict(type='LoadLidarPoints'),
            dict(type='LoadOccLabels', label_spec='openocc'),
            dict(type='ImageAug', size=(128, 48), resize=(-0.05, 0.1)),
            dict(type='VolumeAug', rotate=22.5, flip_x=0.5, flip_y=0.5),
            dict(type='LidarDepth'),
            dict(type='RenderViews', frames=(0, -1, 1), scale=0.25),
            dict(type='PackOccInputs'),
        ],
        label_spec='openocc',
    )
    np.random.seed(0)
    samples = [data[i]['data_samples'] for i in range(2)]
    batch = OccBatch.collate(samples)
    assert batch.gt_occ.shape == (2, 200, 200, 16)
    assert batch.gt_visible.any() and batch.gt_flow.abs().max() > 0
    grid = data.label_spec.grid
    hits, count = 0, 0
    for sample in samples:
        # depth maps are unprojected through the augmented cameras
        rig = sample.rig[0]
        camera, row, column = sample.gt_depth.nonzero(as_tuple=True)
        depth = sample.gt_depth[camera, row, column]
        pixel = torch.stack([column, row, torch.ones_like(row)], -1) + 0.0
        pixel[:, :2] += 0.5
        local = torch.linalg.solve(rig.image_K[camera], pixel)
        local = local * depth[:, None]
        to_ref = rig.cam2ref[camera]
        points = (to_ref[:, :3, :3] @ local[..., None])[..., 0]
        index, inside = grid.locate(points + to_ref[:, :3, 3])
        index = index[inside]
        # a pixel is wide and the labels turn by nearest voxel: look around
        near = torch.nn.functional.max_pool3d(
            (sample.gt_occ < 16)[None, None].float(), 3, 1, 1
        )[0, 0]
        hits += near[tuple(index.T)].sum().item()
        count += len(index)
    assert count > 500
    assert hits / count > 0.95


def test_missing_sensor_files(minitown_root, tmp_path):
    root = linked(minitown_root, tmp_path)
    first = sorted(root.glob('samples/CAM_BACK/*.jpg'))[:2]
    for path in first:
        path.unlink()
    match = r'2 of 48 images are missing, the first is .*CAM_BACK/'
    with pytest.raises(FileNotFoundError, match=match):
        create_infos(root, 'v1.0-mini')
    cloud = next(root.glob('samples/LIDAR_TOP/*.bin'))
    cloud.unlink()
    with pytest.raises(FileNotFoundError, match='1 of .* point clouds'):
        create_infos(root, 'v1.0-mini')


def test_missing_labels_are_reported(minitown_root, tmp_path, monkeypatch):
    root = linked(minitown_root, tmp_path)
    gone = sorted(root.glob('openocc_v2/*/*/labels.npz'))[0]
    gone.unlink()
    said = []
    monkeypatch.setattr(
        'occsplat.data.infos.print_log',
        lambda message, **kwargs: said.append(message),
    )
    create_infos(root, 'v1.0-mini')
    report = [text for text in said if 'first missing' in text]
    assert len(report) == 1 and 'OpenOcc labels: 3 of 4' in report[0]
    assert str(gone) in report[0]
    token = gone.parent.name
    for split in ('train', 'val'):
        for info in load(root, split)['data_list']:
            assert (info['openocc_path'] is None) == (info['token'] == token)


def test_bad_version_and_root(tmp_path):
    with pytest.raises(ValueError, match='v1.0-mini'):
        create_infos(tmp_path, 'v2')
    with pytest.raises(FileNotFoundError, match='v1.0-mini does not exist'):
        create_infos(tmp_path, 'v1.0-mini')


def test_loader_with_workers(minitown_infos):
    """Samples travel between processes; a row of the batch is a stream."""
    loader = Runner.build_dataloader(
        dict(
            batch_size=2,
            num_workers=1,
            dataset=dict(
                type='NuScenesOccDataset',
                data_root=str(minitown_infos),
                ann_file='occsplat_infos_train.pkl',
                pipeline=[
                    dict(type='LoadMultiViewImages'),
                    dict(type='PackOccInputs'),
                ],
                _scope_='mmdet3d',
                label_spec='openocc',
            ),
            sampler=dict(
                type='SequenceSampler', batch_size=2, _scope_='mmdet3d'
            ),
            collate_fn=dict(type='pseudo_collate'),
        ),
        seed=0,
    )
    rows = {0: [], 1: []}
    for batch in loader:
        assert batch['inputs']['imgs'][0].dtype == torch.uint8
        for row, sample in enumerate(batch['data_samples']):
            rows[row].append(sample)
    for stream in rows.values():
        assert stream[1].prev == stream[0].token
