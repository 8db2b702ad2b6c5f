"""From the name of a checkpoint to a file on this machine.

Names are paths, http(s) addresses, files of the Hugging Face Hub, and
mmengine's names of published weights. Whatever is not on this machine is
fetched into a cache first, torch.hub's or the Hub's, so that every checkpoint
is read as a file, by one reader.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import sys
from pathlib import Path
from typing import Callable, Mapping
from urllib.parse import urlsplit

import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.logging import print_log
from mmengine.runner import checkpoint as mm_checkpoint

from .errors import CheckpointError
from .weight_files import read_weight_file


def _openmmlab() -> dict[str, str]:
    """mmengine's names, the old ones too."""
    models = mm_checkpoint.get_external_models()
    renamed = mm_checkpoint.get_deprecated_model_names()
    old = {name: models[new] for name, new in renamed.items() if new in models}
    return {**old, **models}


#: where names of published weights are looked up
_MODELS: dict[str, Callable[[], Mapping[str, str]]] = {
    'torchvision': mm_checkpoint.get_torchvision_models,
    'modelzoo': mm_checkpoint.get_torchvision_models,
    'open-mmlab': _openmmlab,
    'openmmlab': _openmmlab,
    'mmcls': mm_checkpoint.get_mmcls_models,
}


def local_file(name: str | Path) -> Path:
    """The file that a name of a checkpoint stands for.

    To be called by all processes of a run.

    Args:
        name: a path, ``http://`` or ``https://`` and an address,
            ``hf://owner/name/file``, or ``torchvision://``,
            ``open-mmlab://`` or ``mmcls://`` and the name of a model.

    Returns:
        Path: of the file, which may not be there if a path was given.

    Raises:
        CheckpointError: for other names, unknown models, and when a file
            cannot be fetched or is no checkpoint.
    """
    scheme, separator, rest = str(name).partition('://')
    if not separator:
        return Path(name).expanduser()
    if scheme in ('http', 'https'):
        return _fetched(str(name))
    if scheme == 'hf':
        return _from_hub(rest)
    if scheme not in _MODELS:
        known = ', '.join(f'{s}://' for s in ('http', 'https', 'hf', *_MODELS))
        raise CheckpointError(
            f'checkpoint {name}: {scheme}:// cannot be fetched from. Give a '
            f'path, or an address that begins with one of {known}'
        )
    models = _MODELS[scheme]()
    if rest not in models:
        near = difflib.get_close_matches(rest, models, n=3)
        meant = f': did you mean {" or ".join(near)}?' if near else ''
        raise CheckpointError(
            f'checkpoint {name}: {scheme}:// has no model {rest!r}{meant}'
        )
    return local_file(models[rest])


def _from_hub(name: str) -> Path:
    """A file of the Hugging Face Hub, in the Hub's own cache.

    Args:
        name: owner/name/file; the file may lie in folders.
    """
    parts = name.split('/', 2)
    if len(parts) < 3 or not all(parts):
        raise CheckpointError(
            f'checkpoint hf://{name}: expected hf://owner/name/file'
        )
    owner, repository, file = parts
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise CheckpointError(
            f'checkpoint hf://{name} needs huggingface_hub: run pip install '
            "'occsplat[hub]', or fetch the file and give its path"
        ) from error
    rank, world_size = get_dist_info()

    def fetch() -> Path:
        try:
            path = hf_hub_download(f'{owner}/{repository}', file)
        # no network, no such repository or file, no right to it
        except Exception as error:
            raise CheckpointError(
                f'checkpoint hf://{name} cannot be fetched ({error}). Fetch '
                'it where there is a network and give its path'
            ) from error
        return Path(path)

    try:
        if rank == 0:
            read_weight_file(fetch())
    finally:
        if world_size > 1:
            barrier()
    return fetch()


def cached_file(url: str) -> Path:
    """Where the file behind an address is kept.

    Names with a hash, as published weights have, are kept as torch.hub
    keeps them; others get one, so that two addresses never share a file.

    Raises:
        CheckpointError: when the address is none.
    """
    try:
        name = Path(urlsplit(url).path).name or 'checkpoint'
    except ValueError as error:
        raise CheckpointError(
            f'checkpoint {url} cannot be fetched: {error}'
        ) from None
    if not re.search(r'-[0-9a-f]{8,}\.', name):
        digest = hashlib.sha256(url.encode()).hexdigest()[:8]
        name = f'{digest}_{name}'
    return Path(torch.hub.get_dir()) / 'checkpoints' / name


def _fetched(url: str) -> Path:
    """The file behind an address, fetched unless it is there already.

    The first process fetches; others find the file, or fetch it where
    their machine has a disk of its own.
    """
    path = cached_file(url)
    rank, world_size = get_dist_info()
    try:
        if rank == 0:
            _fetch(url, path)
    finally:
        if world_size > 1:
            barrier()
    _fetch(url, path)
    return path


def _fetch(url: str, path: Path) -> None:
    """Put a file into the cache, if it is a whole checkpoint."""
    if path.is_file():
        return
    print_log(f'fetching {url} to {path}', logger='current')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            url, str(path), progress=sys.stderr.isatty()
        )
    # no network, no such address, no certificate, no room on the disk
    except Exception as error:
        raise CheckpointError(
            f'checkpoint {url} cannot be fetched ({error}). Fetch it where '
            f'there is a network and give its path, or put it at {path}'
        ) from error
    try:
        read_weight_file(path)
    except CheckpointError as error:
        path.unlink(missing_ok=True)
        raise CheckpointError(f'what {url} gave is of no use: {error}') from (
            error
        )
