"""Info files on disk."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np

from occsplat.structures import whole_file

from .calibration import check_order
from .errors import DataError
from .frame_records import frame_record
from .layout import CAMERAS, info_file
from .safe_pickle import load_plain


def load_infos(path: str | Path) -> dict[str, Any]:
    """What an info file holds, from wherever it is.

    Args:
        path: a ``.pkl`` or ``.json`` file.

    Returns:
        dict: ``metainfo`` and ``data_list``, whose entries have yet to be
        looked at.

    Raises:
        FileNotFoundError: when there is none.
        DataError: when it is no info file, or has no key frame.
    """
    content = load_plain(path)
    if not isinstance(content, dict) or 'data_list' not in content:
        kind = type(content).__name__
        found = (
            sorted(map(str, content)) if isinstance(content, dict) else kind
        )
        hint = 'Infos of other code bases do not fit'
        if isinstance(content, dict) and 'infos' in content:
            hint = (
                'This is the older layout of mmdetection3d, before version 1.1'
            )
        raise DataError(
            f'{path}: expected a dict with metainfo and data_list, got '
            f'{found}. {hint}; make the file anew with '
            'tools/create_data.py nuscenes'
        )
    frames = content['data_list']
    if not isinstance(frames, (list, tuple)):
        raise DataError(
            f'{path}: data_list is a {type(frames).__name__}; expected a '
            'list of key frames'
        )
    if not frames:
        raise DataError(
            f'{path} holds no key frame: none of the scenes on disk belongs '
            'to this split. Add scenes and run tools/create_data.py nuscenes '
            'again'
        )
    _check_metainfo(content.get('metainfo'), path)
    return content


def _check_metainfo(metainfo: Any, path: str | Path) -> None:
    if not isinstance(metainfo, dict):
        raise DataError(
            f'{path}: metainfo is {metainfo!r}; expected a dict as '
            'mmdetection3d writes it, with categories={name: number}'
        )
    categories = metainfo.get('categories', {})
    if not isinstance(categories, dict) or not all(
        isinstance(name, str) and isinstance(number, (int, np.integer))
        for name, number in categories.items()
    ):
        raise DataError(
            f"{path}: metainfo['categories'] is {categories!r}; expected a "
            'dict of class names and their numbers'
        )


def read_infos(root: str | Path, split: str) -> dict[str, Any]:
    """The info file of a split.

    Args:
        root: data root.
        split: 'train', 'val' or 'test'.

    Returns:
        dict: ``metainfo`` and ``data_list``.

    Raises:
        FileNotFoundError: when there is none.
        DataError: as ``load_infos``.
    """
    path = Path(root) / info_file(split)
    if not path.is_file():
        raise FileNotFoundError(
            f'info file {path} does not exist. Make it with\n    python '
            f'tools/create_data.py nuscenes --root {root}'
        )
    return load_infos(path)


def records_of(
    infos: Mapping[str, Any],
    path: str | Path,
    root: str | Path,
    frame: str = 'ego',
    cameras: Sequence[str] | None = CAMERAS,
) -> list[dict[str, Any]]:
    """The records of all key frames of an info file, checked.

    Args:
        infos: see ``load_infos``.
        path: the file, to name in errors.
        root, frame, cameras: as ``frame_record``.

    Raises:
        DataError: for an entry that can't be one, or key frames that
            don't follow each other; names file, key frame and field.
    """
    categories = infos['metainfo'].get('categories')
    try:
        records = [
            frame_record(info, root, frame, cameras, categories)
            for info in infos['data_list']
        ]
        check_order(records)
    except DataError as error:
        raise DataError(f'{path}: {error}') from error
    return records


def write_infos(path: Path, infos: dict[str, Any]) -> None:
    """Write an info file, whole or not at all.

    Raises:
        DataError: when it can't be written.
    """
    with whole_file(path) as part, open(part, 'wb') as file:
        pickle.dump(infos, file, protocol=4)
