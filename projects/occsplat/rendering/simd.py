"""Several float32 numbers as one value in compiled code.

Numba turns loops into vector instructions when it can prove that nothing
overlaps, which it seldom can. :class:`Lanes` is a type of its own: a vector
of LLVM, which spreads it over whatever registers the processor has. In
functions compiled by numba, ``+ - * /`` work lane by lane between two
vectors or a vector and a number, and the functions below do the rest. A
product and a sum may become one fused operation; nothing is reordered.

How many lanes a vector has is known when its function is compiled: where
a function makes one, ``width`` is a constant or another vector.
"""

from __future__ import annotations

import operator
from typing import Any, Callable, Protocol

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from occsplat.kernels import njit

Number = float | np.floating


class Lanes(Protocol):
    """What compiled code sees of a vector; ``len`` is a constant."""

    def __len__(self) -> int: ...
    def __add__(self, other: Lanes | Number, /) -> Lanes: ...
    def __sub__(self, other: Lanes | Number, /) -> Lanes: ...
    def __mul__(self, other: Lanes | Number, /) -> Lanes: ...
    def __truediv__(self, other: Lanes | Number, /) -> Lanes: ...


class LanesType(types.Type):
    """The numba type of a vector of ``count`` numbers."""

    def __init__(self, count: int) -> None:
        super().__init__(name=f'Lanes({count})')
        self.count = count


def _vector(count: int) -> ir.VectorType:
    return ir.VectorType(ir.FloatType(), count)


def _ints(count: int, value: int) -> ir.Constant:
    kind = ir.VectorType(ir.IntType(32), count)
    return ir.Constant(kind, [value] * count)


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, numba_type: LanesType) -> None:
        super().__init__(manager, numba_type, _vector(numba_type.count))


@overload(len)
def _length(vector):
    if isinstance(vector, LanesType):
        count = vector.count
        return lambda vector: count
    return None


def _intrinsic(function: Callable) -> Any:
    """``numba.intrinsic`` of a function of types.

    numba declares those arguments; what compiled code calls has others, as
    each name below says.
    """
    return intrinsic(prefer_literal=True)(function)


def _of_width(width: types.IntegerLiteral | LanesType) -> LanesType:
    """A vector of a constant number of lanes, or as wide as another."""
    if isinstance(width, types.IntegerLiteral):
        return LanesType(width.literal_value)
    return width


def _spread(builder: ir.IRBuilder, number: ir.Value, count: int) -> ir.Value:
    undefined = ir.Constant(_vector(count), ir.Undefined)
    single = builder.insert_element(undefined, number, ir.IntType(32)(0))
    return builder.shuffle_vector(single, undefined, _ints(count, 0))


def _pointer(context, builder, array_type, args, count: int) -> ir.Value:
    """Where ``count`` numbers begin; with NUMBA_BOUNDSCHECK=1 checked."""
    array = context.make_array(array_type)(context, builder, args[0])
    index = args[1]
    if context.enable_boundscheck:
        for ahead in (0, count - 1):
            number = builder.add(index, index.type(ahead))
            cgutils.do_boundscheck(context, builder, number, array.nitems)
    return builder.gep(array.data, [index])


def _vector_pointer(context, builder, array_type, args, count) -> ir.Value:
    pointer = _pointer(context, builder, array_type, args, count)
    return builder.bitcast(pointer, _vector(count).as_pointer())


@_intrinsic
def _broadcast(typing, number, width):
    result = _of_width(width)

    def codegen(context, builder, signature, args):
        return _spread(builder, args[0], result.count)

    return result(types.float32, width), codegen


#: (number, width): a vector of equal numbers
broadcast: Callable[[Number, Lanes | int], Lanes] = _broadcast


@_intrinsic
def _broadcast_from(typing, array, index, width):
    result = _of_width(width)

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, array, args, 1)
        return _spread(builder, builder.load(pointer, align=4), result.count)

    return result(array, types.intp, width), codegen


#: (array, index, width): a vector of the number at a flat index of a
#: contiguous float32 array
broadcast_from: Callable[[np.ndarray, int, Lanes | int], Lanes] = (
    _broadcast_from
)


@_intrinsic
def _load(typing, array, index, width):
    result = _of_width(width)

    def codegen(context, builder, signature, args):
        pointer = _vector_pointer(context, builder, array, args, result.count)
        return builder.load(pointer, align=4)

    return result(array, types.intp, width), codegen


#: (array, index, width): numbers from a flat index of a contiguous float32
#: array on
load: Callable[[np.ndarray, int, Lanes | int], Lanes] = _load


@_intrinsic
def _store(typing, array, index, vector):
    def codegen(context, builder, signature, args):
        pointer = _vector_pointer(context, builder, array, args, vector.count)
        builder.store(args[2], pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


#: (array, index, vector): write to a flat index of a contiguous float32
#: array
store: Callable[[np.ndarray, int, Lanes], None] = _store


def _overload_operator(function: Callable, method: str) -> None:
    @_intrinsic
    def compute(typing, a, b):
        def codegen(context, builder, signature, args):
            return getattr(builder, method)(*args, flags=('contract', 'nsz'))

        return a(a, b), codegen

    @overload(function)
    def implement(a, b):
        if isinstance(a, LanesType) and isinstance(b, LanesType):
            return lambda a, b: compute(a, b)
        if isinstance(a, LanesType) and isinstance(b, types.Float):
            return lambda a, b: compute(a, broadcast(b, a))
        return None


_overload_operator(operator.add, 'fadd')
_overload_operator(operator.sub, 'fsub')
_overload_operator(operator.mul, 'fmul')
_overload_operator(operator.truediv, 'fdiv')


def _where(predicate: str) -> Callable[[Lanes, Lanes, Lanes, Lanes], Lanes]:
    @_intrinsic
    def select(typing, a, b, if_true, if_false):
        def codegen(context, builder, signature, args):
            a, b, if_true, if_false = args
            condition = builder.fcmp_ordered(predicate, a, b)
            return builder.select(condition, if_true, if_false)

        return a(a, a, a, a), codegen

    return select


#: (a, b, if_true, if_false): a choice in each lane; NaN compares as false
where_greater = _where('>')
where_at_least = _where('>=')


@_intrinsic
def _round_down(typing, vector):
    def codegen(context, builder, signature, args):
        kind = _vector(vector.count)
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(kind, [kind]),
            f'llvm.floor.v{vector.count}f32',
        )
        return builder.call(function, args)

    return vector(vector), codegen


#: the largest whole numbers that are not above
round_down: Callable[[Lanes], Lanes] = _round_down


@_intrinsic
def _power_of_two(typing, exponent):
    count = exponent.count

    def codegen(context, builder, signature, args):
        bias, shift = _ints(count, 127), _ints(count, 23)
        whole = builder.fptosi(args[0], bias.type)
        bits = builder.shl(builder.add(whole, bias), shift)
        return builder.bitcast(bits, _vector(count))

    return exponent(exponent), codegen


#: 2 to the power of whole numbers from -126 to 127
power_of_two: Callable[[Lanes], Lanes] = _power_of_two


@_intrinsic
def _highest(typing, vector):
    def codegen(context, builder, signature, args):
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.FloatType(), [_vector(vector.count)]),
            f'llvm.vector.reduce.fmax.v{vector.count}f32',
        )
        return builder.call(function, args, fastmath=('nnan',))

    return types.float32(vector), codegen


#: the largest number of a vector without NaN
highest: Callable[[Lanes], np.float32] = _highest


#: ln(2)^k / k!: the series of 2^f for |f| <= 1/2, within 1e-7
_EXP2 = tuple(
    np.float32(0.6931471805599453**k / factorial)
    for k, factorial in enumerate((1, 1, 2, 6, 24, 120, 720))
)
_MINUS_LOG2_E = np.float32(-1.4426950408889634)
_HALF = np.float32(0.5)
_LIMIT = np.float32(87)


@njit(error_model='numpy')
def exp_minus(x: Lanes) -> Lanes:
    """exp(-x) for x >= 0; constant from 87 on, where it is below 2e-38."""
    limit = broadcast(_LIMIT, x)
    x = where_greater(limit, x, x, limit)
    t = x * _MINUS_LOG2_E
    whole = round_down(t + _HALF)
    f = t - whole
    p = f * _EXP2[6] + _EXP2[5]
    p = p * f + _EXP2[4]
    p = p * f + _EXP2[3]
    p = p * f + _EXP2[2]
    p = p * f + _EXP2[1]
    p = p * f + _EXP2[0]
    return p * power_of_two(whole)
