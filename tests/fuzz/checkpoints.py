"""Broken and hostile checkpoints."""

from __future__ import annotations

import io
import random
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Callable, Iterator

import mutate
import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save
from torch import nn

from occsplat.engine.checkpoint import load_model_weights, read_checkpoint

Case = tuple[str, Callable[[], Any], bool]


def whole() -> bytes:
    """A checkpoint like those that training writes."""
    buffer = HistoryBuffer()
    for value in (1.0, 2.0, 3.0):
        buffer.update(value)
    content = dict(
        state_dict=nn.Linear(4, 3).state_dict(),
        meta=dict(epoch=3, iter=np.int64(7), losses=np.arange(3.0)),
        message_hub=dict(log_scalars={'train/loss': buffer}),
    )
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def saved(content: Any) -> bytes:
    """Any content as a checkpoint."""
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def tar() -> bytes:
    """An archive in the format before torch 0.4."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w') as archive:
        for name in ('storages', 'tensors', 'pickle'):
            info = tarfile.TarInfo(name)
            info.size = 8
            archive.addfile(info, io.BytesIO(bytes(8)))
    return file.getvalue()


def cases(folder: Path, rng: random.Random, canary: Path) -> Iterator[Case]:
    """Reading a checkpoint, and loading it into a model."""
    good = whole()
    number = 0

    def put(raw: bytes) -> Path:
        nonlocal number
        number += 1
        path = folder / f'{number}.pth'
        path.write_bytes(raw)
        return path

    def read(raw: bytes) -> Callable[[], Any]:
        path = put(raw)
        return lambda: read_checkpoint(path)

    def load(content: Any) -> Callable[[], Any]:
        path = put(saved(content))
        return lambda: load_model_weights(nn.Linear(4, 3), path)

    for name, raw in mutate.FOREIGN.items():
        yield name, read(raw), True
    yield 'tar', read(tar()), True
    yield 'folder', lambda: read_checkpoint(folder), True
    yield 'absent', lambda: read_checkpoint(folder / 'none.pth'), True
    for name, raw in mutate.damaged(good, rng, 40):
        yield name, read(raw), name.startswith('cut')
    # its header of text, then the whole file
    plain = save(nn.Linear(4, 3).state_dict(), dict(occsplat='{"epoch": 3}'))
    (length,) = struct.unpack('<Q', plain[:8])
    for name, raw in mutate.damaged(plain, rng, 40):
        yield f'safetensors: {name}', read(raw), name.startswith('cut')
    for name, raw in mutate.damaged(plain[8 : 8 + length], rng, 60):
        size = struct.pack('<Q', len(raw))
        whole_again = size + raw + plain[8 + length :]
        yield f'header: {name}', read(whole_again), False
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        (inner,) = (n for n in archive.namelist() if n.endswith('data.pkl'))
        pickled = archive.read(inner)
    for name, raw in mutate.damaged(pickled, rng, 60):
        yield f'inside: {name}', read(mutate.zipped(raw, good)), False
    for name, raw in mutate.hostile(canary):
        yield name, read(mutate.zipped(raw, good)), True
        yield f'legacy {name}', read(raw), True
    for content in ([], None, 3, torch.zeros(2), 'x', {1: 2}):
        yield f'holds {content!r}', load(content), True
    state = nn.Linear(4, 3).state_dict()
    for name, wrong in (
        ('none fits', dict(a=torch.zeros(2))),
        ('another shape', dict(state, weight=torch.zeros(3, 5))),
        ('one missing', dict(weight=state['weight'])),
        ('one too many', dict(state, other=torch.zeros(1))),
        ('no tensors', dict(weight=1, bias='x')),
        ('state is a list', dict(state_dict=[1, 2])),
        ('state is none', dict(state_dict=None)),
        ('meta is a list', dict(state_dict=state, meta=[1])),
    ):
        yield name, load(wrong), name != 'meta is a list'
