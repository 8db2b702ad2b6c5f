"""docs/extend.md, word for word: what an outsider adds trains and scores."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS, MODELS
from mmengine.dataset import pseudo_collate
from PIL import Image

from occsplat.data import label_set
from occsplat.engine import ConfigError, OccRunner, load_config, read_weights
from occsplat.engine.weight_fit import load_what_fits
from occsplat.structures import OccBatch, OccPrediction, label_spec

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r'`(\w+\.py)`[^`].*?```python\n(.*?)```', re.S)


def pose(x=0.0, y=0.0, z=0.0, yaw=0.0):
    """A frame's pose in another one, (4, 4)."""
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    matrix[:3, 3] = x, y, z
    return matrix


def write_my_town(root):
    """Two scenes of three frames: a cart stands left or right of the car.

    The front camera sees red on the cart's side.
    """
    forward = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # cam -> ref
    for scene in ('east', 'west'):
        (root / scene).mkdir(parents=True)
        frames = []
        for i in range(3):
            token = f'{scene}{i}'
            labels = np.full((32, 24, 8), 2, np.uint8)
            labels[:, :, :2] = 0
            rows = (
                slice(14, 18) if (i + (scene == 'west')) % 2 else slice(6, 10)
            )
            labels[22:26, rows, 2:5] = 1
            np.save(root / scene / f'{token}.npy', labels)
            ref2cam = []
            for camera, yaw in (
                ('left', 1.2),
                ('front', 0.0),
                ('right', -1.2),
            ):
                cam2ref = pose(z=1.0, yaw=yaw)
                cam2ref[:3, :3] = cam2ref[:3, :3] @ forward
                ref2cam.append(np.linalg.inv(cam2ref).tolist())
                image = np.full((64, 96, 3), 90, np.uint8)
                if camera == 'front':
                    left = slice(10, 45) if rows.start == 14 else slice(51, 86)
                    image[25:40, left] = 255, 0, 0
                Image.fromarray(image).save(
                    root / scene / f'{token}_{camera}.png'
                )
            frames.append(
                dict(
                    token=token,
                    prev=f'{scene}{i - 1}' if i else '',
                    next=f'{scene}{i + 1}' if i < 2 else '',
                    seconds=0.5 * i,
                    cam2img=[[[60, 0, 48], [0, 60, 32], [0, 0, 1]]] * 3,
                    ref2cam=ref2cam,
                    ref2global=pose(x=2.0 * i).tolist(),
                    rays_from=pose(z=1.0).tolist(),
                )
            )
        (root / scene / 'frames.json').write_text(json.dumps(frames))


@pytest.fixture(scope='module')
def outside(tmp_path_factory):
    """A folder with the page's files and data, beside the repository's."""
    root = tmp_path_factory.mktemp('outside')
    for name, text in BLOCK.findall((ROOT / 'docs/extend.md').read_text()):
        (root / name).write_text(text)
    write_my_town(root / 'data/my_town')
    (root / 'occupancy_configs').symlink_to(ROOT / 'occupancy_configs')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.syspath_prepend(str(root))
        # what it registers is gone when these tests are
        patch.setattr(label_set, '_SETS', dict(label_set._SETS))
        patch.setattr(label_set, '_FILES', dict(label_set._FILES))
        specs = dict(label_spec._REGISTERED)
        patch.setattr(label_spec, '_REGISTERED', specs)
        yield root
    DATASETS.module_dict.pop('MyTown', None)
    for name in ('SilhouetteHead', 'VoxelReader'):
        MODELS.module_dict.pop(name, None)
    for name in ('my_town', 'silhouette', 'voxel_reader'):
        sys.modules.pop(name, None)


def test_a_data_set_from_outside_trains_and_scores(outside):
    options = {'work_dir': str(outside / 'run'), 'train_cfg.max_epochs': 2}
    cfg = load_config('my_town_config.py', options)
    # said once, known everywhere
    assert cfg.model.occ_head.label_spec == 'my_town'
    assert cfg.test_evaluator[0].label_spec == 'my_town'
    torch.manual_seed(0)
    runner = OccRunner.from_cfg(cfg)
    runner.train()
    sample = runner.val_dataloader.dataset[1]['data_samples']
    assert sample.gt_occ.shape == (32, 24, 8)
    assert sample.rig.ref2cam.shape == (1, 3, 4, 4)
    assert sample.metainfo['ray_origins'].shape == (3, 3)
    scores = runner.test()
    assert {'RayIoU', 'RayIoU_cart', 'mIoU', 'mIoU_ground'} <= scores.keys()
    assert (outside / 'run' / 'epoch_2.pth').is_file()


def first_losses(path, root):
    """Losses of a config's network on the first training sample."""
    cfg = load_config(path)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    if 'load_from' in cfg:
        load_what_fits(
            model, read_weights(cfg.load_from)['state_dict'], cfg.load_from
        )
    dataset = dict(cfg.train_dataloader.dataset, data_root=str(root))
    sample = pseudo_collate([DATASETS.build(dataset)[0]])
    losses = model(**model.data_preprocessor(sample), mode='loss')
    sum(losses.values()).backward()
    return model, losses


def model_batch(root):
    """Labels and cameras of the first training sample."""
    cfg = load_config('silhouette_config.py')
    dataset = dict(cfg.train_dataloader.dataset, data_root=str(root))
    return OccBatch.collate([DATASETS.build(dataset)[0]['data_samples']])


def test_a_render_head_from_outside_teaches(outside, minitown_infos):
    model, losses = first_losses('silhouette_config.py', minitown_infos)
    assert 0 < losses['loss_silhouette_alpha'] < 2
    head = model.render_heads[0]
    assert head.grid.shape == (100, 100, 8) and head.spec.name == 'openocc'
    # the truth has no silhouette loss, and the loss moves the network
    labels = torch.zeros(1, 17, *head.grid.shape, requires_grad=True)
    batch = model_batch(minitown_infos)
    truth = torch.nn.functional.one_hot(batch.gt_occ.clamp(max=16), 17)
    perfect = OccPrediction(100.0 * truth.permute(0, 4, 1, 2, 3).float())
    assert head.loss(None, perfect, batch)['loss_silhouette_alpha'] < 1e-3
    head.loss(None, OccPrediction(labels), batch)[
        'loss_silhouette_alpha'
    ].backward()
    assert labels.grad.abs().sum() > 0


def test_a_host_from_outside_carries_a_method(outside, minitown_infos):
    model, losses = first_losses('voxel_reader_config.py', minitown_infos)
    assert losses['loss_voxelsplat_semantic'] > 0
    assert model.lifter.reduce.weight.grad.abs().sum() > 0


def test_labels_of_two_data_sets_do_not_meet(outside):
    options = {'model.occ_head.label_spec': 'openocc'}
    message = "occ_head.label_spec is 'openocc', but labels.*'my_town'"
    with pytest.raises(ConfigError, match=message):
        load_config('my_town_config.py', options)
