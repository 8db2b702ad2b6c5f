"""What the compiled rasterisers share: arrays, projection, threads.

Shape letters: N cameras, G Gaussians, S splats, C channels.

The kernels release the GIL and run on ordinary Python threads, as many as
torch uses. That asks nothing of numba's threading layers, of which one
does not survive the fork of a DataLoader and another is not re-entrant;
in a worker, where torch has one thread, no thread is started at all.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Callable, NamedTuple, Sequence

import numpy as np
import torch
from torch import Tensor

from .numba_projection import MIN_ALPHA, project
from .output import RenderSettings

#: Gaussians that are worth a thread
MANY = 4096


class Scene(NamedTuple):
    """The Gaussians as float32 arrays."""

    means: np.ndarray
    scales: np.ndarray
    quats: np.ndarray
    opacities: np.ndarray
    features: np.ndarray
    background: np.ndarray
    labels: np.ndarray = np.empty(0, np.int64)


def to_scene(*tensors: Tensor) -> Scene:
    """The arrays of what :func:`filled` returns, without a copy."""
    return Scene(*map(to_array, tensors))


def filled(
    means: Tensor,
    scales: Tensor,
    quats: Tensor | None,
    opacities: Tensor,
    features: Tensor,
    background: Tensor | None,
) -> tuple[Tensor, ...]:
    """Empty quats and a black background where there are none.

    Contiguous, so that the kernels of both passes read them as they are.
    """
    if quats is None:
        quats = means.new_empty(0, 4)
    if background is None:
        background = features.new_zeros(features.shape[1])
    tensors = (means, scales, quats, opacities, features, background)
    return tuple(x.contiguous() for x in tensors)


def to_array(tensor: Tensor) -> np.ndarray:
    """A contiguous array, without a copy where the tensor is."""
    return tensor.detach().contiguous().numpy()


def camera_rows(viewmats: Tensor, Ks: Tensor) -> np.ndarray:
    """Rotation, offset, fx, fy, cx, cy: float64 (N, 16)."""
    views, Ks = viewmats.double().numpy(), Ks.double().numpy()
    return np.concatenate(
        (
            views[:, :3, :3].reshape(-1, 9),
            views[:, :3, 3],
            Ks[:, [0, 1, 0, 1], [0, 1, 2, 2]],
        ),
        axis=1,
    )


def project_all(
    scene: Scene, cameras: np.ndarray, settings: RenderSettings
) -> list[tuple[np.ndarray, ...]]:
    """Splats, boxes and owners of each camera, see project."""
    # exact: what is fainter leaves no trace in any pixel
    kept = np.flatnonzero(scene.opacities >= MIN_ALPHA).astype(np.int32)

    def project_part(n: int, first: int, last: int) -> tuple:
        return project(
            *scene[:4],
            kept[first:last],
            cameras[n],
            settings.width,
            settings.height,
            settings.near,
            settings.far,
            settings.eps2d,
            settings.ortho,
        )

    ranges = thread_ranges(len(kept))
    parts = run(
        project_part, [(n, *r) for n in range(len(cameras)) for r in ranges]
    )
    step = len(ranges)
    # parts are in the order of the Gaussians: nothing depends on them
    return [
        tuple(map(np.concatenate, zip(*parts[i : i + step])))
        for i in range(0, len(parts), step)
    ]


def num_parts(num_cameras: int) -> int:
    """Parts a camera's work is dealt into, to keep the threads busy."""
    threads = torch.get_num_threads()
    return 1 if threads == 1 else -(-4 * threads // max(1, num_cameras))


def thread_ranges(count: int) -> list[tuple[int, int]]:
    """[first, last) for each thread."""
    parts = max(1, min(torch.get_num_threads(), count // MANY))
    edges = np.linspace(0, count, parts + 1).astype(int).tolist()
    return list(zip(edges[:-1], edges[1:]))


def run(function: Callable, arguments: Sequence[tuple]) -> list:
    """Call a function with each of the arguments, on several threads."""
    threads = min(torch.get_num_threads(), len(arguments))
    if threads <= 1:
        return [function(*each) for each in arguments]
    pool = _pool(os.getpid(), torch.get_num_threads())
    return list(pool.map(lambda each: function(*each), arguments))


@lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """One pool a process: threads do not survive a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix='occsplat')
