"""RayIoU and mAVE as pure arithmetic.

Shape letters: R rays, S thresholds, K classes, X Y Z voxels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from occsplat.ops import cast_rays
from occsplat.structures import LabelSpec, VoxelGrid, same_shape

from .counts import (
    Counts,
    NumberByClass,
    SumByClass,
    Zeros,
    mean_of_defined,
    of_classes,
    ratio,
)
from .fields import check_finite, check_ids

#: how far the prediction may lie off along the ray, in metres
THRESHOLDS = (1, 2, 4)
#: the one of them at which a ray counts as a hit for the flow error
FLOW_THRESHOLD = 2


def lidar_rays() -> Tensor:
    """Directions of the RayIoU rays, shape (14040, 3), float64.

    39 pitches by 360 azimuths of one degree, pitch-major. Ten pitches look
    down at ground one to ten sensor heights away, ``-atan(1 / k)`` from
    -45 to -5.71 degrees; then the last spacing continues upwards until it
    passes 0.21 rad (12 degrees). The set of SparseOcc, ECCV 2024.
    """
    pitches = [-math.atan(1 / k) for k in range(1, 11)]
    spacing = pitches[-1] - pitches[-2]
    while pitches[-1] < 0.21:
        pitches.append(pitches[-1] + spacing)
    pitch = torch.tensor(pitches, dtype=torch.float64)[:, None]
    azimuth = torch.deg2rad(torch.arange(360, dtype=torch.float64))
    x = torch.cos(pitch) * torch.cos(azimuth)
    y = torch.cos(pitch) * torch.sin(azimuth)
    z = torch.sin(pitch).expand_as(x)
    return torch.stack([x, y, z], dim=-1).reshape(-1, 3)


@dataclass
class RayCounts(Counts):
    """All that RayIoU and mAVE need to know of any number of frames.

    Counts of several frames add up with ``+``; ratios are taken once, at
    the end, over the whole set.

    Attributes:
        frames: number of frames.
        rays: rays whose truth is not free.
        truth: rays by true class, (K,).
        predicted: the same rays by predicted class, (K,).
        matched: rays with the right class within each threshold, (S, K).
        matched_error: summed flow error in m/s of the rays matched within
            2 m, (K,).
        frame_error: summed flow error of all rays of the frames in which
            the class has at least one match within 2 m, (K,).
        frame_rays: number of those rays, (K,).
    """

    frames: int
    rays: int
    truth: NumberByClass
    predicted: NumberByClass
    matched: Annotated[np.ndarray, Zeros((len(THRESHOLDS), None))]
    matched_error: SumByClass
    frame_error: SumByClass
    frame_rays: NumberByClass

    def iou(self) -> np.ndarray:
        """IoU by threshold and class, (S, K); nan for absent classes."""
        union = self.truth + self.predicted - self.matched
        return ratio(self.matched, union)

    def ave(self) -> np.ndarray:
        """Flow error in m/s by class over all rays of hit frames, (K,)."""
        return ratio(self.frame_error, self.frame_rays)

    def ave_tp(self) -> np.ndarray:
        """Flow error in m/s by class over matched rays alone, (K,)."""
        hits = self.matched[THRESHOLDS.index(FLOW_THRESHOLD)]
        return ratio(self.matched_error, hits)

    def summary(self, spec: LabelSpec, flow: bool) -> dict[str, float]:
        """The flat dictionary of metrics.

        Args:
            spec (LabelSpec): names of the classes.
            flow (bool): whether flow was scored; adds mAVE, mAVE_TP and
                OccScore.

        Returns:
            dict: IoUs are fractions of one, flow errors are m/s. A class
            without a single ray in truth and prediction is nan and does
            not enter means; neither does a class without a hit enter mAVE.
        """
        iou = self.iou()
        by_class = np.array([mean_of_defined(column) for column in iou.T])
        tables = {'RayIoU': by_class}
        out = {'RayIoU': mean_of_defined(iou[:, list(spec.occupied)])}
        for row, metres in zip(iou, THRESHOLDS):
            tables[f'RayIoU@{metres}'] = row
            out[f'RayIoU@{metres}'] = mean_of_defined(row[list(spec.occupied)])
        ids = {name: spec.occupied for name in tables}
        if flow:
            for name, row in dict(
                mAVE=self.ave(), mAVE_TP=self.ave_tp()
            ).items():
                tables[name], ids[name] = row, spec.movable
                out[name] = mean_of_defined(row[list(spec.movable)])
            # no moving object was ever hit: nothing earned for flow
            missed = math.isnan(out['mAVE'])
            earned = 0.0 if missed else max(1.0 - out['mAVE'], 0.0)
            out['OccScore'] = 0.9 * out['RayIoU'] + 0.1 * earned
        for name, row in tables.items():
            out.update(of_classes(name, row, spec, ids[name]))
        return out


@dataclass
class FrameRays:
    """What the rays of one key frame see.

    Attributes:
        label (Tensor): class at the end of each ray, int64 (R,); the free
            id where it hits nothing.
        distance (Tensor): metres to where it leaves the voxel in which it
            ends, float64 (R,).
        flow (Tensor | None): m/s at that voxel, float64 (R, 2), zero where
            the ray hits nothing.
    """

    label: Tensor
    distance: Tensor
    flow: Tensor | None = None

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, kept: Tensor) -> FrameRays:
        """The rays that a mask (R,) keeps."""
        flow = None if self.flow is None else self.flow[kept]
        return FrameRays(self.label[kept], self.distance[kept], flow)


def cast_frame(
    name: str,
    occ: Tensor,  # (X, Y, Z)
    origins: Tensor,  # (T, 3)
    directions: Tensor,  # (D, 3)
    spec: LabelSpec,
    grid: VoxelGrid,
    flow: Tensor | None = None,  # (X, Y, Z, 2)
) -> FrameRays:
    """Cast every direction from every origin through one volume.

    Voxels with the ignore id are not occupied: a ray passes through them.

    Args:
        name (str): what errors call the volume, such as 'pred'.
        occ (Tensor): class ids.
        origins (Tensor): metres in the reference frame.
        directions (Tensor): see :func:`lidar_rays`.
        spec (LabelSpec): meaning of the ids.
        grid (VoxelGrid): where the voxels are.
        flow (Tensor, optional): m/s; may stay on another device.

    Returns:
        FrameRays: R = T * D of them, origin by origin.

    Raises:
        ValueError: when shapes disagree or an id is not in the label spec.
    """
    starts, rays = all_rays(origins, directions)
    return _cast(name, occ, starts, rays, spec, grid, flow)


def count_rays(
    pred_occ: Tensor,  # (X, Y, Z)
    gt_occ: Tensor,  # (X, Y, Z)
    origins: Tensor,  # (T, 3)
    directions: Tensor,  # (R, 3)
    spec: LabelSpec,
    grid: VoxelGrid,
    pred_flow: Tensor | None = None,  # (X, Y, Z, 2)
    gt_flow: Tensor | None = None,  # (X, Y, Z, 2)
) -> RayCounts:
    """Cast every direction from every origin through truth and prediction.

    Args:
        pred_occ (Tensor): predicted class ids.
        gt_occ (Tensor): true class ids.
        origins (Tensor): metres in the reference frame.
        directions (Tensor): see :func:`lidar_rays`.
        spec (LabelSpec): meaning of the ids.
        grid (VoxelGrid): where the voxels are.
        pred_flow (Tensor, optional): m/s; leave both flows out to score
            geometry and classes alone.
        gt_flow (Tensor, optional): m/s.

    Returns:
        RayCounts: of this one frame, see :func:`compare_rays`.

    Raises:
        ValueError: when shapes disagree, an id is not in the label spec,
            or only one of the two flows is given.
    """
    if (pred_flow is None) != (gt_flow is None):
        raise ValueError('count_rays expects both flows or none of them')
    truth = true_rays(gt_occ, origins, directions, spec, grid, gt_flow)
    return count_against(truth, pred_occ, spec, grid, pred_flow)


@dataclass
class TrueRays:
    """The rays of a key frame that hit something in the truth.

    The others do not count, whatever is predicted: no need to cast them.

    Attributes:
        starts: metres in the reference frame, float64 (R, 3).
        directions: float64 (R, 3).
        seen: what they see of the truth.
    """

    starts: Tensor
    directions: Tensor
    seen: FrameRays


def true_rays(
    gt_occ: Tensor,  # (X, Y, Z)
    origins: Tensor,  # (T, 3)
    directions: Tensor,  # (D, 3)
    spec: LabelSpec,
    grid: VoxelGrid,
    gt_flow: Tensor | None = None,  # (X, Y, Z, 2)
) -> TrueRays:
    """The first half of ``count_rays``, which no prediction changes."""
    starts, rays = all_rays(origins, directions)
    truth = _cast('gt', gt_occ, starts, rays, spec, grid, gt_flow)
    kept = truth.label != spec.free
    return TrueRays(starts[kept], rays[kept], truth[kept])


def count_against(
    truth: TrueRays,
    pred_occ: Tensor,  # (X, Y, Z)
    spec: LabelSpec,
    grid: VoxelGrid,
    pred_flow: Tensor | None = None,  # (X, Y, Z, 2)
) -> RayCounts:
    """The second half of ``count_rays``."""
    rays = truth.starts, truth.directions
    pred = _cast('pred', pred_occ, *rays, spec, grid, pred_flow)
    return compare_rays(pred, truth.seen, spec)


def compare_rays(
    pred: FrameRays, truth: FrameRays, spec: LabelSpec
) -> RayCounts:
    """Count agreement of what the same rays see in two volumes.

    Rays that hit nothing in the truth are dropped. A predicted ray that
    hits nothing is 'free' and matches nothing. Flow is scored when both
    have it.

    Args:
        pred (FrameRays): of the prediction.
        truth (FrameRays): of the labels, ray by ray.
        spec (LabelSpec): meaning of the ids.

    Returns:
        RayCounts: of this one frame.

    Raises:
        ValueError: when the numbers of rays differ, an id is not in the
            label spec, or a distance or a predicted flow is not finite.
            True flow may be nan, as labels have it.
    """
    if len(pred) != len(truth):
        raise ValueError(
            f'expected {len(truth)} predicted rays, as many as the truth '
            f'has, got {len(pred)}'
        )
    for name, rays in dict(pred=pred, truth=truth).items():
        same_shape(f'{name} distance', rays.distance.shape, (len(rays),))
        if rays.flow is not None:
            same_shape(f'{name} flow', rays.flow.shape, (len(rays), 2))
        check_ids(name, rays.label, spec)
        check_finite(f'{name} distance', rays.distance)
    if pred.flow is not None:
        check_finite('pred flow', pred.flow)
    kept = truth.label != spec.free
    pred, truth = pred[kept], truth[kept]
    offset = (pred.distance - truth.distance).abs()
    same = pred.label == truth.label
    matches = [same & (offset < metres) for metres in THRESHOLDS]

    def count(values: Tensor, weights: Tensor | None = None) -> np.ndarray:
        return torch.bincount(values, weights, spec.num_classes).numpy()

    counts = RayCounts.zeros(spec.num_classes)
    counts.frames, counts.rays = 1, len(truth)
    counts.truth, counts.predicted = count(truth.label), count(pred.label)
    counts.matched = np.stack([count(truth.label[m]) for m in matches])
    if pred.flow is not None and truth.flow is not None:
        error = (pred.flow - truth.flow).norm(dim=-1)
        near = THRESHOLDS.index(FLOW_THRESHOLD)
        counts.matched_error = count(
            truth.label[matches[near]], error[matches[near]]
        )
        seen = counts.matched[near] > 0
        counts.frame_error = seen * float(error.sum())
        counts.frame_rays = seen.astype(np.int64) * counts.rays
    return counts


def all_rays(origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Start and direction of every ray, float64 (T * D, 3)."""
    starts = origins.double().repeat_interleave(len(directions), dim=0)
    return starts, directions.double().repeat(len(origins), 1)


def ray_ends(
    name: str,
    occ: Tensor,  # (X, Y, Z)
    starts: Tensor,  # (R, 3)
    rays: Tensor,  # (R, 3)
    spec: LabelSpec,
    grid: VoxelGrid,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where single rays end in a volume.

    Returns:
        tuple: voxel (R, 3), class, free where nothing is hit, (R,), metres
        (R,), and whether anything is hit, bool (R,).

    Raises:
        ValueError: when shapes disagree or an id is not in the label spec.
    """
    same_shape(f'{name}_occ', occ.shape, grid.shape)
    occ = occ.cpu()
    index, distance, hit = cast_rays(spec.is_occupied(occ), starts, rays, grid)
    label = occ[tuple(index.T)].long()
    label[~hit] = spec.free
    check_ids(f'{name}_occ', label, spec)
    return index, label, distance, hit


def _cast(
    name: str,
    occ: Tensor,  # (X, Y, Z)
    starts: Tensor,  # (R, 3)
    rays: Tensor,  # (R, 3)
    spec: LabelSpec,
    grid: VoxelGrid,
    flow: Tensor | None,  # (X, Y, Z, 2)
) -> FrameRays:
    """What single rays see in a volume."""
    index, label, distance, hit = ray_ends(name, occ, starts, rays, spec, grid)
    if flow is not None:
        same_shape(f'{name}_flow', flow.shape, (*grid.shape, 2))
        flow = flow[tuple(index.to(flow.device).T)].double().cpu()
        flow[~hit] = 0
    return FrameRays(label, distance, flow)
