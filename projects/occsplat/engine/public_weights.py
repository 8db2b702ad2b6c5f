"""Start from a published checkpoint whose names are not ours."""

from __future__ import annotations

from collections import Counter
from typing import Iterable

from mmengine.dist import master_only
from mmengine.logging import print_log
from mmengine.model import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn

from .checkpoint import read_weights
from .errors import CheckpointError, ConfigError
from .key_maps import ADDRESSES, KEY_MAPS, Dropped
from .weight_fit import other_shapes, tell_not_finite
from .weight_sources import local_file


# in mmengine's own registry: model.init_weights() asks that one
@WEIGHT_INITIALIZERS.register_module()
class PublicWeights:
    """Initialise a detector, or a backbone, from a public checkpoint.

    In a config: ``init_cfg=dict(type='PublicWeights', checkpoint=...,
    key_map=...)`` at ``model`` or at ``model.img_backbone``. What the
    checkpoint does not have keeps its usual initialisation. Nothing is
    skipped silently: the log lists every key that was not used and every
    weight that got nothing, whole modules as ``name.* (count)``.

    Args:
        checkpoint (str): of any layout that ``read_weights`` knows.
        key_map (str): which of ``key_maps.KEY_MAPS`` renames its keys.

    Raises:
        ConfigError: for a key map that does not exist.
    """

    def __init__(self, checkpoint: str, key_map: str) -> None:
        if key_map not in KEY_MAPS:
            raise ConfigError(
                f'PublicWeights: key_map must be one of {sorted(KEY_MAPS)}, '
                f'got {key_map!r}'
            )
        self.checkpoint = checkpoint
        self.key_map = key_map

    def __call__(self, module: nn.Module) -> None:
        """Load what fits.

        Raises:
            CheckpointError: when the file is missing, damaged or unsafe,
                when a shape differs, or when nothing in it fits; the
                checkpoint's weights are then not in the module.
        """
        # a key map speaks of the detector
        prefix = '' if hasattr(module, 'img_backbone') else 'img_backbone.'
        state = self._read(f'model.{prefix}init_cfg=None')
        # mmengine would do it later, over what was loaded
        _initialize_children(module)
        own = module.state_dict()
        weights: dict[str, Tensor] = {}
        used: set[str] = set()
        dropped: list[Dropped] = []
        for item in KEY_MAPS[self.key_map](state, module):
            if isinstance(item, Dropped):
                dropped.append(item)
            elif item.name.removeprefix(prefix) in own:
                weights[item.name.removeprefix(prefix)] = item.value
                used.update(item.sources)
        self._check(own, weights, state)
        tell_not_finite(weights, self.checkpoint)
        module.load_state_dict(weights, strict=False)
        if hasattr(module, '_params_init_info'):
            update_init_info(
                module, f'PublicWeights: load from {self.checkpoint}'
            )
        unused = state.keys() - used
        unused -= {key for item in dropped for key in item.keys}
        _report(self.checkpoint, own, weights, unused, dropped)

    def _read(self, way_out: str) -> dict[str, Tensor]:
        """The checkpoint's tensors.

        Args:
            way_out: the config option to do without it.

        Raises:
            CheckpointError: as ``read_weights``; for a missing file
                with the way to get or to do without it.
        """
        path = local_file(self.checkpoint)
        if not path.exists():
            raise CheckpointError(
                f'the public weights {self.checkpoint} are not there. They '
                f'are published at {ADDRESSES[self.key_map]}; to train '
                f'without them: --cfg-options {way_out}'
            )
        return read_weights(path)['state_dict']

    def _check(
        self,
        own: dict[str, Tensor],
        weights: dict[str, Tensor],
        state: dict[str, Tensor],
    ) -> None:
        """Raise unless something fits and nothing has another shape."""
        if not weights:
            raise CheckpointError(
                f'{self.checkpoint}: none of its {len(state)} tensors '
                f'({_first(sorted(state))}) fits the model through key map '
                f'{self.key_map!r}. Is it the file published at '
                f'{ADDRESSES[self.key_map]}?'
            )
        shapes = other_shapes(own, weights)
        if shapes:
            raise CheckpointError(
                f'{self.checkpoint} belongs to another model than the '
                f'config: of another shape are {len(shapes)} of '
                f'{len(weights)} weights ({_first(shapes)})'
            )


def _initialize_children(module: nn.Module) -> None:
    """The usual initialisation of all parts, now and not again."""
    for child in module.children():
        if hasattr(child, 'init_weights') and not getattr(
            child, 'is_init', False
        ):
            child.init_weights()
            child.is_init = True


@master_only
def _report(
    checkpoint: str,
    own: dict[str, Tensor],
    weights: dict[str, Tensor],
    unused: Iterable[str],
    dropped: Iterable[Dropped],
) -> None:
    """Tell what became of every key of the checkpoint and the model."""
    # a counter that starts at zero is no weight
    names = [key for key in own if not key.endswith('num_batches_tracked')]
    without = [key for key in names if key not in weights]
    lines = [f'{checkpoint}: {len(weights)} of {len(own)} tensors loaded']
    lines += [
        f'left out of it: {item.why} ({len(item.keys)} keys)'
        for item in dropped
    ]
    lines.append(
        'not used of it: ' + (', '.join(sorted(unused)) or 'nothing else')
    )
    lines.append(
        'not in it, initialised as usual: '
        + (', '.join(_whole_modules(without, names)) or 'nothing')
    )
    print_log('\n  '.join(lines), logger='current')


def _whole_modules(keys: list[str], own: Iterable[str]) -> list[str]:
    """Keys, those of modules that are in it completely as ``name.*``."""
    total = Counter(p for key in own for p in _prefixes(key))
    found = Counter(p for key in keys for p in _prefixes(key))
    names: dict[str, None] = {}
    for key in keys:
        whole = next((p for p in _prefixes(key) if found[p] == total[p]), None)
        names[key if whole is None else f'{whole}.* ({found[whole]})'] = None
    return list(names)


def _prefixes(key: str) -> list[str]:
    """'a.b.c' -> ['a', 'a.b']: the modules that a key lies in."""
    parts = key.split('.')[:-1]
    return ['.'.join(parts[: i + 1]) for i in range(len(parts))]


def _first(items: list[str], count: int = 3) -> str:
    return ', '.join(items[:count]) + (', ...' if len(items) > count else '')
