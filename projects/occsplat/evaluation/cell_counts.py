"""Depths and classes of a feature map's cells as pure arithmetic.

Shape letters: N cameras, H W feature map, h w image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from occsplat.ops import nearest_in_cells, read_pixels
from occsplat.structures import LabelSpec, same_shape

from .counts import Counts, Zeros, ratio
from .voxel_counts import VoxelCounts, count_voxels

#: metres, borders of the ranges that depths are scored by; returns beyond
#: the last one do not count
DEPTH_EDGES = (0, 10, 20, 30, 40)
#: a depth is close to the truth when neither is so many times the other
CLOSE = 1.25
#: what every metric of cells says it looks at
CELL_POLICY = (
    f'mask policy: cells with a LiDAR return within {DEPTH_EDGES[-1]} m, '
    'the nearest one'
)

# how many ranges there are, and how many cells are in each
_SIZE = len(DEPTH_EDGES) - 1
_Numbers = Annotated[np.ndarray, Zeros((_SIZE,))]


@dataclass
class DepthCounts(Counts):
    """All that depth errors need to know of any number of frames.

    Attributes:
        frames: number of frames.
        cells: cells with a return, by range of its depth, (4,).
        error: their summed error in metres, (4,).
        close: those whose depth is close, (4,).
    """

    frames: int
    cells: _Numbers
    error: Annotated[np.ndarray, Zeros((_SIZE,), np.float64)]
    close: _Numbers

    def summary(self) -> dict[str, float]:
        """The flat dictionary of metrics.

        Returns:
            dict: depth_L1, mean absolute error in metres, and
            depth_close, share of the cells whose depth is close, both
            also by range, as ``depth_L1_0-10``.
        """
        out = {
            'depth_L1': float(ratio(self.error.sum(), self.cells.sum())),
            'depth_close': float(ratio(self.close.sum(), self.cells.sum())),
        }
        for i, name in enumerate(range_names()):
            for key, part in (('L1', self.error), ('close', self.close)):
                share = ratio(part[i], self.cells[i])
                out[f'depth_{key}_{name}'] = float(share)
        return out


def range_names() -> list[str]:
    """Names of the ranges of depth, in metres."""
    return [f'{a}-{b}' for a, b in zip(DEPTH_EDGES, DEPTH_EDGES[1:])]


def count_depths(
    pred_depth: Tensor,  # (N, H, W)
    gt_depth: Tensor,  # (N, h, w)
) -> DepthCounts:
    """Compare depths with the nearest return of each cell.

    Args:
        pred_depth (Tensor): metres, above 0.
        gt_depth (Tensor): metres, 0 for no return.

    Raises:
        ValueError: when shapes disagree or the cells do not divide the
            image.
    """
    truth = _nearest(pred_depth, gt_depth)[0]
    same_shape('pred_depth', pred_depth.shape, truth.shape)
    known = truth > 0
    truth, guess = truth[known], pred_depth.cpu()[known]
    edges = torch.tensor(DEPTH_EDGES[1:-1], dtype=truth.dtype)
    place = torch.bucketize(truth, edges, right=True).numpy()
    close = torch.maximum(guess / truth, truth / guess) < CLOSE
    # numpy adds up in a fixed order, torch in one that depends on threads
    error = (guess - truth).abs().double().numpy()
    return DepthCounts(
        1,
        np.bincount(place, minlength=_SIZE),
        np.bincount(place, error, _SIZE),
        np.bincount(place[close.numpy()], minlength=_SIZE),
    )


def count_cells(
    pred_pixel_semantics: Tensor,  # (N, H, W)
    gt_pixel_semantics: Tensor,  # (N, h, w)
    gt_depth: Tensor,  # (N, h, w)
    spec: LabelSpec,
) -> VoxelCounts:
    """Compare classes with that of the nearest return of each cell.

    Args:
        pred_pixel_semantics (Tensor): class ids.
        gt_pixel_semantics (Tensor): class ids; cells whose nearest return
            has the ignore id do not count.
        gt_depth (Tensor): metres, 0 for no return.
        spec (LabelSpec): meaning of the ids.

    Raises:
        ValueError: when shapes disagree, the cells do not divide the image,
            or an id is not in the label spec.
    """
    same_shape('gt_pixel_semantics', gt_pixel_semantics.shape, gt_depth.shape)
    nearest, pixel = _nearest(pred_pixel_semantics, gt_depth)
    truth = read_pixels(gt_pixel_semantics.cpu(), pixel)
    return count_voxels(pred_pixel_semantics, truth, spec, nearest > 0)


def _nearest(cells: Tensor, gt_depth: Tensor) -> tuple[Tensor, Tensor]:
    near, *_, far = DEPTH_EDGES
    height, width = cells.shape[-2:]
    return nearest_in_cells(gt_depth.cpu(), (height, width), near, far)
