"""``init_cfg=dict(type='Pretrained')``, read safely and not in vain."""

from __future__ import annotations

from mmengine.model import PretrainedInit, update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn

from .checkpoint import WRAPPERS, read_weights, weights_below
from .errors import CheckpointError
from .weight_fit import load_what_fits


# in place of mmengine's, which is content when nothing fits
@WEIGHT_INITIALIZERS.register_module(name='Pretrained', force=True)
class Pretrained(PretrainedInit):
    """mmengine's ``init_cfg=dict(type='Pretrained', checkpoint=...)``.

    Its arguments are mmengine's: ``checkpoint``, which may be all that
    ``local_file`` takes; ``prefix`` of the part of the checkpoint to take;
    and ``map_location``, which is not heeded.
    """

    def __call__(self, module: nn.Module) -> None:
        """Load what fits.

        Raises:
            CheckpointError: as ``read_weights``, and when nothing fits.
        """
        state = read_weights(self.checkpoint)['state_dict']
        if self.prefix is not None:
            prefix = self.prefix.removesuffix('.') + '.'
            wrapped = next((w for w in WRAPPERS if prefix.startswith(w)), '')
            state = weights_below(state, prefix) or weights_below(
                state, prefix.removeprefix(wrapped)
            )
            if not state:
                raise CheckpointError(
                    f'checkpoint {self.checkpoint} has nothing below prefix '
                    f'{self.prefix!r}'
                )
        load_what_fits(module, state, self.checkpoint)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=self._get_init_info())
