"""Boxes of single objects from classes and offsets of voxels.

Shape letters: X Y Z voxels, s stride, x y z every s-th of them, N voxels
of movable classes, M boxes, K columns of voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Sequence

import numpy as np
import torch
from torch import Tensor

from occsplat.structures import VoxelGrid, same_shape

from .run_lengths import run_lengths

if TYPE_CHECKING:
    from occsplat.structures import OccDataSample

#: metres between the centres of voxels that touch at an edge or a corner
#: only, up to which they touch at all; small voxels do, large ones do not
_TOUCH = 0.75
#: m/s above which an object heads where it goes
_MOVING = 0.5
#: length by width below which a footprint shows no heading
_ROUND = 1.2
#: voxels at which the score of a box that they fill is a half
_DOUBT = 4
#: boxes per frame, those of most voxels; nuScenes scores no more
MAX_BOXES = 500


@dataclass
class InstanceBoxes:
    """M boxes, those of most voxels first.

    Attributes:
        boxes: x y z of the centre, length, width and height in metres,
            and yaw in radians from x to y, float32 (M, 7).
        labels: class ids, int64 (M,).
        scores: share of the box that its voxels fill, less for few
            voxels (half of it for 4), float32 (M,) in 0..1.
        velocities: m/s, float32 (M, 2); zero where no flow was given.
        ids: 1 + box of each voxel, 0 for none, int32 (X, Y, Z).
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    velocities: Tensor
    ids: Tensor

    def __len__(self) -> int:
        return len(self.boxes)


def instance_boxes(
    occ: Tensor,  # (X, Y, Z)
    offsets: Tensor | None,  # (6, x, y, z)
    grid: VoxelGrid,
    classes: Sequence[int],
    flow: Tensor | None = None,  # (X, Y, Z, 2)
) -> InstanceBoxes:
    """Find the objects in a volume by voting and 3D NMS.

    VoxDet (NeurIPS 2025) regresses how far the run of a class reaches
    from a voxel in six directions, equation 4: an axis-aligned box. Here
    every voxel of the ``classes`` votes with the box of its nearest cell,
    as far as the run of its class in ``occ`` goes: an offset beyond it
    contradicts the classes, and is the one of both that is wrong more
    often (docs/methods/voxdet.md).

    1. A vote's support is the sum of squared IoUs with the votes of the
       voxels of its class in it.
    2. The vote with the largest support opens an instance; its box is
       that vote. Voxels of the class in it join, then those that touch
       members, as long as at least half of their own vote lies in
       the box, one voxel wider, which grows with every member. So the ends
       of a rotated car join, whose votes are short chords, and voxels
       beyond a place where two cars touch do not. Voxels that joined no
       longer count; the next vote opens the next instance.
    3. A rotated rectangle with the first and second moments of the
       instance's columns is its footprint. A hull would be as long as its
       farthest voxels. Height comes from the votes, by their mean in
       each column.

    Args:
        occ (Tensor): class ids.
        offsets (Tensor, optional): metres in the directions x+ x- y+ y-
            z+ z- at every s-th voxel; the first voxel outside is so far
            from the cell's. They shorten runs of classes, where two
            objects touch; a voxel whose cell has another class, or that
            has none, votes with the run alone.
        grid (VoxelGrid): where the voxels of ``occ`` are.
        classes (sequence): ids of the classes that have instances.
        flow (Tensor, optional): m/s. An instance has the mean of its
            voxels' velocity, and heads in its direction if it moves.

    Returns:
        InstanceBoxes: on the device of ``occ``; computed on the CPU.

    Raises:
        ValueError: when shapes disagree.
    """
    from .numba_boxes import grow, support

    same_shape('instance_boxes occ', occ.shape, grid.shape)
    if flow is not None:
        same_shape('instance_boxes flow', flow.shape, (*occ.shape, 2))
    labels = occ.detach().cpu().long().contiguous()
    wanted = torch.isin(labels, torch.tensor(list(classes)))
    index = wanted.nonzero().numpy()  # (N, 3)
    label = labels[wanted].numpy()
    low, high = _votes(labels, offsets, grid, index)
    number = np.full(grid.shape, -1, np.int64)
    number[tuple(index.T)] = np.arange(len(index))
    votes = support(number, label, low, high)
    order = np.argsort(-votes, kind='stable')
    instance = grow(number, index, label, low, high, order, _touching(grid))
    counts = np.bincount(instance)
    largest = np.argsort(-counts, kind='stable')[:MAX_BOXES]
    rank = np.zeros(len(counts), np.int64)
    rank[largest] = np.arange(1, len(largest) + 1)
    member = rank[instance]
    speeds = None if flow is None else flow.detach().cpu()[wanted].numpy()
    order = np.argsort(member, kind='stable')
    ends = np.searchsorted(member[order], np.arange(len(largest) + 2))
    found = [
        _fit(index[own], low[own], high[own], grid, speeds, own)
        for own in (order[a:b] for a, b in zip(ends[1:], ends[2:]))
    ]
    ids = np.zeros(grid.shape, np.int32)
    ids[tuple(index.T)] = member
    first = order[ends[1:-1]]
    rows = np.array(found, np.float32).reshape(-1, 10)

    def back(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(occ.device)

    return InstanceBoxes(
        boxes=back(rows[:, :7]),
        labels=back(label[first]),
        scores=back(rows[:, 7]),
        velocities=back(rows[:, 8:]),
        ids=back(ids),
    )


def predicted_boxes(
    sample: OccDataSample, grid: VoxelGrid, classes: Sequence[int]
) -> InstanceBoxes:
    """``instance_boxes`` of a sample's prediction, whatever it holds.

    Args:
        sample: with ``pred_occ``, and perhaps ``pred_offsets`` and
            ``pred_flow``.
        grid: where its voxels are.
        classes: ids of the classes that have instances.
    """
    return instance_boxes(
        sample.pred_occ,
        sample.get('pred_offsets'),
        grid,
        classes,
        sample.get('pred_flow'),
    )


def _touching(grid: VoxelGrid) -> np.ndarray:
    """Whether neighbours (dx, dy, dz) + 1 touch, bool (3, 3, 3)."""
    steps = np.moveaxis(np.mgrid[-1:2, -1:2, -1:2], 0, -1)
    faces = np.abs(steps).sum(axis=-1) == 1
    gaps = np.linalg.norm(steps * grid.size, axis=-1)
    return faces | ((gaps > 0) & (gaps <= _TOUCH))


def _votes(
    labels: Tensor,  # (X, Y, Z)
    offsets: Tensor | None,  # (6, x, y, z)
    grid: VoxelGrid,
    index: np.ndarray,  # (N, 3)
) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corners of the votes, (N, 3) each.

    In voxels: the faces of voxel i are at i - 0.5 and i + 0.5.
    """
    runs = run_lengths(labels).numpy()
    reach = runs[(slice(None), *index.T)].T  # (N, 6)
    low = index - reach[:, 1::2] + 0.5
    high = index + reach[:, 0::2] - 0.5
    if offsets is not None:
        stride = grid.shape[0] // max(offsets.shape[1], 1)
        cells = grid.strided(max(stride, 1)).shape
        same_shape('instance_boxes offsets', offsets.shape, (6, *cells))
        nearest = (index + stride // 2) // stride
        nearest = np.minimum(nearest, np.array(cells) - 1)
        voxel = nearest * stride
        at = labels.numpy()
        same = (at[tuple(voxel.T)] == at[tuple(index.T)])[:, None]
        metres = offsets.detach().cpu().double().numpy()
        told = metres[(slice(None), *nearest.T)].T / np.repeat(grid.size, 2)
        low_told = voxel - told[:, 1::2] + 0.5
        high_told = voxel + told[:, 0::2] - 0.5
        low = np.where(same, np.maximum(low, low_told), low)
        high = np.where(same, np.minimum(high, high_told), high)
    # a vote holds at least the voxel that casts it
    low = np.minimum(low, index - 0.5)
    high = np.maximum(high, index + 0.5)
    shape = np.array(grid.shape)
    return np.maximum(low, -0.5), np.minimum(high, shape - 0.5)


def _fit(
    index: np.ndarray,  # (n, 3)
    low: np.ndarray,  # (n, 3)
    high: np.ndarray,  # (n, 3)
    grid: VoxelGrid,
    speeds: np.ndarray | None,  # (N, 2)
    own: np.ndarray,  # (n,)
) -> list[float]:
    """Box, score and velocity of an instance of n voxels, 10 numbers."""
    size, corner = np.array(grid.size), np.array(grid.min)
    velocity = np.zeros(2) if speeds is None else speeds[own].mean(axis=0)
    columns, column = np.unique(index[:, :2], axis=0, return_inverse=True)
    column = column.reshape(-1)  # numpy 2.0 keeps an axis
    points = (columns + 0.5) * size[:2] + corner[:2]  # (K, 2)
    center = points.mean(axis=0)
    spread = (points - center).T @ (points - center) / len(points)
    # a column is no point, but spread over its voxel
    spread += np.diag(size[:2] ** 2 / 12)
    values, axes = np.linalg.eigh(spread)
    heading = axes[:, 1]
    if np.hypot(*velocity) > _MOVING:
        if values[1] < _ROUND**2 * values[0]:
            heading = velocity / np.hypot(*velocity)
        elif heading @ velocity < 0:
            heading = -heading
    aside = np.array([-heading[1], heading[0]])
    # the variance of a rectangle is a twelfth of its squared side
    length, width = (
        np.sqrt(12 * axis @ spread @ axis) for axis in (heading, aside)
    )
    bottoms, tops = (
        np.bincount(column, weights=faces) / np.bincount(column)
        for faces in (low[:, 2], high[:, 2])
    )
    bottom, top = bottoms.min(), tops.max()
    bottom, top = (corner[2] + size[2] * (z + 0.5) for z in (bottom, top))
    filled = len(index) * size.prod() / (length * width * (top - bottom))
    score = min(filled, 1.0) * len(index) / (len(index) + _DOUBT)
    yaw = np.arctan2(heading[1], heading[0])
    box = [*center, (bottom + top) / 2, length, width, top - bottom, yaw]
    return [*box, score, *velocity]
