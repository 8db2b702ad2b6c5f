"""Random numbers that belong to a sample, not to the process that loads it.

Augmentation draws from the global generators of python, numpy and torch.
Left alone, what it draws hangs on how many samples this very worker has
served before, and a resumed run, or one with another number of workers,
augments differently. So the sampler hands out indices that carry a seed,
and the data set draws under that seed: a frame's augmentation is a function
of (seed of the run, epoch, frame). Workers need to be told nothing.
"""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import Iterator

import numpy as np
import torch


class SampleIndex(int):
    """An index of a data set, with the seed of what is drawn for it."""

    seed: tuple[int, ...]

    def __new__(cls, index: int, seed: tuple[int, ...] = ()) -> SampleIndex:
        """An int; pickled with its seed when it is sent to a worker.

        Args:
            index (int): the index.
            seed (tuple[int, ...]): any non-negative numbers.
        """
        self = super().__new__(cls, index)
        self.seed = seed
        return self


@contextmanager
def drawn_for(index: int) -> Iterator[None]:
    """Draw under the seed of the index, then go on as if nothing was drawn.

    A plain int changes nothing. The GPU's generator is left alone: loading
    does not use it.

    Args:
        index (int | SampleIndex): what the sampler handed out.
    """
    if not isinstance(index, SampleIndex):
        yield
        return
    # three independent seeds of 32 bits
    seeds = np.random.SeedSequence(index.seed).generate_state(3).tolist()
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seeds[0])
    np.random.seed(seeds[1])
    # not torch.manual_seed, which also seeds the GPU
    torch.default_generator.manual_seed(seeds[2])
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
