"""Checkpoints: find the newest, read safely, refuse another model's."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path
from typing import Any, Iterable, Mapping

import torch
from torch import Tensor, nn

from occsplat.compat import allow_own_checkpoints

from .errors import CheckpointError
from .opacity_threshold import apply_threshold, stored_threshold

# Render heads work in training alone: a method's checkpoint fits its
# baseline's config, and the other way round.
_TRAIN_ONLY = 'render_heads.'


def load_model_weights(
    model: nn.Module,
    path: str | Path,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Load all weights of a model, or none.

    Reads mmengine's checkpoints and bare state dicts. Where training kept
    an exponential moving average, mmengine stores the averaged weights as
    the ``state_dict``, and those are loaded. Weights of render heads,
    which prediction does not use, may be absent on either side.

    An opacity threshold in the checkpoint's ``meta`` goes to the occupancy
    head, see ``apply_threshold``.

    Args:
        model (nn.Module): not wrapped for distributed training.
        path: the checkpoint file.
        options (mapping, optional): values by key path, as
            ``--cfg-options`` gives them: a threshold among them stays.

    Returns:
        dict: the checkpoint's ``meta``, empty for a bare state dict.

    Raises:
        CheckpointError: when the file is missing, damaged, unsafe to load,
            or belongs to another model; the model is then unchanged.
    """
    checkpoint = read_checkpoint(path)
    state = checkpoint.get('state_dict', checkpoint)
    state = {
        key.removeprefix('module.'): value
        for key, value in state.items()
        if isinstance(value, Tensor)
    }
    meta = checkpoint.get('meta') or {}
    _check_fit(model.state_dict(), state, path)
    stored_threshold(meta, path)
    own = model.state_dict()
    model.load_state_dict({k: state[k] for k in own if k in state}, False)
    apply_threshold(model, meta, path, options)
    return meta


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint file to the CPU, tensors and plain data only.

    Raises:
        CheckpointError: when the file is missing, damaged, or holds
            anything that could run code while being loaded.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f'checkpoint {path} does not exist{_neighbours(path)}'
        )
    allow_own_checkpoints()
    try:
        # not mapped: who writes a mapped file anew while its tensors are in
        # use is killed by the system
        checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f'checkpoint {path} is not a file of weights, or holds objects '
            f'that are not safe to load: {reason}'
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError(
            f'checkpoint {path} is damaged or not a checkpoint '
            f'({path.stat().st_size} bytes): {error}. Copy it again, or use '
            'an earlier one'
        ) from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f'checkpoint {path}: expected a dict of weights, got '
            f'{type(checkpoint).__name__}'
        )
    return checkpoint


def update_meta(path: str | Path, values: Mapping[str, Any]) -> None:
    """Write values into a checkpoint's ``meta``, whole or not at all.

    Everything else in the file stays; a bare state dict becomes a
    checkpoint with a ``meta``.

    Args:
        path: the checkpoint file.
        values (mapping): plain data by key.

    Raises:
        CheckpointError: as ``read_checkpoint``.
    """
    path = Path(path)
    checkpoint = read_checkpoint(path)
    if 'state_dict' not in checkpoint:
        checkpoint = dict(state_dict=checkpoint)
    meta = {**(checkpoint.get('meta') or {}), **values}
    part = path.with_name(f'{path.name}.part')
    torch.save(dict(checkpoint, meta=meta), part)
    os.replace(part, path)


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


def _check_fit(
    own: dict[str, Tensor], state: dict[str, Tensor], path: str | Path
) -> None:
    """Raise unless the weights are those of the model."""

    def needed(keys: Iterable[str]) -> list[str]:
        return sorted(k for k in keys if not k.startswith(_TRAIN_ONLY))

    shapes = [
        f'{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}'
        for key in sorted(own.keys() & state.keys())
        if state[key].shape != own[key].shape
    ]
    problems = {
        'missing': needed(own.keys() - state.keys()),
        'unexpected': needed(state.keys() - own.keys()),
        'of another shape': shapes,
    }
    found = [
        f'{len(keys)} {what} ({", ".join(keys[:3])}'
        + (', ...)' if len(keys) > 3 else ')')
        for what, keys in problems.items()
        if keys
    ]
    if found:
        raise CheckpointError(
            f'checkpoint {path} belongs to another model than the config: '
            f'of {len(own)} weights {"; ".join(found)}. Use the config that '
            'it was trained with (it is beside the checkpoint in the work '
            'directory)'
        )


def _neighbours(path: Path) -> str:
    """What could have been meant."""
    if not path.parent.is_dir():
        return f': there is no folder {path.parent}'
    names = sorted(p.name for p in path.parent.glob('*.pth'))
    listed = ', '.join(names) if names else 'no .pth file'
    return f'; {path.parent} has {listed}'
