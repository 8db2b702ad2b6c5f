"""Stop where gradients break the weights."""

from __future__ import annotations

from itertools import islice
from typing import Any

import torch
from mmdet3d.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import Runner

from occsplat.structures import NonFiniteError

#: the scalar that mmengine writes where gradients are clipped
GRAD_NORM = 'train/grad_norm'


@HOOKS.register_module()
class FiniteGradientHook(Hook):
    """Stop after a step whose gradients were NaN or infinite.

    The detector itself stops where a prediction or a loss is (see
    ``run_finite``). A finite loss may still have such a gradient, which
    clipping spreads over all weights: the next step would then be blamed
    for it, and a checkpoint might be written before. Looks at the norm
    that clipping computes; where nothing is clipped there is none, and the
    next step tells of broken weights. Mixed precision is left alone: its
    gradient scaler leaves such a step out.
    """

    # before checkpoints are written and the average takes the weights in
    priority = 'VERY_HIGH'

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Look at the norm.

        Raises:
            NonFiniteError: naming frames, losses and weights.
        """
        scalars = runner.message_hub.log_scalars
        if GRAD_NORM not in scalars or isinstance(
            runner.optim_wrapper, AmpOptimWrapper
        ):
            return
        norm = float(scalars[GRAD_NORM].current())
        if torch.tensor(norm).isfinite():
            return
        broken = (
            name
            for name, weight in runner.model.named_parameters()
            if not weight.isfinite().all()
        )
        losses = (
            f'{name}={float(torch.as_tensor(value).detach()):.4g}'
            for name, value in (outputs or {}).items()
        )
        raise NonFiniteError(
            f'iteration {runner.iter + 1}, frames {_tokens(data_batch)}: the '
            f'norm of the gradients is {norm}, that of a finite loss '
            f'({", ".join(losses)}). Weights that it broke: '
            f'{", ".join(islice(broken, 3)) or "none"}. Checkpoints from '
            'before are whole; a lower learning rate may help'
        )


def _tokens(data_batch: Any) -> str:
    samples = []
    if isinstance(data_batch, dict):
        samples = data_batch.get('data_samples', [])
    return ', '.join(str(s.metainfo.get('token')) for s in samples)
