"""The losses of class logits against voxel labels, and their weights.

Shape letters: B batch, K classes, X Y Z voxels.
"""

from __future__ import annotations

from typing import Literal, Sequence

import torch
from torch import Tensor, nn

from occsplat.structures import LabelSpec, same_shape
from occsplat.structures.checks import NonNegative, Positive

from .affinity import geo_scal_loss, sem_scal_loss
from .class_balance import balanced_class_weights, voxel_cross_entropy_loss
from .focal import log_count_weights, radial_focal_loss
from .lovasz import lovasz_softmax_loss

#: the terms there are
TERMS = ('focal', 'sem_scal', 'geo_scal', 'lovasz', 'cross_entropy')
#: how a config says what weight each class has in the cross-entropy
ClassWeights = Literal['balanced', 'log_count'] | Sequence[Positive]


class VoxelLosses(nn.Module):
    """A weighted choice of losses, each on all voxels that have a label.

    Args:
        spec (LabelSpec): what the label ids mean.
        weights (mapping): of the terms focal (FB-Occ's, weighted by class
            and distance), sem_scal and geo_scal (MonoScene's), lovasz and
            cross_entropy. A term that is missing or has weight 0 is not
            computed.
        counts (sequence of int): voxels of each class, which focal loss and
            cross-entropy weigh classes by.
        class_weights: of the cross-entropy: 'balanced', see
            balanced_class_weights; 'log_count', 1 / ln(count); or K
            numbers.

    Raises:
        ValueError: for an unknown term, or another number of class weights
            or counts than of classes.
    """

    def __init__(
        self,
        spec: LabelSpec,
        weights: dict[str, NonNegative],
        counts: Sequence[int],
        class_weights: ClassWeights = 'balanced',
    ) -> None:
        super().__init__()
        unknown = set(weights) - set(TERMS)
        if unknown:
            raise ValueError(
                f'unknown loss_weights {sorted(unknown)}, expected some of '
                f'{sorted(TERMS)}'
            )
        self.spec = spec
        self.weights = {name: weights.get(name, 0.0) for name in TERMS}
        same_shape('class_counts', (len(counts),), (spec.num_classes,))
        logged = log_count_weights(counts)
        if class_weights == 'balanced':
            balance = balanced_class_weights(counts, spec.free)
        elif class_weights == 'log_count':
            balance = logged
        else:
            balance = torch.tensor(class_weights)
        same_shape('class_weights', balance.shape, (spec.num_classes,))
        # not of the state dict: configs say what they are
        self.register_buffer('class_weight', logged, persistent=False)
        self.register_buffer('balance', balance, persistent=False)

    def forward(self, logits: Tensor, occ: Tensor) -> dict[str, Tensor]:
        """Those terms that have a weight, times it.

        Args:
            logits (Tensor): (B, K, X, Y, Z).
            occ (Tensor): class ids, int64 (B, X, Y, Z).

        Raises:
            ValueError: when labels have another shape or hold ids that the
                label spec does not know.
        """
        spec = self.spec
        self._check(logits, occ)
        # sums over a million voxels overflow half precision
        logits = logits.float()
        probs = logits.softmax(dim=1)
        terms = dict(
            focal=lambda: radial_focal_loss(
                logits, occ, self.class_weight, ignore=spec.ignore
            ),
            sem_scal=lambda: sem_scal_loss(probs, occ, spec.free, spec.ignore),
            geo_scal=lambda: geo_scal_loss(probs, occ, spec.free, spec.ignore),
            lovasz=lambda: lovasz_softmax_loss(probs, occ, spec.ignore),
            cross_entropy=lambda: voxel_cross_entropy_loss(
                logits, occ, self.balance, spec.ignore
            ),
        )
        return {
            name: self.weights[name] * term()
            for name, term in terms.items()
            if self.weights[name]
        }

    def _check(self, logits: Tensor, occ: Tensor) -> None:
        spec, shape = self.spec, logits.shape
        same_shape('gt_occ', occ.shape, (shape[0], *shape[2:]))
        known = (occ >= 0) & (occ < spec.num_classes)
        # on a GPU an id out of range would end in a device-side assertion
        if not (known | (occ == spec.ignore)).all():
            raise ValueError(
                f'gt_occ holds ids in {int(occ.min())}..{int(occ.max())}, '
                f'label spec {spec.name!r} knows 0..{spec.num_classes - 1} '
                f'and {spec.ignore}'
            )
