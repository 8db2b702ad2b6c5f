"""Unpickle what ``torch.save`` wrote, and nothing that could act.

The pickle inside a checkpoint is a program of whoever made the file. Torch's
own safe loader lets it call functions of torch's and numpy's, some of which
return memory that nobody has filled, or believe what they are told about
sizes. Here a name of the file's stands for a function of ``weight_values``,
which looks at its arguments, or for nothing at all.
"""

from __future__ import annotations

import collections
import pickle
from typing import IO, Any, Callable, Iterable

import numpy as np
from mmengine.logging import HistoryBuffer

from occsplat.plain_pickle import ArrayUnpickler, NameOnly, RefusedGlobal

from .weight_values import (
    CALLS,
    DICTS,
    DTYPES,
    HISTORY,
    LEAVES,
    NAMES,
    STORAGES,
    Storage,
    attribute,
    hashable,
    name_of,
    set_history,
    set_versions,
)

#: containers in containers
_MAX_DEPTH = 100
#: Python refuses to write larger numbers out
_MAX_BITS = 4096


class Refused(NameOnly):
    """Stands for something refused, at its place in the file.

    It takes what a list, a dict or an object would be given, so that the
    rest of the file can be read and the place be told.
    """

    __slots__ = ()


class WeightUnpickler(ArrayUnpickler):
    """Admits tensors, arrays, containers and mmengine's log values.

    Whatever else the file asks for becomes a ``Refused``.

    Args:
        file: open for reading in binary mode.
        storage: gives the storage that a persistent id names.

    Attributes:
        refused (list): all of them, wherever they went.
    """

    dispatch = dict(ArrayUnpickler.dispatch)

    def __init__(
        self, file: IO[bytes], storage: Callable[..., Storage]
    ) -> None:
        # text of Python 2, as in torch.load
        super().__init__(file, encoding='utf-8')
        self._storage = storage
        self.refused: list[Refused] = []

    def persistent_load(self, pid: Any) -> Storage:
        """The storage that a persistent id names.

        Raises:
            ValueError: when it names something else.
        """
        if not isinstance(pid, tuple) or pid[:1] not in (
            ('storage',),
            (b'storage',),
        ):
            raise ValueError('a persistent id that names no storage')
        return self._storage(*pid[1:])

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a global."""
        # Python 2 pickles call the module __builtin__
        module = 'builtins' if module == '__builtin__' else module
        if (module, name) in CALLS:
            function = CALLS[module, name]
            # one of the file's own: it may set attributes of it
            return lambda *args: function(*args)
        if (module, name) in NAMES:
            return NAMES[module, name]
        if module in ('torch', 'torch.storage', 'torch.cuda'):
            if name in STORAGES:
                return STORAGES[name]
            if name in DTYPES:
                return DTYPES[name]
        if name.startswith('HistoryBuffer.') and (
            (module, 'HistoryBuffer') in NAMES
        ):
            return attribute(HISTORY, name.partition('.')[2])
        return self._guarded(super().find_class, module, name)

    def get_extension(self, code: int) -> None:
        """Numbers that stand for globals of one process are refused."""
        raise ValueError(f'a pickle with extension {code}')

    def load_reduce(self) -> None:
        """Call a function."""
        args = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], args)

    def load_newobj(self) -> None:
        """Make an object: a call, too."""
        args = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], args)

    def load_newobj_ex(self) -> None:
        """Make an object with keywords, of which no plain one has any."""
        keywords = self.stack.pop()
        if keywords:
            raise ValueError('an object made with keywords')
        self.load_newobj()

    def _instantiate(self, klass: Any, args: list[Any]) -> None:
        self.append(self._call(klass, tuple(args)))

    def load_build(self) -> None:
        """Give an object its state, which is checked here."""
        state, target = self.stack[-1], self.stack[-2]
        if isinstance(target, Refused) or isinstance(state, Refused):
            self.stack.pop()
        elif type(target) is collections.OrderedDict:
            set_versions(target, self.stack.pop())
        elif type(target) is HistoryBuffer:
            self._keep(set_history, target, self.stack.pop())
        elif isinstance(target, (np.dtype, np.ndarray)):
            self._keep(super().load_build)
        else:
            self.stack.pop()
            self.stack[-1] = self._refuse(f'state for {name_of(target)}')

    def _keep(self, build: Callable[..., None], *args: Any) -> None:
        """Leave a built object on the stack, unless it is refused."""
        refused = self._guarded(build, *args)
        if refused is not None:
            self.stack[-1] = refused

    def load_append(self) -> None:
        """Add one value to a list."""
        self._extend([self.stack.pop()])

    def load_appends(self) -> None:
        """Add values to a list."""
        self._extend(self.pop_mark())

    def _extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is list:
            target.extend(values)
        elif not isinstance(target, Refused):
            raise ValueError(f'a {type(target).__name__} that grows')

    def load_setitem(self) -> None:
        """Add one entry to a dict."""
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def load_setitems(self) -> None:
        """Add entries to a dict."""
        self._update(self.pop_mark())

    def load_dict(self) -> None:
        """Make a dict."""
        entries = self.pop_mark()
        self.append({})
        self._update(entries)

    def _update(self, entries: list[Any]) -> None:
        target = self.stack[-1]
        keys = hashable(entries[::2])
        if type(target) in (dict, *DICTS):
            target.update(dict(zip(keys, entries[1::2], strict=True)))
        elif not isinstance(target, Refused):
            raise ValueError(f'a {type(target).__name__} with entries')

    def load_additems(self) -> None:
        """Add values to a set."""
        values = hashable(self.pop_mark())
        target = self.stack[-1]
        if type(target) is set:
            target.update(values)
        elif not isinstance(target, Refused):
            raise ValueError(f'a {type(target).__name__} that grows')

    def load_frozenset(self) -> None:
        """Make a frozenset."""
        values = self.pop_mark()  # changes what append is
        self.append(frozenset(hashable(values)))

    dispatch.update(
        (code[0], method)
        for code, method in {
            pickle.REDUCE: load_reduce,
            pickle.NEWOBJ: load_newobj,
            pickle.NEWOBJ_EX: load_newobj_ex,
            pickle.BUILD: load_build,
            pickle.APPEND: load_append,
            pickle.APPENDS: load_appends,
            pickle.SETITEM: load_setitem,
            pickle.SETITEMS: load_setitems,
            pickle.DICT: load_dict,
            pickle.ADDITEMS: load_additems,
            pickle.FROZENSET: load_frozenset,
        }.items()
    )

    def _call(self, function: Any, args: Any) -> Any:
        """A call of the file's."""
        if not isinstance(args, tuple):
            raise ValueError('arguments that are no tuple')
        for value in (function, *args):
            if isinstance(value, Refused):
                return value
        if function is HISTORY and not args:
            return HistoryBuffer()
        if not callable(function):
            return self._refuse(f'a call of {name_of(function)}')
        return self._guarded(function, *args)

    def _guarded(self, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(*args)
        except RefusedGlobal as error:
            return self._refuse(str(error))

    def _refuse(self, what: str) -> Refused:
        self.refused.append(Refused(what))
        return self.refused[-1]


def find_foreign(content: Any) -> tuple[str, str] | None:
    """The first thing in plain data that is none.

    Args:
        content: what a ``WeightUnpickler`` has loaded.

    Returns:
        tuple: where it is, as ``['meta']['args']``, and what it is; None
        when there is nothing but containers, numbers, strings, arrays,
        tensors and log values.
    """
    seen: set[int] = set()
    waiting: list[tuple[Any, tuple[Any, ...]]] = [(content, ())]
    while waiting:
        value, path = waiting.pop()
        if type(value) is int and value.bit_length() > _MAX_BITS:
            return _place(path), f'a number of {value.bit_length()} bits'
        if type(value) in LEAVES or isinstance(value, np.generic):
            continue
        children: Iterable[tuple[Any, Any]]
        if type(value) in (dict, *DICTS):
            children = [('a key', k) for k in value if type(k) is not str]
            children += list(value.items())
        elif type(value) in (list, tuple, set, frozenset):
            children = enumerate(value)
        else:
            return _place(path), name_of(value)
        if len(path) == _MAX_DEPTH:
            return _place(path[:3]) + '...', f'{_MAX_DEPTH} nested containers'
        if id(value) not in seen:
            seen.add(id(value))
            found = [(child, (*path, key)) for key, child in children]
            waiting += found[::-1]
    return None


def _place(path: tuple[Any, ...]) -> str:
    return ''.join(
        f'[{key!r:.60}]'
        if isinstance(key, str)
        or (isinstance(key, int) and key.bit_length() < 64)
        else f'[{name_of(key)}]'
        for key in path
    )
