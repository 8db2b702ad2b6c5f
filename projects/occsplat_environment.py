"""Whether a tool was started with the Python that OccSplat is installed in.

Needs nothing but the standard library, so that it can be asked before
anything else is imported. ``tools/env.sh`` is its twin for shell scripts.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
from pathlib import Path
from typing import Sequence

ROOT = Path(__file__).resolve().parents[1]
#: of Python, the oldest and the newest, as in setup.py
VERSIONS = (3, 10), (3, 12)
#: what ``import occsplat.plugin`` cannot do without
PACKAGES = (
    'torch',
    'torchvision',
    'numpy',
    'cv2',
    'mmengine',
    'mmcv',
    'mmdet',
    'mmdet3d',
    'nuscenes',
    'lyft_dataset_sdk',
    'safetensors',
)


def check_environment(packages: Sequence[str] = PACKAGES) -> None:
    """End with one line unless this Python has what a tool needs.

    Args:
        packages: what the tool imports.

    Raises:
        SystemExit: names this Python, what is wrong with it, and the
            command that helps.
    """
    missing = [name for name in packages if not _found(name)]
    if not VERSIONS[0] <= sys.version_info[:2] <= VERSIONS[1]:
        fault = (
            'is Python {}.{}, and OccSplat needs 3.10, 3.11 or 3.12'
        ).format(*sys.version_info[:2])
    elif missing:
        fault = f'has no package {missing[0]}'
    else:
        return
    raise SystemExit(f'error: {sys.executable} {fault}: {_cure()}')


def _found(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


def _cure() -> str:
    """What to do, for this shell and this clone."""
    for folder in _environments():
        is_other = folder.resolve() != Path(sys.prefix).resolve()
        if is_other and (folder / 'bin' / 'python').exists():
            return f"run '{_activation(folder)}' first"
    return (
        f"run 'bash {shlex.quote(str(ROOT / 'tools' / 'install.sh'))}' first, "
        'and activate the environment that it names'
    )


def _environments() -> list[Path]:
    """Where OccSplat may be installed, by the rule of tools/env.sh."""
    folders = [os.environ.get('VIRTUAL_ENV')]
    # conda's base is active by default: nobody chose it for this project
    if os.environ.get('CONDA_DEFAULT_ENV') != 'base':
        folders.append(os.environ.get('CONDA_PREFIX'))
    return [Path(f) for f in folders if f] + [ROOT / '.venv']


def _activation(folder: Path) -> str:
    """The command that makes an environment the shell's."""
    if (folder / 'conda-meta').is_dir():
        return f'conda activate {shlex.quote(str(folder))}'
    return f'source {shlex.quote(str(folder / "bin" / "activate"))}'
