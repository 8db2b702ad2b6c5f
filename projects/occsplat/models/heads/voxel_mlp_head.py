"""What the occupancy heads of BEVStereo, GSRender and RenderOcc share.

Shape letters: B batch, C channels, F features, X Y Z voxels of the labels.

::

    levels (B, C, X, Y, Z), ...; only the finest is read
      -> 3x3x3 convolution, ReLU          features (B, F, X, Y, Z)
      -> decode, a voxel at a time        OccPrediction
"""

from __future__ import annotations

from dataclasses import replace
from typing import Sequence

import torch
from torch import Tensor, nn

from occsplat.structures import (
    LabelSpec,
    OccBatch,
    OccPrediction,
    VoxelGrid,
    as_grid,
    same_shape,
)
from occsplat.structures.checks import Count, checked

from ..volume.resnet3d import conv3d


class VoxelMLPHead(nn.Module):
    """A convolution, then perceptrons that see one voxel.

    As nothing behind ``features`` looks at neighbours, features may be
    read at other places and decoded there: that is what ray compensation
    does (see ``OccPrediction.decode``).

    Args:
        in_channels (int): C.
        label_spec (str | LabelSpec): what the label ids mean.
        grid (dict | VoxelGrid, optional): of the volume and the labels,
            default the label set's own.
        channels (int): F.
    """

    @checked
    def __init__(
        self,
        in_channels: Count,
        label_spec: str | LabelSpec,
        grid: dict | VoxelGrid | None = None,
        channels: Count = 32,
    ) -> None:
        super().__init__()
        self.spec = LabelSpec.named(label_spec)
        self.grid = self.spec.grid if grid is None else as_grid(grid)
        self.final_conv = conv3d(in_channels, channels, 3)

    def forward(self, levels: Sequence[Tensor]) -> OccPrediction:
        """Predict from the finest level.

        Args:
            levels (sequence of Tensor): (B, C, X, Y, Z) first.

        Returns:
            OccPrediction: with features and decode.

        Raises:
            ValueError: when the level's resolution is not the grid's.
        """
        same_shape('volume', levels[0].shape[2:], self.grid.shape)
        features = self.final_conv(levels[0])
        centers = self.grid.centers(features.device)
        centers = centers.expand(len(features), *centers.shape)
        prediction = self.decode(features, centers)
        return replace(prediction, features=features, decode=self.decode)

    def decode(self, features: Tensor, centers: Tensor) -> OccPrediction:
        """What features say of the voxels that they belong to.

        Args:
            features (Tensor): (B, F, X, Y, Z).
            centers (Tensor): where those voxels stand, metres in the
                reference frame, (B, X, Y, Z, 3).
        """
        raise NotImplementedError

    def _check_labels(self, batch: OccBatch) -> Tensor:
        """The class ids, (B, X, Y, Z)."""
        if batch.gt_occ is None:
            raise ValueError(
                f'{type(self).__name__} learns from voxel labels, got none: '
                'add LoadOccLabels to the training pipeline'
            )
        same_shape('gt_occ', batch.gt_occ.shape[1:], self.grid.shape)
        return batch.gt_occ


def voxel_mlp(in_channels: int, hidden: int, out_channels: int) -> nn.Module:
    """Two layers with a Softplus between them, at every voxel."""
    return nn.Sequential(
        nn.Conv3d(in_channels, hidden, 1),
        nn.Softplus(),
        nn.Conv3d(hidden, out_channels, 1),
    )


def with_free(
    spec: LabelSpec,
    semantic: Tensor,
    log_opacity: Tensor,
    log_free: Tensor,
) -> Tensor:
    """Log-probabilities of all classes, from 'whether' and 'what'.

    Args:
        spec (LabelSpec): says which of the K ids is free.
        semantic (Tensor): logits of the others, (B, K - 1, X, Y, Z).
        log_opacity (Tensor): log o, (B, 1, X, Y, Z).
        log_free (Tensor): log(1 - o), (B, 1, X, Y, Z).

    Returns:
        Tensor: log o + log softmax(semantic), and log(1 - o) in the place
        of the free class, (B, K, X, Y, Z).
    """
    occupied = semantic.log_softmax(dim=1) + log_opacity
    below, above = occupied[:, : spec.free], occupied[:, spec.free :]
    return torch.cat([below, log_free, above], dim=1)
