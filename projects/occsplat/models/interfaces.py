"""What the parts of a detector have to be: their contracts.

Parts are modules, registered with ``mmdet3d.registry.MODELS``. None has to
inherit from anything here.

Shape letters: B batch, T frames, N cameras, C F channels, X Y Z voxels.
"""

from __future__ import annotations

from typing import Any, Protocol, Sequence

from torch import Tensor

from occsplat.structures import CameraRig, OccBatch, OccPrediction

from .image_features import ImageFeatures


class Lifter(Protocol):
    """Image features to a volume.

    Attributes:
        num_frames: frames that are lifted, the current one first.
        stereo: whether one more frame is there to be matched with.
    """

    num_frames: int
    stereo: bool

    def __call__(
        self, features: Sequence[ImageFeatures], rig: CameraRig
    ) -> tuple[Tensor, Any]:
        """Lift.

        Args:
            features: one per frame, the current one first.
            rig: cameras of all frames, (B, T, N), seen from the current
                reference frame.

        Returns:
            tuple: volume (B, C, X, Y, Z), and what ``loss`` needs.
        """

    def loss(self, lifted: Any, batch: OccBatch) -> dict[str, Tensor]:
        """Losses of its own, such as one of depths; may be empty."""


class VolumeEncoder(Protocol):
    """A volume (B, C, X, Y, Z) to its levels, finest first."""

    def __call__(self, volume: Tensor) -> Sequence[Tensor]:
        """Encode."""


class OccHead(Protocol):
    """Volume levels to what is said of each voxel of the labels."""

    def __call__(self, levels: Sequence[Tensor]) -> OccPrediction:
        """Predict; at least the logits."""

    def loss(
        self, prediction: OccPrediction, batch: OccBatch
    ) -> dict[str, Tensor]:
        """Losses on the voxels themselves."""

    def predict(
        self, prediction: OccPrediction
    ) -> tuple[Tensor, Tensor | None]:
        """Class ids uint8 (B, X, Y, Z), and flow in m/s (B, X, Y, Z, 2)."""


class RenderHead(Protocol):
    """A loss on renders of the prediction, in training alone.

    Its keys are ``loss_<head>_<term>``. A head whose behaviour differs
    while the network warms up has an attribute ``warmup`` (bool).
    """

    def loss(
        self, volume: Tensor, prediction: OccPrediction, batch: OccBatch
    ) -> dict[str, Tensor]:
        """Losses.

        Args:
            volume: as lifted, (B, C, X, Y, Z).
            prediction: of the occupancy head.
            batch: labels and cameras of the samples.
        """
