"""The few shims that the mm stack needs on current PyTorch.

Each one names its upstream issue and when it can go. This module must
not import mmdet3d: it runs before mmdet3d can be imported.
"""

from __future__ import annotations

import importlib.util
import pickle
import platform
import sys
from functools import partial
from importlib import metadata
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Callable

import numpy as np
import torch
import torch.utils.checkpoint
from mmengine.logging import HistoryBuffer

_PACKAGES = (
    'torch',
    'torchvision',
    'mmengine',
    'mmcv',
    'mmcv-lite',
    'mmdet',
    'mmdet3d',
    'numpy',
    'numba',
    'nuscenes-devkit',
    'gsplat',
)


class MissingOpError(RuntimeError):
    """A compiled mmcv operator was called, and it is not installed."""


class _OpsStub(ModuleType):
    """Stands in for ``mmcv._ext``: every operator raises when called."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith('__'):
            raise AttributeError(name)

        def missing(*args: Any, **kwargs: Any) -> None:
            raise MissingOpError(
                f"mmcv's compiled operator '{name}' is not installed "
                '(mmcv-lite has none, and OccSplat needs none). A model '
                'that needs it wants the full mmcv: pip uninstall '
                "mmcv-lite; pip install --no-build-isolation 'mmcv==2.1.0'"
            )

        missing.__name__ = name
        return missing


def install_ops_stub() -> bool:
    """Let mmdet3d be imported with mmcv-lite.

    mmdet and mmdet3d import ``mmcv.ops``, which asks for a compiled
    extension that mmcv-lite lacks (open-mmlab/mmdetection3d#3093).
    Nothing is touched where a full mmcv is installed. Can go when both
    import their operators lazily.

    Returns:
        bool: whether the stub is (now or already) in place.
    """
    loaded = sys.modules.get('mmcv._ext')
    if loaded is not None:
        return isinstance(loaded, _OpsStub)
    if importlib.util.find_spec('mmcv._ext') is not None:
        return False
    stub = _OpsStub('mmcv._ext')
    # no loader: mmengine's own test for compiled operators stays negative
    stub.__spec__ = ModuleSpec('mmcv._ext', loader=None)
    sys.modules['mmcv._ext'] = stub
    return True


def allow_own_checkpoints() -> None:
    """Let ``torch.load(weights_only=True)`` read mmengine's checkpoints.

    From torch 2.6 on the safe loader is the default, mmengine uses the
    default, and its message hub holds objects that the safe loader
    refuses, so that no run could be resumed (open-mmlab/mmengine#1655).
    The safe loader stays on; exactly the harmless classes that our own
    checkpoints hold are admitted. Can go when mmengine does the same.
    """
    torch.serialization.add_safe_globals(_SAFE)


def _named(function: Callable[..., Any], path: str) -> Callable[..., Any]:
    """The function under the name by which a checkpoint calls it.

    The names decide what the safe loader admits; torch takes pairs of
    function and name only from 2.6 on.
    """

    def call(*args: Any) -> Any:
        return function(*args)

    call.__module__, _, call.__qualname__ = path.rpartition('.')
    call.__name__ = call.__qualname__
    return call


def _history_buffer_method(owner: Any, name: str) -> Callable[..., Any]:
    """What ``getattr`` may do inside a checkpoint, and nothing more."""
    if owner is not HistoryBuffer or name.startswith('_'):
        raise pickle.UnpicklingError(
            f'refused to read attribute {name!r} of {owner!r} while loading '
            'a checkpoint'
        )
    return getattr(owner, name)


# b1 as numpy pickles it
_KINDS = ('f4', 'f8', 'i4', 'i8', 'b1')


def _number_dtype(kind: str, *_: Any) -> np.dtype:
    """The one dtype of a kind, which a checkpoint cannot change.

    A copy, which numpy's own pickles ask for, would take the flags that
    the file gives it: numbers taken for addresses of objects.
    """
    if kind not in _KINDS:
        raise pickle.UnpicklingError(
            f'refused numpy.dtype {kind!r} in a checkpoint'
        )
    return np.dtype(kind)


def _safe_globals() -> list[Any]:
    core = np._core if hasattr(np, '_core') else np.core
    allowed: list[Any] = [HistoryBuffer, np.ndarray]
    allowed.append(_named(_number_dtype, 'numpy.dtype'))
    allowed += {type(np.dtype(kind)) for kind in _KINDS}
    # numpy 2 moved these; a checkpoint may come from either side
    for package in ('numpy._core', 'numpy.core'):
        for name in ('_reconstruct', 'scalar'):
            function = getattr(core.multiarray, name)
            allowed.append(_named(function, f'{package}.multiarray.{name}'))
    # a HistoryBuffer stores its own methods by way of getattr
    allowed.append(_named(_history_buffer_method, 'builtins.getattr'))
    return allowed


# made once: torch keeps them in a set
_SAFE = _safe_globals()


#: packages whose calls of torch's checkpoint leave the variant open
_UNDECIDED = ('mmcv', 'mmdet', 'mmdet3d')


def recompute_without_reentry() -> None:
    """Let ``with_cp`` of the mm packages use torch's newer variant.

    They call ``torch.utils.checkpoint.checkpoint`` without
    ``use_reentrant``, at which torch warns and which it means to make an
    error (pytorch/pytorch#100551). The newer variant,
    ``use_reentrant=False``, gives the same values and gradients. Only the
    modules of these packages that are loaded are given it; every other
    caller keeps torch's own. Can go when mmdet passes the argument (its
    last release, 3.3.0, does not).
    """
    original = torch.utils.checkpoint
    decided = partial(original.checkpoint, use_reentrant=False)
    stand_in = ModuleType(original.__name__, original.__doc__)
    vars(stand_in).update(vars(original), checkpoint=decided)
    for name, module in list(sys.modules.items()):
        if name.partition('.')[0] not in _UNDECIDED:
            continue
        for key, value in list(vars(module).items()):
            if value is original:
                setattr(module, key, stand_in)
            elif value is original.checkpoint:
                setattr(module, key, decided)


def version_report() -> str:
    """Versions of everything that a bug report needs, a line each."""
    lines = [f'python {platform.python_version()} ({platform.platform()})']
    for name in _PACKAGES:
        try:
            lines.append(f'{name} {metadata.version(name)}')
        except metadata.PackageNotFoundError:
            lines.append(f'{name} not installed')
    if torch.cuda.is_available():
        lines.append(f'GPU {torch.cuda.get_device_name(0)}')
    else:
        lines.append('GPU none')
    # by name: run as a script, this module exists twice
    stub = type(sys.modules.get('mmcv._ext')).__name__ == _OpsStub.__name__
    lines.append(f'mmcv operators {"stubbed" if stub else "compiled"}')
    return '\n'.join(lines)


if __name__ == '__main__':
    sys.stdout.write(version_report() + '\n')
