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

#: a volume (B, C, X, Y, Z), or several of them, finest first
Lifted = Tensor | tuple[Tensor, ...]


def as_levels(volume: Lifted) -> tuple[Tensor, ...]:
    """What was lifted as levels, finest first; a single volume is one."""
    return (volume,) if isinstance(volume, Tensor) else tuple(volume)


class Lifter(Protocol):
    """Image features to a volume.

    Attributes:
        num_frames: frames that are lifted, the current one first.
        stereo: whether one more frame is there to be matched with.
        num_volumes (optional): resolutions that are lifted, 1 without it.
    """

    num_frames: int
    stereo: bool

    def __call__(
        self, features: Sequence[ImageFeatures], rig: CameraRig
    ) -> tuple[Lifted, Any]:
        """Lift.

        Args:
            features: one per frame, the current one first.
            rig: cameras of all frames, (B, T, N), seen from the current
                reference frame.

        Returns:
            tuple: volume (B, C, X, Y, Z), or several of them, finest
            first, and what ``loss`` needs.
        """

    def loss(self, lifted: Any, batch: OccBatch) -> dict[str, Tensor]:
        """Losses of its own, such as one of depths; may be empty."""


class VolumeEncoder(Protocol):
    """What was lifted to levels (B, Ci, Xi, Yi, Zi), finest first.

    One that follows a lifter of several resolutions takes them all.
    """

    def __call__(self, volume: Any) -> Sequence[Tensor]:
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
        self, volume: Lifted, prediction: OccPrediction, batch: OccBatch
    ) -> dict[str, Tensor]:
        """Losses.

        Args:
            volume: as lifted.
            prediction: of the occupancy head.
            batch: labels and cameras of the samples.
        """
