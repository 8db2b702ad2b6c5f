"""The rasteriser for CPU tensors: compiled kernels on a few threads.

Shape letters: N cameras, G Gaussians, S splats, H W pixels, C channels.
"""

from __future__ import annotations

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
from .numba_pixel_backend import render_pixels as render_pixels
from .numba_projection import arrange, project_backward
from .numba_scene import (
    Scene,
    camera_rows,
    filled,
    num_parts,
    project_all,
    run,
    thread_ranges,
    to_array,
    to_scene,
)
from .output import RenderOutput, RenderSettings

#: width and height of a tile in pixels, a multiple of a block's
TILE = 16


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
    tensors = filled(means, scales, quats, opacities, features, background)
    cameras = camera_rows(viewmats, Ks)
    views = _prepare(to_scene(*tensors), cameras, settings)
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
    views = _prepare(scene, camera_rows(viewmats, Ks), settings)
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
    tensors = filled(means, scales, quats, opacities, features, None)
    scene = to_scene(*tensors)
    # a splat's box must hold it at the larger of its two opacities
    both = np.maximum(scene.opacities, truth.opacities)
    cameras = camera_rows(viewmats, Ks)
    views = _prepare(scene._replace(opacities=both), cameras, settings)
    prediction = _Rasterize.apply(*tensors, cameras, settings, views)
    return (
        RenderOutput(*prediction),
        _output(*_blend(truth, views, settings)),
    )


def _label_scene(
    means: Tensor,
    scales: Tensor,
    quats: Tensor | None,
    opacities: Tensor,
    features: Tensor,
    labels: Tensor,
    num_classes: int,
) -> Scene:
    background = features.new_zeros(num_classes + features.shape[1])
    scene = to_scene(
        *filled(means, scales, quats, opacities, features, background)
    )
    return scene._replace(labels=to_array(labels.long()))


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
        image, depth, left, hit = _blend(to_scene(*tensors), views, settings)
        ctx.save_for_backward(*tensors, left)
        ctx.cameras, ctx.settings, ctx.views = cameras, settings, views
        ctx.mark_non_differentiable(hit)
        return image, depth, 1 - left, hit

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_image, grad_depth, grad_alpha, _):
        *tensors, left = ctx.saved_tensors
        grads = _blend_backward(
            to_scene(*tensors),
            ctx.cameras,
            ctx.views,
            ctx.settings,
            tuple(map(to_array, (grad_image, grad_depth, grad_alpha))),
            with_geometry=any(ctx.needs_input_grad[:3]),
        )
        grad_background = None
        if ctx.needs_input_grad[5]:
            grad_background = torch.einsum('nhw,nhwc->c', left, grad_image)
        return *map(torch.from_numpy, grads), grad_background, *[None] * 3


def _prepare(
    scene: Scene, cameras: np.ndarray, settings: RenderSettings
) -> list[View]:
    """Project, sort and bin for each camera."""

    def arrange_view(*projected: np.ndarray) -> View:
        arranged = arrange(*projected, settings.width, settings.height, TILE)
        boxes = arranged[1]
        first = boxes[:, 0] // BLOCK_WIDTH
        counts = (boxes[:, 2] - 1) // BLOCK_WIDTH - first + 1
        ends = counts.cumsum()
        return View(*arranged, ends - counts - first, counts.sum())

    return run(arrange_view, project_all(scene, cameras, settings))


def _blend(
    scene: Scene, views: list[View], settings: RenderSettings
) -> tuple[Tensor, ...]:
    """Image, depth, transmittance and first hit."""
    shape = (len(views), settings.height, settings.width)
    image = torch.empty(*shape, len(scene.background))
    depth, left, hit = (torch.empty(shape) for _ in range(3))
    opacities = [scene.opacities[view.owners] for view in views]
    parts = num_parts(len(views))

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

    run(blend, [(n, p) for n in range(len(views)) for p in range(parts)])
    return image, depth, left, hit


def _blend_backward(
    scene: Scene,
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
    scene: Scene,
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
    parts = num_parts(1)

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

    run(blend, [(part,) for part in range(parts)])
    run(gather, thread_ranges(len(view.owners)))
