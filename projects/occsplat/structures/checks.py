"""Arguments that are checked by what their annotations say.

::

    @checked
    def __init__(self, scale: Positive, frames: Sequence[int] = (0,)): ...

refuses a scale of 0, NaN or 'x', and a frame of 0.5, with a ValueError
that names class, argument, what was expected and what was given. Plain
``int``, ``float``, ``bool`` and ``str``, the kinds below, ``Literal``,
unions, sequences and mappings of these are checked; whatever else an
annotation says is left to the constructor.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import (
    Annotated,
    Any,
    Callable,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

_COLLECTED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_SHOWN = 80  # characters of a wrong value


@dataclass(frozen=True)
class Bounds:
    """Where a number has to lie; bounds are allowed, 'above' is not.

    ``infinite`` allows infinity, which no number may be otherwise.
    """

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    infinite: bool = False

    def hold(self, value: Any) -> bool:
        """Whether a number is within."""
        finite = math.isfinite(value) or (self.infinite and value == math.inf)
        return (
            finite and self.least <= value <= self.most and value > self.above
        )

    def __str__(self) -> str:
        parts = []
        if self.above > -math.inf:
            parts.append(f'above {self.above:g}')
        if self.least > -math.inf:
            parts.append(f'of at least {self.least:g}')
        if self.most < math.inf:
            parts.append(f'of at most {self.most:g}')
        return ''.join(f' {part}' for part in [' and '.join(parts)] if part)


class Ascending:
    """A sequence of numbers that do not fall."""

    def hold(self, value: Sequence[float]) -> bool:
        """Whether they don't."""
        return list(value) == sorted(value)

    def __str__(self) -> str:
        return ' in ascending order'


#: at least 1, at least 0
Count = Annotated[int, Bounds(least=1)]
Natural = Annotated[int, Bounds(least=0)]
#: above 0, at least 0, from 0 to 1
Positive = Annotated[float, Bounds(above=0)]
NonNegative = Annotated[float, Bounds(least=0)]
Fraction = Annotated[float, Bounds(least=0, most=1)]
#: (low, high), what is drawn from
Range = Annotated[tuple[float, float], Ascending()]


def checked(function: Callable) -> Callable:
    """Check a method's arguments by its annotations before it runs.

    Raises (when called):
        ValueError: for an argument that is not what it is annotated as.
    """
    signature = inspect.signature(function)

    @functools.cache
    def hints() -> dict[str, Any]:
        # now, and not when the module is read: it may not be complete
        return get_type_hints(function, include_extras=True)

    @functools.wraps(function)
    def check_first(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            given = signature.bind(self, *args, **kwargs).arguments
        except TypeError:
            given = {}  # Python tells better what is missing
        for name, value in given.items():
            if signature.parameters[name].kind in _COLLECTED:
                continue
            check(f'{type(self).__name__}: {name}', value, hints().get(name))
        return function(self, *args, **kwargs)

    return check_first


def check(name: str, value: Any, hint: Any) -> None:
    """Raise a ValueError unless a value is what an annotation says."""
    if hint is not None and not _fits(value, hint):
        shown = repr(value)
        if len(shown) > _SHOWN:
            shown = shown[:_SHOWN] + '...'
        raise ValueError(f'{name} must be {_text(hint)}, got {shown}')


def check_order(**values: float) -> None:
    """Raise a ValueError unless each value is above the one before."""
    if any(not a < b for a, b in itertools.pairwise(values.values())):
        shown = ', '.join(f'{name}={value}' for name, value in values.items())
        raise ValueError(f'expected {" < ".join(values)}, got {shown}')


def _fits(value: Any, hint: Any, bounds: Bounds | None = None) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        rules = [rule for rule in inner[1:] if hasattr(rule, 'hold')]
        if inner[0] in (int, float):
            return _fits(value, inner[0], *rules)
        return _fits(value, inner[0]) and all(r.hold(value) for r in rules)
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in inner)
    if origin is Literal:
        return any(type(value) is type(v) and value == v for v in inner)
    if hint in (int, float):
        kind = Integral if hint is int else Real
        return (
            isinstance(value, kind)
            and not isinstance(value, bool)
            and (bounds or Bounds()).hold(value)
        )
    if hint in (bool, str, type(None)):
        return isinstance(value, hint)
    if origin is tuple and inner[-1:] != (...,):
        return _is_sequence(value, len(inner)) and all(
            _fits(part, kind) for part, kind in zip(value, inner)
        )
    if origin in (Sequence, list, tuple):
        return _is_sequence(value) and all(_fits(v, inner[0]) for v in value)
    if origin in (Mapping, dict):
        return isinstance(value, Mapping) and all(
            _fits(key, inner[0]) and _fits(v, inner[1])
            for key, v in value.items()
        )
    if hint is dict:
        return isinstance(value, Mapping)
    known = inspect.isclass(hint) and hint is not Any
    return not known or isinstance(value, hint)


def _is_sequence(value: Any, length: int | None = None) -> bool:
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    return listed and length in (None, len(value))


def _text(hint: Any, bounds: Bounds | None = None, many: bool = False) -> str:
    """An annotation in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        rules = [rule for rule in inner[1:] if hasattr(rule, 'hold')]
        if inner[0] in (int, float):
            return _text(inner[0], next(iter(rules), None), many)
        return _text(inner[0], many=many) + ''.join(map(str, rules))
    if origin in (Union, types.UnionType):
        return ' or '.join(_text(part, many=many) for part in inner)
    if origin is Literal:
        return f'one of {", ".join(map(repr, inner))}'
    names = {
        int: ('an integer', 'integers'),
        float: ('a number', 'numbers'),
        bool: ('True or False', 'True or False'),
        str: ('a text', 'texts'),
        type(None): ('None', 'None'),
        dict: ('a dict', 'dicts'),
    }
    if hint in names:
        return names[hint][many] + str(bounds or '')
    if origin is tuple and inner[-1:] != (...,):
        return f'({", ".join(_text(part) for part in inner)})'
    if origin in (Sequence, list, tuple):
        return f'a list of {_text(inner[0], many=True)}'
    if origin in (Mapping, dict):
        return f'a dict of {_text(inner[1], many=True)}'
    return getattr(hint, '__name__', str(hint))
