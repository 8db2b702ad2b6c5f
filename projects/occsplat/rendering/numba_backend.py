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

from .numba_blending import (
    BLOCK_WIDTH,
    View,
    blend_columns,
    blend_columns_backward,
    gather_slots,
    slot_size,
)
from .numba_projection import MIN_ALPHA, arrange, project, project_backward
from .output import RenderOutput, RenderSettings

#: width and height of a tile in pixels, a multiple of a block's
TILE = 16
#: Gaussians that are worth a thread
MANY = 4096


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
    tensors = _filled(means, scales, quats, opacities, features, background)
    cameras = _camera_rows(viewmats, Ks)
    views = _prepare(_scene(*tensors), cameras, settings)
    return RenderOutput(*_Rasterize.apply(*tensors, cameras, settings, views))


def render_labels(
    means: Tensor,  # (G, 3)
    scales: Tensor,  # (G, 3)
    quats: Tensor | None,  # (G, 4)
    opacities: Tensor,  # (G,)
    features: Tensor,  # (G, F)
    labels: Tensor,  # (G,)
    num_classes: int,
    viewmats: Tensor,  # (N, 4, 4)
    Ks: Tensor,  # (N, 3, 3)
    settings: RenderSettings,
) -> RenderOutput:
    """As :func:`render` with one-hot features in front of the others.

    At less cost, since a splat adds to one class of a pixel. No gradient.
    """
    scene = _label_scene(
        means, scales, quats, opacities, features, labels, num_classes
    )
    views = _prepare(scene, _camera_rows(viewmats, Ks), settings)
    return _output(*_blend(scene, views, settings))


def render_pair(
    means: Tensor,  # (G, 3)
    scales: Tensor,  # (G, 3)
    quats: Tensor | None,  # (G, 4)
    opacities: Tensor,  # (G,)
    features: Tensor,  # (G, C)
    labels: Tensor,  # (G,) negative: no ground truth
    num_classes: int,
    label_features: Tensor,  # (G, F)
    viewmats: Tensor,  # (N, 4, 4)
    Ks: Tensor,  # (N, 3, 3)
    settings: RenderSettings,
) -> tuple[RenderOutput, RenderOutput]:
    """:func:`render` and :func:`render_labels` on one set of views."""
    there = (labels >= 0).to(opacities)
    # the kernels add every splat to its class, a weight of 0 as well: no
    # class may lie outside the array
    classes = labels.clamp(min=0)
    truth = _label_scene(
        means, scales, quats, there, label_features, classes, num_classes
    )
    tensors = _filled(means, scales, quats, opacities, features, None)
    scene = _scene(*tensors)
    # a splat's box must hold it at the larger of its two opacities
    both = np.maximum(scene.opacities, truth.opacities)
    cameras = _camera_rows(viewmats, Ks)
    views = _prepare(scene._replace(opacities=both), cameras, settings)
    prediction = _Rasterize.apply(*tensors, cameras, settings, views)
    return (
        RenderOutput(*prediction),
        _output(*_blend(truth, views, settings)),
    )


class _Scene(NamedTuple):
    """The Gaussians as float32 arrays."""

    means: np.ndarray
    scales: np.ndarray
    quats: np.ndarray
    opacities: np.ndarray
    features: np.ndarray
    background: np.ndarray
    labels: np.ndarray = np.empty(0, np.int64)


def _scene(*tensors: Tensor) -> _Scene:
    return _Scene(*map(_array, tensors))


def _label_scene(
    means: Tensor,
    scales: Tensor,
    quats: Tensor | None,
    opacities: Tensor,
    features: Tensor,
    labels: Tensor,
    num_classes: int,
) -> _Scene:
    background = features.new_zeros(num_classes + features.shape[1])
    scene = _scene(
        *_filled(means, scales, quats, opacities, features, background)
    )
    return scene._replace(labels=_array(labels.long()))


def _filled(
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


def _output(
    image: Tensor, depth: Tensor, left: Tensor, first_hit: Tensor
) -> RenderOutput:
    return RenderOutput(image, depth, 1 - left, first_hit)


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, means, scales, quats, opacities, features, background,
        cameras, settings, views,
    ):  # fmt: skip
        tensors = (means, scales, quats, opacities, features, background)
        image, depth, left, hit = _blend(_scene(*tensors), views, settings)
        ctx.save_for_backward(*tensors, left)
        ctx.cameras, ctx.settings, ctx.views = cameras, settings, views
        ctx.mark_non_differentiable(hit)
        return image, depth, 1 - left, hit

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_image, grad_depth, grad_alpha, _):
        *tensors, left = ctx.saved_tensors
        grads = _blend_backward(
            _scene(*tensors),
            ctx.cameras,
            ctx.views,
            ctx.settings,
            tuple(map(_array, (grad_image, grad_depth, grad_alpha))),
            with_geometry=any(ctx.needs_input_grad[:3]),
        )
        grad_background = None
        if ctx.needs_input_grad[5]:
            grad_background = torch.einsum('nhw,nhwc->c', left, grad_image)
        return *map(torch.from_numpy, grads), grad_background, *[None] * 3


def _prepare(
    scene: _Scene, cameras: np.ndarray, settings: RenderSettings
) -> list[View]:
    """Project, sort and bin for each camera."""
    width, height = settings.width, settings.height
    # exact: what is fainter leaves no trace in any pixel
    kept = np.flatnonzero(scene.opacities >= MIN_ALPHA).astype(np.int32)

    def project_part(n: int, first: int, last: int) -> tuple:
        return project(
            *scene[:4],
            kept[first:last],
            cameras[n],
            width,
            height,
            settings.near,
            settings.far,
            settings.eps2d,
            settings.ortho,
        )

    def arrange_view(parts: Sequence[tuple]) -> View:
        # parts are in the order of the Gaussians: nothing depends on them
        splats, boxes, owners = map(np.concatenate, zip(*parts))
        arranged = arrange(splats, boxes, owners, width, height, TILE)
        boxes = arranged[1]
        first = boxes[:, 0] // BLOCK_WIDTH
        counts = (boxes[:, 2] - 1) // BLOCK_WIDTH - first + 1
        ends = counts.cumsum()
        return View(*arranged, ends - counts - first, counts.sum())

    ranges = _ranges(len(kept))
    parts = _run(
        project_part, [(n, *r) for n in range(len(cameras)) for r in ranges]
    )
    step = len(ranges)
    return _run(
        arrange_view,
        [(parts[i : i + step],) for i in range(0, len(parts), step)],
    )


def _blend(
    scene: _Scene, views: list[View], settings: RenderSettings
) -> tuple[Tensor, ...]:
    """Image, depth, transmittance and first hit."""
    shape = (len(views), settings.height, settings.width)
    image = torch.empty(*shape, len(scene.background))
    depth, left, hit = (torch.empty(shape) for _ in range(3))
    opacities = [scene.opacities[view.owners] for view in views]
    parts = _num_parts(len(views))

    def blend(n: int, part: int) -> None:
        blend_columns(
            views[n],
            opacities[n],
            scene.features,
            scene.labels,
            scene.background,
            np.float32(settings.max_alpha),
            TILE,
            part,
            parts,
            image[n].numpy(),
            depth[n].numpy(),
            left[n].numpy(),
            hit[n].numpy(),
        )

    _run(blend, [(n, p) for n in range(len(views)) for p in range(parts)])
    return image, depth, left, hit


def _blend_backward(
    scene: _Scene,
    cameras: np.ndarray,
    views: list[View],
    settings: RenderSettings,
    cotangents: tuple[np.ndarray, ...],  # of the images, depths and alphas
    with_geometry: bool,
) -> tuple[np.ndarray, ...]:
    """Gradients of means, scales, quats, opacities and features."""
    grads = tuple(np.zeros_like(array) for array in scene[:5])
    # camera by camera, so that all add to one buffer in a fixed order
    for n, view in enumerate(views):
        _view_backward(
            scene,
            cameras[n],
            view,
            settings,
            tuple(cotangent[n] for cotangent in cotangents),
            with_geometry,
            grads,
        )
    return grads


def _view_backward(
    scene: _Scene,
    camera: np.ndarray,
    view: View,
    settings: RenderSettings,
    cotangents: tuple[np.ndarray, ...],
    with_geometry: bool,
    grads: tuple[np.ndarray, ...],  # added to
) -> None:
    """One camera's contribution to the gradients."""
    opacities = scene.opacities[view.owners]
    slots = np.zeros(
        (view.num_slots, slot_size(scene.features.shape[1])), np.float32
    )
    grad_splats = np.empty_like(view.splats)
    parts = _num_parts(1)

    def blend(part: int) -> None:
        blend_columns_backward(
            view,
            opacities,
            scene.features,
            scene.background,
            np.float32(settings.max_alpha),
            TILE,
            part,
            parts,
            *cotangents,
            slots,
        )

    def gather(first: int, last: int) -> None:
        gather_slots(
            view, opacities, slots, first, last, grad_splats, *grads[3:]
        )
        if with_geometry:
            project_backward(
                *scene[:3],
                view.owners,
                view.splats,
                grad_splats,
                camera,
                settings.width,
                settings.height,
                settings.ortho,
                first,
                last,
                *grads[:3],
            )

    _run(blend, [(part,) for part in range(parts)])
    _run(gather, _ranges(len(view.owners)))


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


def _num_parts(num_cameras: int) -> int:
    """Parts a camera's columns are dealt into, to keep the threads busy."""
    threads = torch.get_num_threads()
    return 1 if threads == 1 else max(1, -(-4 * threads // num_cameras))


def _ranges(count: int) -> list[tuple[int, int]]:
    """[first, last) for each thread."""
    parts = max(1, min(torch.get_num_threads(), count // MANY))
    edges = np.linspace(0, count, parts + 1).astype(int).tolist()
    return list(zip(edges[:-1], edges[1:]))


def _run(function: Callable, arguments: Sequence[tuple]) -> list:
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
