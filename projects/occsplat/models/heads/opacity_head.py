"""Heads that predict occupancy and class of a voxel separately.

Shape letters: B batch, K classes (free included), S classes without free,
X Y Z voxels.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from occsplat.structures import (
    LabelSpec,
    OccBatch,
    OccPrediction,
    VoxelGrid,
    VoxelOpacity,
)
from occsplat.structures.checks import Bounds, NonNegative, checked

from ..losses import log_count_weights
from .voxel_mlp_head import VoxelMLPHead

#: opacity of a voxel before anything is learned. A ray of 40 m crosses a
#: hundred voxels: were they half opaque, it would see no farther than the
#: first few, and nothing behind them would ever learn.
START_OPACITY = 0.03
#: 3D losses, off: images teach
LOSS_WEIGHTS = dict(geometry=0.0, semantic=0.0)


class OpacityHead(VoxelMLPHead):
    """Base of GSRender's and RenderOcc's heads, which images can teach.

    Logits are log-probabilities: those of the classes sum to the opacity.

    Args:
        in_channels, label_spec, grid, channels: see VoxelMLPHead.
        opacity_threshold (float): tau, predict something where a voxel is
            at least that opaque (GSRender, equation 7). The paper does not
            say how much; ``tools/calibrate_threshold.py`` finds out.
        loss_weights (dict, optional): weights of the losses with voxel
            labels, 'geometry' and 'semantic', both 0 by default: then no
            voxel label is needed.

    Raises:
        ValueError: for a threshold outside (0, 1) or an unknown loss.
    """

    @checked
    def __init__(
        self,
        in_channels: int,
        label_spec: str | LabelSpec,
        grid: dict | VoxelGrid | None = None,
        channels: int = 32,
        opacity_threshold: Annotated[float, Bounds(above=0, most=1)] = 0.5,
        loss_weights: dict[str, NonNegative] | None = None,
    ) -> None:
        super().__init__(in_channels, label_spec, grid, channels)
        if not 0 < opacity_threshold < 1:
            raise ValueError(
                'opacity_threshold must be between 0 and 1, got '
                f'{opacity_threshold}'
            )
        unknown = set(loss_weights or ()) - set(LOSS_WEIGHTS)
        if unknown:
            raise ValueError(
                f'unknown loss_weights {sorted(unknown)}, expected some of '
                f'{sorted(LOSS_WEIGHTS)}'
            )
        self.opacity_threshold = opacity_threshold
        self.loss_weights = {**LOSS_WEIGHTS, **(loss_weights or {})}
        balance = log_count_weights(self.spec.counts)
        self.register_buffer('class_weight', balance, persistent=False)

    def loss(
        self, prediction: OccPrediction, batch: OccBatch
    ) -> dict[str, Tensor]:
        """RenderOcc's 3D losses, on the opacity instead of two logits.

        Binary cross-entropy of 'occupied' over all known voxels, and
        class-balanced cross-entropy (1 / ln count) over the occupied ones.

        Returns:
            dict: loss_occ_geometry and loss_occ_semantic, those that have
            a weight.

        Raises:
            ValueError: when one of them has a weight and labels are
                missing or have another shape.
        """
        if not any(self.loss_weights.values()):
            return {}
        occ, spec = self._check_labels(batch), self.spec
        log_probs = prediction.logits.float()
        known = occ != spec.ignore
        occupied = spec.is_occupied(occ)
        log_free = log_probs[:, spec.free]
        semantic = log_probs[:, list(spec.occupied)]  # (B, S, X, Y, Z)
        log_opacity = semantic.logsumexp(dim=1)
        whether = torch.where(occupied, log_opacity, log_free)
        what = F.cross_entropy(
            semantic,
            spec.channels_of(occ).clamp(min=0),
            reduction='none',
        )
        weight = self.class_weight[occ.masked_fill(~known, 0)] * occupied
        terms = dict(
            geometry=-(whether * known).sum() / known.sum().clamp(min=1),
            semantic=(weight * what).sum() / weight.sum().clamp(min=1e-6),
        )
        return {
            f'loss_occ_{name}': self.loss_weights[name] * term
            for name, term in terms.items()
            if self.loss_weights[name]
        }

    @torch.no_grad()
    def opacity(self, prediction: OccPrediction) -> VoxelOpacity:
        """What ``predict`` holds against the threshold."""
        logits, free = prediction.logits, self.spec.free
        opacity = 1 - logits[:, free].exp()
        return VoxelOpacity.from_scores(opacity, logits, free)

    def predict(self, prediction: OccPrediction) -> tuple[Tensor, None]:
        """The likeliest class where opaque enough, free elsewhere.

        GSRender, equation 7. A voxel answers for the place it stands at,
        wherever its Gaussian has moved to.

        Returns:
            tuple: class ids, uint8 (B, X, Y, Z), and None, no flow.
        """
        return self.opacity(prediction).at(self.opacity_threshold)
