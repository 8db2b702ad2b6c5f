"""Read info files without running what a stranger put into them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from occsplat.plain_pickle import RefusedGlobal, unpickle

from .errors import DataError

#: how the refusal of an array of texts reads
_TEXTS = re.compile(r"numpy\.dtype of '[<>=|]?[US]\d+'")


def load_plain(path: str | Path) -> Any:
    """Load plain data from a ``.pkl`` or ``.json`` file.

    A pickle can run any code while it loads. Info files hold nothing but
    containers, numbers, strings and numpy arrays, so nothing else is let
    in: a file from a stranger can be wrong, but it cannot act.

    Args:
        path: the file; its suffix decides how it is read.

    Returns:
        What the file holds.

    Raises:
        FileNotFoundError: when there is no such file.
        DataError: when the pickle asks for anything but plain data
            (names the file and what was refused), when the file is
            damaged or can't be read, or when the suffix is neither .pkl
            nor .json.
    """
    path = Path(path)
    if path.suffix not in ('.pkl', '.json'):
        raise DataError(
            f'{path}: expected a .pkl or .json file, got {path.suffix!r}'
        )
    try:
        file = open(path, 'rb')
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DataError(
            f'{path} cannot be read: {error.strerror or error}'
        ) from error
    with file:
        try:
            if path.suffix == '.json':
                return json.load(file)
            return unpickle(file)
        except RefusedGlobal as refused:
            if _TEXTS.search(str(refused)):
                raise DataError(
                    f'{path}: holds arrays of texts, as the info files of '
                    'the older layout of mmdetection3d (before version 1.1) '
                    'do, which are not read. Make the file anew with '
                    'tools/create_data.py nuscenes'
                ) from refused
            raise DataError(
                f'{path}: refused to load {refused} from this pickle. Info '
                'files hold plain containers, numbers, strings and numpy '
                'arrays only; anything else can run code while it loads. '
                'Make the file anew with tools/create_data.py'
            ) from refused
        # a damaged pickle may fail anywhere, with nearly any error
        except Exception as error:
            raise DataError(
                f'{path}: not a complete {path.suffix} file '
                f'({type(error).__name__}: {error}). Copy it again or make '
                'it anew with tools/create_data.py'
            ) from error
