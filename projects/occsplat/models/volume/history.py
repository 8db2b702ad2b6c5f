"""Streaming fusion of past volumes (SOLOFusion, as FB-Occ uses it in 3D).

Shape letters: B batch, C channels, X Y Z voxels, T past frames.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np
import torch
from mmcv.cnn import ConvModule
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from occsplat.structures import VoxelGrid, as_grid


@dataclass
class _PastVolume:
    """A volume of the past, in its own frame (augmentation included)."""

    volume: Tensor  # (C, X, Y, Z), detached
    ref2global: np.ndarray  # (4, 4) float64
    timestamp: float  # seconds


@MODELS.register_module()
class StreamingHistory(nn.Module):
    """Fuse the current volume with the last T of its own sequence.

    A sequence is found by the token of the frame that it ended at: a
    sample whose ``prev`` is the key of a stored sequence continues it,
    any other sample starts afresh. Nothing hangs on the batch slot, on
    the batch size or on the number of processes. Training and evaluation
    keep separate sequences, so that validating in the middle of an epoch
    leaves the training streams alone.

    Every past volume stays in the frame that it was computed in and is
    read at the current voxel centres through the two global poses, once:
    no error builds up over repeated warps, and a volume augmentation that
    changes from frame to frame cancels exactly.

    While ``warmup`` is set (see ``OccDetector.set_warmup``) T copies of
    the current volume stand in for the past.

    Args:
        channels (int): C.
        grid (dict | VoxelGrid): the volume's grid.
        num_frames (int): T, 16 in FB-Occ R50.
        norm_cfg (dict): normalisation of the two fusion convolutions.
    """

    def __init__(
        self,
        channels: int,
        grid: dict | VoxelGrid,
        num_frames: int = 16,
        norm_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        if num_frames < 1:
            raise ValueError(
                f'StreamingHistory needs num_frames >= 1, got {num_frames}'
            )
        norm_cfg = norm_cfg or dict(type='BN3d')
        self.grid = as_grid(grid)
        self.num_frames = num_frames
        self.warmup = False
        # one extra channel tells each volume how many seconds old it is
        conv = dict(
            kernel_size=1, conv_cfg=dict(type='Conv3d'), norm_cfg=norm_cfg
        )
        self.time_conv = ConvModule(channels + 1, channels, **conv)
        self.fuse_conv = ConvModule(
            channels * (num_frames + 1), channels, **conv
        )
        self._streams = {True: OrderedDict(), False: OrderedDict()}

    def stream_state(self) -> list[dict[str, Any]]:
        """The training sequences, oldest first, as plain data on the CPU.

        Not part of ``state_dict``: these are no weights, and each process
        has its own.
        """
        return [
            dict(
                token=token,
                volumes=[frame.volume.cpu() for frame in past],
                ref2global=[torch.tensor(f.ref2global) for f in past],
                timestamps=[float(frame.timestamp) for frame in past],
            )
            for token, past in self._streams[True].items()
        ]

    def load_stream_state(self, state: Sequence[dict[str, Any]]) -> None:
        """Take up training sequences where ``stream_state`` left them."""
        device = next(self.parameters()).device
        self._streams[True] = OrderedDict(
            (
                stream['token'],
                [
                    _PastVolume(volume.to(device), pose.numpy(), timestamp)
                    for volume, pose, timestamp in zip(
                        stream['volumes'],
                        stream['ref2global'],
                        stream['timestamps'],
                    )
                ],
            )
            for stream in state
        )

    def train(self, mode: bool = True) -> StreamingHistory:
        """Switch mode; each evaluation starts with no past."""
        if mode != self.training:
            self._streams[False].clear()
        return super().train(mode)

    def forward(
        self, volume: Tensor, metas: Sequence[dict[str, Any]]
    ) -> Tensor:
        """Fuse, and remember the current volumes.

        Args:
            volume (Tensor): (B, C, X, Y, Z).
            metas (sequence): per sample 'token', 'prev', 'timestamp'
                (seconds) and 'ref2global' (4, 4).

        Returns:
            Tensor: (B, C, X, Y, Z).
        """
        pasts = [self._past(meta) for meta in metas]
        frames, ages = [volume], [volume.new_zeros(len(metas))]
        for step in range(1, self.num_frames + 1):
            warped, age = [], []
            for b, (past, meta) in enumerate(zip(pasts, metas)):
                if step <= len(past):
                    warped.append(self._align(past[-step], meta))
                    age.append(meta['timestamp'] - past[-step].timestamp)
                else:  # the sequence is younger than T frames
                    warped.append(volume[b])
                    age.append(0.0)
            frames.append(torch.stack(warped))
            ages.append(volume.new_tensor(age))
        self._remember(volume, metas, pasts)
        fused = [
            self.time_conv(_with_age(frame, age))
            for frame, age in zip(frames, ages)
        ]
        return self.fuse_conv(torch.cat(fused, dim=1))

    def _past(self, meta: dict[str, Any]) -> list[_PastVolume]:
        if self.warmup:
            return []
        return self._streams[self.training].pop(meta['prev'], [])

    def _align(self, past: _PastVolume, meta: dict[str, Any]) -> Tensor:
        """Read a past volume at the current voxel centres."""
        now2past = np.linalg.inv(past.ref2global) @ meta['ref2global']
        transform = past.volume.new_tensor(now2past)
        points = self.grid.centers(past.volume.device, past.volume.dtype)
        points = points @ transform[:3, :3].T + transform[:3, 3]
        return self.grid.sample(past.volume[None], points[None])[0]

    def _remember(
        self,
        volume: Tensor,
        metas: Sequence[dict[str, Any]],
        pasts: list[list[_PastVolume]],
    ) -> None:
        if self.warmup:
            return
        streams = self._streams[self.training]
        for current, meta, past in zip(volume, metas, pasts):
            now = _PastVolume(
                current.detach().clone(),
                np.asarray(meta['ref2global'], dtype=np.float64),
                meta['timestamp'],
            )
            streams[meta['token']] = (past + [now])[-self.num_frames :]
        # sequences that have ended are never asked for again
        while len(streams) > 2 * len(metas):
            streams.popitem(last=False)


def _with_age(frame: Tensor, age: Tensor) -> Tensor:
    channel = age.view(-1, 1, 1, 1, 1).expand(-1, 1, *frame.shape[2:])
    return torch.cat([frame, channel], dim=1)
