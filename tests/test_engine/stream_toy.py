"""A small streaming network on synthetic drives, for resume_config.py.

Not a test module. The parts that make resuming hard are the real ones:
StreamingHistory, SequenceSampler, EMA; augmentation draws from python,
numpy and torch, the network from torch.
"""

import os
import random
import signal
from pathlib import Path

import numpy as np
import torch
from mmdet3d.registry import DATASETS, HOOKS, METRICS, MODELS
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import Dataset

from occsplat.data import drawn_for
from occsplat.models.volume.history import StreamingHistory
from occsplat.structures import VoxelGrid

GRID = VoxelGrid(range=(-4, -4, -1, 4, 4, 1), shape=(4, 4, 2))


@DATASETS.register_module(force=True)
class DrivesDataset(Dataset):
    """Frames of several drives: a volume each, and where the car was."""

    def __init__(self, lengths=(5, 3, 4)):
        self.frames = [
            (drive, step)
            for drive, length in enumerate(lengths)
            for step in range(length)
        ]

    def __len__(self):
        return len(self.frames)

    def sequences(self):
        drives = {}
        for idx, (drive, _) in enumerate(self.frames):
            drives.setdefault(drive, []).append(idx)
        return list(drives.values())

    def __getitem__(self, idx):
        drive, step = self.frames[idx]
        volume = np.random.default_rng(int(idx)).random((2, *GRID.shape))
        with drawn_for(idx):
            volume = volume * random.uniform(0.5, 1.5) + np.random.rand()
            noise = torch.rand(volume.shape)
        pose = np.eye(4)
        pose[0, 3] = 0.7 * step
        return dict(
            volume=torch.tensor(volume, dtype=torch.float32) + noise,
            idx=int(idx),
            token=f'{drive}-{step}',
            prev=f'{drive}-{step - 1}' if step else '',
            timestamp=0.5 * step,
            ref2global=pose,
        )


@MODELS.register_module(force=True)
class StreamNet(BaseModel):
    """Fuses the past, drops out, and tells how long each past was."""

    def __init__(self, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.history = StreamingHistory(2, GRID, num_frames=2)
        self.head = nn.Conv3d(2, 1, 1)

    def set_warmup(self, warmup):
        self.history.warmup = warmup

    def forward(self, volume, mode='tensor', **lists):
        volume = torch.stack(volume)
        meta = [dict(zip(lists, values)) for values in zip(*lists.values())]
        streams = self.history._streams[self.training]
        pasts = [len(streams.get(m['prev'], ())) for m in meta]
        fused = self.history(volume, meta)
        if mode == 'predict':
            values = self.head(fused).flatten(1).mean(1).tolist()
            return [
                dict(idx=m['idx'], past=past, value=value)
                for m, past, value in zip(meta, pasts, values)
            ]
        kept = nn.functional.dropout(fused, 0.3)
        loss = (self.head(kept) - volume.mean(1, True)).square().mean()
        self.seen = list(zip([m['idx'] for m in meta], pasts))
        return dict(loss=loss)


@METRICS.register_module(force=True)
class FramesMetric(BaseMetric):
    """Sums in the frames' order, so that they have no rounding to differ."""

    default_prefix = ''

    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        frames = sorted(results, key=lambda r: r['idx'])
        return dict(
            frames=float(len(frames)),
            distinct=float(len({f['idx'] for f in frames})),
            past=float(sum(f['past'] for f in frames)),
            value=sum(f['value'] for f in frames),
        )


@HOOKS.register_module(force=True)
class WitnessHook(Hook):
    """Note every step; send a signal when told to.

    Args:
        path (str): one line per step: iteration, loss in hexadecimal digits,
            learning rate, and (frame, frames of the past) of the batch.
        kill_at (int): iteration at whose end the signal comes.
        signal (str): which; it goes to this process, or with a '-' before
            it also to the workers of its data loaders.
        validating (bool): wait for the validation behind the iteration.
        rank (int, optional): of the one process that does so.
    """

    priority = 'LOWEST'

    def __init__(
        self,
        path,
        kill_at=None,
        signal='SIGKILL',
        validating=False,
        rank=None,
    ):
        self.rank = rank
        self.path, self.kill_at = path, kill_at
        self.signal, self.validating = signal, validating

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ):
        model = getattr(runner.model, 'module', runner.model)
        line = (
            f'{runner.epoch} {runner.iter} {outputs["loss"].item().hex()} '
            f'{runner.optim_wrapper.get_lr()["lr"][0].hex()} '
            f'{getattr(model, "seen", "")}\n'
        )
        with Path(f'{self.path}.{runner.rank}').open('a') as file:
            file.write(line)
        if runner.iter + 1 == self.kill_at and not self.validating:
            self.send(runner)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == self.kill_at and self.validating and batch_idx == 3:
            self.send(runner)

    def send(self, runner):
        if self.rank not in (None, runner.rank):
            return
        number = getattr(signal, self.signal.lstrip('-'))
        if self.signal.startswith('-'):
            os.killpg(os.getpgid(0), number)
        else:
            os.kill(os.getpid(), number)
