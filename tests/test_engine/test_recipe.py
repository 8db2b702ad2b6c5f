"""The training recipe of the full-size configs, in numbers and in effect."""

import math
import os
import socket
from pathlib import Path

import pytest
import torch
from mmdet3d.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn

from occsplat.engine import OccRunner, load_config, prepare_launcher
from occsplat.models.heads import OccHead
from occsplat.models.lifting.depth_net import DepthNet
from occsplat.models.render_heads import voxelsplat_head
from occsplat.structures import CameraRig

CONFIGS = Path(__file__).parents[2] / 'occupancy_configs'
R50 = 'fbocc/fbocc-r50_8xb2-48e_openocc.py'
PUBLISHED = 'fbocc/fbocc-r50_16xb4-20e_occ3d.py'
RECIPES = sorted(
    str(path.relative_to(CONFIGS))
    for path in CONFIGS.glob('fbocc/fbocc-*_*xb*.py')
)


def load(name):
    return load_config(CONFIGS / name)


def test_the_published_fbocc_weighs_classes_by_its_own_counts():
    # BEVDet's, which the label set has, are a fifth larger
    head = load(PUBLISHED).model.occ_head
    head = OccHead(**{k: v for k, v in head.items() if k != 'type'})
    assert head.spec.name == 'occ3d'
    counts = dict(others=944004, car=16957802, free=1892500630)
    for name, count in counts.items():
        index = head.spec.classes.index(name)
        weight = head.voxel_losses.class_weight[index]
        assert float(weight) == pytest.approx(1 / math.log(count + 1e-3))
    assert float(head.occ_branch[-1].bias[-1]) == pytest.approx(
        torch.logit(torch.tensor(1892500630 / 2441910172)).item(), abs=1e-3
    )


def hook(cfg, kind):
    (found,) = [h for h in cfg.custom_hooks if h.type == kind]
    return found


@pytest.mark.parametrize('name', RECIPES)
def test_recipes_share_what_the_paper_fixes(name):
    cfg = load(name)
    assert hook(cfg, 'EMAHook') == hook(load(R50), 'EMAHook')
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=5, norm_type=2)
    assert cfg.optim_wrapper.optimizer.type == 'AdamW'
    assert cfg.sync_bn == 'torch'
    assert cfg.model.lifter.with_cp
    backbone = cfg.model.img_backbone
    assert backbone.get('with_cp') or backbone.checkpoint_levels == 3
    # two epochs: of 1758 iterations, or of 1999 for the published FB-Occ
    batch = cfg.auto_scale_lr.base_batch_size
    assert (
        hook(cfg, 'WarmupSwitchHook').switch_iter
        == {
            16: 3516,
            64: 3998,
        }[batch]
    )
    loader = cfg.train_dataloader
    gpus = int(Path(name).stem.split('_')[1].split('xb')[0])
    assert batch == gpus * loader.batch_size


@pytest.mark.parametrize(
    'path', CONFIGS.glob('bevstereo/*_*xb*.py'), ids=lambda path: path.stem
)
def test_recipe_of_bevstereo(path):
    cfg = load_config(path)
    assert hook(cfg, 'EMAHook') == hook(load(R50), 'EMAHook')
    assert cfg.param_scheduler == load(R50).param_scheduler
    assert cfg.optim_wrapper == dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-2),
        clip_grad=dict(max_norm=5, norm_type=2),
    )
    assert cfg.train_cfg.max_epochs == 24 and cfg.sync_bn == 'torch'
    loader = cfg.train_dataloader
    gpus = int(path.stem.split('_')[1].split('xb')[0])
    assert gpus * loader.batch_size == 32 == cfg.auto_scale_lr.base_batch_size
    # mirrors alone move the volume, in training
    (moves,) = [s for s in loader.dataset.pipeline if s.type == 'VolumeAug']
    assert moves == dict(type='VolumeAug', rotate=0.0, flip_x=0.5, flip_y=0.5)
    for split in ('val', 'test'):
        # whoever has no LiDAR files can predict
        steps = cfg[f'{split}_dataloader'].dataset.pipeline
        assert not any('Lidar' in step.type for step in steps)


def test_published_fb_occ_trains_for_its_number_of_iterations():
    cfg = load(PUBLISHED)
    passes = cfg.train_cfg.max_epochs
    iterations = passes * (28130 // 64)
    # 20 epochs of 1999, to a part in a thousand
    assert iterations == pytest.approx(39_980, rel=1e-3)
    assert cfg.train_cfg.val_interval * 7 == passes


def test_published_fb_occ_looks_where_cameras_look():
    cfg = load(PUBLISHED)
    steps = {s.type: s for s in cfg.train_dataloader.dataset.pipeline}
    assert steps['LoadOccLabels'].use_camera_mask
    assert [m.mask for m in cfg.test_evaluator] == ['camera']
    # the score has the mask from the labels, which stay whole
    for step in cfg.test_dataloader.dataset.pipeline:
        assert 'use_camera_mask' not in step


@pytest.mark.parametrize(
    'n, decay', [(1, 0.000499375), (2000, 0.631488438), (20_000, 0.998954646)]
)
def test_decay_of_the_average(n, decay):
    """0.999 (1 - exp(-n / 2000)) by hand, for the n-th update."""
    cfg = dict(hook(load(R50), 'EMAHook'))
    cfg.update(type=cfg.pop('ema_type'))
    source = nn.Linear(1, 1, bias=False)
    average = MODELS.build(cfg, default_args=dict(model=source))
    value = torch.ones(1, dtype=torch.float64)
    average.avg_func(value, torch.zeros(1, dtype=torch.float64), n - 1)
    assert value.item() == pytest.approx(decay, abs=1e-9)


def test_rate_rises_for_200_iterations_and_stays():
    cfg = load(R50)
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=2e-4)
    (schedule,) = cfg.param_scheduler
    schedule = PARAM_SCHEDULERS.build(
        schedule, default_args=dict(optimizer=optimizer)
    )
    rates = []
    for _ in range(300):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(2e-7)
    assert rates[100] == pytest.approx(1e-4, rel=0.01)
    assert rates[199:] == pytest.approx([2e-4] * 101)


@pytest.mark.parametrize(
    'path',
    [
        *CONFIGS.glob('gsrender/*8xb2*.py'),
        *CONFIGS.glob('renderocc/*8xb2*.py'),
    ],
    ids=lambda path: path.stem,
)
def test_recipe_of_2d_methods(path):
    cfg = load_config(path)
    assert cfg.train_cfg.max_epochs == 12
    assert hook(cfg, 'EMAHook') == hook(load(R50), 'EMAHook')
    published = path.stem.startswith('renderocc-7f')
    optimizer = dict(type='Adam', lr=2e-4, weight_decay=0.0)
    if published:
        optimizer = dict(type='AdamW', lr=1e-4, weight_decay=1e-2)
    assert cfg.optim_wrapper.optimizer == optimizer
    assert len(cfg.param_scheduler) == (1 if published else 2)
    loader = cfg.train_dataloader
    assert loader.batch_size == 2
    assert cfg.auto_scale_lr.base_batch_size == 16


def test_rate_of_gsrender_falls_in_a_line():
    cfg = Config.fromfile(
        CONFIGS / '_base_' / 'schedules' / 'gsrender_8xb2_12e.py'
    )
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=2e-4)
    warmup, decay = (dict(step) for step in cfg.param_scheduler)
    assert decay.pop('convert_to_iter_based') and decay.pop('by_epoch')
    # as the Runner converts it, with epochs of 100 iterations
    decay.update(by_epoch=False, end=decay['end'] * 100)
    schedules = [
        PARAM_SCHEDULERS.build(s, default_args=dict(optimizer=optimizer))
        for s in (warmup, decay)
    ]
    rates = []
    for _ in range(1200):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for schedule in schedules:
            schedule.step()
    assert rates[0] == pytest.approx(2e-7)
    expected = [2e-4 * (1 - i / 1199) for i in range(300, 1200, 100)]
    assert rates[300::100] == pytest.approx(expected, rel=0.01)
    assert rates[-1] < 1e-6


def test_gradients_are_cut_to_a_length_of_five():
    cfg = load(R50).optim_wrapper
    cfg.optimizer = dict(type='SGD', lr=1.0)
    model = nn.Linear(3, 1, bias=False)
    before = model.weight.detach().clone()
    wrapper = build_optim_wrapper(model, cfg)
    wrapper.update_params(100 * model(torch.tensor([[1.0, 2.0, 2.0]])).sum())
    # the gradient is 100 (1, 2, 2), 300 long
    torch.testing.assert_close(
        before - model.weight, 5 / 3 * torch.tensor([[1.0, 2.0, 2.0]])
    )


def tiny_batch(cfg, root):
    cfg.train_dataloader.dataset.data_root = str(root)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    return pseudo_collate([dataset[0]])


def test_mixed_precision_leaves_the_volume_in_float32(
    minitown_infos, monkeypatch
):
    # every part learns, and attends to images in a backward projection
    cfg = load('../tests/small_fbocc_config.py')
    method = load('voxelsplat/voxelsplat_fbocc-tiny_minitown.py')
    cfg.model.render_heads = method.model.render_heads
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    seen = {}

    def record(part):
        def look(module, args, out):
            if isinstance(out, torch.Tensor) and out.is_floating_point():
                seen.setdefault(part, set()).add(out.dtype)

        return look

    parts = ('img_backbone', 'lifter', 'history', 'volume_encoder', 'occ_head')
    for part in parts:
        for module in getattr(model, part).modules():
            module.register_forward_hook(record(part))

    def watched(function):
        def call(gaussians, *args, **kwargs):
            seen.setdefault('rasteriser', set()).update(
                value.dtype
                for value in vars(gaussians).values()
                if value is not None
            )
            assert not torch.is_autocast_enabled('cpu')
            return function(gaussians, *args, **kwargs)

        return call

    for name in ('render', 'render_labels', 'render_pair'):
        monkeypatch.setattr(
            voxelsplat_head, name, watched(getattr(voxelsplat_head, name))
        )
    data = model.data_preprocessor(tiny_batch(cfg, minitown_infos), True)
    with torch.autocast('cpu', torch.bfloat16):
        losses = model(**data, mode='loss')
        total, _ = model.parse_losses(losses)
    assert torch.bfloat16 in seen.pop('img_backbone')
    assert seen.pop('rasteriser') == {torch.float32}
    assert seen == {part: {torch.float32} for part in parts[1:]}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    total.backward()
    optimizer.step()
    assert all(value.isfinite() for value in losses.values())
    for name, p in model.named_parameters():
        assert p.grad.isfinite().all() and p.isfinite().all(), name


def test_recomputing_the_depth_branch_changes_no_gradient():
    rig = CameraRig(
        K=torch.rand(1, 2, 3, 3),
        ref2cam=torch.eye(4).expand(1, 2, 4, 4) + 0.1 * torch.rand(1, 2, 4, 4),
        img_aug=torch.rand(1, 2, 3, 3),
        width=32,
        height=32,
    )
    features = torch.rand(1, 2, 8, 4, 4)
    gradients = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        net = DepthNet(8, 8, 4, 6, with_cp=with_cp)
        context, depth = net(features, rig)
        (context.sum() + depth.pow(2).sum()).backward()
        gradients.append({k: p.grad for k, p in net.named_parameters()})
    assert gradients[0]['depth.0.conv1.weight'].any()
    torch.testing.assert_close(*gradients)


def shrink(cfg, root, work_dir):
    """An R50 config on two MiniTown frames, images and volume cut."""
    limits = (-40, -40, -1, 40, 40, 5.4)
    small = dict(range=limits, shape=(20, 20, 4))
    labels = dict(range=limits, shape=(40, 40, 8))
    cfg.model.init_cfg = None
    cfg.model.lifter.grid = cfg.model.history.grid = small
    loader = cfg.train_dataloader
    loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    loader.dataset.data_root = str(root)
    loader.dataset.update(indices=2, sequence_splits=1)
    for step in loader.dataset.pipeline:
        if step.type == 'ImageAug':
            step.size = (96, 64)
        if step.type == 'LoadOccLabels':
            step.grid = labels
    cfg.train_cfg.max_epochs = 1
    for key in ('val', 'test'):
        for part in ('dataloader', 'evaluator', 'cfg'):
            cfg.pop(f'{key}_{part}')
    cfg.default_hooks.checkpoint = None
    cfg.default_hooks.logger = None
    cfg.work_dir = str(work_dir)
    cfg.log_level = 'ERROR'


def norms(model):
    kinds = (nn.modules.batchnorm._BatchNorm,)
    return {type(m) for m in model.modules() if isinstance(m, kinds)}


@pytest.mark.slow
@pytest.mark.parametrize(
    'name, launcher', [(R50, 'none'), (PUBLISHED, 'pytorch')]
)
def test_r50_takes_a_step_on_one_cpu(
    name, launcher, minitown_infos, tmp_path, monkeypatch
):
    """Synchronised norms become plain ones, started by torchrun or not."""
    cfg = load_config(CONFIGS / name)
    assert cfg.sync_bn == 'torch'
    shrink(cfg, minitown_infos, tmp_path)
    cfg.experiment_name = f'{tmp_path.name}_{launcher}'
    if launcher == 'pytorch':
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = str(probe.getsockname()[1])
        for key, value in dict(
            RANK='0', LOCAL_RANK='0', WORLD_SIZE='1', MASTER_PORT=port,
            MASTER_ADDR='127.0.0.1',
        ).items():  # fmt: skip
            monkeypatch.setitem(os.environ, key, value)
    try:
        prepare_launcher(cfg, launcher)
        runner = OccRunner.from_cfg(cfg)
        before = runner.model.state_dict()
        before = {k: v.clone() for k, v in before.items()}
        runner.train()
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    assert runner.iter == 1
    assert nn.SyncBatchNorm not in norms(runner.model)
    after = runner.model.state_dict()
    changed = [k for k in after if not torch.equal(after[k], before[k])]
    assert any('occ_head' in k for k in changed)
    assert any('img_backbone' in k for k in changed)
    assert all(v.isfinite().all() for v in after.values())
