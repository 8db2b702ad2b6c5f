"""What the Runner's own keys of a config may hold.

Arguments of our classes are checked by these, see
``occsplat.structures.checks``; mmengine looks at few of its own, and late.
"""

from __future__ import annotations

from typing import Annotated, Any, Iterator, Literal, Sequence

from occsplat.structures.checks import (
    Bounds,
    Count,
    Natural,
    NonNegative,
    check,
)

_Several = dict | Sequence[dict] | None
_LEVELS = ('CRITICAL', 'FATAL', 'ERROR', 'WARNING', 'WARN', 'INFO', 'DEBUG')
_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')

#: annotations by key path; a key that a config lacks is not asked for
VALUES: dict[str, Any] = {
    'auto_scale_lr': dict | None,
    'custom_hooks': Sequence[dict] | None,
    'default_hooks': dict | None,
    'default_hooks.checkpoint.interval': int,
    'default_hooks.logger.interval': Count,
    'default_scope': str | None,
    'env_cfg': dict,
    'experiment_name': str | None,
    'launcher': Literal['none', 'pytorch', 'slurm', 'mpi'],
    'load_from': str | None,
    'log_level': Literal[_LEVELS] | int,
    'log_processor': dict | None,
    'optim_wrapper': dict | None,
    'optim_wrapper.optimizer': dict,
    'optim_wrapper.optimizer.lr': NonNegative,
    'param_scheduler': _Several,
    'randomness': dict,
    'randomness.seed': Annotated[int, Bounds(0, 2**32 - 1)] | None,
    'resume': bool,
    'test_cfg': dict | None,
    'test_evaluator': _Several,
    'train_cfg': dict | None,
    'train_cfg.max_epochs': Count,
    'train_cfg.max_iters': Count,
    'train_cfg.val_begin': Count,
    'train_cfg.val_interval': Count,
    'val_cfg': dict | None,
    'val_evaluator': _Several,
    'work_dir': str | None,
    **{
        f'{loader}{key}': hint
        for loader in _LOADERS
        for key, hint in {
            '': dict | None,
            '.batch_size': Count,
            '.dataset': dict,
            '.num_workers': Natural,
            '.sampler': dict,
        }.items()
    },
}


def value_problems(content: dict[str, Any]) -> Iterator[str]:
    """Values that no Runner takes, with their key path.

    Args:
        content: of a config, its keys as they are.
    """
    for path, hint in VALUES.items():
        node: Any = content
        for key in path.split('.'):
            if not isinstance(node, dict) or key not in node:
                break
            node = node[key]
        else:
            try:
                check(path, node, hint)
            except ValueError as error:
                yield str(error)
