"""Published networks: their checkpoints as checkpoints of ours.

docs/model_zoo.md has the commands, the figures and the licences.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Iterable

from mmdet3d.registry import MODELS
from mmengine.config import Config
from torch import Tensor, nn

from .checkpoint import read_weights
from .errors import CheckpointError
from .key_maps import ADDRESSES, KEY_MAPS, Dropped
from .weight_fit import other_shapes, tell_not_finite

#: a norm's count of batches is no weight: files may lack it
COUNTER = 'num_batches_tracked'
#: of the names in a message
SHOWN = 3


@dataclass(frozen=True)
class Released:
    """A network that others published.

    Attributes:
        config: ours, below occupancy_configs, with its conventions.
        key_map: which of ``KEY_MAPS`` converts it.
        licence: of its weights.
    """

    config: str
    key_map: str
    licence: str


UNSTATED = 'none stated; trained on nuScenes, CC BY-NC-SA 4.0'
RELEASED = {
    'bevdet-occ-r50-4d-stereo': Released(
        config=(
            'bevstereo/bevstereo-r50_8xb4-24e_occ3d-camera-mask_released.py'
        ),
        key_map='bevdet_occ',
        licence=UNSTATED,
    ),
    'bevdet-occ-stbase-4d-stereo': Released(
        config=(
            'bevstereo/bevstereo-swin-b_32xb1-24e_occ3d-camera-mask_released.py'
        ),
        key_map='bevdet_occ',
        licence=UNSTATED,
    ),
    'renderocc-swin-b': Released(
        config=(
            'renderocc/renderocc-7f_bevstereo-swin-b_8xb2-12e_occ3d_released.py'
        ),
        key_map='bevdet_occ',
        licence=UNSTATED,
    ),
    'fbocc-r50': Released(
        config='fbocc/fbocc-r50_16xb4-20e_occ3d_released.py',
        key_map='fbocc_r50',
        licence='CC BY-NC-SA 4.0: research only, share alike',
    ),
    'gaussrender-tpvformer-occ3d': Released(
        config='gaussrender/gaussrender_tpvformer-r101_4xb1-20e_occ3d.py',
        key_map='tpvformer',
        licence='none stated for the weights; trained on nuScenes',
    ),
    'surroundocc-r101': Released(
        config='surroundocc/surroundocc-r101_8xb1-24e_surroundocc.py',
        key_map='surroundocc',
        licence=UNSTATED,
    ),
}


@dataclass(frozen=True)
class Converted:
    """A checkpoint in our names.

    Attributes:
        state: tensors of our network, counters at 0 among them.
        taken: those that came from the file, counters left out.
        total: those that the network has, likewise.
        missing: its names that got nothing.
        unused: the file's names that nothing was made of.
        dropped: those that are left out on purpose, and why.
    """

    state: dict[str, Tensor]
    taken: int
    total: int
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    dropped: tuple[Dropped, ...]

    @property
    def whole(self) -> bool:
        """Whether nothing is missing and nothing left over."""
        return not self.missing and not self.unused

    def __str__(self) -> str:
        lines = [f'{self.taken} of {self.total} tensors']
        lines.append(f'unused: {_first(self.unused)}')
        lines.append(f'missing: {_first(self.missing)}')
        for item in self.dropped:
            lines.append(f'left out, {item.why}: {len(item.keys)}')
        return '; '.join(lines)


def convert(
    path: str | Path, name: str, cfg: Config, partial: bool = False
) -> Converted:
    """Convert a published checkpoint.

    Args:
        path: the file, see ``local_file``; read without running anything
            that it may hold.
        name: which of ``RELEASED`` it is.
        cfg: ``RELEASED[name].config``, loaded.
        partial: take what fits of a file that has more or less.

    Raises:
        CheckpointError: for a file that is damaged or of another network.
    """
    state = _without_counters(read_weights(path)['state_dict'])
    model = MODELS.build({**cfg.model, 'init_cfg': None})
    converted = _apply(RELEASED[name].key_map, state, model, path, name)
    if not converted.taken or not (converted.whole or partial):
        raise CheckpointError(
            f'{path} is not the whole of {name}: {converted}. '
            f'{_nearest(state, model)}'
            + ('' if not converted.taken else '; --partial takes what fits')
        )
    tell_not_finite(converted.state, path)
    return converted


def _apply(
    key_map: str,
    state: dict[str, Tensor],
    model: nn.Module,
    path: str | Path,
    name: str,
) -> Converted:
    every = model.state_dict()
    own = _without_counters(every)
    found: dict[str, Tensor] = {}
    used: set[str] = set()
    dropped = []
    try:
        items = list(KEY_MAPS[key_map](state, model))
    except (KeyError, RuntimeError) as error:
        # a step that found a tensor, but not its neighbour or its shape
        raise CheckpointError(
            f'{path} cannot be converted as {name}: {error}. '
            f'{_nearest(state, model)}'
        ) from error
    for item in items:
        if isinstance(item, Dropped):
            dropped.append(item)
            used.update(item.keys)
        elif item.name in own:
            found[item.name] = item.value.clone()
            used.update(item.sources)
    wrong = other_shapes(own, found)
    if wrong:
        raise CheckpointError(
            f'{path} is not {name}: of another shape are {_first(wrong)}'
        )
    counters = {k: v for k, v in every.items() if k not in own}
    return Converted(
        found | counters,
        len(found),
        len(own),
        tuple(key for key in own if key not in found),
        tuple(key for key in state if key not in used),
        tuple(dropped),
    )


def _nearest(state: dict[str, Tensor], model: nn.Module) -> str:
    """Which published file it is most like, by its names."""
    shares = {}
    for name, key_map in KEY_MAPS.items():
        try:
            items = list(key_map(state, model))
        except (KeyError, RuntimeError):
            continue
        sources = {key for x in items if not isinstance(x, Dropped)
                   for key in x.sources}  # fmt: skip
        shares[name] = len(sources) / max(len(state), 1)
    best = max(shares, key=shares.__getitem__, default=None)
    if best is None or not shares[best]:
        return 'Its names are of no checkpoint known here'
    return (
        f'By {shares[best]:.0%} of its names it is nearest to {best!r}, '
        f'published at {ADDRESSES[best]}'
    )


def _without_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if not k.endswith(COUNTER)}


def _first(names: Iterable[str]) -> str:
    names = list(names)
    if not names:
        return 'none'
    more = f', ... ({len(names)})' if len(names) > SHOWN else ''
    return ', '.join(names[:SHOWN]) + more
