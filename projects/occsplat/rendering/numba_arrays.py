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
from dataclasses import replace
from functools import lru_cache
from typing import Callable, NamedTuple, Protocol, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from occsplat.structures import Cameras, Gaussians

from .numba_projection import MIN_ALPHA, Projected, project
from .output import RenderOutput, RenderSettings

#: Gaussians that are worth a thread
MANY = 4096


class GaussianArrays(NamedTuple):
    """Gaussians as float32 arrays, and what is behind them."""

    means: np.ndarray  # (G, 3)
    scales: np.ndarray  # (G, 3)
    opacities: np.ndarray  # (G,)
    features: np.ndarray  # (G, C)
    quats: np.ndarray  # (G, 4) or (0, 4)
    background: np.ndarray  # (C,)
    labels: np.ndarray = np.empty(0, np.int64)


def filled(
    gaussians: Gaussians, background: Tensor | None
) -> tuple[Tensor, ...]:
    """The tensors of GaussianArrays: without quats empty ones, and black.

    Contiguous, so that the kernels of both passes read them as they are.
    """
    quats = gaussians.quats
    if quats is None:
        quats = gaussians.means.new_empty(0, 4)
    if background is None:
        background = gaussians.features.new_zeros(gaussians.features.shape[1])
    filled = replace(gaussians, quats=quats)
    return tuple(x.contiguous() for x in (*vars(filled).values(), background))


def to_arrays(tensors: Sequence[Tensor]) -> GaussianArrays:
    """The arrays of what :func:`filled` returns, without a copy."""
    return GaussianArrays(*map(to_array, tensors))


class Plan(Protocol):
    """Which splats are blended into which pixels, of all cameras."""

    def blend(self, arrays: GaussianArrays) -> tuple[Tensor, ...]:
        """Image, depth, transmittance and first hit."""

    def blend_backward(
        self,
        arrays: GaussianArrays,
        cotangents: tuple[np.ndarray, ...],
        with_geometry: bool,
        grads: GaussianArrays,
    ) -> None:
        """Add to the gradients, from those of image, depth and alpha."""


def blended(plan: Plan, tensors: tuple[Tensor, ...]) -> RenderOutput:
    """What a plan makes of the tensors of :func:`filled`."""
    return RenderOutput(*_Blend.apply(plan, *tensors))


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, plan, *tensors):
        image, depth, left, hit = plan.blend(to_arrays(tensors))
        ctx.save_for_backward(*tensors, left)
        ctx.plan = plan
        ctx.mark_non_differentiable(hit)
        return image, depth, 1 - left, hit

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_image, grad_depth, grad_alpha, _):
        *tensors, left = ctx.saved_tensors
        arrays = to_arrays(tensors)
        grads = GaussianArrays(*map(np.zeros_like, arrays))
        needed = GaussianArrays(*ctx.needs_input_grad[1:])
        ctx.plan.blend_backward(
            arrays,
            tuple(map(to_array, (grad_image, grad_depth, grad_alpha))),
            needed.means or needed.scales or needed.quats,
            grads,
        )
        grad_background = None
        if needed.background:
            # of images, or of pixels
            axes = 'nhw' if left.dim() == 3 else 'p'
            grad_background = torch.einsum(
                f'{axes},{axes}c->c', left, grad_image
            )
        return None, *map(torch.from_numpy, grads[:5]), grad_background


def to_array(tensor: Tensor) -> np.ndarray:
    """A contiguous array, without a copy where the tensor is."""
    return tensor.detach().contiguous().numpy()


def camera_rows(cameras: Cameras) -> np.ndarray:
    """Rotation, offset, fx, fy, cx, cy: float64 (N, 16)."""
    views = cameras.viewmats.double().numpy()
    Ks = cameras.Ks.double().numpy()
    return np.concatenate(
        (
            views[:, :3, :3].reshape(-1, 9),
            views[:, :3, 3],
            Ks[:, [0, 1, 0, 1], [0, 1, 2, 2]],
        ),
        axis=1,
    )


def project_all(
    arrays: GaussianArrays, cameras: Cameras, settings: RenderSettings
) -> list[Projected]:
    """Splats, boxes and owners of each camera, see project."""
    # exact: what is fainter leaves no trace in any pixel
    kept = np.flatnonzero(arrays.opacities >= MIN_ALPHA).astype(np.int32)
    rows = camera_rows(cameras)

    def project_part(n: int, first: int, last: int) -> Projected:
        return project(
            arrays.means,
            arrays.scales,
            arrays.quats,
            arrays.opacities,
            kept[first:last],
            rows[n],
            cameras.width,
            cameras.height,
            settings.near,
            settings.far,
            settings.eps2d,
            cameras.ortho,
        )

    ranges = thread_ranges(len(kept))
    parts = run(
        project_part, [(n, *r) for n in range(len(rows)) for r in ranges]
    )

    def join(some: list[Projected]) -> Projected:
        splats, boxes, owners = map(np.concatenate, zip(*some))
        return splats, boxes, owners

    step = len(ranges)
    # parts are in the order of the Gaussians: nothing depends on them
    return [join(parts[i : i + step]) for i in range(0, len(parts), step)]


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
