"""The few shims that the mm stack needs on current PyTorch.

Each one names its upstream issue and when it can go. This module must
not import mmdet3d: it runs before mmdet3d can be imported.
"""

from __future__ import annotations

import importlib.util
import platform
import sys
from functools import lru_cache, partial
from importlib import metadata
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Callable

import numpy as np
import torch
import torch.utils.checkpoint

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

#: in the place of a version
MISSING = 'not installed'


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


def operators_stubbed() -> bool:
    """Whether what stands for ``mmcv._ext`` now is the stub."""
    # by name: run as a script, this module exists twice
    return type(sys.modules.get('mmcv._ext')).__name__ == _OpsStub.__name__


def install_numba_stub() -> bool:
    """Let mmdet3d be imported without numba.

    mmdet3d imports numba for LiDAR augmentation and KITTI's metrics, of
    which OccSplat uses nothing, and its own kernels are imported when they
    are needed: on a GPU they seldom are. Where numba is missing, or refuses
    the numpy that is installed, a stub has what mmdet3d asks for as it is
    imported. Can go when mmdet3d imports numba lazily.

    Returns:
        bool: whether the stub is (now or already) in place.
    """
    loaded = sys.modules.get('numba')
    if loaded is not None:
        return isinstance(loaded, _NumbaStub)
    if _numba_fits():
        return False
    for name in ('numba', 'numba.core', 'numba.core.errors', 'numba.cuda'):
        sys.modules[name] = stub = _NumbaStub(name)
        stub.__spec__ = ModuleSpec(name, loader=None)
        parent, _, child = name.rpartition('.')
        if parent:
            setattr(sys.modules[parent], child, stub)
    sys.modules['numba'].jit = sys.modules['numba'].njit = _uncompiled
    sys.modules['numba.cuda'].jit = _uncompiled
    sys.modules['numba.core.errors'].NumbaPerformanceWarning = Warning
    return True


class _NumbaStub(ModuleType):
    """Stands in for a module of numba: what it compiles can't be called."""


def _numba_fits() -> bool:
    """Whether numba is there for this numpy, told without importing it."""
    from packaging.requirements import Requirement

    try:
        found = importlib.util.find_spec('numba') is not None
        needs = metadata.requires('numba') or []
    except ImportError:  # not installed, or hidden
        return False
    numpys = [r for r in map(Requirement, needs) if r.name == 'numpy']
    return found and all(np.__version__ in r.specifier for r in numpys)


def _uncompiled(*args: Any, **options: Any) -> Callable[..., Any]:
    """In the place of ``jit``, with options or without."""
    if not (args and callable(args[0])):
        return _uncompiled

    def missing(*args: Any, **kwargs: Any) -> None:
        # by now the package is there; this module comes before it
        from occsplat.structures import MissingPackageError

        raise MissingPackageError(
            f'{missing.__module__}.{missing.__name__} needs numba, which is '
            'missing or refuses the installed numpy: run pip install -r '
            'requirements.txt'
        )

    missing.__module__ = args[0].__module__
    missing.__name__ = args[0].__name__
    return missing


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


def format_configs_once() -> None:
    """Let mmengine format the text of a config once.

    It does so for the log, for the copy in the work dir and for every
    checkpoint, with yapf: about a second each time, more than a step of a
    small network. The same text gets the same answer here. Can go when
    mmengine remembers it itself.
    """
    from mmengine.config import config

    original = config.FormatCode
    if hasattr(original, 'remembered'):
        return

    @lru_cache(maxsize=8)
    def remembered(text: str, style: tuple, **options: Any) -> Any:
        return original(text, style_config=dict(style), **options)

    def format_code(text: str, style_config: dict, **options: Any) -> Any:
        return remembered(text, tuple(style_config.items()), **options)

    format_code.remembered = remembered  # type: ignore[attr-defined]
    config.FormatCode = format_code


def version_report() -> str:
    """Versions of everything that a bug report needs, a line each."""
    lines = [f'python {platform.python_version()} ({platform.platform()})']
    for name in _PACKAGES:
        try:
            lines.append(f'{name} {metadata.version(name)}')
        except metadata.PackageNotFoundError:
            lines.append(f'{name} {MISSING}')
    if torch.cuda.is_available():
        lines.append(f'GPU {torch.cuda.get_device_name(0)}')
    else:
        lines.append('GPU none')
    operators = 'stubbed' if operators_stubbed() else 'compiled'
    lines.append(f'mmcv operators {operators}')
    return '\n'.join(lines)


if __name__ == '__main__':
    sys.stdout.write(version_report() + '\n')
