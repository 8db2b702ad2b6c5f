"""RayIoU and mAVE as pure arithmetic.

Shape letters: R rays, S thresholds, K classes, X Y Z voxels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from occsplat.ops import cast_rays
from occsplat.structures import LabelSpec, VoxelGrid, same_shape

from .count_metric import mean_of_defined, ratio

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
class RayCounts:
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
    truth: np.ndarray
    predicted: np.ndarray
    matched: np.ndarray
    matched_error: np.ndarray
    frame_error: np.ndarray
    frame_rays: np.ndarray

    @classmethod
    def zeros(cls, num_classes: int) -> RayCounts:
        """Counts of no frame at all."""
        ints = [np.zeros(num_classes, np.int64) for _ in range(3)]
        matched = np.zeros((len(THRESHOLDS), num_classes), np.int64)
        return cls(
            frames=0,
            rays=0,
            truth=ints[0],
            predicted=ints[1],
            matched=matched,
            matched_error=np.zeros(num_classes),
            frame_error=np.zeros(num_classes),
            frame_rays=ints[2],
        )

    def __add__(self, other: RayCounts) -> RayCounts:
        names = [field.name for field in fields(self)]
        return RayCounts(
            **{n: getattr(self, n) + getattr(other, n) for n in names}
        )

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
        tables = {'RayIoU': [mean_of_defined(column) for column in iou.T]}
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
            for i in ids[name]:
                out[f'{name}_{spec.classes[i]}'] = float(row[i])
        return out


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

    Rays that hit nothing in the truth are dropped. Voxels with the ignore
    id are not occupied: a ray passes through them. A predicted ray that
    hits nothing is 'free', matches nothing, and has no flow.

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
        RayCounts: of this one frame.

    Raises:
        ValueError: when shapes disagree, an id is not in the label spec,
            or only one of the two flows is given.
    """
    if (pred_flow is None) != (gt_flow is None):
        raise ValueError('count_rays expects both flows or none of them')
    starts = origins.double().repeat_interleave(len(directions), dim=0)
    rays = directions.double().repeat(len(origins), 1)
    gt_index, gt_distance, gt_label = _first_surface(
        'gt_occ', gt_occ, starts, rays, spec, grid
    )
    kept = gt_label != spec.free
    gt_index, gt_distance, gt_label = (
        value[kept] for value in (gt_index, gt_distance, gt_label)
    )
    index, distance, label = _first_surface(
        'pred_occ', pred_occ, starts[kept], rays[kept], spec, grid
    )
    same, offset = label == gt_label, (distance - gt_distance).abs()
    matches = [same & (offset < metres) for metres in THRESHOLDS]

    def count(values: Tensor, weights: Tensor | None = None) -> np.ndarray:
        return torch.bincount(values, weights, spec.num_classes).numpy()

    counts = RayCounts.zeros(spec.num_classes)
    counts.frames, counts.rays = 1, len(gt_label)
    counts.truth, counts.predicted = count(gt_label), count(label)
    counts.matched = np.stack([count(gt_label[m]) for m in matches])
    if pred_flow is not None and gt_flow is not None:
        moved = _read_flow('pred_flow', pred_flow, index, grid)
        moved[label == spec.free] = 0
        error = (moved - _read_flow('gt_flow', gt_flow, gt_index, grid)).norm(
            dim=-1
        )
        near = THRESHOLDS.index(FLOW_THRESHOLD)
        counts.matched_error = count(
            gt_label[matches[near]], error[matches[near]]
        )
        seen = counts.matched[near] > 0
        counts.frame_error = seen * float(error.sum())
        counts.frame_rays = seen.astype(np.int64) * counts.rays
    return counts


def _first_surface(
    name: str,
    occ: Tensor,  # (X, Y, Z)
    starts: Tensor,  # (R, 3)
    rays: Tensor,  # (R, 3)
    spec: LabelSpec,
    grid: VoxelGrid,
) -> tuple[Tensor, Tensor, Tensor]:
    """Index (R, 3), distance (R,) and class (R,) where each ray ends."""
    same_shape(name, occ.shape, grid.shape)
    occ = occ.cpu()
    occupied = (occ != spec.free) & (occ != spec.ignore)
    index, distance, hit = cast_rays(occupied, starts, rays, grid)
    label = occ[tuple(index.T)].long()
    label[~hit] = spec.free
    if label.numel() and int(label.max()) >= spec.num_classes:
        raise ValueError(
            f'{name} holds class id {int(label.max())}, label spec '
            f'{spec.name} has ids 0 to {spec.num_classes - 1}'
        )
    return index, distance, label


def _read_flow(
    name: str, flow: Tensor, index: Tensor, grid: VoxelGrid
) -> Tensor:
    """Flow (R, 2) at voxels (R, 3); leaves the volume on its device."""
    same_shape(name, flow.shape, (*grid.shape, 2))
    return flow[tuple(index.to(flow.device).T)].double().cpu()
