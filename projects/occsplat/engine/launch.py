"""From a command line to a config that can be run on this machine."""

from __future__ import annotations

import gc
import importlib
import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.utils import import_modules_from_strings

from .config_check import check_config
from .config_file import read_config
from .errors import ConfigError
from .memory import keep_freed_memory
from .threads import limit_threads


def load_config(
    path: str | Path, options: dict[str, Any] | None = None
) -> Config:
    """Read a config, set keys and variables, and check it for mistakes.

    Args:
        path: the config file.
        options: values by key path, as ``--cfg-options`` gives them.

    Raises:
        ConfigError: when the file is missing or not a config, holds a
            type, an argument or a key that does not exist, or contradicts
            itself.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f'config {path} does not exist{_similar(path)}')
    cfg = read_config(path, options)
    _import_customs(cfg)
    init_default_scope(cfg.get('default_scope', 'mmdet3d'))
    check_config(cfg)
    return cfg


def _import_customs(cfg: Config) -> None:
    """Import what registers the config's types; ours always."""
    importlib.import_module('occsplat.plugin')
    if not cfg.get('custom_imports'):
        return
    try:
        import_modules_from_strings(**cfg.custom_imports)
    except (ImportError, TypeError) as error:
        raise ConfigError(
            f'config {cfg.filename}: custom_imports: {error}. Modules are '
            'found in the folders of PYTHONPATH'
        ) from error


def prepare_launcher(cfg: Config, launcher: str) -> None:
    """Set the config's launcher, and see to threads, memory and processes.

    Threads: see ``limit_threads``; memory: see ``keep_freed_memory``.

    mmengine joins torchrun's processes on GPUs only (it asks CUDA for the
    device of the local rank). Without CUDA they are joined here, through
    gloo, before the Runner would.

    Raises:
        ConfigError: when the environment that the launcher should have
            set up is not there.
    """
    cfg.launcher = launcher
    limit_threads()
    keep_freed_memory()
    if launcher == 'none' or torch.cuda.is_available():
        return
    if launcher != 'pytorch':
        raise ConfigError(
            f'--launcher {launcher} needs a GPU; without one use '
            'tools/dist_train.sh or --launcher none'
        )
    missing = [k for k in ('RANK', 'WORLD_SIZE') if k not in os.environ]
    if missing:
        raise ConfigError(
            f'--launcher pytorch without {" and ".join(missing)} in the '
            'environment: start it through tools/dist_train.sh or '
            'tools/dist_test.sh'
        )
    cfg.merge_from_dict({'env_cfg.dist_cfg.backend': 'gloo'})
    # torch's synchronised batch norm refuses tensors on the CPU: every
    # process goes by its own statistics
    cfg.sync_bn = None
    # the Runner's own wrapper names a GPU
    cfg.setdefault(
        'model_wrapper_cfg',
        dict(
            type='MMDistributedDataParallel',
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        ),
    )
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')


def leave_processes() -> None:
    """Part from the other processes of a distributed run, if there are any.

    A process that ends while threads of its group still wait is aborted
    now and then ('terminate called without an active exception'), and
    torchrun then calls a run failed that has done everything.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        # whoever is the last has nobody left to wait for
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
        # the model and its Runner refer to each other, and the model to the
        # group, whose threads live on with it
        gc.collect()


def _similar(path: Path) -> str:
    """Configs beside the missing one."""
    if not path.parent.is_dir():
        return f': there is no folder {path.parent}'
    names = sorted(p.name for p in path.parent.glob('*.py'))
    return f'; {path.parent} has {", ".join(names) or "no config"}'
