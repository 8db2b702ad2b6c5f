"""The compiled kernel of run_lengths."""

from __future__ import annotations

import numpy as np

from occsplat.kernels import njit


@njit(cache=True)
def scan(
    labels: np.ndarray,  # (blocks, length, width)
    stride: int,
    ahead: bool,
    lengths: np.ndarray,  # (blocks, ceil(length / stride), width), written
) -> None:
    """Runs along the middle axis, towards its end or its beginning.

    Algorithm 1 with its slices cut to what fits into the cache. It walks
    against the direction that it looks in.
    """
    blocks, length, width = labels.shape
    step = -1 if ahead else 1
    run = np.empty(width, lengths.dtype)
    for block in range(blocks):
        run[:] = 1
        i = length - 1 if ahead else 0
        cell = lengths.shape[1] - 1 if ahead else 0
        for n in range(length):
            if n > 0:
                for b in range(width):
                    same = labels[block, i, b] == labels[block, i - step, b]
                    run[b] = run[b] + 1 if same else 1
            if i == cell * stride:
                for b in range(width):
                    lengths[block, cell, b] = run[b]
                cell += step
            i += step
