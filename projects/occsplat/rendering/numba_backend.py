"""The rasteriser for CPU tensors: compiled kernels on a few threads.

Shape letters: N cameras, G Gaussians, S splats, H W pixels, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
from .numba_blending import (
    BLOCK_WIDTH,
    TiledSplats,
    blend_columns,
    blend_columns_backward,
    gather_slots,
)
from .numba_lanes import Cotangents, Images, slot_size
from .numba_pixel_backend import render_pixels as render_pixels
from .numba_projection import arrange, project_backward
from .output import RenderOutput, RenderSettings

#: width and height of a tile in pixels, a multiple of a block's
TILE = 16


def render(
    gaussians: Gaussians,
    background: Tensor | None,  # (C,)
    cameras: Cameras,
    settings: RenderSettings,
) -> RenderOutput:
    """Render in float32; see :func:`~occsplat.rendering.render`."""
    tensors = filled(gaussians, background)
    return blended(_plan(to_arrays(tensors), cameras, settings), tensors)


def render_labels(
    gaussians: Gaussians,
    labels: Tensor,  # (G,)
    num_classes: int,
    cameras: Cameras,
    settings: RenderSettings,
) -> RenderOutput:
    """As :func:`render` with one-hot features in front of the others.

    At less cost, since a splat adds to one class of a pixel. No gradient.
    """
    arrays = _labelled(gaussians, labels, num_classes)
    return _output(*_plan(arrays, cameras, settings).blend(arrays))


def render_pair(
    gaussians: Gaussians,
    labels: Tensor,  # (G,) negative: no ground truth
    num_classes: int,
    label_features: Tensor,  # (G, F)
    cameras: Cameras,
    settings: RenderSettings,
) -> tuple[RenderOutput, RenderOutput]:
    """:func:`render` and :func:`render_labels` with one plan."""
    truth = _labelled(
        replace(
            gaussians,
            opacities=(labels >= 0).to(gaussians.opacities),
            features=label_features,
        ),
        # the kernels add every splat to its class, a weight of 0 as well:
        # no class may lie outside the array
        labels.clamp(min=0),
        num_classes,
    )
    tensors = filled(gaussians, None)
    arrays = to_arrays(tensors)
    # a splat's box must hold it at the larger of its two opacities
    both = np.maximum(arrays.opacities, truth.opacities)
    plan = _plan(arrays._replace(opacities=both), cameras, settings)
    return blended(plan, tensors), _output(*plan.blend(truth))


def _labelled(
    gaussians: Gaussians, labels: Tensor, num_classes: int
) -> GaussianArrays:
    """In front of black, with K + F channels."""
    features = gaussians.features
    background = features.new_zeros(num_classes + features.shape[1])
    arrays = to_arrays(filled(gaussians, background))
    return arrays._replace(labels=to_array(labels.long()))


def _output(
    image: Tensor, depth: Tensor, left: Tensor, first_hit: Tensor
) -> RenderOutput:
    return RenderOutput(image, depth, 1 - left, first_hit)


def _plan(
    arrays: GaussianArrays, cameras: Cameras, settings: RenderSettings
) -> _ImagePlan:
    """Project, sort and bin for each camera."""

    def tile(
        splats: np.ndarray, boxes: np.ndarray, owners: np.ndarray
    ) -> TiledSplats:
        splats, boxes, owners, starts, entries = arrange(
            splats, boxes, owners, cameras.width, cameras.height, TILE
        )
        first = boxes[:, 0] // BLOCK_WIDTH
        counts = (boxes[:, 2] - 1) // BLOCK_WIDTH - first + 1
        ends = counts.cumsum()
        return TiledSplats(
            splats, boxes, owners, starts, entries, ends - counts - first,
            counts.sum(),
        )  # fmt: skip

    projected = project_all(arrays, cameras, settings)
    return _ImagePlan(run(tile, projected), cameras, settings.max_alpha)


@dataclass(frozen=True)
class _ImagePlan:
    """All pixels of all cameras, and what each of these sees."""

    splats: list[TiledSplats]
    cameras: Cameras
    max_alpha: float

    def blend(self, arrays: GaussianArrays) -> tuple[Tensor, ...]:
        """Image, depth, transmittance and first hit."""
        shape = (len(self.splats), self.cameras.height, self.cameras.width)
        image = torch.empty(*shape, len(arrays.background))
        depth, left, hit = (torch.empty(shape) for _ in range(3))
        flat = [x.flatten(1, 2).numpy() for x in (image, depth, left, hit)]
        opacities = [arrays.opacities[seen.owners] for seen in self.splats]
        parts = num_parts(len(self.splats))

        def blend(n: int, part: int) -> None:
            blend_columns(
                self.splats[n],
                opacities[n],
                arrays.features,
                arrays.labels,
                arrays.background,
                np.float32(self.max_alpha),
                self.cameras.width,
                self.cameras.height,
                TILE,
                part,
                parts,
                Images(*(x[n] for x in flat)),
            )

        every = range(len(self.splats))
        run(blend, [(n, part) for n in every for part in range(parts)])
        return image, depth, left, hit

    def blend_backward(
        self,
        arrays: GaussianArrays,
        cotangents: tuple[np.ndarray, ...],  # of images, depths and alphas
        with_geometry: bool,
        grads: GaussianArrays,  # added to
    ) -> None:
        """Camera by camera: all add to one buffer in a fixed order."""
        rows = camera_rows(self.cameras)
        size = self.cameras.height * self.cameras.width
        for n in range(len(self.splats)):
            flat = Cotangents(
                *(x[n].reshape(size, *x.shape[3:]) for x in cotangents)
            )
            self._camera_backward(
                n, rows[n], arrays, flat, with_geometry, grads
            )

    def _camera_backward(
        self,
        n: int,
        camera: np.ndarray,
        arrays: GaussianArrays,
        cotangents: Cotangents,
        with_geometry: bool,
        grads: GaussianArrays,
    ) -> None:
        seen = self.splats[n]
        opacities = arrays.opacities[seen.owners]
        slots = np.zeros(
            (seen.num_slots, slot_size(arrays.features.shape[1])), np.float32
        )
        grad_splats = np.empty_like(seen.splats)
        parts = num_parts(1)

        def blend(part: int) -> None:
            blend_columns_backward(
                seen,
                opacities,
                arrays.features,
                arrays.background,
                np.float32(self.max_alpha),
                self.cameras.width,
                self.cameras.height,
                TILE,
                part,
                parts,
                cotangents,
                slots,
            )

        def gather(first: int, last: int) -> None:
            gather_slots(
                seen, opacities, slots, first, last, grad_splats,
                grads.opacities, grads.features,
            )  # fmt: skip
            if with_geometry:
                project_backward(
                    arrays.means,
                    arrays.scales,
                    arrays.quats,
                    seen.owners,
                    seen.splats,
                    grad_splats,
                    camera,
                    self.cameras.width,
                    self.cameras.height,
                    self.cameras.ortho,
                    first,
                    last,
                    grads.means,
                    grads.scales,
                    grads.quats,
                )

        run(blend, [(part,) for part in range(parts)])
        run(gather, thread_ranges(len(seen.owners)))
