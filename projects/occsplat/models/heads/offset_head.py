"""VoxDet: distances to the ends of the instance that a voxel belongs to.

Shape letters: B batch, C channels, X Y Z voxels of a level, x y z cells,
6 directions x+ x- y+ y- z+ z-.

::

    levels (B, C, Xi, Yi, Zi), finest first
      -> encoder (optional)      levels for the classes, one for offsets
      -> two convolutions, read at the cells, sigmoid
                                 offsets (B, 6, x, y, z), metres
      -> aggregation (optional)  finest level for the classes
      -> levels, which the host's occupancy head reads
"""

from __future__ import annotations

import math
from typing import Sequence

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from occsplat.structures import (
    LabelSpec,
    OccBatch,
    OccPrediction,
    VoxelGrid,
    as_grid,
    same_shape,
)
from occsplat.structures.checks import Count, NonNegative, checked

from ..interfaces import Lifted, as_levels
from ..losses import offset_l1_loss
from ..volume.resnet3d import conv3d

#: of an axis, what offsets are before anything is learned
START_SHARE = 0.1


@MODELS.register_module()
class OffsetHead(nn.Module):
    """Regress the ends of runs, and classify with what stands there.

    VoxDet (NeurIPS 2025), figure 3, between a host's 3D network and its
    occupancy head, which stays as it is. Without ``encoder`` both tasks
    share their features, without ``aggregation`` the classes learn
    nothing of the offsets but through those.

    A cell is every ``stride``-th voxel of the labels; its offsets are
    learned, predicted and used at the centre of that very voxel.

    Args:
        in_channels (int): C.
        label_spec (str | LabelSpec): label set.
        grid (dict | VoxelGrid, optional): of the labels, default the
            label set's own.
        channels (int): width of the regression branch.
        stride (int): label voxels from cell to cell.
        encoder (dict, optional): SpatiallyDecoupledEncoder.
        aggregation (dict, optional): InstanceAggregation.
        aux_head (dict, optional): an occupancy head on the lifted volume,
            in front of the 3D network, for training alone.
        loss_weight (float): of the offsets' loss.
        aux_weight (float): lambda, of the auxiliary head's losses
            (equation 8).
        norm_cfg (dict, optional): normalisation, GroupNorm of 32 groups
            by default.

    Raises:
        ValueError: when ``stride`` does not divide the grid.
    """

    @checked
    def __init__(
        self,
        in_channels: Count,
        label_spec: str | LabelSpec,
        grid: dict | VoxelGrid | None = None,
        channels: Count = 64,
        stride: Count = 2,
        encoder: dict | None = None,
        aggregation: dict | None = None,
        aux_head: dict | None = None,
        loss_weight: NonNegative = 1.0,
        aux_weight: NonNegative = 0.2,
        norm_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        spec = LabelSpec.named(label_spec)
        self.grid = spec.grid if grid is None else as_grid(grid)
        self.stride = stride
        self.cells = self.grid.strided(stride)
        self.loss_weight = loss_weight
        self.aux_weight = aux_weight
        norm_cfg = norm_cfg or dict(type='GN', num_groups=32)
        self.encoder = encoder and MODELS.build(encoder)
        self.branch = nn.Sequential(
            conv3d(in_channels, channels, 3, norm_cfg=norm_cfg),
            nn.Conv3d(channels, 6, 1),
        )
        nn.init.constant_(
            self.branch[-1].bias, math.log(START_SHARE / (1 - START_SHARE))
        )
        self.aggregation = aggregation and MODELS.build(aggregation)
        self.aux_head = aux_head and MODELS.build(aux_head)
        sides = zip(self.grid.min, self.grid.max)
        extent = torch.tensor([high - low for low, high in sides])
        self.register_buffer(
            'extent', extent.repeat_interleave(2), persistent=False
        )

    def forward(
        self, levels: Sequence[Tensor]
    ) -> tuple[Sequence[Tensor], Tensor]:
        """Offsets, and the features that the occupancy head classifies.

        Args:
            levels (sequence of Tensor): (B, C, Xi, Yi, Zi), finest first,
                over the range of the labels.

        Returns:
            tuple: as many levels of the same shapes, and offsets in
            metres, (B, 6, x, y, z).
        """
        regress = levels[0]
        if self.encoder is not None:
            levels, regress = self.encoder(levels)
        offsets = self._offsets(regress)
        if self.aggregation is not None:
            finest = self.aggregation(
                levels[0], offsets, self.grid, self.stride
            )
            levels = (finest, *levels[1:])
        return levels, offsets

    def _offsets(self, volume: Tensor) -> Tensor:
        """Equation 4, in metres; the axis's length is the most."""
        logits = self.grid.resample(self.branch(volume), self.cells)
        return logits.sigmoid() * self.extent.view(6, 1, 1, 1)

    def loss(
        self, volume: Lifted, prediction: OccPrediction, batch: OccBatch
    ) -> dict[str, Tensor]:
        """The offsets' loss and the auxiliary head's (equation 8).

        Args:
            volume (Tensor | tuple): what was lifted, (B, C, X, Y, Z); of
                several resolutions the finest is read.
            prediction (OccPrediction): with offsets.
            batch (OccBatch): with gt_offsets and gt_censored.

        Returns:
            dict: loss_offset, and ``loss_aux_<term>`` for each term of the
            auxiliary head.

        Raises:
            ValueError: when the labels' offsets are missing or stand at
                other cells.
        """
        if batch.gt_offsets is None:
            raise ValueError(
                'OffsetHead learns from run lengths, got none: add '
                f"dict(type='VoxelRunLengths', stride={self.stride}) to the "
                'training pipeline'
            )
        same_shape('gt_offsets', batch.gt_offsets.shape[2:], self.cells.shape)
        losses = dict(
            loss_offset=self.loss_weight
            * offset_l1_loss(
                prediction.offsets.float(),
                batch.gt_offsets,
                batch.gt_censored,
                self.extent,
            )
        )
        if self.aux_head is not None:
            terms = self.aux_head.loss(
                self.aux_head(as_levels(volume)[:1]), batch
            )
            for name, term in terms.items():
                name = name.removeprefix('loss_').removeprefix('occ_')
                losses[f'loss_aux_{name}'] = self.aux_weight * term
        return losses
