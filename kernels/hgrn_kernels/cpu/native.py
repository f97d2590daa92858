"""How a CPU kernel is written and compiled: numba makes it a plain C function that any number of threads may run.

A kernel takes one pointer to a block of integers (`fields`). The work is cut into items. Every thread that runs the
kernel takes items from the block's atomic counter until none is left, so a busy core delays one item and not all.
"""

import functools
import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llvmlite import ir
from numba import cfunc, njit, types
from numba.core import cgutils
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.extending import intrinsic as _typed_intrinsic
from numpy.polynomial import Chebyshev, Polynomial

intrinsic: Any = _typed_intrinsic  # numba drops the first argument, which mypy cannot know

_BLOCK = types.void(types.CPointer(types.int64))
_INT = ir.IntType(64)


def kernel(function: Callable[..., None]) -> Any:
    """Compile a kernel, through numba's cache on disk where it finds a folder that it may write."""
    function.__qualname__ += f"-{_digest()}"  # numba names the file in the cache after this
    try:
        return cfunc(_BLOCK, cache=True)(function)
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        return cfunc(_BLOCK)(function)


@functools.cache
def _digest() -> str:
    """Return a digest of this folder's sources: numba by itself notices a change of the kernel's own file only."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


class _NoAlias(CompilerBase):
    """numba's usual pipeline, with a promise to LLVM that no two pointer arguments overlap."""

    def define_pipelines(self) -> list[Any]:
        self.state.flags.noalias = True
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


row: Any = njit(pipeline_class=_NoAlias)
# Sums of a row may be added in any order, so that they vectorise; inf and nan still pass through.
row_sum: Any = njit(pipeline_class=_NoAlias, fastmath={"reassoc"})


@intrinsic
def at(typingctx: Any, address: Any, element: Any, dtype: Any) -> Any:
    """Return a pointer to the given element of the array of ``dtype`` that starts at ``address``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = context.get_value_type(signature.return_type)
        size = ir.Constant(_INT, context.get_abi_sizeof(pointer.pointee))
        return builder.inttoptr(builder.add(args[0], builder.mul(args[1], size)), pointer)

    return types.CPointer(dtype.dtype)(types.int64, types.int64, dtype), codegen


@intrinsic
def move(typingctx: Any, pointer: Any, elements: Any) -> Any:
    """Return the pointer, moved by so many elements."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]], inbounds=True)

    return pointer(pointer, types.int64), codegen


@intrinsic
def take(typingctx: Any, counter: Any) -> Any:
    """Add one to the 64-bit counter in one atomic step and return what it held."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", args[0], ir.Constant(_INT, 1), "monotonic")

    return types.int64(types.CPointer(types.int64)), codegen


@intrinsic
def touch(typingctx: Any, pointer: Any) -> Any:
    """Ask for the pointer's cache line to come into the second level cache; where nothing lies, nothing happens.

    Not into the first: a core waits for few lines at once there, and that is slower than no prefetch at all.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte, option = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, option, option, option])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, second_level, data = (ir.Constant(option, value) for value in (0, 2, 1))
        builder.call(prefetch, [builder.bitcast(args[0], byte), read, second_level, data])
        return context.get_dummy_value()

    return types.void(pointer), codegen


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    kind = ir.FunctionType(a.type, [a.type] * 3)
    return builder.call(builder.module.declare_intrinsic("llvm.fmuladd", [a.type], kind), [a, b, c])


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a · b + c, in one rounding where the machine has such an instruction."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _multiply_add(builder, *args)

    return a(a, a, a), codegen


def _interpolated(degree: int) -> list[float]:
    near = Chebyshev.interpolate(lambda f: 2.0**f, degree, domain=[-0.5, 0.5])
    return near.convert(kind=Polynomial).coef[::-1].tolist()


# By type: the bits of a number and of its mantissa, the largest |x| that is told apart, and a polynomial near 2^f for
# |f| ≤ 1/2, highest power first. Interpolation needs fewer terms, Taylor's series has exact ones.
_EXP = {
    types.float32: (32, 23, 86.0, _interpolated(6)),
    types.float64: (64, 52, 708.0, [math.log(2) ** k / math.factorial(k) for k in range(13, -1, -1)]),
}


@intrinsic
def sigmoids(typingctx: Any, x: Any) -> Any:
    """Return sigmoid(x) and sigmoid(−x), both to a few ulp; in straight-line code, so that a loop of it vectorises.

    With e = exp(−x) = 2^n · 2^f, where n is an integer and |f| ≤ 1/2, they are 1 / (1 + e) and e / (1 + e).
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits, mantissa, largest, polynomial = _EXP[x]
        real, integer = context.get_value_type(x), ir.IntType(bits)
        one, high, low = (ir.Constant(real, value) for value in (1.0, largest, -largest))
        # nan compares false and stays.
        value = builder.select(builder.fcmp_ordered(">", args[0], high), high, args[0])
        value = builder.select(builder.fcmp_ordered("<", value, low), low, value)
        # Adding 1.5 · 2^mantissa rounds to an integer and leaves it in the low bits, here with the exponent's bias.
        bias = 2 ** (bits - mantissa - 2) - 1
        magic = ir.Constant(real, 1.5 * 2.0**mantissa + bias)
        scale = ir.Constant(real, -1 / math.log(2))
        shifted = _multiply_add(builder, value, scale, magic)
        f = _multiply_add(builder, value, scale, builder.fneg(builder.fsub(shifted, magic)))
        e = ir.Constant(real, polynomial[0])
        for coefficient in polynomial[1:]:
            e = _multiply_add(builder, e, f, ir.Constant(real, coefficient))
        exponent = builder.shl(builder.bitcast(shifted, integer), ir.Constant(integer, mantissa))
        e = builder.fmul(e, builder.bitcast(exponent, real))
        sigmoid = builder.fdiv(one, builder.fadd(one, e))
        return context.make_tuple(builder, signature.return_type, (sigmoid, builder.fmul(e, sigmoid)))

    return types.UniTuple(x, 2)(x), codegen
