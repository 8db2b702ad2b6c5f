"""Read info files without running what a stranger put into them."""

from __future__ import annotations

import collections
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DataError


def _numpy_globals() -> dict[tuple[str, str], Any]:
    """What numpy's own pickles name, under numpy 1.x and 2.x paths."""
    # the functions themselves, wherever this numpy keeps them
    found = {
        ('multiarray', '_reconstruct'): np.zeros(1).__reduce__()[0],
        ('multiarray', 'scalar'): np.float64(0).__reduce__()[0],
        ('numeric', '_frombuffer'): np.zeros(1).__reduce_ex__(5)[0],
    }
    allowed = {
        (f'{package}.{module}', name): value
        for (module, name), value in found.items()
        for package in ('numpy.core', 'numpy._core')
    }
    allowed['numpy', 'ndarray'] = np.ndarray
    allowed['numpy', 'dtype'] = np.dtype
    return allowed


def _latin1(text: str, encoding: str) -> bytes:
    """How protocol 2 spells bytes; no other codec is looked up."""
    if encoding != 'latin1':
        raise RefusedGlobal(f'_codecs.encode to {encoding!r}')
    return text.encode('latin1')


class RefusedGlobal(ValueError):
    """A pickle asked for something that plain data does not need."""


_ALLOWED = {
    ('_codecs', 'encode'): _latin1,
    ('builtins', 'bytes'): bytes,
    ('builtins', 'set'): set,
    ('builtins', 'frozenset'): frozenset,
    ('builtins', 'complex'): complex,
    ('builtins', 'bytearray'): bytearray,
    ('collections', 'OrderedDict'): collections.OrderedDict,
    **_numpy_globals(),
}


class _PlainUnpickler(pickle.Unpickler):
    """Admits containers, numbers, strings and numpy arrays only."""

    def find_class(self, module: str, name: str) -> Any:
        # Python 2 pickles call the module __builtin__
        key = ('builtins' if module == '__builtin__' else module, name)
        if key not in _ALLOWED:
            raise RefusedGlobal(f'{module}.{name}')
        return _ALLOWED[key]


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
        ValueError: when the pickle asks for anything but plain data
            (names the file and what was refused), when the file is
            damaged, or when the suffix is neither .pkl nor .json.
    """
    path = Path(path)
    if path.suffix not in ('.pkl', '.json'):
        raise DataError(
            f'{path}: expected a .pkl or .json file, got {path.suffix!r}'
        )
    with open(path, 'rb') as file:
        try:
            if path.suffix == '.json':
                return json.load(file)
            return _PlainUnpickler(file).load()
        except RefusedGlobal as refused:
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
