"""Occupied runs along rays, as pure arithmetic.

Shape letters: R rays, X Y Z voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from occsplat.ops import count_runs
from occsplat.structures import LabelSpec, VoxelGrid, same_shape

from .counts import Counts, ratio
from .fields import check_ids


@dataclass
class RunCounts(Counts):
    """All that the duplicate metric needs to know of any number of frames.

    Attributes:
        frames: number of frames.
        rays: number of rays.
        hits: rays that hit something in the prediction.
        runs: occupied runs of these rays.
        thickness: summed metres of their first runs.
        ghosts: those with a run behind the first that the truth knows
            nothing of.
        before: summed metres of all rays in voxels that are occupied in
            the prediction and free in the truth, before the ray's first
            surface in the truth; where it has none, all of them.
        behind: the same behind that surface.
        hits_gt: rays that hit something in the truth.
        runs_gt: occupied runs of these rays.
        thickness_gt: summed metres of their first runs.
    """

    frames: int = 0
    rays: int = 0
    hits: int = 0
    runs: int = 0
    thickness: float = 0.0
    ghosts: int = 0
    before: float = 0.0
    behind: float = 0.0
    hits_gt: int = 0
    runs_gt: int = 0
    thickness_gt: float = 0.0

    def summary(self) -> dict[str, float]:
        """The flat dictionary of metrics; nan where nothing is hit."""
        pairs = dict(
            FalseBehind=(self.behind, self.rays),
            FalseBefore=(self.before, self.rays),
            Runs=(self.runs, self.hits),
            Runs_gt=(self.runs_gt, self.hits_gt),
            GhostRate=(self.ghosts, self.hits),
            Thickness=(self.thickness, self.hits),
            Thickness_gt=(self.thickness_gt, self.hits_gt),
        )
        return {name: float(ratio(*pair)) for name, pair in pairs.items()}


def count_ray_runs(
    pred_occ: Tensor,  # (X, Y, Z)
    gt_occ: Tensor,  # (X, Y, Z)
    starts: Tensor,  # (R, 3)
    directions: Tensor,  # (R, 3)
    spec: LabelSpec,
    grid: VoxelGrid,
) -> RunCounts:
    """Count what the same rays run through in prediction and truth.

    Voxels with the ignore id are not occupied. Where the truth has it, it
    knows of no ghost and of nothing false.

    Args:
        pred_occ (Tensor): predicted class ids.
        gt_occ (Tensor): true class ids.
        starts (Tensor): metres in the reference frame.
        directions (Tensor): of any length but zero.
        spec (LabelSpec): meaning of the ids.
        grid (VoxelGrid): where the voxels are.

    Returns:
        RunCounts: of this one frame.

    Raises:
        ValueError: when shapes disagree or an id is not in the label spec.
    """
    volumes = dict(pred_occ=pred_occ.cpu(), gt_occ=gt_occ.cpu())
    solid = {}
    for name, occ in volumes.items():
        same_shape(name, occ.shape, grid.shape)
        check_ids(name, occ[occ != spec.ignore], spec)
        solid[name] = spec.is_occupied(occ)
    rays = starts, directions, grid
    truth = count_runs(solid['gt_occ'], *rays)
    unknown = volumes['gt_occ'] == spec.ignore
    pred = count_runs(solid['pred_occ'], *rays, solid['gt_occ'], unknown)
    return RunCounts(
        frames=1,
        rays=len(starts),
        hits=int((pred.runs > 0).sum()),
        runs=int(pred.runs.sum()),
        thickness=float(pred.thickness.sum()),
        ghosts=int((pred.ghosts > 0).sum()),
        before=float(pred.before.sum()),
        behind=float(pred.behind.sum()),
        hits_gt=int((truth.runs > 0).sum()),
        runs_gt=int(truth.runs.sum()),
        thickness_gt=float(truth.thickness.sum()),
    )
