"""Checkpoints: find the newest, read safely, refuse another model's."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any, Mapping

import torch
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from occsplat.structures import whole_file

from .errors import CheckpointError
from .opacity_threshold import apply_threshold, stored_threshold
from .safetensors_files import is_safetensors, write_safetensors
from .weight_files import read_weight_file
from .weight_fit import check_fit, tell_not_finite
from .weight_sources import local_file

#: Render heads only run during training: a method's checkpoint fits its
#: baseline's config, and the other way round.
TRAIN_ONLY = 'render_heads.'
#: where files have their weights, if not at the top
_LAYOUTS = ('state_dict', 'model', 'model_state_dict', 'module', 'net')
#: what is around a model while it is trained
WRAPPERS = ('module.', 'model.')


def load_model_weights(
    model: nn.Module,
    path: str | Path,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Load all weights of a model, or none.

    Reads what ``read_weights`` does. Where training kept an exponential
    moving average, mmengine stores the averaged weights as the
    ``state_dict``, and those are loaded. Weights of render heads, which
    prediction does not use, may be absent on either side.

    An opacity threshold in the checkpoint's ``meta`` goes to the occupancy
    head, see ``apply_threshold``.

    Args:
        model (nn.Module): not wrapped for distributed training.
        path: the checkpoint, see ``local_file``.
        options (mapping, optional): values by key path, as
            ``--cfg-options`` gives them: a threshold among them stays.

    Returns:
        dict: the checkpoint's ``meta``, empty for a bare state dict.

    Raises:
        CheckpointError: when the file is missing, damaged, unsafe to load,
            or belongs to another model; the model is then unchanged.
    """
    checkpoint = read_weights(path)
    state, meta = checkpoint['state_dict'], checkpoint['meta']
    own = model.state_dict()
    check_fit(own, state, path, optional=TRAIN_ONLY)
    stored_threshold(meta, path)
    tell_not_finite(state, path)
    model.load_state_dict({k: state[k] for k in own if k in state}, False)
    apply_threshold(model, meta, path, options)
    return meta


def read_checkpoint(name: str | Path) -> dict[str, Any]:
    """Read a checkpoint as it is: tensors on the CPU and plain data only.

    Args:
        name: the checkpoint, see ``local_file``.

    Raises:
        CheckpointError: when the file is missing, damaged, or holds
            anything that could run code while being loaded.
    """
    content = read_weight_file(local_file(name))
    if not isinstance(content, dict):
        raise CheckpointError(
            f'checkpoint {name}: expected a dict of weights, got '
            f'{type(content).__name__}'
        )
    return content


def read_weights(name: str | Path) -> dict[str, Any]:
    """Read a checkpoint of weights, in mmengine's layout.

    Bare state dicts, and those that others put under ``model`` and the
    like, are brought into it. Prefixes that wrappers leave (``module.``,
    ``model.``) go.

    Args:
        name: the checkpoint, see ``local_file``.

    Returns:
        dict: ``state_dict``, tensors by name; ``meta``, a dict, perhaps an
        empty one; and what else is in the file.

    Raises:
        CheckpointError: as ``read_checkpoint``, and when no weights are in
            the file.
    """
    content = read_checkpoint(name)
    state, rest = _weights_in(content, name)
    strange = [key for key in state if not isinstance(key, str)]
    if strange:
        raise CheckpointError(
            f'checkpoint {name}: expected names of weights, got a '
            f'{type(strange[0]).__name__}'
        )
    meta = rest.pop('meta', None) or {}
    if not isinstance(meta, dict):
        raise CheckpointError(
            f'checkpoint {name}: expected a dict as meta, got '
            f'{type(meta).__name__}'
        )
    weights = _unwrapped(state)
    if str(name).startswith('mmcls://'):
        # classifiers, of which backbones are asked for
        weights = weights_below(weights, 'backbone.')
    return {**rest, 'state_dict': weights, 'meta': meta}


def _weights_in(
    content: dict[Any, Any], name: str | Path
) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """The dict that has the tensors, and what is beside it."""
    state, rest = content, {}
    for _ in range(3):
        if any(isinstance(value, Tensor) for value in state.values()):
            return state, rest
        inner = [k for k in _LAYOUTS if isinstance(state.get(k), dict)]
        if not inner:
            break
        if state is content:
            rest = {k: v for k, v in content.items() if k != inner[0]}
        state = state[inner[0]]
    raise CheckpointError(
        f'checkpoint {name} has no weights: expected tensors by name, '
        f'perhaps below {", ".join(_LAYOUTS)}; its keys are '
        f'{", ".join(map(repr, list(content)[:5])) or "none"}'
    )


def _unwrapped(state: Mapping[str, Any]) -> OrderedDict[str, Tensor]:
    """Tensors by name, without the prefixes of wrappers around the model."""
    weights = OrderedDict(
        (key.removeprefix('module.'), value)
        for key, value in state.items()
        if isinstance(value, Tensor)
    )
    for prefix in WRAPPERS * 2:
        if all(key.startswith(prefix) for key in weights):
            weights = weights_below(weights, prefix)
    if weights.keys() == state.keys():
        # versions of modules, by their names
        weights._metadata = getattr(state, '_metadata', OrderedDict())
    return weights


def weights_below(
    weights: Mapping[str, Tensor], prefix: str
) -> OrderedDict[str, Tensor]:
    """Weights of one part, by their names in it."""
    return OrderedDict(
        (key[len(prefix) :], value)
        for key, value in weights.items()
        if key.startswith(prefix)
    )


@CheckpointLoader.register_scheme(list(CheckpointLoader._schemes), force=True)
def load_from_file(
    name: str, map_location: Any = None, **_: Any
) -> dict[str, Any]:
    """Stands in for all of mmengine's loaders, which trust their files.

    Args:
        name: as of ``read_weights``.
        map_location: not heeded: tensors are on the CPU, and go with what
            they are copied to.

    Raises:
        CheckpointError: as ``read_weights``.
    """
    return read_weights(name)


def update_meta(path: str | Path, values: Mapping[str, Any]) -> None:
    """Write values into a checkpoint's ``meta``, whole or not at all.

    Everything else in the file stays; a bare state dict becomes a
    checkpoint with a ``meta``.

    Args:
        path: the checkpoint file.
        values (mapping): plain data by key.

    Raises:
        CheckpointError: as ``read_weights``.
    """
    path = Path(path)
    checkpoint = read_weights(path)
    meta = {**checkpoint['meta'], **values}
    with open(path, 'rb') as file:
        head = file.read(9)
    if is_safetensors(head):
        write_safetensors(path, checkpoint['state_dict'], meta)
        return
    with whole_file(path) as part:
        torch.save(dict(checkpoint, meta=meta), part)


def latest_checkpoint(work_dir: str | Path) -> Path | None:
    """The newest checkpoint of a run, None where there is none.

    Follows ``last_checkpoint``, also where the folder was moved since;
    without it, or when what it names is gone, takes the ``epoch_N.pth`` with
    the highest N, else the ``iter_N.pth`` or ``resume_iter_N.pth``.
    """
    work_dir = Path(work_dir)
    pointer = work_dir / 'last_checkpoint'
    if pointer.is_file():
        named = Path(pointer.read_text(encoding='utf-8').strip())
        for path in (work_dir / named.name, named):
            if path.is_file():
                return path
    numbered = []
    for path in work_dir.glob('*.pth'):
        match = re.fullmatch(r'(epoch|(?:resume_)?iter)_(\d+)\.pth', path.name)
        if match:
            numbered.append((match[1] == 'epoch', int(match[2]), path))
    return max(numbered)[-1] if numbered else None
