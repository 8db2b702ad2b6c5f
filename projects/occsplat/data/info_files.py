"""Info files on disk."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

from .errors import DataError
from .layout import info_file
from .safe_pickle import load_plain


def read_infos(root: str | Path, split: str) -> dict[str, Any]:
    """The info file of a split.

    Args:
        root: data root.
        split: 'train', 'val' or 'test'.

    Returns:
        dict: ``metainfo`` and ``data_list``.

    Raises:
        FileNotFoundError: when there is none.
        DataError: when it is no info file, or has no key frame.
    """
    path = Path(root) / info_file(split)
    if not path.is_file():
        raise FileNotFoundError(
            f'info file {path} does not exist. Make it with\n    python '
            f'tools/create_data.py nuscenes --root {root}'
        )
    content = load_plain(path)
    if not isinstance(content, dict) or not content.get('data_list'):
        raise DataError(
            f'{path}: expected a dict with metainfo and a data_list of key '
            'frames, got none. Make it again with\n    python '
            f'tools/create_data.py nuscenes --root {root}'
        )
    return content


def write_infos(path: Path, infos: dict[str, Any]) -> None:
    """Write beside the target, then rename: never half a file."""
    part = path.with_suffix('.pkl.part')
    with open(part, 'wb') as file:
        pickle.dump(infos, file, protocol=4)
    os.replace(part, path)
