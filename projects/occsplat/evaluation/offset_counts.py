"""Errors of run lengths in metres, as pure arithmetic.

Shape letters: K classes, X Y Z voxels, s stride of the cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from occsplat.ops import known_run_lengths, run_lengths
from occsplat.structures import LabelSpec, VoxelGrid, same_shape

from .counts import Counts, Zeros, mean_of_defined, of_classes, ratio
from .fields import check_finite, check_ids, stride_of

#: where runs lead, in the order of offsets
DIRECTIONS = ('x+', 'x-', 'y+', 'y-', 'z+', 'z-')


@dataclass
class OffsetCounts(Counts):
    """All that the offset metric needs to know of any number of frames.

    Attributes:
        frames: number of frames.
        predicted: those for which a network predicted offsets.
        error: summed absolute errors by true class and direction, metres,
            (K, 6).
        cells: how many they are of, (K, 6).
    """

    frames: int
    predicted: int
    error: Annotated[np.ndarray, Zeros((None, len(DIRECTIONS)), np.float64)]
    cells: Annotated[np.ndarray, Zeros((None, len(DIRECTIONS)))]

    def summary(self, spec: LabelSpec) -> dict[str, float]:
        """The flat dictionary of metrics, metres; nan without a cell.

        Args:
            spec (LabelSpec): names of the classes.

        Returns:
            dict: OffsetError, mean over directions, and
            ``OffsetError_<direction>``, both means over all classes but free;
            ``<metric>_<class>`` of these, free included.
        """
        error = ratio(self.error, self.cells)
        by_class = np.array([mean_of_defined(row) for row in error])
        columns = {'OffsetError': by_class}
        for name, column in zip(DIRECTIONS, error.T):
            columns[f'OffsetError_{name}'] = column
        solid = list(spec.occupied)
        out = {k: mean_of_defined(v[solid]) for k, v in columns.items()}
        for key, column in columns.items():
            out.update(of_classes(key, column, spec, range(spec.num_classes)))
        return out


def count_offsets(
    offsets: Tensor,  # (6, X/s, Y/s, Z/s)
    gt_occ: Tensor,  # (X, Y, Z)
    spec: LabelSpec,
    grid: VoxelGrid,
) -> OffsetCounts:
    """Count errors of offsets against the runs of the labels.

    A cell is every s-th voxel along each axis. It counts in a direction if
    its label is known and the run there ends at another class or at the
    end of the grid, not at an unknown voxel.

    Args:
        offsets (Tensor): predicted, metres.
        gt_occ (Tensor): true class ids; those with the ignore id are
            unknown.
        spec (LabelSpec): meaning of the ids.
        grid (VoxelGrid): where the voxels of the truth are.

    Returns:
        OffsetCounts: of this one frame.

    Raises:
        ValueError: when shapes disagree, an offset is no number, or an id
            is not in the label spec.
    """
    gt_occ, offsets = gt_occ.cpu(), offsets.cpu()
    same_shape('gt_occ', gt_occ.shape, grid.shape)
    known = gt_occ != spec.ignore
    check_ids('gt_occ', gt_occ[known], spec)
    stride = stride_of(offsets, grid)
    # else it would end as undefined, and leave the mean
    check_finite('pred_offsets', offsets)
    lengths, censored = known_run_lengths(gt_occ, known, stride)
    error = (offsets.double() - in_metres(lengths, grid)).abs()
    step = slice(None, None, stride)
    label, kept = gt_occ[step, step, step], known[step, step, step]
    counts = OffsetCounts.zeros(spec.num_classes)
    counts.frames = 1
    size = spec.num_classes
    for d in range(len(DIRECTIONS)):
        here = kept & ~censored[d]
        ids = label[here].long()
        counts.cells[:, d] = torch.bincount(ids, minlength=size)
        counts.error[:, d] = torch.bincount(
            ids, weights=error[d][here], minlength=size
        )
    return counts


def run_offsets(occ: Tensor, grid: VoxelGrid, stride: int = 1) -> Tensor:
    """How far the run of its class reaches from each cell.

    Args:
        occ (Tensor): class ids, (X, Y, Z).
        grid (VoxelGrid): where the voxels are.
        stride (int): voxels from one cell to the next.

    Returns:
        Tensor: metres, float64 (6, X/s, Y/s, Z/s).
    """
    return in_metres(run_lengths(occ.cpu(), stride), grid)


def in_metres(lengths: Tensor, grid: VoxelGrid) -> Tensor:
    """Run lengths (6, ...) in voxels as float64 metres."""
    edges = torch.tensor(grid.size, dtype=torch.float64)
    return lengths * edges.repeat_interleave(2)[:, None, None, None]
