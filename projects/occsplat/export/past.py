"""The history of volumes as a function: past in, past out.

In training and evaluation the network keeps its past itself, by tokens of
frames. A graph keeps nothing: the volumes go in and out as tensors, and
where they were taken from is told by who runs it.

Shape letters: B batch (1 here), C channels, X Y Z voxels, T past frames.
"""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from occsplat.models.volume import RewarpedHistory, StreamingHistory

from .errors import ExportError

#: the inputs of the past, in their order, and the output that is the next
STATE = ('history', 'motion', 'age', 'known')
NEXT = 'next_history'


class PastInputs(NamedTuple):
    """What a graph is told of the past.

    Attributes:
        history: volumes, newest first, float32 (T, C, X, Y, Z); any finite
            number where there is none.
        motion: from the current reference frame to that of each volume,
            float32 (T, 4, 4).
        age: seconds, float32 (T,).
        known: whether there is such a volume, bool (T,).
    """

    history: Tensor
    motion: Tensor
    age: Tensor
    known: Tensor


class FunctionalHistory(nn.Module):
    """A network's history without a memory of its own.

    Args:
        history: the network's.

    Raises:
        ExportError: for a history of another type.
    """

    def __init__(self, history: nn.Module) -> None:
        super().__init__()
        if type(history) not in (StreamingHistory, RewarpedHistory):
            raise ExportError(
                f'history: {type(history).__name__} is not known to the '
                'export, expected StreamingHistory or RewarpedHistory: '
                'export without the past'
            )
        self.history = history
        self.rewarped = isinstance(history, RewarpedHistory)
        self._next: Tensor | None = None

    def forward(self, volume: Tensor, past: Sequence[PastInputs]) -> Tensor:
        """Fuse a volume (1, C, X, Y, Z) with the past.

        Args:
            volume: the current one.
            past: of the only sample; empty for the first frame of a
                sequence.
        """
        steps = self.history.num_frames
        if past:
            (told,) = past
            known = told.known.view(-1, 1, 1, 1, 1)
            older = torch.where(known, self._aligned(told), volume)
            ages = torch.where(told.known, told.age, 0.0)
        else:
            older = volume.expand(steps, -1, -1, -1, -1)
            ages = volume.new_zeros(steps)
        frames = torch.cat([volume, older])
        self._next = frames[:steps]
        if past and not self.rewarped:
            # volumes stay as they were, and are read anew in each frame
            self._next = torch.cat([volume, told.history[:-1]])
        ages = torch.cat([ages.new_zeros(1), ages])
        return self.history.fuse(frames[None], ages[None])

    def taken(self) -> Tensor:
        """What the last run would remember, (T, C, X, Y, Z), once."""
        volumes, self._next = self._next, None
        return volumes

    def _aligned(self, told: PastInputs) -> Tensor:
        """The past at the current voxel centres, (T, C, X, Y, Z)."""
        grid = self.history.grid
        points = grid.centers(told.history.device).flatten(0, 2)
        half = points.new_tensor(grid.size) / 2 * self.rewarped
        rotation = told.motion[:, :3, :3].transpose(1, 2)
        moved = (points - half) @ rotation + told.motion[:, None, :3, 3]
        read = grid.sample(told.history, moved + half)
        return read.unflatten(2, grid.shape)


class Past:
    """What runs a graph with a history keeps from frame to frame.

    Args:
        history: the network's, whose rules count.
    """

    def __init__(self, history: StreamingHistory) -> None:
        self.steps = history.num_frames
        self.rewarped = isinstance(history, RewarpedHistory)
        channels = history.time_conv.out_channels
        self.volumes = torch.zeros(self.steps, channels, *history.grid.shape)
        self.poses: list[np.ndarray] = []  # newest first
        self.times: list[float] = []

    def inputs(self, meta: Mapping[str, Any]) -> PastInputs:
        """What to tell the graph.

        Args:
            meta: 'ref2global' (4, 4) and 'timestamp' (seconds) of the
                current frame.
        """
        count = len(self.poses)
        motion = np.tile(np.eye(4), (self.steps, 1, 1))
        age = np.zeros(self.steps)
        for step, (pose, time) in enumerate(zip(self.poses, self.times)):
            motion[step] = np.linalg.inv(pose) @ meta['ref2global']
            age[step] = self._now(meta) - time
        return PastInputs(
            self.volumes,
            torch.tensor(motion, dtype=torch.float32),
            torch.tensor(age, dtype=torch.float32),
            torch.arange(self.steps) < count,
        )

    def remember(self, volumes: Tensor, meta: Mapping[str, Any]) -> None:
        """Take up what the graph gave as its next history."""
        self.volumes = volumes
        pose = np.asarray(meta['ref2global'], dtype=np.float64)
        times = [self._now(meta), *self.times]
        if self.rewarped:
            # a first volume stands in for all before it, and all of them
            # have been brought to this frame
            times += [times[-1]] * self.steps
            self.poses = [pose] * self.steps
        else:
            self.poses = [pose, *self.poses][: self.steps]
        self.times = times[: self.steps]

    def _now(self, meta: Mapping[str, Any]) -> float:
        """Seconds; by the published rules a count of half ones."""
        if not self.rewarped:
            return meta['timestamp']
        return self.times[0] + RewarpedHistory.SECONDS if self.times else 0.0
