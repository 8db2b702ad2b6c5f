"""Broken configs and options; what they build is built, too."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Callable, Iterator

import mutate
from mmdet3d.registry import DATASETS, MODELS

from occsplat.engine import build_errors, load_config

Case = tuple[str, Callable[[], Any], bool]
CONFIGS = Path(__file__).resolve().parents[2] / 'occupancy_configs'
TINY = CONFIGS / 'voxelsplat/voxelsplat_fbocc-tiny_minitown.py'
#: FB-Occ with all its parts
PUBLISHED = Path(__file__).resolve().parents[1] / 'small_fbocc_config.py'

#: config texts; BASE stands for a config that works
TEXTS = {
    'syntax': 'model = dict(',
    'name': '_base_ = ["BASE"]\nmodel = dict(a=b)',
    'no base': '_base_ = ["nowhere.py"]',
    'base of itself': '_base_ = ["./broken.py"]',
    'no model': 'train_cfg = dict(max_epochs=1)',
    'base is a number': '_base_ = 3',
    'division': '_base_ = ["BASE"]\nwork_dir = str(1 / 0)',
    'unknown variable': '_base_ = ["BASE"]\nepochs = 3',
    'unknown type': '_base_ = ["BASE"]\n'
    'model = dict(occ_head=dict(type="OcHead"))',
    'unknown argument': '_base_ = ["BASE"]\n'
    'model = dict(occ_head=dict(channel=3))',
    'imports nothing': '_base_ = ["BASE"]\n'
    'custom_imports = dict(imports=["no_such_module"])',
    'imports wrongly': '_base_ = ["BASE"]\ncustom_imports = 3',
    'quoted base': '_base_ = ["BASE"]\n'
    'model = dict(occ_head=dict(channels={{_base_.no_such}}))',
    'null bytes': 'a = 1\x00',
    'other labels': '_base_ = ["BASE"]\n'
    'model = dict(occ_head=dict(label_spec="surroundocc"))',
}
#: options that no run understands
OPTIONS = (
    ('train_dataloder.batch_size', 4),
    ('optim_wraper.optimizer.lr', 1e-3),
    ('trian_cfg.max_epochs', 3),
    ('modle.occ_head.channels', 8),
    ('defualt_hooks.logger.interval', 1),
    ('custom_hoks', []),
    ('val_evaluater.type', 'x'),
    ('param_schedular', []),
    ('lod_from', 'x.pth'),
    ('model.occ_haed.channels', 8),
    ('model.occ_head.type', 'OccHeed'),
    ('model.render_heads.0.num_sample', 5),
    ('model.render_heads.7.scale', 1.0),
    ('train_dataloader.dataset.type', 'NoSet'),
    ('custom_imports', 3),
    ('custom_hooks', 3),
    ('default_hooks.checkpoint.interval', 'x'),
    ('env_cfg', 3),
    ('load_from', 3),
    ('log_level', 'LOUD'),
    ('optim_wrapper.optimizer.lr', -1),
    ('param_scheduler', 3),
    ('randomness.seed', 'x'),
    ('resume', 'x'),
    ('train_cfg.max_epochs', 'abc'),
    ('train_cfg.val_interval', 0),
    ('train_dataloader.num_workers', 'x'),
    ('train_dataloader.sampler', None),
    ('val_evaluator', 3),
    ('work_dir', 3),
)
#: parts of a model that are none
PARTS = (
    ('model', None),
    ('model', [1]),
    ('model.lifter', None),
    ('model.occ_head', 'x'),
    ('model.render_heads', 3),
    ('train_dataloader.dataset', None),
)
#: places of numbers in a model, and what none of them can be
TINY_PLACES = (
    'model.frozen',
    'model.render_heads.0.num_samples',
    'model.render_heads.0.scale',
    'model.lifter.pooling',
    'model.volume_encoder.channels',
    'model.volume_encoder.height',
    'model.occ_head.level_kernel',
)
PUBLISHED_PLACES = (
    'model.lifter.channels',
    'model.lifter.mid_channels',
    'model.lifter.depth_bins',
    'model.lifter.depth_bins.step',
    'model.lifter.depth_weight',
    'model.lifter.backward',
    'model.lifter.backward.num_heads',
    'model.lifter.grid',
    'model.history.num_frames',
    'model.history.channels',
    'model.volume_encoder.neck.out_channels',
    'model.occ_head.upsample',
    'model.occ_head.channels',
    'model.occ_head.flow_loss_weight',
    'model.occ_head.loss_weights',
    'model.occ_head.norm_cfg',
    'model.occ_head.label_spec',
    'train_dataloader.dataset.sequence_splits',
)
WRONG_NUMBERS = (-5, 'many', float('nan'), [1, 2], dict(a=1))


def cases(folder: Path, rng: random.Random, canary: Path) -> Iterator[Case]:
    """Files, options, and numbers out of range."""
    path = folder / 'broken.py'

    def load(text: str) -> Callable[[], Any]:
        def call() -> None:
            path.write_text(text.replace('BASE', str(TINY)))
            load_config(path)

        return call

    load('_base_ = ["BASE"]\n')()
    for name, text in TEXTS.items():
        yield f'text: {name}', load(text), True
    for name, raw in mutate.FOREIGN.items():

        def foreign(raw: bytes = raw) -> None:
            path.write_bytes(raw)
            load_config(path)

        yield f'file: {name}', foreign, True
    yield 'absent', lambda: load_config(folder / 'none.py'), True
    yield 'folder', lambda: load_config(folder), True
    for key, value in OPTIONS:

        def option(key: str = key, value: Any = value) -> None:
            load_config(TINY, {key: value})

        yield f'{key}={value!r}', option, True
    for key, value in PARTS:
        yield f'{key}={value!r}', build(TINY, key, value), True
    for config, places in (
        (TINY, TINY_PLACES),
        (PUBLISHED, PUBLISHED_PLACES),
    ):
        for key in places:
            value = rng.choice(WRONG_NUMBERS)
            yield f'{key}={value!r}', build(config, key, value), True


def build(config: Path, key: str, value: Any) -> Callable[[], Any]:
    """Build the part of a config that a key belongs to."""

    def call() -> None:
        cfg = load_config(config, {key: value})
        with build_errors(cfg):
            if key.startswith('model'):
                MODELS.build(cfg.model)
            else:
                DATASETS.build(cfg.train_dataloader.dataset)

    return call
