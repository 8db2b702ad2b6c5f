"""RayPQ as pure arithmetic: classes, depths and things, ray by ray.

Shape letters: R rays, S thresholds, K classes, X Y Z voxels, J boxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from occsplat.structures import LabelSpec, VoxelGrid, same_shape

from .counts import Counts, Zeros, mean_of_defined, of_classes, ratio
from .ray_counts import THRESHOLDS, all_rays, ray_ends

#: rays that a segment has to have, or it is neither missed nor invented
MIN_RAYS = 10
#: IoU above which two segments are one: no third can match either
MATCH = 0.5

ByThreshold = Annotated[np.ndarray, Zeros((len(THRESHOLDS), None))]
SumByThreshold = Annotated[
    np.ndarray, Zeros((len(THRESHOLDS), None), np.float64)
]


@dataclass
class PanopticCounts(Counts):
    """All that RayPQ needs to know of any number of frames.

    Attributes:
        frames: number of frames.
        rays: rays whose truth is not free.
        iou: summed IoU of matched segments, (S, K).
        matched: pairs of segments, (S, K).
        invented: predicted segments without a partner, (S, K).
        missed: true segments without a partner, (S, K).
    """

    frames: int
    rays: int
    iou: SumByThreshold
    matched: ByThreshold
    invented: ByThreshold
    missed: ByThreshold

    def quality(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """PQ, SQ and RQ by threshold and class, (S, K); nan if absent."""
        wrong = 0.5 * (self.invented + self.missed)
        recognised = ratio(self.matched, self.matched + wrong)
        panoptic = ratio(self.iou, self.matched + wrong)
        return panoptic, ratio(self.iou, self.matched), recognised

    def summary(self, spec: LabelSpec) -> dict[str, float]:
        """The flat dictionary of metrics, fractions of one.

        Args:
            spec (LabelSpec): names of the classes.

        Returns:
            dict: RayPQ, RaySQ and RayRQ, means over the occupied classes
            and the thresholds; ``RayPQ@<metres>``; RayPQ_things and
            RayPQ_stuff, of movable classes and of all others; and
            ``RayPQ_<class>``.
        """
        panoptic, segmented, recognised = self.quality()
        stuff = [i for i in spec.occupied if i not in spec.movable]
        out = {}
        for key, table in (
            ('RayPQ', panoptic),
            ('RaySQ', segmented),
            ('RayRQ', recognised),
        ):
            out[key] = mean_of_defined(table[:, list(spec.occupied)])
        for metres, row in zip(THRESHOLDS, panoptic):
            out[f'RayPQ@{metres}'] = mean_of_defined(row[list(spec.occupied)])
        out['RayPQ_things'] = mean_of_defined(panoptic[:, list(spec.movable)])
        out['RayPQ_stuff'] = mean_of_defined(panoptic[:, stuff])
        by_class = np.array([mean_of_defined(column) for column in panoptic.T])
        out.update(of_classes('RayPQ', by_class, spec, spec.occupied))
        return out


def count_panoptic(
    pred_occ: Tensor,  # (X, Y, Z)
    pred_ids: Tensor,  # (X, Y, Z)
    gt_occ: Tensor,  # (X, Y, Z)
    gt_ids: Tensor,  # (X, Y, Z)
    origins: Tensor,  # (T, 3)
    directions: Tensor,  # (D, 3)
    spec: LabelSpec,
    grid: VoxelGrid,
) -> PanopticCounts:
    """Match the segments of two volumes by what rays see of them.

    SparseOcc's RayPQ (Liu et al., ECCV 2024). A segment is what the rays
    see of one thing, or of all of a class of stuff. Of two segments of one
    class the rays in both whose distances differ by less than the threshold
    are the intersection; the pair matches where IoU is above a half. As in
    RayIoU only rays count that hit something in the truth.

    Args:
        pred_occ, gt_occ (Tensor): class ids.
        pred_ids, gt_ids (Tensor): things, from 1 on, 0 for none; read in
            voxels of movable classes.
        origins (Tensor): metres in the reference frame.
        directions (Tensor): see :func:`lidar_rays`.
        spec (LabelSpec): meaning of the ids.
        grid (VoxelGrid): where the voxels are.

    Returns:
        PanopticCounts: of this one frame.

    Raises:
        ValueError: when shapes disagree or an id is not in the label spec.
    """
    starts, rays = all_rays(origins, directions)
    truth, true_distance = _segments(
        'gt', gt_occ, gt_ids, starts, rays, spec, grid
    )
    hit = truth[:, 0] != spec.free
    truth, true_distance = truth[hit], true_distance[hit]
    guess, distance = _segments(
        'pred', pred_occ, pred_ids, starts[hit], rays[hit], spec, grid
    )
    counts = PanopticCounts.zeros(spec.num_classes)
    counts.frames, counts.rays = 1, len(truth)
    offset = (distance - true_distance).abs().numpy()
    for k in spec.occupied:
        mine, theirs = guess[:, 0] == k, truth[:, 0] == k
        for s, metres in enumerate(THRESHOLDS):
            _match(
                counts,
                (s, k),
                torch.where(mine, guess[:, 1], -1).numpy(),
                torch.where(theirs, truth[:, 1], -1).numpy(),
                offset < metres,
            )
    return counts


def _match(
    counts: PanopticCounts,
    place: tuple[int, int],
    guess: np.ndarray,
    truth: np.ndarray,
    near: np.ndarray,
) -> None:
    """Add the segments of a class at a threshold.

    Args:
        counts: added to.
        place: threshold and class.
        guess, truth: segment of each ray, -1 for rays of other classes,
            (R,).
        near: rays whose distances agree, (R,).
    """
    areas = [
        dict(zip(*np.unique(part[part >= 0], return_counts=True)))
        for part in (guess, truth)
    ]
    both = near & (guess >= 0) & (truth >= 0)
    pairs, shared = np.unique(
        np.stack([guess[both], truth[both]]), axis=1, return_counts=True
    )
    used: list[set[int]] = [set(), set()]
    for mine, theirs, inside in zip(*pairs, shared):
        union = areas[0][mine] + areas[1][theirs] - inside
        if inside > MATCH * union:
            counts.iou[place] += inside / union
            counts.matched[place] += 1
            used[0].add(mine)
            used[1].add(theirs)
    for total, area, taken in zip(
        (counts.invented, counts.missed), areas, used
    ):
        total[place] += sum(
            n >= MIN_RAYS for k, n in area.items() if k not in taken
        )


def _segments(
    name: str,
    occ: Tensor,  # (X, Y, Z)
    ids: Tensor,  # (X, Y, Z)
    starts: Tensor,  # (R, 3)
    rays: Tensor,  # (R, 3)
    spec: LabelSpec,
    grid: VoxelGrid,
) -> tuple[Tensor, Tensor]:
    """Class and thing at the end of each ray, (R, 2), and metres (R,)."""
    same_shape(f'{name}_ids', ids.shape, grid.shape)
    index, label, distance, _ = ray_ends(name, occ, starts, rays, spec, grid)
    moves = torch.isin(label, torch.tensor(spec.movable))
    thing = torch.where(moves, ids.cpu()[tuple(index.T)].long(), 0)
    return torch.stack([label, thing], dim=1), distance


def things_in_boxes(
    occ: Tensor,  # (X, Y, Z)
    boxes: Tensor,  # (J, 7)
    labels: Tensor,  # (J,)
    spec: LabelSpec,
    grid: VoxelGrid,
) -> Tensor:
    """Things of a label volume: what is in annotated boxes, and the rest.

    Voxels of a movable class whose centres are in a box of it, widened by
    half a voxel, are that thing (the smallest box, where several hold one).
    Of what is in no box each connected part is a thing of its own.

    Args:
        occ (Tensor): class ids.
        boxes (Tensor): x y z of the centre, length, width, height in
            metres, and yaw.
        labels (Tensor): their class ids.
        spec (LabelSpec): meaning of the ids.
        grid (VoxelGrid): where the voxels are.

    Returns:
        Tensor: 1 + number of the thing, 0 for none, int64 (X, Y, Z).
    """
    occ = occ.cpu()
    ids = torch.zeros(occ.shape, dtype=torch.int64)
    moves = torch.isin(occ, torch.tensor(spec.movable, dtype=occ.dtype))
    index = moves.nonzero()
    points = grid.centers(dtype=torch.float64)[moves]
    label = occ[moves].long()
    found = torch.zeros(len(index), dtype=torch.int64)
    boxes = boxes.cpu().double()
    margin = torch.tensor(grid.size, dtype=torch.float64) / 2
    volume = boxes[:, 3:6].prod(dim=1)
    for j in volume.argsort(descending=True).tolist():
        cos, sin = boxes[j, 6].cos(), boxes[j, 6].sin()
        along = points - boxes[j, :3]
        x = along[:, 0] * cos + along[:, 1] * sin
        y = along[:, 1] * cos - along[:, 0] * sin
        local = torch.stack([x, y, along[:, 2]], dim=1).abs()
        inside = (local <= boxes[j, 3:6] / 2 + margin).all(dim=1)
        found[inside & (label == int(labels[j]))] = j + 1
    ids[tuple(index.T)] = found
    number = len(boxes)
    volume_of, named = occ.numpy(), ids.numpy()
    for k in spec.movable:
        rest = (volume_of == k) & (named == 0)
        parts, count = ndimage.label(rest, np.ones((3, 3, 3)))
        named[rest] = parts[rest] + number
        number += count
    return ids
