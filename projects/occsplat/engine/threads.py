"""How many threads a process computes with.

The threads of torch wait for each other after every operation, and they
wait spinning. When one of them has to share its core with somebody else's
work, all of them stand still until the scheduler lets it go on: with a
thread on every core, one busy process elsewhere makes a training step
several times as long. One core less, and there is room for it.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

#: more are seldom faster: the operations are short
MOST = 8
#: Linux' limit of a container's processor time: microseconds in a period
_QUOTA = Path('/sys/fs/cgroup/cpu.max')


def limit_threads() -> None:
    """Give torch, and kernels that run on as many threads, their number.

    numpy's linear algebra gets one: it spins as well, and what it is given
    here is small. Worker processes that are forked inherit that.

    An ``OMP_NUM_THREADS`` in the environment wins; torchrun sets it to 1
    when it starts several processes.
    """
    if 'OMP_NUM_THREADS' not in os.environ:
        torch.set_num_threads(default_threads())
        threadpool_limits(1, user_api='blas')


def default_threads() -> int:
    """What the environment says, or one less than there are cores.

    At least 1, at most ``MOST``.
    """
    if 'OMP_NUM_THREADS' in os.environ:
        return torch.get_num_threads()
    return max(1, min(MOST, num_cores() - 1))


def num_cores() -> int:
    """Cores that this process may use: its affinity, its container's."""
    if hasattr(os, 'sched_getaffinity'):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or 'max': no limit
        return cores
