"""Classes of voxels at several resolutions, as SurroundOcc learns them.

Shape letters: B batch, C channels, F features, K classes, X Y Z voxels.

::

    levels (B, Ci, X / 2^i, Y / 2^i, Z / 2^i), finest first
      finest -> perceptron (optional)      features (B, F, X, Y, Z)
             -> classifier                 logits (B, K, X, Y, Z)
      others -> classifiers (training)     coarse logits, one for each
"""

from __future__ import annotations

from typing import Sequence

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from occsplat.ops import pool_labels
from occsplat.structures import LabelSpec, OccBatch, OccPrediction
from occsplat.structures.checks import (
    Count,
    Fraction,
    NonNegative,
    checked,
)

from ..losses import ClassWeights, VoxelLosses
from .voxel_mlp_head import voxel_mlp

#: GaussRender's losses in its trainings of TPVFormer and SurroundOcc, the
#: ones that its weight of 15 stands beside
LOSS_WEIGHTS = dict(cross_entropy=10.0, lovasz=1.0)


@MODELS.register_module()
class MultiScaleOccHead(nn.Module):
    """The occupancy head of SurroundOcc, and with one level of TPVFormer.

    Level i, with voxels 2^i as large, learns from pooled labels (see
    ``pool_labels``) with ``level_decay ** i`` of the finest level's weight
    (SurroundOcc, Wei et al., ICCV 2023, section 3.5).

    Args:
        in_channels (sequence of int): C of each level, finest first.
        label_spec (str | LabelSpec): what the label ids mean.
        hidden_channels (int, optional): width of a perceptron in front of
            the finest classifier, TPVFormer's aggregator; None leaves it
            out, and the finest level is the features.
        bias (bool): whether classifiers have one, which then starts at the
            logarithm of how frequent each class is.
        loss_weights (dict, optional): weights of the terms, see
            VoxelLosses, instead of 10 for the cross-entropy and 1 for
            Lovasz-softmax.
        class_weights: of the cross-entropy, see VoxelLosses.
        level_decay (float): weight of a level over that of the finer one.
        with_cp (bool): compute the perceptron anew in the backward pass
            instead of keeping what it computed.
    """

    @checked
    def __init__(
        self,
        in_channels: Sequence[Count],
        label_spec: str | LabelSpec,
        hidden_channels: Count | None = None,
        bias: bool = True,
        loss_weights: dict[str, NonNegative] | None = None,
        class_weights: ClassWeights = 'log_count',
        level_decay: Fraction = 0.5,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.spec = spec = LabelSpec.named(label_spec)
        self.level_decay = level_decay
        self.with_cp = with_cp
        self.voxel_losses = VoxelLosses(
            spec, loss_weights or LOSS_WEIGHTS, spec.counts, class_weights
        )
        self.mlp = None
        if hidden_channels is not None:
            width = in_channels[0]
            self.mlp = voxel_mlp(width, hidden_channels, width)
        self.classifiers = nn.ModuleList(
            nn.Conv3d(width, spec.num_classes, 1, bias=bias)
            for width in in_channels
        )
        if bias:
            share = torch.tensor(spec.counts, dtype=torch.float64)
            for layer in self.classifiers:
                with torch.no_grad():
                    layer.bias.copy_((share / share.sum()).log())

    def forward(self, levels: Sequence[Tensor]) -> OccPrediction:
        """Predict.

        Args:
            levels (sequence of Tensor): (B, Ci, Xi, Yi, Zi), finest first.

        Returns:
            OccPrediction: logits, features and, in training, coarse logits.

        Raises:
            ValueError: when the number of levels is not the expected one.
        """
        if len(levels) != len(self.classifiers):
            raise ValueError(
                f'MultiScaleOccHead expects {len(self.classifiers)} levels, '
                f'got {len(levels)}'
            )
        features = levels[0]
        if self.mlp is not None:
            if self.with_cp and self.training:
                features = checkpoint(self.mlp, features, use_reentrant=False)
            else:
                features = self.mlp(features)
        first, *others = self.classifiers
        coarse = ()
        if self.training:
            coarse = tuple(f(x) for f, x in zip(others, levels[1:]))
        return OccPrediction(
            logits=first(features), features=features, coarse_logits=coarse
        )

    def loss(
        self, prediction: OccPrediction, batch: OccBatch
    ) -> dict[str, Tensor]:
        """Losses of all levels.

        Args:
            prediction (OccPrediction): what ``forward`` returned.
            batch (OccBatch): gt_occ (B, X, Y, Z).

        Returns:
            dict: ``loss_occ_<term>`` of the finest level, and
            ``loss_occ_<i>_<term>`` of the others.

        Raises:
            ValueError: when labels are missing or do not fit.
        """
        if batch.gt_occ is None:
            raise ValueError('MultiScaleOccHead.loss needs gt_occ, got None')
        losses, occ = {}, batch.gt_occ
        levels = (prediction.logits, *prediction.coarse_logits)
        for i, logits in enumerate(levels):
            if i:
                occ = pool_labels(occ, (2, 2, 2), self.spec)
            name = f'loss_occ_{i}' if i else 'loss_occ'
            for term, value in self.voxel_losses(logits, occ).items():
                losses[f'{name}_{term}'] = self.level_decay**i * value
        return losses

    @torch.no_grad()
    def predict(self, prediction: OccPrediction) -> tuple[Tensor, None]:
        """The likeliest class of every voxel, uint8 (B, X, Y, Z)."""
        return prediction.logits.argmax(dim=1).to(torch.uint8), None
