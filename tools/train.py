"""Train a model.

python tools/train.py CONFIG
python tools/train.py CONFIG --resume --cfg-options train_cfg.max_epochs=8

Without --work-dir, a run goes to the config's work_dir, else to
work_dirs/<name of the config>.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from occsplat_environment import check_environment

check_environment()

import torch
from mmengine.config import Config

import occsplat.plugin  # noqa: F401  before mmdet3d, which needs its shims
from occsplat.engine import (
    ConfigError,
    OccRunner,
    latest_checkpoint,
    leave_processes,
    load_config,
    local_file,
    locked,
    prepare_launcher,
    read_checkpoint,
    user_errors,
)
from occsplat.engine.cli import (
    add_launcher_options,
    set_work_dir,
)
from occsplat.structures import check_writable


def make_parser() -> argparse.ArgumentParser:
    """The flags that users of mm tools know."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='where logs and checkpoints go')
    parser.add_argument(
        '--amp', action='store_true', help='automatic mixed precision (GPU)'
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the batch size over all GPUs',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint; without a path from the newest one '
        'in the work dir, or from the start if there is none',
    )
    add_launcher_options(parser)
    return parser


def set_resume(cfg: Config, resume: str | None) -> None:
    """Find what to resume from, and see that it can be read."""
    if resume is None:
        return
    path = (
        latest_checkpoint(cfg.work_dir)
        if resume == 'auto'
        else local_file(resume)
    )
    if path is None:
        print(f'nothing to resume in {cfg.work_dir}: starting afresh')
        return
    if 'optimizer' not in read_checkpoint(path):
        raise ConfigError(
            f'checkpoint {path} has weights alone, no state of the '
            'optimizer: to start from them use '
            f'--cfg-options load_from={path}'
        )
    cfg.resume = True
    cfg.load_from = str(path)
    # it has all weights: those to start from are not needed again
    cfg.model.pop('init_cfg', None)


def set_amp(cfg: Config) -> None:
    """Switch the optimizer wrapper to mixed precision."""
    if not torch.cuda.is_available():
        raise ConfigError('--amp needs a GPU, and torch finds none')
    wrapper = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if wrapper not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise ConfigError(
            f"--amp replaces optim_wrapper.type='OptimWrapper', the config "
            f'has {wrapper!r}'
        )
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def set_auto_scale_lr(cfg: Config) -> None:
    """Let the Runner scale the learning rate."""
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise ConfigError(
            '--auto-scale-lr: the config has no '
            'auto_scale_lr.base_batch_size, the batch size over all GPUs '
            'that its learning rate is meant for'
        )
    cfg.auto_scale_lr.enable = True


def main(argv: Sequence[str] | None = None) -> None:
    """Train as the command line says."""
    args = make_parser().parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    with user_errors():
        cfg = load_config(args.config, args.cfg_options)
        set_work_dir(cfg, args.work_dir, args.config)
        if args.amp:
            set_amp(cfg)
        if args.auto_scale_lr:
            set_auto_scale_lr(cfg)
        set_resume(cfg, args.resume)
        prepare_launcher(cfg, args.launcher)
        check_writable(cfg.work_dir)
        with locked(cfg.work_dir, args.launcher):
            OccRunner.from_cfg(cfg).train()
        leave_processes()


if __name__ == '__main__':
    main()
