"""Unpickle plain data, and nothing that could act.

Like ``compat``, this module imports no other of the package, so that
every room may use it.
"""

from __future__ import annotations

import collections
import pickle
from types import FunctionType
from typing import IO, Any

import numpy as np


class RefusedGlobal(ValueError):
    """A pickle asked for something that plain data does not need."""


def unpickle(file: IO[bytes]) -> Any:
    """Load one pickle of containers, numbers, strings and numpy arrays.

    A pickle is a program: it may name any function of any module and call
    it. Here a name is looked up in a short list and nowhere else, so
    nothing is imported and nothing on the list runs code of the file's:
    containers of the standard library, and the four names that numpy's own
    pickles hold (``_reconstruct`` and ``_frombuffer`` make an array of the
    bytes that follow, ``scalar`` a number, ``dtype`` says of what kind). A
    file from a stranger can be wrong, and it can be large, but it cannot
    act.

    Args:
        file: open for reading in binary mode.

    Raises:
        RefusedGlobal: when the pickle asks for anything else.
        Exception: a damaged pickle may fail anywhere, with nearly any
            error.
    """
    return _PlainUnpickler(file).load()


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
    """Admits what is on the list."""

    def find_class(self, module: str, name: str) -> Any:
        # Python 2 pickles call the module __builtin__
        key = ('builtins' if module == '__builtin__' else module, name)
        if key not in _ALLOWED:
            raise RefusedGlobal(f'{module}.{name}')
        value = _ALLOWED[key]
        # A pickle may set attributes of what it holds: of a function that
        # is nobody else's, then. Classes and compiled functions have none.
        if isinstance(value, FunctionType):
            return lambda *args: value(*args)
        return value
