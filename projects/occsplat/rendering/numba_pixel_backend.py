"""Chosen pixels on the CPU: the compiled kernels on a few threads.

Shape letters: N cameras, G Gaussians, C channels, P pixels.

Projection is that of whole images. What follows looks at the cameras and
the parts of an image that hold a pixel, see numba_pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from occsplat.structures import Cameras, Gaussians

from .numba_arrays import (
    GaussianArrays,
    blended,
    camera_rows,
    filled,
    num_parts,
    project_all,
    run,
    thread_ranges,
    to_array,
    to_arrays,
)
from .numba_lanes import Cotangents, Images, slot_size
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
from .output import RenderOutput, RenderSettings


class MatchedPixels(NamedTuple):
    """One camera: its row of camera_rows, its pixels and their splats."""

    camera: np.ndarray
    groups: Groups
    matches: Matches


def render_pixels(
    gaussians: Gaussians,
    background: Tensor | None,  # (C,)
    cameras: Cameras,
    pixels: Tensor,  # (P, 3)
    settings: RenderSettings,
) -> RenderOutput:
    """In float32; see :func:`~occsplat.rendering.render_pixels`."""
    tensors = filled(gaussians, background)
    plan = _plan(to_arrays(tensors), cameras, to_array(pixels), settings)
    return blended(plan, tensors)


def _plan(
    arrays: GaussianArrays,
    cameras: Cameras,
    pixels: np.ndarray,  # (P, 3)
    settings: RenderSettings,
) -> _PixelPlan:
    """Project and match for each camera that has a pixel."""
    used = np.unique(pixels[:, 0])
    width, height = cameras.width, cameras.height
    some = cameras.chosen(torch.from_numpy(used))
    rows = camera_rows(some)

    def match_camera(
        i: int, splats: np.ndarray, boxes: np.ndarray, owners: np.ndarray
    ) -> MatchedPixels:
        groups = _group(pixels, used[i], width, height)
        # one tile as large as the image: sorted by depth and nothing else
        splats, boxes, owners, _, _ = arrange(
            splats, boxes, owners, width, height, max(width, height)
        )
        matched = match(splats, boxes, owners, groups, -(-width // CELL_WIDTH))
        return MatchedPixels(rows[i], groups, Matches(*matched))

    projected = project_all(arrays, some, settings)
    matched = run(match_camera, [(i, *p) for i, p in enumerate(projected)])
    return _PixelPlan(matched, len(pixels), cameras, settings.max_alpha)


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


@dataclass(frozen=True)
class _PixelPlan:
    """P pixels, camera by camera, and what these see."""

    matched: list[MatchedPixels]
    count: int
    cameras: Cameras
    max_alpha: float

    def blend(self, arrays: GaussianArrays) -> tuple[Tensor, ...]:
        """Features, depth, transmittance and first hit of P pixels."""
        image = torch.empty(self.count, len(arrays.background))
        depth, left, hit = (torch.empty(self.count) for _ in range(3))
        images = Images(*(x.numpy() for x in (image, depth, left, hit)))
        opacities = [arrays.opacities[m.matches.owners] for m in self.matched]
        parts = num_parts(len(self.matched))

        def blend(n: int, part: int) -> None:
            blend_groups(
                self.matched[n].groups,
                self.matched[n].matches,
                opacities[n],
                arrays.features,
                arrays.background,
                np.float32(self.max_alpha),
                part,
                parts,
                images,
            )

        every = range(len(self.matched))
        run(blend, [(n, part) for n in every for part in range(parts)])
        return image, depth, left, hit

    def blend_backward(
        self,
        arrays: GaussianArrays,
        cotangents: tuple[np.ndarray, ...],  # of features, depths, alphas
        with_geometry: bool,
        grads: GaussianArrays,  # added to
    ) -> None:
        """Camera by camera: all add to one buffer in a fixed order."""
        for matched in self.matched:
            self._camera_backward(
                *matched,
                arrays,
                Cotangents(*cotangents),
                with_geometry,
                grads,
            )

    def _camera_backward(
        self,
        camera: np.ndarray,
        groups: Groups,
        matches: Matches,
        arrays: GaussianArrays,
        cotangents: Cotangents,
        with_geometry: bool,
        grads: GaussianArrays,
    ) -> None:
        opacities = arrays.opacities[matches.owners]
        # not zeros: far behind the first surface nobody would ever write
        slots = np.empty(
            (len(matches.entries), slot_size(arrays.features.shape[1])),
            np.float32,
        )
        traces = np.zeros(len(slots), np.bool_)
        parts = num_parts(1)

        def blend(part: int) -> None:
            blend_groups_backward(
                groups,
                matches,
                opacities,
                arrays.features,
                arrays.background,
                np.float32(self.max_alpha),
                part,
                parts,
                cotangents,
                slots,
                traces,
            )

        def gather(first: int, last: int) -> None:
            owners, splats, grad_splats = gather_entries(
                matches, opacities, slots, traces, first, last,
                grads.opacities, grads.features,
            )  # fmt: skip
            if with_geometry:
                project_backward(
                    arrays.means,
                    arrays.scales,
                    arrays.quats,
                    owners,
                    splats,
                    grad_splats,
                    camera,
                    self.cameras.width,
                    self.cameras.height,
                    self.cameras.ortho,
                    0,
                    len(owners),
                    grads.means,
                    grads.scales,
                    grads.quats,
                )

        run(blend, [(part,) for part in range(parts)])
        run(gather, thread_ranges(len(matches.owners)))
