"""The renderer on the CPU: numba loops, exact gradients, few copies.

Shape letters: N cameras, G Gaussians, M visible pairs, C channels
(features and depth), H W pixels.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from . import numba_kernels as kernels
from .output import RenderOutput
from .projection import MIN_ALPHA, Cameras, Splats, project_gaussians


def rasterize_numba(
    means: Tensor,
    scales: Tensor,
    opacities: Tensor,
    features: Tensor,
    quats: Tensor | None,
    background: Tensor,
    cameras: Cameras,
    max_alpha: float,
) -> RenderOutput:
    """Render float32 CPU tensors; see ``rasterize`` for the meaning."""
    splats = project_gaussians(means, scales, quats, opacities, cameras)
    # by camera, then depth, then index: what compositing goes through
    order = torch.sort(splats.depths.detach(), stable=True).indices
    order = order[torch.sort(splats.camera[order], stable=True).indices]
    lists = TileLists(splats, order, cameras)
    image, alpha = _Composite.apply(
        splats.means2d[order],
        splats.conics[order],
        splats.depths[order],
        opacities,
        features,
        background,
        splats.gaussian[order],
        lists,
        max_alpha,
    )
    return RenderOutput(image[..., :-1], image[..., -1], alpha)


class TileLists:
    """Which splats each 16x16 tile has to look at, nearest first.

    Args:
        splats (Splats): visible pairs.
        order (Tensor): sorts them by camera, depth and index.
        cameras (Cameras): image size and number.
    """

    def __init__(
        self, splats: Splats, order: Tensor, cameras: Cameras
    ) -> None:
        self.shape = (len(cameras.viewmats), cameras.height, cameras.width)
        self.tiles_x = -(-cameras.width // kernels.TILE)
        self.tiles_y = -(-cameras.height // kernels.TILE)
        bounds = kernels.tile_ranges(
            splats.means2d.detach()[order].numpy(),
            splats.radii[order].numpy(),
            self.tiles_x,
            self.tiles_y,
        )
        self.start, self.entries = kernels.bin_splats(
            bounds,
            splats.camera[order].numpy(),
            self.shape[0] * self.tiles_x * self.tiles_y,
            self.tiles_x,
            self.tiles_y,
        )


class _Composite(torch.autograd.Function):
    """Sorted splats to images, all cameras in one call."""

    @staticmethod
    def forward(
        ctx: Any,
        means2d: Tensor,
        conics: Tensor,
        depths: Tensor,
        opacities: Tensor,
        features: Tensor,
        background: Tensor,
        gaussian: Tensor,
        lists: TileLists,
        max_alpha: float,
    ) -> tuple[Tensor, Tensor]:
        opacity = opacities[gaussian]
        # sigma at which alpha falls below 1/255, with room for rounding
        limit = (opacity / MIN_ALPHA).log() + 1e-4
        inputs = _arrays(means2d, conics, opacity, limit)
        rows = gaussian.numpy()
        table, depth_row = _arrays(features, depths)
        channels = len(background) + 1
        image = np.zeros((*lists.shape, channels), np.float32)
        passed = np.empty(lists.shape, np.float32)
        last = np.empty(lists.shape, np.int64)
        _match_threads()
        kernels.render_forward(
            *inputs,
            rows,
            table,
            depth_row,
            _arrays(background)[0],
            lists.start,
            lists.entries,
            lists.tiles_x,
            lists.tiles_y,
            np.float32(max_alpha),
            image,
            passed,
            last,
        )
        ctx.save_for_backward(background, gaussian)
        ctx.numpy = (inputs, rows, table, depth_row, passed, last)
        ctx.lists, ctx.max_alpha = lists, max_alpha
        ctx.num_gaussians = len(opacities)
        return torch.from_numpy(image), torch.from_numpy(1 - passed)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, grad_image: Tensor, grad_alpha: Tensor
    ) -> tuple[Tensor | None, ...]:
        background, gaussian = ctx.saved_tensors
        inputs, rows, table, depth_row, passed, last = ctx.numpy
        lists, count = ctx.lists, ctx.num_gaussians
        geometry = np.zeros((kernels.CHUNKS, len(rows), 7), np.float32)
        features = np.zeros((kernels.CHUNKS, *table.shape), np.float32)
        _match_threads()
        kernels.render_backward(
            *inputs,
            rows,
            table,
            depth_row,
            _arrays(background)[0],
            lists.start,
            lists.entries,
            lists.tiles_x,
            lists.tiles_y,
            np.float32(ctx.max_alpha),
            passed,
            last,
            *_arrays(grad_image, grad_alpha),
            geometry,
            features,
        )
        geometry = torch.from_numpy(geometry).sum(0)
        grad_opacities = geometry.new_zeros(count)
        grad_opacities.index_add_(0, gaussian, geometry[:, 5])
        light = torch.from_numpy(passed)
        grad_background = torch.einsum(
            'nhw,nhwc->c', light, grad_image[..., :-1]
        )
        return (
            geometry[:, 0:2],
            geometry[:, 2:5],
            geometry[:, 6],
            grad_opacities,
            torch.from_numpy(features).sum(0),
            grad_background,
            None,
            None,
            None,
        )


def _arrays(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    return tuple(t.detach().contiguous().numpy() for t in tensors)


def _match_threads() -> None:
    """Use as many threads as torch does."""
    available = numba.config.NUMBA_NUM_THREADS
    numba.set_num_threads(min(torch.get_num_threads(), available))
