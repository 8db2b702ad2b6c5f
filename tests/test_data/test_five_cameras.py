"""A car with five of nuScenes' six cameras, from tables to predictions."""

import json
import pickle
import re

import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS, MODELS
from mmengine.dataset import pseudo_collate
from town_tables import drop, tables

import occsplat
from occsplat.data import DataError, NuScenesOccDataset
from occsplat.data.info_files import read_infos
from occsplat.data.infos import create_infos
from occsplat.data.layout import CAMERAS
from occsplat.data.lidar2d import create_lidar2d
from occsplat.data.pixel_files import read_packed
from occsplat.data.statistics import count_labels
from occsplat.data.visibility import create_visibility
from occsplat.engine import load_config

FIVE = tuple(name for name in CAMERAS if name != 'CAM_BACK')
ROOT = occsplat.__path__[0] + '/../../occupancy_configs'


@pytest.fixture(scope='module')
def said():
    return []


@pytest.fixture(scope='module')
def root(minitown_root, tmp_path_factory, said):
    """A MiniTown without CAM_BACK, with infos and 2D labels."""
    root = tables(minitown_root, tmp_path_factory.mktemp('five'))
    drop(root, 'sample_data', lambda row: 'CAM_BACK/' in row['filename'])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            'occsplat.data.infos.print_log',
            lambda message, **kwargs: said.append(message),
        )
        create_infos(root, 'v1.0-mini')
    create_lidar2d(root, 'v1.0-mini', 'train', progress=False)
    return root


def test_the_writer_says_that_a_camera_is_absent(root, said):
    report = [text for text in said if 'without CAM_BACK:' in text]
    assert len(report) == 2
    assert re.match(r'train: 1 scenes, the first is scene-\d+', report[0])


def test_the_reader_says_what_there_is(root):
    match = (
        'occsplat_infos_train.pkl: key frame .*: there is no camera '
        f'CAM_BACK, but {", ".join(FIVE)}. .*cameras='
    )
    with pytest.raises(DataError, match=match):
        NuScenesOccDataset(
            str(root), 'occsplat_infos_train.pkl', label_spec='openocc'
        )


@pytest.mark.parametrize('cameras', [(), 'CAM_BACK', ('A', 'A'), (1,)])
def test_names_of_cameras_are_checked(root, cameras):
    with pytest.raises(ValueError, match='cameras must be'):
        NuScenesOccDataset(
            str(root),
            'occsplat_infos_train.pkl',
            cameras=cameras,
            label_spec='openocc',
        )


def test_work_on_labels_asks_for_no_camera(root, minitown_infos):
    few = count_labels(root, progress=False)
    assert few == count_labels(minitown_infos, progress=False)
    assert create_visibility(root, 'train', progress=False) == 0


def test_2d_labels_of_five_cameras_are_a_part_of_those_of_six(
    root, minitown_lidar2d
):
    info = read_infos(root, 'train')['data_list'][0]
    few = read_packed(str(root / info['lidar2d_path']))
    assert len(few.sizes) == 5
    every = read_packed(str(minitown_lidar2d / info['lidar2d_path']))
    part = every.of_cameras([CAMERAS.index(name) for name in FIVE])
    for field in ('camera', 'uv', 'depth', 'label', 'sizes'):
        np.testing.assert_array_equal(
            getattr(few, field), getattr(part, field)
        )


def pixels(root, cameras):
    steps = [
        dict(type='LoadMultiViewImages'),
        dict(type='LoadPixelLabels', label_spec='occ3d'),
        dict(type='PackOccInputs'),
    ]
    data = NuScenesOccDataset(
        str(root),
        'occsplat_infos_train.pkl',
        pipeline=steps,
        cameras=cameras,
        label_spec='openocc',
    )
    return data[0]['data_samples'].pixel_labels


def test_fewer_cameras_than_the_car_has(root, minitown_lidar2d):
    """Labels are those of the cameras in use, in their order."""
    turned = FIVE[::-1]
    few, every = pixels(root, FIVE), pixels(minitown_lidar2d, turned)
    assert few.rig.num_cameras == every.rig.num_cameras == 5
    for n in range(5):
        a, b = few.index[:, 1] == n, every.index[:, 1] == 4 - n
        assert a.sum() > 50
        assert torch.equal(few.index[a][:, 2:], every.index[b][:, 2:])
        assert torch.equal(few.label[a], every.label[b])
        assert torch.equal(few.rig.K[:, n], every.rig.K[:, 4 - n])


@pytest.mark.parametrize(
    'config',
    [
        'voxelsplat/voxelsplat_fbocc-tiny_minitown.py',
        'gsrender/gsrender-1f_bevstereo-tiny_minitown.py',
    ],
)
def test_five_cameras_train_and_predict(config, root):
    cfg = load_config(f'{ROOT}/{config}')
    samples = {}
    for split in ('train', 'val'):
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.data_root, dataset.cameras = str(root), FIVE
        data = DATASETS.build(dataset)
        assert data.get_data_info(0)['cameras'] == FIVE
        samples[split] = pseudo_collate([data[0]])
        assert samples[split]['inputs']['imgs'][0].shape[1] == 5
    model = MODELS.build(cfg.model)
    batch = model.data_preprocessor(samples['train'], training=True)
    total, _ = model.parse_losses(model(**batch, mode='loss'))
    total.backward()
    assert torch.isfinite(total)
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(grad).all() for grad in grads)
    prediction = model.eval().test_step(samples['val'])[0].pred_occ
    assert prediction.shape == samples['val']['data_samples'][0].gt_occ.shape


@pytest.mark.parametrize(
    'change, match',
    [
        (lambda c: c.pop('metainfo'), 'metainfo is None; expected a dict'),
        (lambda c: c.update(metainfo=None), 'metainfo is None'),
        (lambda c: c.update(metainfo=[]), 'metainfo is '),
        (
            lambda c: c['metainfo'].update(categories=['car']),
            r"\['categories'\] is \['car'\]",
        ),
        (lambda c: c.update(data_list={}), 'data_list is a dict'),
        (lambda c: c.update(data_list=None), 'data_list is a NoneType'),
        (lambda c: c.update(data_list=[None]), "key frame '.': no usable"),
        (lambda c: c.update(data_list=['a']), "key frame '.': no usable"),
        (
            lambda c: c.update(infos=c.pop('data_list')),
            r"got \['infos', 'metainfo'\].*older layout",
        ),
        (lambda c: c['data_list'][0].pop('images'), "field 'images'"),
        (
            lambda c: c['data_list'][0].update(images=None),
            'images is a NoneType',
        ),
        (lambda c: c['data_list'][0].update(images={}), 'none at all'),
        (
            lambda c: c['data_list'][0].update(images=[1, 2]),
            'images is a list',
        ),
        (
            lambda c: c['data_list'][0]['lidar_points'].update(
                num_pts_feats=0
            ),
            r"'num_pts_feats'\] is 0",
        ),
        (
            lambda c: c['data_list'][0]['instances'][0].update(bbox_3d=[1]),
            "instances: 'bbox_3d'",
        ),
        (
            lambda c: c['data_list'][0]['instances'][0].update(
                velocity='fast'
            ),
            "instances: 'velocity' holds no numbers",
        ),
    ],
)
@pytest.mark.parametrize('kind', ['json', 'pkl'])
def test_info_files_that_are_none(
    minitown_infos, tmp_path, change, match, kind
):
    content = read_infos(minitown_infos, 'train')
    change(content)
    path = tmp_path / f'infos.{kind}'
    if kind == 'json':
        path.write_text(json.dumps(content))
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=f'{path}: .*{match}') as caught:
        NuScenesOccDataset(str(tmp_path), path.name, label_spec='openocc')
    assert '\n' not in str(caught.value)


def test_the_older_layout_with_arrays_of_texts(tmp_path):
    """mmdetection3d before 1.1: gt_names is an array of texts."""
    content = dict(
        infos=[dict(token='a', gt_names=np.array(['car', 'truck']))],
        metadata=dict(version='v1.0-mini'),
    )
    path = tmp_path / 'nuscenes_infos_train.pkl'
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=f'{path}: .*older layout.*anew with'):
        NuScenesOccDataset(str(tmp_path), path.name, label_spec='openocc')
