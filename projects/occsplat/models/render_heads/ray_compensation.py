"""Ray compensation: what the current features say a few steps further.

GSRender (2024), section 3.4 and equations 8 and 9.

::

    a camera ray of frame t says little about how deep a surface is, and
    copies of it line up behind one another; from frame t + k the copies
    stand side by side and can be told apart

        frame t      o----->#  #  #          # copies of a wall
        frame t + k     o-->#  #  #

Shape letters: B batch, C features, X Y Z voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from occsplat.structures import OccPrediction, VoxelGrid


@dataclass
class Compensated:
    """A prediction on the voxels of another key frame.

    Attributes:
        prediction (OccPrediction): Gaussians are in the current reference
            frame; volumes belong to the other frame's voxels.
        inside (Tensor): whether the current volume reaches there, bool
            (B, X, Y, Z). Elsewhere the features are made up.
    """

    prediction: OccPrediction
    inside: Tensor


def compensate(
    prediction: OccPrediction, grid: VoxelGrid, frame2ref: Tensor
) -> Compensated:
    """Predict on the voxels of other key frames, one per sample.

    The features of the current volume are read at the centres of the
    other frame's voxels (eq. 8 and 9) and go through the head's own
    decoder. No image of the other frame is looked at. Works for every head
    that sets ``OccPrediction.decode``.

    The decoder's offsets and axes are those of the current reference
    frame, in which the features were computed: the paper turns them with
    the car, by the few degrees between two key frames.

    Args:
        prediction (OccPrediction): of the current frame.
        grid (VoxelGrid): of its features, and of the other frames.
        frame2ref (Tensor): the other reference frames -> the current
            one, (B, 4, 4).

    Raises:
        ValueError: when the head has no decoder.
    """
    features = prediction.features
    if prediction.decode is None or features is None:
        raise ValueError(
            'ray compensation asks the occupancy head again: it needs one '
            'with a decoder, such as GaussianOccHead or DensityOccHead'
        )
    centers = grid.centers(features.device, frame2ref.dtype)
    rotation = frame2ref[:, None, None, :3, :3]
    offset = frame2ref[:, None, None, None, :3, 3]
    # (1, X, Y, Z, 3) @ (B, 1, 1, 3, 3)
    points = centers[None] @ rotation.transpose(-1, -2) + offset
    _, inside = grid.locate(points)
    # half a voxel outside the outermost centres is still inside
    read = grid.sample(features, points, padding_mode='border')
    return Compensated(prediction.decode(read, points), inside)
