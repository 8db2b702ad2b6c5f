"""Unpickle plain data, and nothing that could act.

Like ``compat``, this module imports no other of the package, so that
every room may use it.
"""

from __future__ import annotations

import collections
import pickle
import re
from io import BufferedIOBase
from types import FunctionType
from typing import IO, Any

import numpy as np


class RefusedGlobal(ValueError):
    """A pickle asked for something that plain data does not need."""


def unpickle(file: IO[bytes] | BufferedIOBase) -> Any:
    """Load one pickle of containers, numbers, strings and numpy arrays.

    A pickle is a program: it may name any function of any module and call
    it. Here a name is looked up in a short list and nowhere else, so
    nothing is imported and nothing on the list runs code of the file's:
    containers of the standard library, and functions of this module in
    place of those that numpy's own pickles name. A file from a stranger
    can be wrong, and it can be large, but it cannot act.

    Args:
        file: open for reading in binary mode, able to go back.

    Raises:
        RefusedGlobal: when the pickle asks for anything else, and for
            arrays of anything but little-endian numbers.
        Exception: a damaged pickle may fail anywhere, with nearly any
            error.
    """
    start = file.tell()
    try:
        return _PlainUnpickler(file).load()
    except _HoldsArrays:
        file.seek(start)
        return ArrayUnpickler(file).load()


class _HoldsArrays(Exception):
    """A pickle names something of numpy's."""


_KINDS = re.compile(r'[<=|]?(b1|[iu][1248]|f[248]|c8|c16)')


class NameOnly:
    """Stands for what a pickle may name, but neither call nor change.

    Args:
        name (str): as the pickle spells it, with the module.
    """

    __slots__ = ('_name',)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name

    def __call__(self, *args: Any) -> None:
        """Calls are refused.

        Raises:
            RefusedGlobal: always.
        """
        raise RefusedGlobal(f'a call of {self._name}')


#: the class itself would make arrays upon memory that the file can free
_NDARRAY = NameOnly('numpy.ndarray')


def _dtype(kind: Any, *_: Any) -> np.dtype:
    """A kind of number, whatever else the file says about it.

    A file that could set flags or the size of a dtype would have numpy
    follow addresses of the file's, or read beyond its bytes.
    """
    if not isinstance(kind, str) or not _KINDS.fullmatch(kind):
        raise RefusedGlobal(f'numpy.dtype of {kind!r}')
    return np.dtype(kind)


def _reconstruct(kind: Any, *_: Any) -> np.ndarray:
    """An empty array; what belongs into it follows."""
    if kind is not _NDARRAY:
        raise RefusedGlobal(f'an array of class {kind!r}')
    return np.zeros(0)


def _scalar(dtype: Any, raw: Any) -> Any:
    """A number of its bytes."""
    return _filled((), dtype, raw)[()]


def _frombuffer(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """An array of its bytes, as protocol 5 spells it."""
    return _filled(shape, dtype, raw, order)


def _filled(shape: Any, dtype: Any, raw: Any, order: str = 'C') -> np.ndarray:
    """An array of its bytes, with memory of its own."""
    if not isinstance(dtype, np.dtype):
        raise RefusedGlobal(f'an array of {dtype!r}')
    if isinstance(raw, str):  # a pickle of Python 2
        raw = raw.encode('latin1')
    if not isinstance(raw, (bytes, bytearray)):
        raise RefusedGlobal(f'an array of a {type(raw).__name__}')
    array = np.frombuffer(bytearray(raw), dtype)
    if dtype.kind == 'b':
        # numpy and torch count on bytes of 0 and 1
        array = array.view(np.uint8) != 0
    return array.reshape(shape, order=order)


def _numpy_globals() -> dict[tuple[str, str], Any]:
    """What numpy's own pickles name, under numpy 1.x and 2.x paths."""
    found = {
        ('multiarray', '_reconstruct'): _reconstruct,
        ('multiarray', 'scalar'): _scalar,
        ('numeric', '_frombuffer'): _frombuffer,
    }
    allowed: dict[tuple[str, str], Any] = {
        (f'{package}.{module}', name): value
        for (module, name), value in found.items()
        for package in ('numpy.core', 'numpy._core')
    }
    allowed['numpy', 'ndarray'] = _NDARRAY
    allowed['numpy', 'dtype'] = _dtype
    return allowed


def _latin1(text: str, encoding: str) -> bytes:
    """How protocol 2 spells bytes; no other codec is looked up."""
    if encoding != 'latin1':
        raise RefusedGlobal(f'_codecs.encode to {encoding!r}')
    return text.encode('latin1')


def _bytes(raw: Any = b'') -> bytes:
    """Bytes of bytes: a number would ask for so many."""
    if not isinstance(raw, (bytes, bytearray)):
        raise RefusedGlobal(f'builtins.bytes of a {type(raw).__name__}')
    return bytes(raw)


def _bytearray(raw: Any = b'', *encoding: Any) -> bytearray:
    """As ``_bytes``; protocol 2 may spell them as text."""
    return bytearray(_latin1(raw, *encoding) if encoding else _bytes(raw))


_ALLOWED = {
    ('_codecs', 'encode'): _latin1,
    ('builtins', 'bytes'): _bytes,
    ('builtins', 'set'): set,
    ('builtins', 'frozenset'): frozenset,
    ('builtins', 'complex'): complex,
    ('builtins', 'bytearray'): _bytearray,
    ('collections', 'OrderedDict'): collections.OrderedDict,
}
_NUMPY = _numpy_globals()


def _find(module: str, name: str) -> Any:
    """What a name stands for, numpy's included."""
    # Python 2 pickles call the module __builtin__
    key = ('builtins' if module == '__builtin__' else module, name)
    if key not in _ALLOWED and key not in _NUMPY:
        raise RefusedGlobal(f'{module}.{name}')
    value = _ALLOWED[key] if key in _ALLOWED else _NUMPY[key]
    # A pickle may set attributes of what it holds: of a function that is
    # nobody else's, then. Classes have none.
    if isinstance(value, FunctionType):
        return lambda *args: value(*args)
    return value


class _PlainUnpickler(pickle.Unpickler):
    """Admits what is on the list, without numpy; compiled, so fast."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _NUMPY:
            raise _HoldsArrays
        return _find(module, name)


class ArrayUnpickler(pickle._Unpickler):
    """Admits numpy's names, too.

    The compiled one would let numpy itself set dtypes and arrays to what
    the file says, which numpy does without much of a look.
    """

    dispatch = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a global.

        Raises:
            RefusedGlobal: when nothing does.
        """
        return _find(module, name)

    def load_build(self) -> None:
        """Give an object its state: checked here for dtypes and arrays.

        Raises:
            RefusedGlobal: for another byte order, or an array that has
                its numbers already.
        """
        state, target = self.stack[-1], self.stack[-2]
        if isinstance(target, np.dtype):
            # its second value is the byte order; the rest is the kind's own
            self.stack.pop()
            if state[1] not in ('<', '=', '|'):
                raise RefusedGlobal(f'numpy.dtype of byte order {state[1]!r}')
        elif isinstance(target, np.ndarray):
            _, shape, dtype, fortran, raw = self.stack.pop()
            array = _filled(shape, dtype, raw, 'F' if fortran else 'C')
            if target.size:
                raise RefusedGlobal('an array that changes')
            target.__setstate__(
                (1, array.shape, dtype, fortran, array.tobytes('A'))
            )
        else:
            super().load_build()

    dispatch[pickle.BUILD[0]] = load_build
