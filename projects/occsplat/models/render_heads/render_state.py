"""A scene to be rendered as predicted and as labelled.

Shape letters: G Gaussians, S semantic classes (free excluded), K classes
(free included), C channels, X Y Z voxels, V views.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from occsplat.structures import (
    Cameras,
    Gaussians,
    LabelSpec,
    OccPrediction,
    VoxelGrid,
)


@dataclass
class State:
    """A scene to be rendered twice, as predicted and as labelled.

    Attributes:
        name: the group of loss terms that it belongs to, '' for the only
            one.
        predicted (Gaussians): features are S class logits, then flow.
        labels (Tensor): class channel of each true Gaussian, (G,).
        cameras (Cameras): V of them.
        truth (Gaussians, optional): opaque; features are channels behind
            those of the classes. By default the predicted ones with a
            label that is not negative are the true ones.
        label_features (Tensor, optional): their features, (G, C).
        in_motion (bool): whether its terms are there for the flow alone;
            the truth's last channel then says how much of a pixel can't
            be predicted.
    """

    name: str
    predicted: Gaussians
    labels: Tensor
    cameras: Cameras
    truth: Gaussians | None = None
    label_features: Tensor | None = None
    in_motion: bool = False

    def true_gaussians(self) -> tuple[Gaussians, Tensor]:
        """The truth on its own, and its labels."""
        if self.truth is not None:
            return self.truth, self.labels
        there = self.labels >= 0
        means = self.predicted.means[there]
        features = means[:, :0]
        if self.label_features is not None:
            features = self.label_features[there]
        return Gaussians(
            means,
            self.predicted.scales[there],
            torch.ones_like(means[:, 0]),
            features,
        ), self.labels[there]


def class_logits(
    spec: LabelSpec, prediction: OccPrediction, b: int, voxels: Tensor
) -> Tensor:
    """Logits of the S semantic classes, (G, S)."""
    logits = prediction.logits[b].flatten(1)[:, voxels].T  # (G, K)
    return logits[:, list(spec.occupied)]


def opaque(grid: VoxelGrid, scale: float, voxels: Tensor) -> Gaussians:
    """Labelled voxels (G,) as opaque balls without features."""
    means = grid.centers(voxels.device).view(-1, 3)[voxels]
    return Gaussians(
        means,
        torch.full_like(means, scale),
        torch.ones_like(means[:, 0]),
        means[:, :0],
    )


def seen_voxels(occ: Tensor, visible: Tensor | None) -> Tensor:
    """The mask, or everything where there is none or it is empty."""
    if visible is None:
        return torch.ones_like(occ, dtype=torch.bool)
    # not asked: a GPU would have to answer first
    return visible | ~visible.any()
