"""Boxes of single objects from classes and offsets of voxels.

Shape letters: X Y Z voxels, s stride, x y z every s-th of them, N voxels
of movable classes, M boxes, K columns of voxels, n voxels of an instance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from occsplat.structures import LabelSpec, VoxelGrid, same_shape

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
        scores: share of the box that its voxels fill, at most 1, less for
            few voxels (half of it for 4), float32 (M,) in 0..1.
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
    sizes: Sequence[Sequence[float]] = (),
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
    4. With ``sizes``, a footprint that is as long or as wide as several
       objects of its class are several, in equal parts along its axes,
       and every box has the size of its class. A predicted volume runs a
       row of cars into one and shows the near side of others alone
       (docs/metrics.md has what either does to recall).

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
        sizes (sequence): typical length, width and height in metres of
            an object of each of the ``classes``, as a LabelSpec has them.
            Without them boxes are as large as what the volume shows.

    Returns:
        InstanceBoxes: on the device of ``occ``; computed on the CPU.

    Raises:
        ValueError: when shapes disagree, or there are not as many
            ``sizes`` as ``classes``.
    """
    from .numba_boxes import grow, support

    same_shape('instance_boxes occ', occ.shape, grid.shape)
    if flow is not None:
        same_shape('instance_boxes flow', flow.shape, (*occ.shape, 2))
    if sizes:
        same_shape('instance_boxes sizes', np.shape(sizes), (len(classes), 3))
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
    typical = dict(zip(classes, np.array(sizes)))
    if typical:
        instance = _parted(instance, index, label, typical, grid)
    counts = np.bincount(instance)
    largest = np.argsort(-counts, kind='stable')[:MAX_BOXES]
    rank = np.zeros(len(counts), np.int64)
    rank[largest] = np.arange(1, len(largest) + 1)
    member = rank[instance]
    speeds = None if flow is None else flow.detach().cpu()[wanted].numpy()
    order = np.argsort(member, kind='stable')
    ends = np.searchsorted(member[order], np.arange(len(largest) + 2))
    found = [
        _fit(
            index[own], low[own], high[own], grid,
            None if speeds is None else speeds[own],
            typical.get(label[own[0]]),
        )
        for own in (order[a:b] for a, b in zip(ends[1:], ends[2:]))
    ]  # fmt: skip
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
    sample: OccDataSample, grid: VoxelGrid, spec: LabelSpec
) -> InstanceBoxes:
    """``instance_boxes`` of a sample's prediction, whatever it holds.

    Args:
        sample: with ``pred_occ``, and perhaps ``pred_offsets`` and
            ``pred_flow``.
        grid: where its voxels are.
        spec: says which classes have instances, and how large they are.
    """
    return instance_boxes(
        sample.pred_occ,
        sample.get('pred_offsets'),
        grid,
        spec.movable,
        sample.get('pred_flow'),
        spec.sizes,
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


def _parted(
    instance: np.ndarray,  # (N,)
    index: np.ndarray,  # (N, 3)
    label: np.ndarray,  # (N,)
    typical: Mapping[int, np.ndarray],
    grid: VoxelGrid,
) -> np.ndarray:
    """Instances of one object each, (N,), from those that may be several.

    Voxels at its borders are filled in part: an object counts as half a
    voxel longer and wider than it is.
    """
    corner, size = np.array(grid.min[:2]), np.array(grid.size[:2])
    part = np.zeros(len(instance), np.int64)
    order = np.argsort(instance, kind='stable')
    ends = np.cumsum(np.bincount(instance))
    for own in np.split(order, ends)[:-1]:
        center, spread, _ = _moments(index[own], grid)
        values, axes = np.linalg.eigh(spread)
        sides = np.sqrt(12 * values)  # the short one first
        span = typical[label[own[0]]][1::-1] + size.mean() / 2
        number = np.maximum(np.rint(sides / span), 1).astype(np.int64)
        if number.prod() > 1:
            points = (index[own, :2] + 0.5) * size + corner - center
            place = (points @ axes / sides + 0.5) * number
            place = np.clip(place.astype(np.int64), 0, number - 1)
            part[own] = place @ [number[1], 1]
    pairs = np.stack([instance, part], axis=1)
    parted = np.unique(pairs, axis=0, return_inverse=True)[1]
    return parted.reshape(-1)  # numpy 2.0 keeps an axis


def _moments(
    index: np.ndarray,  # (n, 3)
    grid: VoxelGrid,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (2,) and covariance (2, 2) of an instance's columns.

    In metres and square metres; the third is the column of each voxel.
    """
    corner, size = np.array(grid.min[:2]), np.array(grid.size[:2])
    columns, column = np.unique(index[:, :2], axis=0, return_inverse=True)
    points = (columns + 0.5) * size + corner  # (K, 2)
    center = points.mean(axis=0)
    spread = (points - center).T @ (points - center) / len(points)
    # a column is no point, but spread over its voxel
    spread += np.diag(size**2 / 12)
    return center, spread, column.reshape(-1)  # numpy 2.0 keeps an axis


def _fit(
    index: np.ndarray,  # (n, 3)
    low: np.ndarray,  # (n, 3)
    high: np.ndarray,  # (n, 3)
    grid: VoxelGrid,
    speeds: np.ndarray | None,  # (n, 2)
    typical: np.ndarray | None,  # (3,)
) -> list[float]:
    """Box, score and velocity of an instance, 10 numbers."""
    velocity = np.zeros(2) if speeds is None else speeds.mean(axis=0)
    center, spread, column = _moments(index, grid)
    values, axes = np.linalg.eigh(spread)
    heading = axes[:, 1]
    if np.hypot(*velocity) > _MOVING:
        if values[1] < _ROUND**2 * values[0]:
            heading = velocity / np.hypot(*velocity)
        elif heading @ velocity < 0:
            heading = -heading
    bottoms, tops = (
        np.bincount(column, weights=faces) / np.bincount(column)
        for faces in (low[:, 2], high[:, 2])
    )
    bottom, top = (
        grid.min[2] + grid.size[2] * (z + 0.5)
        for z in (bottoms.min(), tops.max())
    )
    if typical is None:
        aside = np.array([-heading[1], heading[0]])
        # the variance of a rectangle is a twelfth of its squared side
        length, width = (
            np.sqrt(12 * axis @ spread @ axis) for axis in (heading, aside)
        )
        height = top - bottom
    else:
        length, width, height = typical
    filled = len(index) * np.prod(grid.size) / (length * width * height)
    score = min(filled, 1.0) * len(index) / (len(index) + _DOUBT)
    yaw = np.arctan2(heading[1], heading[0])
    box = [*center, (bottom + top) / 2, length, width, height, yaw]
    return [*box, score, *velocity]
