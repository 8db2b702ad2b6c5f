"""The dense occupancy and flow head of FB-Occ and VoxelSplat.

Shape letters: B batch, C channels, F features, K classes, X Y Z voxels
of the labels, L feature maps that are mixed.

::

    levels (B, C, Xi, Yi, Zi), finest first
      -> transposed convolution of the finest, to label resolution
      -> one 3x3x3 convolution a level
      -> weights (B, L, X, Y, Z) from the finest map, softmax over L
      -> weighted sum of the maps         features (B, F, X, Y, Z)
         (a single map is the features)
      -> two pointwise branches           logits (B, K, X, Y, Z)
                                          flow   (B, 2, X, Y, Z)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet3d.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from occsplat.structures import (
    LabelSpec,
    OccBatch,
    OccPrediction,
    VoxelOpacity,
    same_shape,
)
from occsplat.structures.checks import Count, NonNegative, checked

from ..losses import ClassWeights, VoxelLosses, flow_l1_loss
from ..volume.resnet3d import conv3d

#: weights of FB-Occ's occupancy losses
LOSS_WEIGHTS = dict(focal=100.0, sem_scal=1.0, geo_scal=1.0, lovasz=1.0)


@MODELS.register_module()
class OccHead(nn.Module):
    """Predict a class, and optionally a flow vector, for every voxel.

    While ``warmup`` is set (see ``OccDetector.set_warmup``) the flow loss
    counts nothing; its graph is kept, so that every parameter still takes
    part in the backward pass that distributed training waits for.

    Logits that are not finite are not masked: the loss becomes NaN, and
    the detector stops (see ``require_finite``).

    Args:
        in_channels (int): C, the same in every level.
        label_spec (str | LabelSpec): what the label ids mean.
        num_levels (int): levels that the volume encoder gives.
        channels (int): F, channels of the mixed features.
        hidden_channels (int, optional): width of the branches behind them,
            F / 2 by default.
        upsample (int): label resolution over that of the finest level; 1
            leaves the transposed convolution out.
        with_flow (bool): whether to predict flow.
        loss_weights (dict, optional): weights of the occupancy losses
            focal, sem_scal, geo_scal, lovasz and cross_entropy that
            differ from FB-Occ's 100, 1, 1, 1 and 0; a term of weight 0 is
            not computed.
        class_weights: of the cross-entropy, see VoxelLosses.
        level_kernel (int): edge length of the convolution of each level.
        class_counts (sequence of int, optional): voxels of each class, by
            which focal loss and cross-entropy weigh classes and the first
            predictions are set; default the label set's.
        flow_loss_weight (float): weight of the flow loss; with 0 it is not
            computed, and no flow label is needed.
        norm_cfg (dict, optional): normalisation, BatchNorm by default.
        opacity_threshold (float, optional): predict something wherever
            1 - p(free) is at least this, instead of where a class is
            likelier than free space. For heads that only rendered images
            have trained: a surface of many faint voxels renders well.

    Raises:
        ValueError: for an unknown loss name, an upsample factor below 1,
            another number of counts than of classes or a threshold outside
            (0, 1).
    """

    @checked
    def __init__(
        self,
        in_channels: Count,
        label_spec: str | LabelSpec,
        num_levels: Count = 3,
        channels: Count = 128,
        hidden_channels: Count | None = None,
        upsample: Count = 2,
        level_kernel: Count = 3,
        with_flow: bool = True,
        loss_weights: dict[str, NonNegative] | None = None,
        class_weights: ClassWeights = 'balanced',
        class_counts: Sequence[Count] | None = None,
        flow_loss_weight: NonNegative = 0.5,
        norm_cfg: dict | None = None,
        opacity_threshold: float | None = None,
    ) -> None:
        super().__init__()
        if opacity_threshold is not None and not 0 < opacity_threshold < 1:
            raise ValueError(
                'opacity_threshold must be between 0 and 1, got '
                f'{opacity_threshold}'
            )
        self.opacity_threshold = opacity_threshold
        self.spec = spec = LabelSpec.named(label_spec)
        counts = spec.counts if class_counts is None else class_counts
        self.voxel_losses = VoxelLosses(
            spec,
            {**LOSS_WEIGHTS, **(loss_weights or {})},
            counts,
            class_weights,
        )
        self.flow_loss_weight = flow_loss_weight
        self.warmup = False
        norm_cfg = norm_cfg or dict(type='BN3d')
        self.upsample = None
        if upsample > 1:
            self.upsample = ConvModule(
                in_channels,
                channels,
                upsample,
                stride=upsample,
                conv_cfg=dict(type='deconv3d'),
                norm_cfg=norm_cfg,
            )
        self.level_convs = nn.ModuleList(
            conv3d(in_channels, channels, level_kernel, norm_cfg=norm_cfg)
            for _ in range(num_levels)
        )
        num_maps = num_levels + (upsample > 1)
        hidden = hidden_channels or channels // 2
        self.mixer = None
        if num_maps > 1:
            self.mixer = nn.Sequential(
                conv3d(channels, hidden, norm_cfg=norm_cfg),
                nn.Conv3d(hidden, num_maps, 1),
                nn.Softmax(dim=1),
            )
        self.occ_branch = nn.Sequential(
            conv3d(channels, hidden, norm_cfg=norm_cfg),
            nn.Conv3d(hidden, spec.num_classes, 1),
        )
        self.flow_branch = None
        if with_flow:
            self.flow_branch = nn.Sequential(
                conv3d(channels, hidden, norm_cfg=norm_cfg, act=False),
                nn.Softplus(),
                nn.Conv3d(hidden, 2, 1),
            )
        self._start_from(counts)
        movable = torch.zeros(spec.num_classes, dtype=torch.bool)
        movable[list(spec.movable)] = True
        self.register_buffer('movable', movable, persistent=False)

    def _start_from(self, counts: Sequence[int]) -> None:
        """First predictions: each class as likely as it is frequent, as the
        focal loss reads the logits, and everything at rest (the prior of Lin
        et al., 2017, section 4.1).

        Without it the first hundreds of steps do nothing but learn that
        most of space is free.
        """
        share = torch.tensor(counts, dtype=torch.float64)
        prior = torch.logit(share / share.sum())
        with torch.no_grad():
            self.occ_branch[-1].bias.copy_(prior)
        if self.flow_branch is not None:
            nn.init.zeros_(self.flow_branch[-1].weight)
            nn.init.zeros_(self.flow_branch[-1].bias)

    def forward(self, levels: Sequence[Tensor]) -> OccPrediction:
        """Predict occupancy and flow.

        Args:
            levels (sequence of Tensor): (B, C, Xi, Yi, Zi), finest first.

        Returns:
            OccPrediction: logits (B, K, X, Y, Z), flow (B, 2, X, Y, Z) in
            m/s or None, and features (B, F, X, Y, Z).

        Raises:
            ValueError: when the number of levels is not the expected one.
        """
        if len(levels) != len(self.level_convs):
            raise ValueError(
                f'OccHead expects {len(self.level_convs)} levels, '
                f'got {len(levels)}'
            )
        maps = [conv(level) for conv, level in zip(self.level_convs, levels)]
        if self.upsample is not None:
            maps.insert(0, self.upsample(levels[0]))
        features = self._mix(maps)
        flow = None
        if self.flow_branch is not None:
            flow = self.flow_branch(features)
        return OccPrediction(
            logits=self.occ_branch(features), flow=flow, features=features
        )

    def _mix(self, maps: list[Tensor]) -> Tensor:
        """Sum of the maps at the resolution of the first, by weight."""
        if self.mixer is None:
            return maps[0]
        weights = self.mixer(maps[0]).split(1, dim=1)
        mixed = maps[0] * weights[0]
        for level, weight in zip(maps[1:], weights[1:]):
            # A resized map has a third of a gigabyte at 200x200x16x128:
            # the backward pass makes it anew instead of keeping it.
            mixed = mixed + checkpoint(
                _resized_product,
                level,
                weight,
                use_reentrant=False,
                preserve_rng_state=False,
            )
        return mixed

    def loss(
        self, prediction: OccPrediction, batch: OccBatch
    ) -> dict[str, Tensor]:
        """Occupancy and flow losses, weighted.

        Args:
            prediction (OccPrediction): what ``forward`` returned.
            batch (OccBatch): gt_occ (B, X, Y, Z), and gt_flow
                (B, 2, X, Y, Z) where the flow loss counts.

        Returns:
            dict: scalars loss_occ_focal, loss_occ_sem_scal,
            loss_occ_geo_scal, loss_occ_lovasz, loss_occ_cross_entropy,
            those that have a weight, and, where it counts, loss_flow.

        Raises:
            ValueError: when labels are missing, have another shape or
                hold ids that the label spec does not know.
        """
        if batch.gt_occ is None:
            raise ValueError('OccHead.loss needs gt_occ, got None')
        terms = self.voxel_losses(prediction.logits, batch.gt_occ)
        losses = {f'loss_occ_{name}': term for name, term in terms.items()}
        if prediction.flow is not None and self.flow_loss_weight:
            self._check_flow(prediction.flow, batch)
            weight = 0.0 if self.warmup else self.flow_loss_weight
            losses['loss_flow'] = weight * flow_l1_loss(
                prediction.flow.float(),
                batch.gt_flow,
                batch.gt_occ,
                self.spec.ignore,
            )
        return losses

    def predict(
        self, prediction: OccPrediction
    ) -> tuple[Tensor, Tensor | None]:
        """The most likely class, and the flow where that class can move.

        Args:
            prediction (OccPrediction): what ``forward`` returned.

        Returns:
            tuple: class ids, uint8 (B, X, Y, Z), and flow in m/s,
            (B, X, Y, Z, 2), exactly 0 in voxels of immovable classes; None
            where no flow is predicted.
        """
        if self.opacity_threshold is not None:
            return self.opacity(prediction).at(self.opacity_threshold)
        occ = prediction.logits.argmax(dim=1)
        return occ.to(torch.uint8), self._moving(prediction.flow, occ)

    def opacity(self, prediction: OccPrediction) -> VoxelOpacity:
        """What ``predict`` holds against the threshold, if there is one."""
        logits, free = prediction.logits, self.spec.free
        opacity = 1 - logits.softmax(dim=1)[:, free]
        found = VoxelOpacity.from_scores(opacity, logits, free)
        flow = self._moving(prediction.flow, found.likeliest.long())
        return replace(found, flow=flow)

    def _moving(self, flow: Tensor | None, occ: Tensor) -> Tensor | None:
        """Flow (B, X, Y, Z, 2), 0 where the class (B, X, Y, Z) is at rest."""
        if flow is None:
            return None
        moves = self.movable[occ][:, None]
        return torch.where(moves, flow, 0).permute(0, 2, 3, 4, 1)

    def _check_flow(self, flow: Tensor, batch: OccBatch) -> None:
        if batch.gt_flow is None:
            raise ValueError(
                'OccHead learns flow, but the labels have none; set '
                f'with_flow=False for {self.spec.name!r}, or '
                'flow_loss_weight=0 where a render head teaches it'
            )
        same_shape('gt_flow', batch.gt_flow.shape, flow.shape)


def _resized_product(level: Tensor, weight: Tensor) -> Tensor:
    """weight (B, 1, X, Y, Z) times level, resized to (B, F, X, Y, Z)."""
    resized = F.interpolate(
        level, size=weight.shape[2:], mode='trilinear', align_corners=False
    )
    return weight * resized
