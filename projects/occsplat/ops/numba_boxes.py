"""The compiled kernels of instance_boxes.

Shape letters: X Y Z voxels, N voxels of movable classes.
"""

from __future__ import annotations

import numpy as np

from occsplat.kernels import njit

#: a voxel joins an instance if at least this share of its vote lies in the
#: box: the votes of voxels where two objects touch reach over both
_OVERLAP = 0.5
#: votes that are compared with a vote to score it, at most
_COMPARED = 512


@njit(cache=True)
def _overlap(
    low: np.ndarray, high: np.ndarray, low_2: np.ndarray, high_2: np.ndarray
) -> float:
    """Common volume of two boxes, in voxels."""
    volume = 1.0
    for a in range(3):
        common = min(high[a], high_2[a]) - max(low[a], low_2[a])
        volume *= max(common, 0.0)
    return volume


@njit(cache=True)
def _volume(low: np.ndarray, high: np.ndarray) -> float:
    return (high[0] - low[0]) * (high[1] - low[1]) * (high[2] - low[2])


@njit(cache=True)
def _inside(
    low: np.ndarray, high: np.ndarray, begin: np.ndarray, end: np.ndarray
) -> None:
    """Write the range of voxels whose centres are in a box."""
    for a in range(3):
        begin[a] = np.int64(np.ceil(low[a] - 1e-6))
        end[a] = np.int64(np.floor(high[a] + 1e-6)) + 1


@njit(cache=True)
def support(
    number: np.ndarray,  # (X, Y, Z), -1: no voxel of the classes
    label: np.ndarray,  # (N,)
    low: np.ndarray,  # (N, 3)
    high: np.ndarray,  # (N, 3)
) -> np.ndarray:
    """Sum of squared IoUs with the votes in each vote, float64 (N,).

    Of a large vote, only every second, third ... voxel is asked.
    """
    support = np.zeros(len(label))
    begin, end = np.empty(3, np.int64), np.empty(3, np.int64)
    for v in range(len(label)):
        _inside(low[v], high[v], begin, end)
        own = _volume(low[v], high[v])
        step = 1
        while own > _COMPARED * step**3:
            step += 1
        total = 0.0
        for i in range(begin[0], end[0], step):
            for j in range(begin[1], end[1], step):
                for k in range(begin[2], end[2], step):
                    u = number[i, j, k]
                    if u < 0 or label[u] != label[v]:
                        continue
                    common = _overlap(low[v], high[v], low[u], high[u])
                    union = own + _volume(low[u], high[u]) - common
                    total += (common / union) ** 2
        support[v] = total * step**3
    return support


@njit(cache=True)
def grow(
    number: np.ndarray,  # (X, Y, Z), -1: no voxel of the classes
    index: np.ndarray,  # (N, 3)
    label: np.ndarray,  # (N,)
    low: np.ndarray,  # (N, 3)
    high: np.ndarray,  # (N, 3)
    order: np.ndarray,  # (N,) votes by falling support
    touches: np.ndarray,  # (3, 3, 3) bool
) -> np.ndarray:
    """The instance of each voxel, from 0 on, int64 (N,)."""
    instance = np.full(len(label), -1, np.int64)
    queue = np.empty(len(label), np.int64)
    begin, end = np.empty(3, np.int64), np.empty(3, np.int64)
    count = 0
    for seed in order:
        if instance[seed] >= 0:
            continue
        # one voxel wider than what is in it
        box_low, box_high = low[seed] - 1.0, high[seed] + 1.0
        instance[seed] = count
        queue[0], head, tail = seed, 0, 1
        _inside(low[seed], high[seed], begin, end)
        for i in range(begin[0], end[0]):
            for j in range(begin[1], end[1]):
                for k in range(begin[2], end[2]):
                    u = number[i, j, k]
                    if u < 0 or instance[u] >= 0 or label[u] != label[seed]:
                        continue
                    common = _overlap(low[u], high[u], low[seed], high[seed])
                    if common >= _OVERLAP * _volume(low[u], high[u]):
                        instance[u] = count
                        queue[tail] = u
                        tail += 1
        while head < tail:
            v = queue[head]
            head += 1
            for a in range(3):
                box_low[a] = min(box_low[a], index[v, a] - 1.5)
                box_high[a] = max(box_high[a], index[v, a] + 1.5)
            for i in range(-1, 2):
                for j in range(-1, 2):
                    for k in range(-1, 2):
                        if not touches[i + 1, j + 1, k + 1]:
                            continue
                        x, y, z = (
                            index[v, 0] + i,
                            index[v, 1] + j,
                            index[v, 2] + k,
                        )
                        if (
                            min(x, y, z) < 0
                            or x >= number.shape[0]
                            or y >= number.shape[1]
                            or z >= number.shape[2]
                        ):
                            continue
                        u = number[x, y, z]
                        if u < 0 or instance[u] >= 0:
                            continue
                        if label[u] != label[seed]:
                            continue
                        common = _overlap(low[u], high[u], box_low, box_high)
                        if common >= _OVERLAP * _volume(low[u], high[u]):
                            instance[u] = count
                            queue[tail] = u
                            tail += 1
        count += 1
    return instance
