"""VoxelSplat's loss as released: labels move along their own flow.

Shape letters: B batch, G Gaussians, K classes (free included), S semantic
classes (free excluded), X Y Z voxels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Iterator

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from occsplat.structures import (
    Gaussians,
    LabelSpec,
    LabelStatistics,
    OccBatch,
    OccPrediction,
    VoxelGrid,
)
from occsplat.structures.checks import Count, Positive, checked

from .render_state import (
    State,
    class_logits,
    seen_voxels,
)
from .voxel_sampling import MarginalBalance, draw_voxels


@MODELS.register_module()
class LabelMotion(nn.Module):
    """The released code's states: labels of the current frame alone.

    A Gaussian of fixed size sits at the centre of each drawn voxel, its
    opacity is the predicted probability that the voxel is not free. A
    second state moves the prediction along its flow and the labels along
    theirs. No parameters.

    Args:
        spec (LabelSpec): the label set.
        grid (VoxelGrid): of the labels.
        scale (float): standard deviation of a Gaussian in metres.
        num_samples (int): voxels drawn per sample, all if there are fewer.
            Free voxels are candidates: their opacity has to be learned,
            too.
        statistics (LabelStatistics, optional): balances the drawing; the
            label set's published counts by default. These five come from
            VoxelSplatHead.
        move_seconds (float): how far the moved state looks ahead.
    """

    @checked
    def __init__(
        self,
        spec: LabelSpec,
        grid: VoxelGrid,
        scale: Positive,
        num_samples: Count,
        statistics: LabelStatistics | None = None,
        move_seconds: float = 1.0,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.grid = grid
        self.scale = scale
        self.num_samples = num_samples
        self.balance = MarginalBalance(spec, statistics)
        self.move_seconds = move_seconds

    def states(
        self,
        prediction: OccPrediction,
        batch: OccBatch,
        b: int,
        with_motion: bool,
    ) -> Iterator[State]:
        """The current state, and the moved one where flow is labelled."""
        flow = None if batch.gt_flow is None else batch.gt_flow[b].flatten(1)
        voxels = self.sample_voxels(
            batch.gt_occ[b],
            None if batch.gt_flow is None else batch.gt_flow[b],
            None if batch.gt_visible is None else batch.gt_visible[b],
        )
        labels = self.spec.channels_of(batch.gt_occ[b].flatten()[voxels])
        predicted = self._predicted(prediction, b, voxels)
        state = State(
            '',
            predicted,
            labels,
            batch.render_rig[b].cameras,
            label_features=None if flow is None else flow[:, voxels].T,
        )
        yield state
        if with_motion and flow is not None:
            ahead = self.move_seconds
            motion = predicted.features[:, self.spec.num_classes - 1 :]
            truth, labels = state.true_gaussians()
            yield replace(
                state,
                predicted=predicted.moved(motion * ahead),
                labels=labels,
                truth=truth.moved(truth.features * ahead),
            )

    def sample_voxels(
        self, occ: Tensor, flow: Tensor | None, visible: Tensor | None
    ) -> Tensor:
        """Draw voxels, free ones included.

        Args:
            occ (Tensor): class ids, (X, Y, Z).
            flow (Tensor | None): m/s, (2, X, Y, Z).
            visible (Tensor | None): bool (X, Y, Z); an empty mask (as for
                a frame that ships none) admits every voxel.

        Returns:
            Tensor: flat voxel indices without repetition, (G,), sorted.
        """
        return draw_voxels(
            (seen_voxels(occ, visible) & (occ != self.spec.ignore)).flatten(),
            self.num_samples,
            self.balance,
            occ.flatten(),
            None if flow is None else flow.flatten(1),
        )

    def _predicted(
        self, prediction: OccPrediction, b: int, voxels: Tensor
    ) -> Gaussians:
        means = self.grid.centers(voxels.device).view(-1, 3)[voxels]
        return Gaussians(
            means,
            torch.full_like(means, self.scale),
            torch.sigmoid(
                -prediction.logits[b, self.spec.free].flatten()[voxels]
            ),
            logits_and_flow(self.spec, prediction, b, voxels),
        )


def logits_and_flow(
    spec: LabelSpec, prediction: OccPrediction, b: int, voxels: Tensor
) -> Tensor:
    """S class logits and, where predicted, 2 flow values, (G, S + 2)."""
    features = class_logits(spec, prediction, b, voxels)
    if prediction.flow is None:
        return features
    flow = prediction.flow[b].flatten(1)[:, voxels].T
    return torch.cat([features, flow], dim=1)
