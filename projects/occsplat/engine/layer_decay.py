"""Layer-wise learning rates for a pretrained vision transformer."""

from __future__ import annotations

import re
from typing import Any

from mmdet3d.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from .errors import ConfigError

#: what paramwise_cfg takes
_OPTIONS = {'num_layers', 'decay_rate', 'head_scale'}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """The deeper a layer of ``img_backbone``, the faster it learns.

    BEiT (Bao et al., 2021), appendix H. With L layers, the embeddings
    have id 0, block i has i + 1, everything else in the backbone L + 1;
    the learning rate is the base times ``decay_rate ** (L + 1 - id)``.
    Parameters outside the backbone learn at the base times
    ``head_scale``. Biases and other vectors have no weight decay.

    ``paramwise_cfg`` has num_layers (L), decay_rate and head_scale.

    Args:
        optim_wrapper_cfg (dict): as in mmengine.
        paramwise_cfg (dict): the three options.

    Raises:
        ConfigError: for other options, or when one is missing.
    """

    def __init__(
        self,
        optim_wrapper_cfg: dict[str, Any],
        paramwise_cfg: dict[str, Any] | None = None,
    ) -> None:
        given = set(paramwise_cfg or {})
        if given != _OPTIONS:
            raise ConfigError(
                'optim_wrapper.paramwise_cfg of '
                'LayerDecayOptimWrapperConstructor: expected '
                f'{sorted(_OPTIONS)}, got {sorted(given)}'
            )
        super().__init__(optim_wrapper_cfg, paramwise_cfg)

    def add_params(
        self, params: list[dict[str, Any]], module: nn.Module
    ) -> None:
        """Append a group for each learning rate and weight decay.

        Raises:
            ConfigError: when the backbone has more blocks than
                num_layers.
        """
        groups: dict[tuple[float, float], dict[str, Any]] = {}
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            plain = parameter.ndim == 1 or name.endswith('bias')
            decay = 0.0 if plain else self.base_wd or 0.0
            rate = self.base_lr * self._scale(name)
            group = groups.setdefault(
                (rate, decay), dict(params=[], lr=rate, weight_decay=decay)
            )
            group['params'].append(parameter)
        params.extend(groups.values())

    def _scale(self, name: str) -> float:
        """What the base learning rate is multiplied with."""
        layers = self.paramwise_cfg['num_layers']
        if not name.startswith('img_backbone.'):
            return self.paramwise_cfg['head_scale']
        block = re.match(r'img_backbone\.blocks\.(\d+)\.', name)
        layer = layers + 1
        if block:
            layer = int(block[1]) + 1
        elif re.match(r'img_backbone\.(pos|patch)_embed', name):
            layer = 0
        if block and layer > layers:
            raise ConfigError(
                f'optim_wrapper.paramwise_cfg.num_layers is {layers}, but '
                f'the model has {name}'
            )
        return self.paramwise_cfg['decay_rate'] ** (layers + 1 - layer)
