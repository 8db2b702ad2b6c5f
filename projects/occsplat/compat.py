"""The few shims that the mm stack needs on current PyTorch.

Each one names its upstream issue and when it can go. This module must
not import mmdet3d: it runs before mmdet3d can be imported.
"""

from __future__ import annotations

import importlib.util
import platform
import sys
from functools import partial
from importlib import metadata
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Callable

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
