"""Chosen pixels on the CPU: the compiled kernels on a few threads.

Shape letters: N cameras, G Gaussians, C channels, P pixels.

Projection is that of whole images. What follows looks at the cameras and
the parts of an image that hold a pixel, see numba_pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .numba_blending import slot_size
from .numba_pixels import (
    CELL_HEIGHT,
    CELL_WIDTH,
    LANES,
    Groups,
    Matches,
    blend_groups,
    blend_groups_backward,
    gather_entries,
    match,
)
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


class PixelView(NamedTuple):
    """One camera: its row of camera_rows, its pixels and its splats."""

    camera: np.ndarray
    groups: Groups
    matches: Matches


def render_pixels(
    means: Tensor,  # (G, 3)
    scales: Tensor,  # (G, 3)
    quats: Tensor | None,  # (G, 4)
    opacities: Tensor,  # (G,)
    features: Tensor,  # (G, C)
    background: Tensor | None,  # (C,)
    viewmats: Tensor,  # (N, 4, 4)
    Ks: Tensor,  # (N, 3, 3)
    pixels: Tensor,  # (P, 3)
    settings: RenderSettings,
) -> RenderOutput:
    """In float32; see :func:`~occsplat.rendering.rasterize_pixels`."""
    tensors = filled(means, scales, quats, opacities, features, background)
    views = _prepare(
        to_scene(*tensors),
        camera_rows(viewmats, Ks),
        to_array(pixels),
        settings,
    )
    return RenderOutput(
        *_RasterizePixels.apply(*tensors, len(pixels), settings, views)
    )


class _RasterizePixels(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, means, scales, quats, opacities, features, background,
        count, settings, views,
    ):  # fmt: skip
        tensors = (means, scales, quats, opacities, features, background)
        image, depth, left, hit = _blend(
            to_scene(*tensors), views, count, settings
        )
        ctx.save_for_backward(*tensors, left)
        ctx.settings, ctx.views = settings, views
        ctx.mark_non_differentiable(hit)
        return image, depth, 1 - left, hit

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_image, grad_depth, grad_alpha, _):
        *tensors, left = ctx.saved_tensors
        scene = to_scene(*tensors)
        grads = tuple(np.zeros_like(array) for array in scene[:5])
        # camera by camera, so that all add to one buffer in a fixed order
        for view in ctx.views:
            _view_backward(
                scene,
                view,
                ctx.settings,
                tuple(map(to_array, (grad_image, grad_depth, grad_alpha))),
                any(ctx.needs_input_grad[:3]),
                grads,
            )
        grad_background = None
        if ctx.needs_input_grad[5]:
            grad_background = torch.einsum('p,pc->c', left, grad_image)
        return *map(torch.from_numpy, grads), grad_background, *[None] * 3


def _prepare(
    scene: Scene,
    cameras: np.ndarray,
    pixels: np.ndarray,  # (P, 3)
    settings: RenderSettings,
) -> list[PixelView]:
    """Project and match for each camera that has a pixel."""
    used = np.unique(pixels[:, 0])
    width, height = settings.width, settings.height
    projected = project_all(scene, cameras[used], settings)

    def match_view(n: int, *projection: np.ndarray) -> PixelView:
        groups = _group(pixels, n, width, height)
        # one tile as large as the image: sorted by depth and nothing else
        splats, boxes, owners, _, _ = arrange(
            *projection, width, height, max(width, height)
        )
        matched = match(splats, boxes, owners, groups, -(-width // CELL_WIDTH))
        return PixelView(cameras[n], groups, Matches(*matched))

    return run(match_view, [(n, *p) for n, p in zip(used, projected)])


def _group(pixels: np.ndarray, n: int, width: int, height: int) -> Groups:
    """The pixels of camera n, which has some."""
    targets = np.flatnonzero(pixels[:, 0] == n)
    rows, columns = pixels[targets, 1], pixels[targets, 2]
    across, down = -(-width // CELL_WIDTH), -(-height // CELL_HEIGHT)
    cell = rows // CELL_HEIGHT * across + columns // CELL_WIDTH
    within = rows % CELL_HEIGHT * CELL_WIDTH + columns % CELL_WIDTH
    order = (cell * (CELL_HEIGHT * CELL_WIDTH) + within).argsort(kind='stable')
    targets, rows, columns, cell = (
        x[order] for x in (targets, rows, columns, cell)
    )
    rank = np.arange(len(cell)) - np.searchsorted(cell, cell)
    begins = np.flatnonzero(rank % LANES == 0)
    boxes = (
        np.minimum.reduceat(columns, begins),
        np.minimum.reduceat(rows, begins),
        np.maximum.reduceat(columns, begins) + 1,
        np.maximum.reduceat(rows, begins) + 1,
    )
    return Groups(
        targets,
        rows.astype(np.int32),
        columns.astype(np.int32),
        np.append(begins, len(cell)),
        np.stack(boxes, axis=1).astype(np.int32),
        np.searchsorted(cell[begins], np.arange(across * down + 1)),
    )


def _blend(
    scene: Scene,
    views: list[PixelView],
    count: int,
    settings: RenderSettings,
) -> tuple[Tensor, ...]:
    """Features, depth, transmittance and first hit of P pixels."""
    image = torch.empty(count, len(scene.background))
    depth, left, hit = (torch.empty(count) for _ in range(3))
    opacities = [scene.opacities[view.matches.owners] for view in views]
    parts = num_parts(len(views))

    def blend(n: int, part: int) -> None:
        blend_groups(
            views[n].groups,
            views[n].matches,
            opacities[n],
            scene.features,
            scene.background,
            np.float32(settings.max_alpha),
            part,
            parts,
            image.numpy(),
            depth.numpy(),
            left.numpy(),
            hit.numpy(),
        )

    run(blend, [(n, p) for n in range(len(views)) for p in range(parts)])
    return image, depth, left, hit


def _view_backward(
    scene: Scene,
    view: PixelView,
    settings: RenderSettings,
    cotangents: tuple[np.ndarray, ...],  # of the features, depths and alphas
    with_geometry: bool,
    grads: tuple[np.ndarray, ...],  # added to
) -> None:
    """One camera's contribution to the gradients."""
    matches = view.matches
    opacities = scene.opacities[matches.owners]
    # not zeros: far behind the first surface nobody would ever write
    slots = np.empty(
        (len(matches.entries), slot_size(scene.features.shape[1])), np.float32
    )
    traces = np.zeros(len(slots), np.bool_)
    parts = num_parts(1)

    def blend(part: int) -> None:
        blend_groups_backward(
            view.groups,
            matches,
            opacities,
            scene.features,
            scene.background,
            np.float32(settings.max_alpha),
            part,
            parts,
            *cotangents,
            slots,
            traces,
        )

    def gather(first: int, last: int) -> None:
        owners, splats, grad_splats = gather_entries(
            matches, opacities, slots, traces, first, last, *grads[3:]
        )
        if with_geometry:
            project_backward(
                *scene[:3],
                owners,
                splats,
                grad_splats,
                view.camera,
                settings.width,
                settings.height,
                settings.ortho,
                0,
                len(owners),
                *grads[:3],
            )

    run(blend, [(part,) for part in range(parts)])
    run(gather, thread_ranges(len(matches.owners)))
