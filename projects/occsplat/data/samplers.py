"""Streams of frames for networks that remember."""

from __future__ import annotations

import math
from itertools import islice
from typing import Iterator, Sequence

import numpy as np
from mmdet3d.registry import DATA_SAMPLERS
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from occsplat.structures.checks import Count, checked

from .sample_seed import SampleIndex


@DATA_SAMPLERS.register_module()
class SequenceSampler(Sampler):
    """Serves every slot of every batch one stream, in time order.

    With W processes and batches of B there are W * B slots. Training::

        sequences, shuffled   [ 5 5 5 5 | 2 2 2 2 2 | 0 0 0 | 7 7 7 7 ... ]
        cut into W * B parts  [ slot 0      | slot 1      | slot 2   ... ]
        batches of rank 0     (slot 0, slot 1), (slot 0, slot 1), ...

    All slots are equally long, up to W * B - 1 frames are left out, no
    frame is served twice an epoch. A model that finds its past by the
    token of the previous frame just starts afresh where a cut falls.

    Frames that follow one another are alike. Where a step has one or two
    samples, a network that sees a scene from end to end forgets the ones
    before. With ``turns`` T every slot has T streams, which take turns, so
    that a stream goes on after T steps, and W * B * T parts are cut.

    Evaluation serves every frame exactly once and never shuffles. Ranks
    get whole sequences, so that with a batch size of 1 no sequence is cut
    and results do not depend on the number of processes. Larger batches
    cut the frames of a rank into B streams, in the middle of a sequence
    if need be.

    Indices carry a seed made of the run's seed, the epoch and the index
    itself, see ``SampleIndex``: how a frame is augmented depends on
    neither rank nor worker.

    Args:
        dataset: anything with ``sequences() -> list[list[int]]``.
        batch_size (int): B, the data loader's batch size. OccRunner gives
            it, a config need not.
        shuffle (bool): training (True) or evaluation (False).
        turns (int): T, in training; fewer where there are too few frames
            for so many streams. A network with a history has to remember
            as many, see StreamingHistory.
        seed (int, optional): of the shuffle, the same on all ranks; drawn
            and shared if None.

    Raises:
        ValueError: when the data set has no sequences, or fewer frames
            than there are slots.
    """

    @checked
    def __init__(
        self,
        dataset,
        batch_size: Count = 1,
        shuffle: bool = True,
        turns: Count = 1,
        seed: int | None = None,
    ) -> None:
        if not hasattr(dataset, 'sequences'):
            raise ValueError(
                'SequenceSampler needs a data set with sequences(), got '
                f'{type(dataset).__name__}; use mmengine samplers for others'
            )
        self.rank, self.world_size = get_dist_info()
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        self._first_batch = 0
        self.groups = [list(group) for group in dataset.sequences()]
        frames = sum(map(len, self.groups))
        slots = batch_size * self.world_size
        if shuffle and frames < slots:
            raise ValueError(
                f'{frames} frames cannot fill {slots} slots ({batch_size} a '
                f'process, {self.world_size} processes): use smaller '
                'batches, fewer processes or more data'
            )
        # of this rank
        self.streams = batch_size * max(1, min(turns, frames // slots))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration shuffles for."""
        self.epoch = epoch

    def start_at(self, batch: int) -> None:
        """Let the next iteration, and only that, leave out batches.

        Args:
            batch (int): index in the epoch of the first batch to serve.
        """
        self._first_batch = batch

    def __iter__(self) -> Iterator[SampleIndex]:
        streams = (
            self._training_streams() if self.shuffle else self._test_streams()
        )
        frames = (
            stream[step]
            for step in range(max(map(len, streams)))
            for stream in streams
            if step < len(stream)
        )
        first = self._first_batch * self.batch_size
        self._first_batch = 0
        seed, epoch = self.seed, self.epoch
        return (
            SampleIndex(frame, (seed, epoch, frame))
            for frame in islice(frames, first, None)
        )

    def __len__(self) -> int:
        if self.shuffle:
            frames = sum(map(len, self.groups))
            return frames // (self.streams * self.world_size) * self.streams
        return sum(map(len, self._groups_of_rank()))

    def _training_streams(self) -> list[Sequence[int]]:
        """The B * T streams of this rank, equally long."""
        order = np.random.default_rng((self.seed, self.epoch)).permutation(
            len(self.groups)
        )
        frames = [idx for group in order for idx in self.groups[group]]
        length = len(self) // self.streams
        first = self.rank * self.streams
        return [
            frames[stream * length : (stream + 1) * length]
            for stream in range(first, first + self.streams)
        ]

    def _test_streams(self) -> list[Sequence[int]]:
        """The B streams of this rank; the first ones may be one longer."""
        frames = [idx for group in self._groups_of_rank() for idx in group]
        parts = np.array_split(np.array(frames, dtype=int), self.batch_size)
        return [part.tolist() for part in parts]

    def _groups_of_rank(self) -> list[list[int]]:
        """Contiguous whole sequences, about an equal share of frames."""
        total = sum(map(len, self.groups))
        share, start = [], 0
        for group in self.groups:
            middle = start + len(group) / 2
            if math.floor(middle * self.world_size / total) == self.rank:
                share.append(group)
            start += len(group)
        return share
