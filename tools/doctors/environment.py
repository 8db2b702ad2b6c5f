"""Whether this machine and its Python packages can train."""

from __future__ import annotations

import importlib
import os
import shutil
from importlib import metadata
from pathlib import Path
from typing import Iterator

import torch
from packaging.version import Version

from occsplat.compat import MISSING, operators_stubbed, version_report
from occsplat.engine.threads import default_threads, num_cores
from occsplat.rendering import gsplat_backend
from occsplat.structures import Finding, MissingPackageError

#: what processes of data loaders hand samples over in
SHARED_MEMORY = Path('/dev/shm')
#: bytes: a container of Docker has 64 MB, and a batch of full-size images
#: of three key frames with their labels takes 150 MB
LEAST_SHARED = 512 * 10**6
#: bytes of disk below which a run can't keep its checkpoints, and below
#: which a full-size one can't: some 1 GB each, five at a time
LEAST_DISK, ENOUGH_DISK = 10**9, 10 * 10**9
#: bytes of a GPU with which the small full-size configs train
ENOUGH_GPU = 16 * 10**9
OLDEST_TORCH, FIRST_WRONG_MMCV = Version('2.4'), Version('2.2')


def check_machine(folder: Path) -> Iterator[Finding]:
    """Everything, a line each.

    Args:
        folder: where runs would write to.
    """
    yield from packages()
    yield imports()
    yield operators()
    yield kernels()
    yield from gpus()
    yield gsplat()
    yield threads()
    yield disk(folder)
    yield shared_memory()


def packages() -> Iterator[Finding]:
    """The lines of ``version_report``, with what is too old or too new."""
    for line in version_report().splitlines():
        name, _, version = line.partition(' ')
        if name in ('GPU', 'mmcv') or name == 'gsplat':
            continue  # looked at below
        if version == MISSING:
            optional = name in ('mmcv-lite', 'numba')
            if not optional:
                yield Finding(
                    'problem', name, f'{version}: run bash tools/install.sh'
                )
            continue
        wrong = _wrong(name, version)
        yield Finding('problem' if wrong else 'ok', name, version + wrong)


def _wrong(name: str, version: str) -> str:
    if name == 'torch' and Version(version) < OLDEST_TORCH:
        return f': too old, {OLDEST_TORCH} or later is needed'
    if name == 'mmcv-lite' and Version(version) >= FIRST_WRONG_MMCV:
        return (
            f': mmdet3d refuses {FIRST_WRONG_MMCV} and later, run pip install '
            "'mmcv-lite==2.1.0'"
        )
    return ''


def imports() -> Finding:
    """Whether everything that a config can name is registered."""
    try:
        importlib.import_module('occsplat.plugin')
    # packages that do not fit each other raise whatever they like
    except Exception as error:
        return Finding(
            'problem',
            'import occsplat.plugin',
            f'{type(error).__name__}: {" ".join(str(error).split())}. Run '
            'bash tools/install.sh',
        )
    return Finding('ok', 'import occsplat.plugin', 'works')


def operators() -> Finding:
    """Whether there is a compiled mmcv; OccSplat needs none."""
    if operators_stubbed():
        return Finding('ok', 'mmcv operators', 'none, and none are needed')
    return Finding('ok', 'mmcv operators', 'compiled')


def kernels() -> Finding:
    """Whether numba compiles what renders and casts rays on the CPU."""
    try:
        importlib.import_module('occsplat.kernels')
    except MissingPackageError as error:
        # training and prediction on a GPU need none
        level = 'note' if torch.cuda.is_available() else 'problem'
        return Finding(level, 'numba', str(error))
    return Finding('ok', 'kernels for the CPU', 'numba compiles them')


def gpus() -> Iterator[Finding]:
    """Each GPU with its memory."""
    if not torch.cuda.is_available():
        if shutil.which('nvidia-smi') is not None:
            yield Finding(
                'problem',
                'GPU',
                f'torch {torch.__version__} sees none, but there is '
                'nvidia-smi: is it a build without CUDA, or is the driver '
                'older than its CUDA? See docs/install.md',
            )
        else:
            yield Finding(
                'note',
                'GPU',
                'none: configs of MiniTown train on the CPU, full-size ones '
                'need a GPU',
            )
        return
    for number in range(torch.cuda.device_count()):
        name = torch.cuda.get_device_name(number)
        free, total = torch.cuda.mem_get_info(number)
        text = f'{name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free'
        if free < ENOUGH_GPU:
            text += (
                ': little for full-size configs, see the table of memory in '
                'docs/gpu.md'
            )
        level = 'ok' if free >= ENOUGH_GPU else 'note'
        yield Finding(level, f'GPU {number}', text)


def gsplat() -> Finding:
    """Whether CUDA tensors can be rendered."""
    needed = torch.cuda.is_available()
    try:
        version = metadata.version('gsplat')
    except metadata.PackageNotFoundError:
        if not needed:
            return Finding('ok', 'gsplat', 'not installed; CPUs need none')
        return Finding(
            'problem',
            'gsplat',
            'not installed: render losses on a GPU need it, run pip install '
            "'gsplat>=1.5.3,<1.6'",
        )
    try:
        gsplat_backend.installed_version()
    except (MissingPackageError, ValueError) as error:
        text = f'{version}: {error.__cause__ or error}'
        return Finding('problem' if needed else 'note', 'gsplat', text)
    if needed and shutil.which('nvcc') is None:
        return Finding(
            'note',
            'gsplat',
            f'{version}; no nvcc on the path, which compiles its kernels '
            'where its wheel brings none',
        )
    return Finding('ok', 'gsplat', version)


def threads() -> Finding:
    """How many threads a process computes with."""
    cores, said = num_cores(), os.environ.get('OMP_NUM_THREADS')
    text = f'{default_threads()} on {cores} cores'
    if said is None:
        return Finding('ok', 'threads', text)
    text += f', as OMP_NUM_THREADS={said} says'
    if default_threads() > cores:
        return Finding(
            'note',
            'threads',
            f'{text}: more than there are cores wait for each other',
        )
    return Finding('ok', 'threads', text)


def disk(folder: Path) -> Finding:
    """Room for checkpoints."""
    free = shutil.disk_usage(folder).free
    text = f'{free / 1e9:.1f} GB free in {folder.resolve()}'
    if free < LEAST_DISK:
        return Finding(
            'problem',
            'disk',
            f'{text}: a run keeps up to five checkpoints; make room, or '
            'write elsewhere with --work-dir',
        )
    if free < ENOUGH_DISK:
        text += ': enough for MiniTown, little for full-size configs'
        return Finding('note', 'disk', text)
    return Finding('ok', 'disk', text)


def shared_memory() -> Finding:
    """Room for samples on their way from the loaders' processes."""
    if not SHARED_MEMORY.is_dir():
        return Finding(
            'note', 'shared memory', f'there is no {SHARED_MEMORY} to look at'
        )
    total = shutil.disk_usage(SHARED_MEMORY).total
    text = f'{total / 1e9:.2f} GB in {SHARED_MEMORY}'
    if total < LEAST_SHARED:
        return Finding(
            'problem',
            'shared memory',
            f"{text}: processes of data loaders die with 'bus error'. Give a "
            'container more (docker run --shm-size=8g), or set '
            'train_dataloader.num_workers=0',
        )
    return Finding('ok', 'shared memory', text)
