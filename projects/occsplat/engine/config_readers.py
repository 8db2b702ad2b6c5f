"""Who reads the dicts of a config that have no ``type`` to tell it.

Some have a fixed place (``env_cfg``), some belong to an argument of one of
our classes (``depth_bins``), which its annotation tells::

    depth_bins: Annotated[dict, DepthBins]   # arguments of a DepthBins
    grid: dict | VoxelGrid                   # likewise
"""

from __future__ import annotations

import inspect
from dataclasses import is_dataclass
from typing import Any, Callable, Iterator, get_args, get_type_hints

from mmengine.dist import init_dist
from mmengine.optim import OptimWrapper
from mmengine.runner import (
    EpochBasedTrainLoop,
    IterBasedTrainLoop,
    LogProcessor,
    Runner,
    TestLoop,
    ValLoop,
)
from mmengine.utils import import_modules_from_strings
from mmengine.utils.dl_utils import set_multi_processing
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.utils.data import DataLoader

from .config_labels import Labels

# readers by key path; names that none of the signatures has
_PLACES: dict[str, tuple[Any, set[str]]] = {
    'custom_imports': (import_modules_from_strings, set()),
    'labels': (Labels, set()),
    'env_cfg': (
        None,
        {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    ),
    'env_cfg.mp_cfg': (set_multi_processing, set()),
    'env_cfg.dist_cfg': (init_dist, {'timeout'}),
    'randomness': (Runner.set_randomness, set()),
    'auto_scale_lr': (None, {'enable', 'base_batch_size'}),
    'val_cfg': (ValLoop, set()),
    'test_cfg': (TestLoop, set()),
    'log_processor': (LogProcessor, set()),
    'optim_wrapper': (OptimWrapper, set()),
    'train_dataloader': (DataLoader, {'num_batch_per_epoch'}),
    'val_dataloader': (DataLoader, {'num_batch_per_epoch'}),
    'test_dataloader': (DataLoader, {'num_batch_per_epoch'}),
}


def reader_at(path: str, node: dict[str, Any]) -> tuple[Any, set[str]] | None:
    """What reads a dict without ``type`` at a key path.

    Returns:
        tuple: a class or function whose arguments the dict has, or None,
        and further keys that it may have; None where nobody knows.
    """
    if path == 'train_cfg':
        by_epoch = node.get('by_epoch', True)
        loop = EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop
        return loop, {'by_epoch'}
    if path == 'optim_wrapper.clip_grad':
        by_value = node.get('type') == 'value'
        return clip_grad_value_ if by_value else clip_grad_norm_, {'type'}
    return _PLACES.get(path)


def argument_classes(kind: Any) -> Iterator[tuple[str, type]]:
    """Arguments that take a dict of a class' arguments, and that class.

    Args:
        kind: a class of ours, or anything.
    """
    if not inspect.isclass(kind) or not _is_ours(kind):
        return
    hints = get_type_hints(kind.__init__, include_extras=True)
    for name, hint in hints.items():
        for part in _parts(hint):
            if inspect.isclass(part) and _is_ours(part):
                yield name, part


def build_plain(kind: type, node: dict[str, Any]) -> None:
    """Make a dataclass of a dict, for what it has to say against it.

    Other classes need more than their dict: those are left alone.
    """
    if is_dataclass(kind):
        kind(**node)


def _is_ours(kind: Callable) -> bool:
    return kind.__module__.split('.')[0] == 'occsplat'


def _parts(hint: Any) -> Iterator[Any]:
    """A hint and what it is made of: unions and annotations."""
    yield hint
    for part in (*get_args(hint), *getattr(hint, '__metadata__', ())):
        yield from _parts(part)
