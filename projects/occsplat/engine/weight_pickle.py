"""Unpickle what ``torch.save`` wrote, and nothing that could act.

The pickle inside a checkpoint is a program of whoever made the file. Torch's
own safe loader lets it call functions of torch's and numpy's, some of which
return memory that nobody has filled, or believe what they are told about
sizes. Here a name of the file's stands for a function of this module, which
looks at its arguments, or for nothing at all.
"""

from __future__ import annotations

import collections
import math
import pickle
import re
from typing import IO, Any, Callable, Iterable

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor, nn

from occsplat.plain_pickle import ArrayUnpickler, NameOnly, RefusedGlobal

#: a tensor may repeat its numbers (stride 0), but not without end
_MAX_REPEATED = 1 << 24
#: containers in containers
_MAX_DEPTH = 100
#: Python refuses to write larger numbers out
_MAX_BITS = 4096
#: kinds of numbers, by the name that a pickle has for their storage
_STORAGES = dict(
    DoubleStorage=torch.float64,
    FloatStorage=torch.float32,
    HalfStorage=torch.float16,
    BFloat16Storage=torch.bfloat16,
    LongStorage=torch.int64,
    IntStorage=torch.int32,
    ShortStorage=torch.int16,
    CharStorage=torch.int8,
    ByteStorage=torch.uint8,
    BoolStorage=torch.bool,
    ComplexDoubleStorage=torch.complex128,
    ComplexFloatStorage=torch.complex64,
    UntypedStorage=torch.uint8,
)
_DTYPES = {
    name: value
    for name, value in vars(torch).items()
    if re.fullmatch(
        r'bool|u?int(8|16|32|64)|b?float(16|32|64)|float8_\w+|complex\d+',
        name,
    )
}
_TENSOR = NameOnly('torch.Tensor')
_PARAMETER = NameOnly('torch.nn.Parameter')
_HISTORY = NameOnly('mmengine.logging.HistoryBuffer')


class Storage:
    """Bytes of a checkpoint, which tensors may share.

    Args:
        data (UntypedStorage): the bytes.
        dtype (torch.dtype): the numbers that they are.
    """

    def __init__(self, data: torch.UntypedStorage, dtype: torch.dtype) -> None:
        self.data = data
        self.dtype = dtype


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
        if (module, name) in _CALLS:
            function = _CALLS[module, name]
            # one of the file's own: it may set attributes of it
            return lambda *args: function(*args)
        if (module, name) in _NAMES:
            return _NAMES[module, name]
        if module in ('torch', 'torch.storage', 'torch.cuda'):
            if name in _STORAGES:
                return _STORAGES[name]
            if name in _DTYPES:
                return _DTYPES[name]
        if name.startswith('HistoryBuffer.') and (
            (module, 'HistoryBuffer') in _NAMES
        ):
            return _attribute(_HISTORY, name.partition('.')[2])
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
            _set_versions(target, self.stack.pop())
        elif type(target) is HistoryBuffer:
            self._keep(_set_history, target, self.stack.pop())
        elif isinstance(target, (np.dtype, np.ndarray)):
            self._keep(super().load_build)
        else:
            self.stack.pop()
            self.stack[-1] = self._refuse(f'state for {_name(target)}')

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
        keys = _hashable(entries[::2])
        if type(target) in (dict, *_DICTS):
            target.update(dict(zip(keys, entries[1::2], strict=True)))
        elif not isinstance(target, Refused):
            raise ValueError(f'a {type(target).__name__} with entries')

    def load_additems(self) -> None:
        """Add values to a set."""
        values = _hashable(self.pop_mark())
        target = self.stack[-1]
        if type(target) is set:
            target.update(values)
        elif not isinstance(target, Refused):
            raise ValueError(f'a {type(target).__name__} that grows')

    def load_frozenset(self) -> None:
        """Make a frozenset."""
        values = self.pop_mark()  # changes what append is
        self.append(frozenset(_hashable(values)))

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
        if function is _HISTORY and not args:
            return HistoryBuffer()
        if not callable(function):
            return self._refuse(f'a call of {_name(function)}')
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
        if type(value) in _LEAVES or isinstance(value, np.generic):
            continue
        children: Iterable[tuple[Any, Any]]
        if type(value) in (dict, *_DICTS):
            children = [('a key', k) for k in value if type(k) is not str]
            children += list(value.items())
        elif type(value) in (list, tuple, set, frozenset):
            children = enumerate(value)
        else:
            return _place(path), _name(value)
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
        else f'[{_name(key)}]'
        for key in path
    )


def _name(value: Any) -> str:
    """What something is, in a word, however large it may be."""
    if isinstance(value, NameOnly):
        return repr(value)
    if isinstance(value, type):
        return f'the class {value.__name__}'
    return f'a {type(value).__name__}'


def _hashable(keys: Iterable[Any]) -> list[Any]:
    """Keys whose hash is no deep recursion, which would end the process."""
    keys = list(keys)
    nested = (tuple, frozenset)
    for key in keys:
        if isinstance(key, nested) and any(isinstance(k, nested) for k in key):
            raise ValueError('a key of nested tuples')
    return keys


def _ordered_dict(items: Any = ()) -> collections.OrderedDict:
    if isinstance(items, dict):
        return collections.OrderedDict(items)
    pairs = [(key, value) for key, value in items]
    _hashable(key for key, _ in pairs)
    return collections.OrderedDict(pairs)


def _counter(counts: Any = None) -> collections.Counter:
    if not isinstance(counts or {}, dict):
        raise RefusedGlobal('collections.Counter of anything but a dict')
    return collections.Counter(counts or {})


def _attribute(owner: Any, name: Any) -> NameOnly:
    """A log value stores its own methods; they are not taken from there."""
    if owner is not _HISTORY or not str(name).isidentifier():
        raise RefusedGlobal(f'builtins.getattr of {_name(owner)}')
    return NameOnly(f'{_HISTORY!r}.{name}')


def _set_versions(target: collections.OrderedDict, state: Any) -> None:
    """Versions of modules, which a state dict carries beside the weights."""
    metadata = state.get('_metadata') if isinstance(state, dict) else None
    if isinstance(metadata, dict):
        target._metadata = collections.OrderedDict(
            (key, dict(version=value['version']))
            for key, value in metadata.items()
            if isinstance(key, str)
            and isinstance(value, dict)
            and isinstance(value.get('version'), int)
        )


def _set_history(target: HistoryBuffer, state: Any) -> None:
    """Values of a log, and how many samples each is of."""
    names = ('_log_history', '_count_history', 'max_length')
    log, count, length = (state.get(name) for name in names)
    for values in (log, count):
        if not isinstance(values, np.ndarray) or values.ndim != 1:
            raise RefusedGlobal(f'{_HISTORY} of {_name(values)}')
    if len(log) != len(count) or not isinstance(length, int) or length < 1:
        raise RefusedGlobal(f'{_HISTORY} of unequal or no length')
    target.max_length = length
    target._log_history, target._count_history = log, count


def _tensor(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """A tensor that stays within its bytes."""
    if not isinstance(storage, Storage):
        raise RefusedGlobal(f'a tensor of {_name(storage)}')
    dtype = dtype or storage.dtype
    for number in (offset, *size, *stride):
        if not isinstance(number, int) or number < 0:
            raise ValueError('a tensor of other sizes than whole numbers')
    if len(size) != len(stride) or len(size) > 64:
        raise ValueError(f'a tensor of {len(size)} dimensions')
    room = storage.data.nbytes() // dtype.itemsize
    last = offset + sum((n - 1) * s for n, s in zip(size, stride))
    if 0 not in size and last >= room:
        raise ValueError(f'a tensor of size {tuple(size)} in {room} numbers')
    if math.prod(max(n, 1) for n in size) > max(room, _MAX_REPEATED):
        raise ValueError(f'a tensor of size {tuple(size)} in {room} numbers')
    if dtype == torch.bool:
        raw = torch.empty(0, dtype=torch.uint8).set_(storage.data)
        # counted as more than one
        if raw.numel() and raw.max() > 1:
            raise ValueError('a bool that is neither 0 nor 1')
    start = 0 if 0 in size else offset
    empty = torch.empty(0, dtype=dtype)
    return empty.set_(storage.data, start, tuple(size), tuple(stride))


def _tensor_v2(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any = False,
    hooks: Any = None,
    metadata: Any = None,
) -> Tensor:
    if metadata:
        raise RefusedGlobal('a conjugated or negated tensor')
    return _tensor(storage, offset, size, stride)


def _tensor_v3(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> Tensor:
    if metadata or not isinstance(dtype, torch.dtype):
        raise RefusedGlobal('a conjugated or negated tensor')
    return _tensor(storage, offset, size, stride, dtype)


def _parameter(
    data: Any, requires_grad: Any = True, hooks: Any = None, state: Any = None
) -> nn.Parameter:
    if not isinstance(data, Tensor):
        raise RefusedGlobal(f'a parameter of {_name(data)}')
    return nn.Parameter(data, bool(requires_grad))


def _typed(function: Any, kind: Any, args: Any, state: Any) -> Tensor:
    """A tensor with attributes of its own, which are left out."""
    value = function(*args)
    if kind not in (_TENSOR, _PARAMETER) or not isinstance(value, Tensor):
        raise RefusedGlobal(f'a tensor of class {_name(kind)}')
    return value if kind is _TENSOR else _parameter(value)


_DICTS = (collections.OrderedDict, collections.Counter)
_LEAVES = {
    *(type(None), bool, int, float, complex, str, bytes, bytearray),
    *(Tensor, nn.Parameter, torch.Size, torch.dtype, torch.device),
    *(np.ndarray, HistoryBuffer),
    *(type(np.dtype(kind)) for kind in '?bBhHiIlLqQefdFD'),
}
_CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ('builtins', 'getattr'): _attribute,
    ('builtins', 'set'): lambda items=(): set(_hashable(items)),
    ('builtins', 'frozenset'): lambda items=(): frozenset(_hashable(items)),
    ('collections', 'OrderedDict'): _ordered_dict,
    ('collections', 'Counter'): _counter,
    ('torch', 'Size'): lambda size=(): torch.Size(size),
    ('torch', 'device'): torch.device,
    ('torch._utils', '_rebuild_tensor'): _tensor,
    ('torch._utils', '_rebuild_tensor_v2'): _tensor_v2,
    ('torch._utils', '_rebuild_tensor_v3'): _tensor_v3,
    ('torch._utils', '_rebuild_parameter'): _parameter,
    ('torch._utils', '_rebuild_parameter_with_state'): _parameter,
    ('torch._tensor', '_rebuild_from_type_v2'): _typed,
}
_NAMES = {
    ('torch', 'Tensor'): _TENSOR,
    ('torch.nn.parameter', 'Parameter'): _PARAMETER,
    ('mmengine.logging', 'HistoryBuffer'): _HISTORY,
    ('mmengine.logging.history_buffer', 'HistoryBuffer'): _HISTORY,
}
