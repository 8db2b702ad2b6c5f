"""Which weights of a checkpoint belong into a model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Iterable, Mapping

from mmengine.logging import print_log
from torch import Tensor, nn

from .errors import CheckpointError, one_line


def other_shapes(
    own: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> list[str]:
    """Weights that a model has in another shape, a text for each.

    Args:
        own (mapping): the model's state dict.
        weights (mapping): by the same names; others are passed over.
    """
    return [
        f'{key} {tuple(weights[key].shape)} instead of {tuple(own[key].shape)}'
        for key in sorted(own.keys() & weights.keys())
        if weights[key].shape != own[key].shape
    ]


def check_fit(
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    name: str | Path,
    optional: str | None = None,
) -> None:
    """See that weights are those of a model.

    Args:
        own (mapping): the model's, by name.
        state (mapping): the checkpoint's.
        name: of the checkpoint.
        optional (str, optional): prefix of names that either may lack.

    Raises:
        CheckpointError: when a weight is missing, unexpected or of another
            shape.
    """

    def needed(keys: Iterable[str]) -> list[str]:
        return sorted(
            k for k in keys if not (optional and k.startswith(optional))
        )

    problems = {
        'missing': needed(own.keys() - state.keys()),
        'unexpected': needed(state.keys() - own.keys()),
        'of another shape': other_shapes(own, state),
    }
    found = [
        f'{len(keys)} {what} ({", ".join(keys[:3])}'
        + (', ...)' if len(keys) > 3 else ')')
        for what, keys in problems.items()
        if keys
    ]
    if found:
        raise CheckpointError(
            f'checkpoint {name} belongs to another model than the config: '
            f'of {len(own)} weights {"; ".join(found)}. Use the config that '
            'it was trained with (it is beside the checkpoint in the work '
            'directory)'
        )


def load_what_fits(
    model: nn.Module, state: Mapping[str, Tensor], name: str | Path
) -> None:
    """Start from weights of another model; the log tells how many fit.

    Args:
        model (nn.Module): not wrapped for distributed training.
        state (mapping): weights by name, of any model.
        name: of the checkpoint that they are from.

    Raises:
        CheckpointError: when nothing fits; the model is then unchanged.
    """
    own = model.state_dict()
    taken = [k for k in own if k in state and state[k].shape == own[k].shape]
    if not taken:
        raise CheckpointError(
            f'checkpoint {name}: 0 of {len(own)} tensors of the model are '
            f'in it. Expected names and shapes like {_first(own)}; it has '
            f'{_first(state)}'
        )
    tell_not_finite({key: state[key] for key in taken}, name)
    model.load_state_dict({key: state[key] for key in taken}, strict=False)
    others = [key for key in own if key not in state]
    shaped = [key for key in own if key in state and key not in set(taken)]
    said = f'checkpoint {name}: {len(taken)} of {len(own)} tensors taken'
    for keys, what in (
        (others, 'not in it'),
        (shaped, 'of another shape'),
        ([key for key in state if key not in own], 'of it not used'),
    ):
        if keys:
            said += f'; {len(keys)} {what} ({", ".join(keys[:3])}'
            said += ', ...)' if len(keys) > 3 else ')'
    level = logging.WARNING if others or shaped else logging.INFO
    print_log(one_line(said), logger='current', level=level)


def tell_not_finite(state: Mapping[str, Tensor], name: str | Path) -> None:
    """Warn of weights that are NaN or infinite."""
    bad = [
        key
        for key, value in state.items()
        if value.is_floating_point()
        # numbers of 8 bits can't be asked
        and not (value.float() if value.itemsize == 1 else value)
        .isfinite()
        .all()
    ]
    if bad:
        said = (
            f'checkpoint {name}: {len(bad)} of {len(state)} tensors hold NaN '
            f'or infinite numbers ({", ".join(bad[:3])}'
        )
        said += ', ...)' if len(bad) > 3 else ')'
        print_log(one_line(said), logger='current', level=logging.WARNING)


def _first(weights: Mapping[str, Tensor]) -> str:
    """A few names and shapes."""
    named = [f'{k} {tuple(v.shape)}' for k, v in list(weights.items())[:3]]
    return ', '.join(named) or 'nothing'
