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
from occsplat.structures.checks import Count, checked


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
    any other sample starts afresh. The batch slot, the batch size and the
    number of processes do not matter. Training and evaluation keep
    separate sequences, so that validating in the middle of an epoch
    leaves the training streams alone.

    Every past volume stays in the frame that it was computed in and is
    read at the current voxel centres through the two global poses, once:
    no error builds up over repeated warps, and a volume augmentation that
    changes from frame to frame cancels exactly.

    All T + 1 frames pass the first convolution in one call, so that its
    norm has one set of statistics for all ages. A call per frame would
    subtract each frame's own mean, and with it the age, which is the same
    in all voxels of a frame.

    While ``warmup`` is set (see ``OccDetector.set_warmup``) T copies of
    the current volume stand in for the past. That is so in training;
    evaluation reads its past at any time.

    Args:
        channels (int): C.
        grid (dict | VoxelGrid): the volume's grid.
        num_frames (int): T, 16 in FB-Occ R50.
        turns (int): streams that take turns, the sampler's: as many are
            remembered for every sample of a batch.
        norm_cfg (dict): normalisation of the two fusion convolutions.
    """

    @checked
    def __init__(
        self,
        channels: Count,
        grid: dict | VoxelGrid,
        num_frames: Count = 16,
        turns: Count = 1,
        norm_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        norm_cfg = norm_cfg or dict(type='BN3d')
        self.grid = as_grid(grid)
        self.num_frames = num_frames
        self.turns = turns
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
        frames, ages = self._align(volume, metas, pasts)
        self._remember(frames, metas, pasts)
        return self.fuse(frames, ages)

    def fuse(self, frames: Tensor, ages: Tensor) -> Tensor:
        """Volumes that stand in the current frame to one (B, C, X, Y, Z).

        Args:
            frames (Tensor): newest first, (B, T + 1, C, X, Y, Z).
            ages (Tensor): seconds, (B, T + 1).
        """
        aged = _with_age(frames.flatten(0, 1), ages.flatten())
        fused = self.time_conv(aged).view_as(frames)
        return self.fuse_conv(fused.flatten(1, 2))

    @property
    def _without_past(self) -> bool:
        """The warm-up is a stage of training; evaluation has a past."""
        return self.warmup and self.training

    def _past(self, meta: dict[str, Any]) -> list[_PastVolume]:
        if self._without_past:
            return []
        return self._streams[self.training].pop(meta['prev'], [])

    def _align(
        self,
        volume: Tensor,
        metas: Sequence[dict[str, Any]],
        pasts: list[list[_PastVolume]],
    ) -> tuple[Tensor, Tensor]:
        """The current volumes and their pasts at the current voxel centres.

        Where a sequence is younger than T frames the current volume stands
        in, at age 0.

        Returns:
            tuple: volumes, newest first, (B, T + 1, C, X, Y, Z), and their
            ages in seconds (B, T + 1).
        """
        centers = self.grid.centers(volume.device, volume.dtype)
        ages = np.zeros((len(metas), self.num_frames + 1))
        frames = []
        for b, (past, meta) in enumerate(zip(pasts, metas)):
            newest_first = past[::-1]
            aligned = [volume[b]]
            if past:
                # one copy to the device for all of them
                now2past = volume.new_tensor(
                    np.stack(
                        [
                            np.linalg.inv(frame.ref2global)
                            @ meta['ref2global']
                            for frame in newest_first
                        ]
                    )
                )
            for step, frame in enumerate(newest_first):
                rotation, shift = now2past[step, :3, :3], now2past[step, :3, 3]
                points = centers @ rotation.T + shift
                aligned += self.grid.sample(frame.volume[None], points[None])
                ages[b, step + 1] = meta['timestamp'] - frame.timestamp
            aligned += [volume[b]] * (self.num_frames - len(past))
            frames.append(torch.stack(aligned))
        return torch.stack(frames), volume.new_tensor(ages)

    def _remember(
        self,
        frames: Tensor,
        metas: Sequence[dict[str, Any]],
        pasts: list[list[_PastVolume]],
    ) -> None:
        """Keep the sequences that frames (B, T + 1, ...) end."""
        if self._without_past:
            return
        streams = self._streams[self.training]
        for aligned, meta, past in zip(frames, metas, pasts):
            streams[meta['token']] = self._continued(aligned, meta, past)
        # sequences that have ended are never asked for again
        while len(streams) > 2 * self.turns * len(metas):
            streams.popitem(last=False)

    def _continued(
        self, aligned: Tensor, meta: dict[str, Any], past: list[_PastVolume]
    ) -> list[_PastVolume]:
        """The sequence that goes on with frame ``aligned[0]``."""
        now = _PastVolume(
            aligned[0].detach().clone(),
            np.asarray(meta['ref2global'], dtype=np.float64),
            meta['timestamp'],
        )
        return (past + [now])[-self.num_frames :]


@MODELS.register_module()
class RewarpedHistory(StreamingHistory):
    """The history that FB-Occ was published with, for its weights.

    It differs from StreamingHistory where that one is exact:

    - Past volumes are warped from frame to frame and replaced by what the
      warp made of them: interpolated again and again, and 0 for good where
      they once left the volume.
    - Warps take a voxel's lowest corner for its centre.
    - A sequence begins with T copies of its first volume. They are warped
      along and grow as old as that frame, until real ones have replaced
      them.
    - A key frame is half a second old per step, whatever its time stamp.

    Args:
        channels, grid, num_frames, turns, norm_cfg: see StreamingHistory.
    """

    #: between key frames
    SECONDS = 0.5

    def _align(
        self,
        volume: Tensor,
        metas: Sequence[dict[str, Any]],
        pasts: list[list[_PastVolume]],
    ) -> tuple[Tensor, Tensor]:
        """As in StreamingHistory, by the published rules."""
        half = volume.new_tensor(self.grid.size) / 2
        corners = self.grid.centers(volume.device, volume.dtype) - half
        ages = np.zeros((len(metas), self.num_frames + 1))
        frames = []
        for b, (past, meta) in enumerate(zip(pasts, metas)):
            aligned = [volume[b]]
            if past:
                # all of them stand in the frame before this one
                before = np.linalg.inv(past[0].ref2global)
                now2past = volume.new_tensor(before @ meta['ref2global'])
                points = corners @ now2past[:3, :3].T + now2past[:3, 3] + half
                stored = torch.cat([frame.volume for frame in past])
                aligned += self.grid.sample(stored[None], points[None])[
                    0
                ].unflatten(0, (len(past), -1))
                clock = past[0].timestamp + self.SECONDS
                ages[b, 1:] = [clock - frame.timestamp for frame in past]
            else:
                aligned += [volume[b]] * self.num_frames
            frames.append(torch.stack(aligned))
        return torch.stack(frames), volume.new_tensor(ages)

    def _continued(
        self, aligned: Tensor, meta: dict[str, Any], past: list[_PastVolume]
    ) -> list[_PastVolume]:
        """T volumes, newest first, that stand in the current frame.

        Their time stamps count half seconds from the first frame on.
        """
        pose = np.asarray(meta['ref2global'], dtype=np.float64)
        times = [past[0].timestamp + self.SECONDS] if past else [0.0]
        times += [frame.timestamp for frame in past]
        times += [times[0]] * (self.num_frames - len(times))
        return [
            _PastVolume(volume.detach().clone(), pose, time)
            for volume, time in zip(aligned, times[: self.num_frames])
        ]


def _with_age(frames: Tensor, ages: Tensor) -> Tensor:
    """Volumes (M, C, X, Y, Z) with their ages (M,) as a last channel."""
    channel = ages.view(-1, 1, 1, 1, 1).expand(-1, 1, *frames.shape[2:])
    return torch.cat([frames, channel], dim=1)
