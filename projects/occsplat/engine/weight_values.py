"""What names in a checkpoint's pickle stand for.

Functions of this module stand for torch's, numpy's and Python's. They look
at what they are given: sizes are held against the bytes that are there, and
nothing is called that could act.
"""

from __future__ import annotations

import collections
import math
import re
from typing import Any, Callable, Iterable

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor, nn

from occsplat.plain_pickle import NameOnly, RefusedGlobal

#: a tensor may repeat its numbers (stride 0), but not without end
_MAX_REPEATED = 1 << 24
#: kinds of numbers, by the name that a pickle has for their storage
STORAGES = dict(
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
DTYPES = {
    name: value
    for name, value in vars(torch).items()
    if re.fullmatch(
        r'bool|u?int(8|16|32|64)|b?float(16|32|64)|float8_\w+|complex\d+',
        name,
    )
}
_TENSOR = NameOnly('torch.Tensor')
_PARAMETER = NameOnly('torch.nn.Parameter')
HISTORY = NameOnly('mmengine.logging.HistoryBuffer')


class Storage:
    """Bytes of a checkpoint, which tensors may share.

    Args:
        data (UntypedStorage): the bytes.
        dtype (torch.dtype): the numbers that they are.
    """

    def __init__(self, data: torch.UntypedStorage, dtype: torch.dtype) -> None:
        self.data = data
        self.dtype = dtype


def name_of(value: Any) -> str:
    """What something is, in a word, however large it may be."""
    if isinstance(value, NameOnly):
        return repr(value)
    if isinstance(value, type):
        return f'the class {value.__name__}'
    return f'a {type(value).__name__}'


def hashable(keys: Iterable[Any]) -> list[Any]:
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
    hashable(key for key, _ in pairs)
    return collections.OrderedDict(pairs)


def _counter(counts: Any = None) -> collections.Counter:
    if not isinstance(counts or {}, dict):
        raise RefusedGlobal('collections.Counter of anything but a dict')
    return collections.Counter(counts or {})


def attribute(owner: Any, name: Any) -> NameOnly:
    """A log value stores its own methods; they are not taken from there."""
    if owner is not HISTORY or not str(name).isidentifier():
        raise RefusedGlobal(f'builtins.getattr of {name_of(owner)}')
    return NameOnly(f'{HISTORY!r}.{name}')


def set_versions(target: collections.OrderedDict, state: Any) -> None:
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


def set_history(target: HistoryBuffer, state: Any) -> None:
    """Values of a log, and how many samples each is of."""
    names = ('_log_history', '_count_history', 'max_length')
    log, count, length = (state.get(name) for name in names)
    for values in (log, count):
        if not isinstance(values, np.ndarray) or values.ndim != 1:
            raise RefusedGlobal(f'{HISTORY} of {name_of(values)}')
    if len(log) != len(count) or not isinstance(length, int) or length < 1:
        raise RefusedGlobal(f'{HISTORY} of unequal or no length')
    target.max_length = length
    target._log_history, target._count_history = log, count


def check_bools(raw: Tensor) -> None:
    """Raise for bytes (uint8) that are no bools: they'd count as many.

    Raises:
        ValueError: when one is neither 0 nor 1.
    """
    if raw.numel() and raw.max() > 1:
        raise ValueError('a bool that is neither 0 nor 1')


def _tensor(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """A tensor that stays within its bytes."""
    if not isinstance(storage, Storage):
        raise RefusedGlobal(f'a tensor of {name_of(storage)}')
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
        check_bools(torch.empty(0, dtype=torch.uint8).set_(storage.data))
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
        raise RefusedGlobal(f'a parameter of {name_of(data)}')
    return nn.Parameter(data, bool(requires_grad))


def _typed(function: Any, kind: Any, args: Any, state: Any) -> Tensor:
    """A tensor with attributes of its own, which are left out."""
    value = function(*args)
    if kind not in (_TENSOR, _PARAMETER) or not isinstance(value, Tensor):
        raise RefusedGlobal(f'a tensor of class {name_of(kind)}')
    return value if kind is _TENSOR else _parameter(value)


DICTS = (collections.OrderedDict, collections.Counter)
LEAVES = {
    *(type(None), bool, int, float, complex, str, bytes, bytearray),
    *(Tensor, nn.Parameter, torch.Size, torch.dtype, torch.device),
    *(np.ndarray, HistoryBuffer),
    *(type(np.dtype(kind)) for kind in '?bBhHiIlLqQefdFD'),
}
CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ('builtins', 'getattr'): attribute,
    ('builtins', 'set'): lambda items=(): set(hashable(items)),
    ('builtins', 'frozenset'): lambda items=(): frozenset(hashable(items)),
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
NAMES = {
    ('torch', 'Tensor'): _TENSOR,
    ('torch.nn.parameter', 'Parameter'): _PARAMETER,
    ('mmengine.logging', 'HistoryBuffer'): HISTORY,
    ('mmengine.logging.history_buffer', 'HistoryBuffer'): HISTORY,
}
