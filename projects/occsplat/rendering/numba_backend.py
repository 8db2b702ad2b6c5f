"""The rasteriser for CPU tensors: compiled kernels on a few threads.

Shape letters: N cameras, G Gaussians, S splats, H W pixels, C channels.

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
from torch.autograd.function import once_differentiable

from .numba_blending import blend_tiles, blend_tiles_backward, gather_rows
from .numba_projection import prepare_view, project_backward
from .output import RenderOutput, RenderSettings


def render(
    means: Tensor,  # (G, 3)
    scales: Tensor,  # (G, 3)
    quats: Tensor | None,  # (G, 4)
    opacities: Tensor,  # (G,)
    features: Tensor,  # (G, C)
    background: Tensor | None,  # (C,)
    viewmats: Tensor,  # (N, 4, 4)
    Ks: Tensor,  # (N, 3, 3)
    settings: RenderSettings,
) -> RenderOutput:
    """Render in float32; see :func:`~occsplat.rendering.rasterize`."""
    if quats is None:
        quats = means.new_empty(0, 4)
    if background is None:
        background = features.new_zeros(features.shape[1])
    cameras = _camera_rows(viewmats, Ks)
    outputs = _Rasterize.apply(
        means, scales, quats, opacities, features, background,
        cameras, settings,
    )  # fmt: skip
    return RenderOutput(*outputs)


def render_labels(
    means: Tensor,  # (G, 3)
    scales: Tensor,  # (G, 3)
    quats: Tensor | None,  # (G, 4)
    opacities: Tensor,  # (G,)
    labels: Tensor,  # (G,)
    num_classes: int,
    viewmats: Tensor,  # (N, 4, 4)
    Ks: Tensor,  # (N, 3, 3)
    settings: RenderSettings,
) -> RenderOutput:
    """As :func:`render` with one-hot features, at less cost, no gradient.

    A splat then adds to two numbers of a pixel instead of C + 1.
    """
    if quats is None:
        quats = means.new_empty(0, 4)
    scene = _Scene(
        *(_array(x) for x in (means, scales, quats, opacities)),
        features=np.empty((0, num_classes), np.float32),
        labels=labels.detach().long().contiguous().numpy(),
        background=np.zeros(num_classes, np.float32),
    )
    image, depth, left, _ = _blend(scene, _camera_rows(viewmats, Ks), settings)
    return RenderOutput(image, depth, 1 - left)


class _Scene(NamedTuple):
    """The Gaussians as float32 arrays."""

    means: np.ndarray
    scales: np.ndarray
    quats: np.ndarray
    opacities: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    background: np.ndarray


class _View(NamedTuple):
    """One camera's splats, see prepare_view, and how they were blended."""

    splats: np.ndarray
    boxes: np.ndarray
    owners: np.ndarray
    starts: np.ndarray
    entries: np.ndarray
    last: np.ndarray  # (H, W) entries of the tile up to the last one used
    used: np.ndarray  # (T,) the largest of them in a tile


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, means, scales, quats, opacities, features, background,
        cameras, settings,
    ):  # fmt: skip
        scene = _Scene(
            *(_array(x) for x in (means, scales, quats, opacities, features)),
            labels=np.empty(0, np.int64),
            background=_array(background),
        )
        image, depth, left, views = _blend(scene, cameras, settings)
        ctx.save_for_backward(
            means, scales, quats, opacities, features, background, left
        )
        ctx.cameras, ctx.settings, ctx.views = cameras, settings, views
        return image, depth, 1 - left

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_image, grad_depth, grad_alpha):
        *inputs, background, left = ctx.saved_tensors
        scene = _Scene(
            *(_array(x) for x in inputs),
            labels=np.empty(0, np.int64),
            background=_array(background),
        )
        grads = _blend_backward(
            scene,
            ctx.cameras,
            ctx.settings,
            ctx.views,
            left.numpy(),
            tuple(_array(g) for g in (grad_image, grad_depth, grad_alpha)),
            with_geometry=any(ctx.needs_input_grad[:3]),
        )
        grad_background = None
        if ctx.needs_input_grad[5]:
            grad_background = torch.einsum('nhw,nhwc->c', left, grad_image)
        return *map(torch.from_numpy, grads), grad_background, None, None


def _blend(
    scene: _Scene, cameras: np.ndarray, settings: RenderSettings
) -> tuple[Tensor, Tensor, Tensor, list[_View]]:
    """Image, depth, transmittance, and what the backward pass needs."""
    width, height = settings.width, settings.height
    channels = scene.features.shape[1]
    shape = (len(cameras), height, width)
    image = torch.empty(*shape, channels)
    depth, left = torch.empty(shape), torch.empty(shape)
    splits = _splits(len(cameras))
    views: list[_View | None] = [None] * len(cameras)

    def prepare(n: int) -> None:
        prepared = prepare_view(
            *scene[:4],
            cameras[n],
            width,
            height,
            settings.near,
            settings.far,
            settings.eps2d,
            settings.ortho,
        )
        last = np.empty((height, width), np.int32)
        used = np.empty(len(prepared[3]) - 1, np.int64)
        views[n] = _View(*prepared, last, used)

    def blend(n: int, part: int) -> None:
        *prepared, last, used = views[n]
        blend_tiles(
            *prepared,
            scene.features,
            scene.labels,
            scene.background,
            np.float32(settings.max_alpha),
            part,
            splits,
            image[n].numpy(),
            depth[n].numpy(),
            left[n].numpy(),
            last,
            used,
        )

    _run(prepare, [(n,) for n in range(len(cameras))])
    _run(blend, [(n, p) for n in range(len(cameras)) for p in range(splits)])
    return image, depth, left, views


def _blend_backward(
    scene: _Scene,
    cameras: np.ndarray,
    settings: RenderSettings,
    views: list[_View],
    left: np.ndarray,  # (N, H, W)
    cotangents: tuple[np.ndarray, ...],  # of the image, depth and alpha
    with_geometry: bool,
) -> tuple[np.ndarray, ...]:
    """Gradients of means, scales, quats, opacities and features."""
    channels = scene.features.shape[1]
    splits = _splits(len(cameras))
    row_starts = [
        np.concatenate((np.zeros(1, np.int64), view.used.cumsum()))
        for view in views
    ]
    rows = [np.empty((s[-1], 7 + channels), np.float32) for s in row_starts]

    def blend(n: int, part: int) -> None:
        *prepared, last, _ = views[n]
        blend_tiles_backward(
            *prepared,
            scene.features,
            scene.background,
            np.float32(settings.max_alpha),
            part,
            splits,
            left[n],
            last,
            row_starts[n],
            *(cotangent[n] for cotangent in cotangents),
            rows[n],
        )

    _run(blend, [(n, p) for n in range(len(cameras)) for p in range(splits)])
    grads = tuple(np.zeros_like(array) for array in scene[:5])
    grad_splats = [np.zeros_like(view.splats) for view in views]
    width, height = settings.width, settings.height

    def gather(first: int, last: int) -> None:
        for n, view in enumerate(views):
            gather_rows(
                view.owners,
                view.starts,
                view.entries,
                row_starts[n],
                rows[n],
                first,
                last,
                grad_splats[n],
                grads[3],
                grads[4],
            )
            if with_geometry:
                project_backward(
                    *scene[:3],
                    view.owners,
                    grad_splats[n],
                    view.splats,
                    cameras[n],
                    width,
                    height,
                    settings.ortho,
                    first,
                    last,
                    *grads[:3],
                )

    edges = np.linspace(0, len(scene.means), _threads() + 1).astype(int)
    _run(gather, list(zip(edges[:-1].tolist(), edges[1:].tolist())))
    return grads


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _camera_rows(viewmats: Tensor, Ks: Tensor) -> np.ndarray:
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


def _threads() -> int:
    return torch.get_num_threads()


def _splits(num_cameras: int) -> int:
    """Parts a camera's tiles are dealt into, to keep the threads busy."""
    threads = _threads()
    return 1 if threads == 1 else max(1, -(-2 * threads // num_cameras))


def _run(function: Callable, arguments: Sequence[tuple]) -> None:
    """Call a function with each of the arguments, on several threads."""
    threads = min(_threads(), len(arguments))
    if threads <= 1:
        for each in arguments:
            function(*each)
        return
    pool = _pool(os.getpid(), _threads())
    for _ in pool.map(lambda each: function(*each), arguments):
        pass


@lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """One pool a process: threads do not survive a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix='occsplat')
