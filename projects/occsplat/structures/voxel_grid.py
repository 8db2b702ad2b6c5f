"""The voxel grid: metres <-> voxel indices, and the one way to sample.

Shape letters: B batch, C channels, X Y Z voxels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import Count, check


@dataclass(frozen=True)
class VoxelGrid:
    """An axis-aligned grid of voxels in the reference frame.

    ::

                 z up                    index [x, y, z]
                  ^   x forward          [0, 0, 0] is the voxel at the
                  |  /                   lowest corner (x0, y0, z0);
                  | /                    its centre is
         y left <-+                      (x0, y0, z0) + 0.5 * size

    Args:
        range (sequence): ``(x0, y0, z0, x1, y1, z1)`` in metres.
        shape (sequence): ``(X, Y, Z)``, numbers of voxels.

    Raises:
        ValueError: when the range is empty or a size is not positive.
    """

    range: tuple[float, ...]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not (_has_length(self.range, 6) and _has_length(self.shape, 3)):
            raise ValueError(
                'VoxelGrid expects range=(x0, y0, z0, x1, y1, z1) and '
                f'shape=(X, Y, Z), got range={self.range!r:.80}, '
                f'shape={self.shape!r:.80}'
            )
        numbers, counts = tuple(self.range), tuple(self.shape)
        check('VoxelGrid: range', numbers, Sequence[float])
        check('VoxelGrid: shape', counts, Sequence[Count])
        object.__setattr__(self, 'range', tuple(map(float, numbers)))
        object.__setattr__(self, 'shape', tuple(map(int, counts)))
        if any(lo >= hi for lo, hi in zip(self.min, self.max)):
            raise ValueError(f'VoxelGrid range is empty: {self.range}')

    @property
    def min(self) -> tuple[float, float, float]:
        """Lowest corner (x0, y0, z0) in metres."""
        x, y, z = self.range[:3]
        return x, y, z

    @property
    def max(self) -> tuple[float, float, float]:
        """Highest corner (x1, y1, z1) in metres."""
        x, y, z = self.range[3:]
        return x, y, z

    @property
    def size(self) -> tuple[float, float, float]:
        """Edge lengths of one voxel in metres."""
        x, y, z = (
            (hi - lo) / n for lo, hi, n in zip(self.min, self.max, self.shape)
        )
        return x, y, z

    @property
    def num_voxels(self) -> int:
        """X * Y * Z."""
        return math.prod(self.shape)

    def centers(
        self,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Voxel centres in metres, shape (X, Y, Z, 3)."""
        axes = [
            lo + (torch.arange(n, device=device, dtype=dtype) + 0.5) * step
            for lo, n, step in zip(self.min, self.shape, self.size)
        ]
        return torch.stack(torch.meshgrid(*axes, indexing='ij'), dim=-1)

    def to_index(self, points: Tensor) -> Tensor:
        """Continuous voxel indices of points; a centre maps to integers.

        Args:
            points (Tensor): metres, shape (..., 3).

        Returns:
            Tensor: ``(p - min) / size - 0.5``, shape (..., 3).
        """
        low = points.new_tensor(self.min)
        return (points - low) / points.new_tensor(self.size) - 0.5

    def locate(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The voxel that holds each point.

        Args:
            points (Tensor): metres, shape (..., 3).

        Returns:
            tuple: integer index, int64 (..., 3), rounded down (never
            towards zero, which would pull points below the minimum into
            voxel 0), and whether it lies inside the grid, bool (...,).
        """
        index = torch.floor(self.to_index(points) + 0.5).long()
        limit = index.new_tensor(self.shape)
        inside = ((index >= 0) & (index < limit)).all(dim=-1)
        return index, inside

    def crossing(
        self, origins: Tensor, directions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The part of each ray that lies inside the grid.

        Args:
            origins (Tensor): start points in metres, (..., 3).
            directions (Tensor): of any length but zero, (..., 3).

        Returns:
            tuple: where rays enter, at least 0, and where they leave, in
            multiples of the direction, (...,) each. A ray crosses the
            grid where it enters before it leaves; one that glides along
            a face does not.
        """
        low = (origins.new_tensor(self.min) - origins) / directions
        high = (origins.new_tensor(self.max) - origins) / directions
        # along a face one of both is nan, which these two pass over
        enter = torch.fmin(low, high).amax(dim=-1).clamp(min=0)
        return enter, torch.fmax(low, high).amin(dim=-1)

    def sample(
        self,
        volume: Tensor,
        points: Tensor,
        mode: str = 'bilinear',
        padding_mode: str = 'zeros',
    ) -> Tensor:
        """Read a volume at points. All sampling goes through here.

        ``grid_sample`` wants (z, y, x) order for a volume stored as
        [x, y, z]; getting that wrong transposes the scene silently.

        Args:
            volume (Tensor): (B, C, X, Y, Z) over this grid's range; its
                resolution may differ from ``shape``.
            points (Tensor): metres in the reference frame, (B, ..., 3).
            mode (str): 'bilinear' (trilinear here) or 'nearest'.
            padding_mode (str): as ``torch.nn.functional.grid_sample``.

        Returns:
            Tensor: values, shape (B, C, ...).

        Raises:
            ValueError: when the shapes do not fit.
        """
        if volume.dim() != 5 or points.shape[0] != volume.shape[0]:
            raise ValueError(
                'VoxelGrid.sample expects volume (B, C, X, Y, Z) and points '
                f'(B, ..., 3), got {tuple(volume.shape)} and '
                f'{tuple(points.shape)}'
            )
        low = points.new_tensor(self.min)
        extent = points.new_tensor(self.max) - low
        normed = (2 * (points - low) / extent - 1).flip(-1)
        flat = normed.reshape(volume.shape[0], -1, 1, 1, 3)
        out = F.grid_sample(
            volume,
            flat.to(volume.dtype),
            mode=mode,
            padding_mode=padding_mode,
            align_corners=False,
        )
        return out.reshape(*volume.shape[:2], *points.shape[1:-1])

    def resample(self, volume: Tensor, target: VoxelGrid) -> Tensor:
        """Read a volume at the centres of another grid.

        ``sample`` at all of ``target.centers()`` with the border going on,
        but axis by axis: a third of the time on a CPU where the target is
        the finer grid.

        Args:
            volume (Tensor): (B, C, X, Y, Z) over this grid's range; its
                resolution may differ from ``shape``.
            target (VoxelGrid): where to read.

        Returns:
            Tensor: (B, C, *target.shape), float32 or wider.
        """
        out = volume.to(torch.promote_types(volume.dtype, torch.float32))
        # half a precision would round what lies between two voxels
        with torch.autocast(out.device.type, enabled=False):
            for axis in range(3):
                weights = self._weights(axis, out.shape[2 + axis], target)
                weights = weights.to(out)
                out = (out.transpose(2 + axis, -1) @ weights.T).transpose(
                    2 + axis, -1
                )
        return out

    def _weights(self, axis: int, count: int, target: VoxelGrid) -> Tensor:
        """How much each of ``count`` voxels counts at each target, (T, n)."""
        low, step = target.min[axis], target.size[axis]
        centers = torch.arange(target.shape[axis], dtype=torch.float64) + 0.5
        extent = self.max[axis] - self.min[axis]
        place = (low + centers * step - self.min[axis]) / extent * count - 0.5
        distance = place.clamp(0, count - 1)[:, None] - torch.arange(count)
        return (1 - distance.abs()).clamp(min=0)

    def pooled(self, stride: int) -> VoxelGrid:
        """The same range at ``shape // stride``.

        Raises:
            ValueError: when a dimension is not divisible by ``stride``.
        """
        if any(n % stride for n in self.shape):
            raise ValueError(
                f'cannot divide a {self.shape} grid by {stride}: every '
                'dimension must be divisible'
            )
        return VoxelGrid(self.range, tuple(n // stride for n in self.shape))

    def strided(self, stride: int) -> VoxelGrid:
        """The grid of every ``stride``-th voxel along each axis.

        Its centres are those of the voxels [::stride], where ``pooled``
        has the centres of whole blocks: its range lies (stride - 1) / 2
        voxels lower.

        Raises:
            ValueError: when a dimension is not divisible by ``stride``.
        """
        shift = [(stride - 1) / 2 * step for step in self.size]
        low = [lo - by for lo, by in zip(self.min, shift)]
        high = [hi - by for hi, by in zip(self.max, shift)]
        return VoxelGrid((*low, *high), self.pooled(stride).shape)


def as_grid(grid: VoxelGrid | dict) -> VoxelGrid:
    """A VoxelGrid from itself or from a config's dict(range, shape).

    Raises:
        ValueError: for anything else, and as VoxelGrid.
    """
    if isinstance(grid, VoxelGrid):
        return grid
    if not isinstance(grid, Mapping) or set(grid) != {'range', 'shape'}:
        raise ValueError(
            'a grid is dict(range=(x0, y0, z0, x1, y1, z1), '
            f'shape=(X, Y, Z)), got {grid!r:.80}'
        )
    return VoxelGrid(**grid)


def _has_length(value: Any, length: int) -> bool:
    return hasattr(value, '__len__') and len(value) == length


def same_shape(
    name: str, actual: Sequence[int], expected: Sequence[int | str]
) -> None:
    """Raise a ValueError that names both shapes unless they agree.

    A letter agrees with no size: it stands for one that cannot be told
    because the number of dimensions is wrong.
    """
    if tuple(actual) != tuple(expected):
        raise ValueError(
            f'{name}: expected shape {tuple(expected)}, got {tuple(actual)}'
        )
