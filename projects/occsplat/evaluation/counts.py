"""What adds up over frames, and the arithmetic of its summaries.

Shape letters: K classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import (
    Annotated,
    Any,
    Iterable,
    TypeVar,
    get_origin,
    get_type_hints,
)

import numpy as np
from numpy.typing import ArrayLike

from occsplat.structures import LabelSpec, same_shape

C = TypeVar('C', bound='Counts')


@dataclass(frozen=True)
class Zeros:
    """What an array of counts is before anything was counted.

    Attributes:
        shape: its lengths; None stands for K, the number of classes.
        kind: type of its numbers.
    """

    shape: tuple[int | None, ...] = (None,)
    kind: type = np.int64


#: by class, (K,): how many there are, and what was measured of them, summed
NumberByClass = Annotated[np.ndarray, Zeros()]
SumByClass = Annotated[np.ndarray, Zeros(kind=np.float64)]


@dataclass
class Counts:
    """Counts of any number of frames; ``+`` pools them field by field.

    A subclass is a dataclass. Its fields are numbers, other counts, or
    arrays, whose annotation has their ``Zeros``.
    """

    @classmethod
    def zeros(cls: type[C], num_classes: int = 0) -> C:
        """Counts of no frame at all.

        Args:
            num_classes (int): K, for those that count by class.
        """
        hints = get_type_hints(cls, include_extras=True)
        return cls(
            **{name: _zero(hint, num_classes) for name, hint in hints.items()}
        )

    def __add__(self: C, other: C) -> C:
        """Counts of the frames of both.

        Raises:
            ValueError: when arrays differ in shape, as those of other
                label sets do.
        """
        if type(other) is not type(self):
            return NotImplemented
        total = {}
        for field in fields(self):
            one, two = (getattr(part, field.name) for part in (self, other))
            name = f'{type(self).__name__}.{field.name}'
            same_shape(name, np.shape(two), np.shape(one))
            total[field.name] = one + two
        return type(self)(**total)


def _zero(hint: Any, num_classes: int) -> Any:
    """What a field with this annotation holds of no frame."""
    if get_origin(hint) is Annotated:
        (zeros,) = hint.__metadata__
        shape = [num_classes if n is None else n for n in zeros.shape]
        return np.zeros(shape, zeros.kind)
    return hint.zeros(num_classes) if issubclass(hint, Counts) else hint()


def mean_of_defined(values: ArrayLike) -> float:
    """Mean of the values that are not nan; nan if there is none."""
    numbers = np.asarray(values, dtype=np.float64)
    defined = numbers[~np.isnan(numbers)]
    return float(defined.mean()) if defined.size else math.nan


def ratio(part: ArrayLike, whole: ArrayLike) -> np.ndarray:
    """``part / whole``, nan where ``whole`` is zero."""
    part, whole = np.broadcast_arrays(part, whole)
    out = np.full(part.shape, np.nan)
    np.divide(part, whole, out=out, where=whole != 0)
    return out


def of_classes(
    key: str,
    values: np.ndarray,  # (K,)
    spec: LabelSpec,
    ids: Iterable[int],
) -> dict[str, float]:
    """A metric of single classes.

    Args:
        key (str): name of the metric.
        values: of all classes.
        spec (LabelSpec): names of the classes.
        ids: of the classes to name.

    Returns:
        dict: ``<key>_<class>``, in the order of ``ids``.
    """
    return {f'{key}_{spec.classes[i]}': float(values[i]) for i in ids}
