"""The CPU kernels: numba compiles them to plain C functions that any number of threads may run at once.

A kernel takes one pointer to a block of 64-bit integers that holds the sizes, the strides and the addresses of the
tensors. The work is cut into (sample, tile of channels) items. Every thread that runs the kernel takes
items from the block's atomic counter until none is left, so a busy core delays one item and not the whole scan.

What makes them fast, measured:

* time is the outer loop and a row of channels the inner one, so memory is read in order and the row vectorises;
* the row functions are compiled with `noalias` arguments. Without it LLVM guards every row with a test of each pair of
  pointers, and takes the scalar loop for short rows: 2 to 4 times slower.

There is no fast-math: inf and nan pass through, and every element sees the same roundings wherever it falls in a tile,
so results do not depend on the number of threads.

All kernels stay in this file: numba's cache notices a change of the file that a kernel stands in, and of no other.
"""

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import cfunc, njit, types
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.extending import intrinsic as _typed_intrinsic

intrinsic: Any = _typed_intrinsic  # numba drops the first argument, which mypy cannot know

_BLOCK = types.void(types.CPointer(types.int64))
_FLUSH = 64  # rows between two transfers of the float32 sums for theta into float64


# Positions in the block of integers. Strides count elements; h, dx and dgate are contiguous.
(
    NEXT,  # the counter of items
    ITEMS,
    TILES,  # of one sample
    TILE,  # channels in a tile
    LENGTH,
    CHANNELS,
    PLANES,  # 2: complex numbers, or two real scans that share the gate
    REVERSE,
    INPUT,  # x (forward) or dh (backward)
    INPUT_BATCH,
    INPUT_STEP,
    GATE,
    GATE_BATCH,
    GATE_STEP,
    COS,
    SIN,
    INITIAL,
    H,
    CARRY,  # backward only, from here on: dfinal at first, dinitial at the end
    DX,
    DGATE,
    DTHETA_PART,
    DTHETA,  # float64, (B, D)
) = range(23)


class _NoAlias(CompilerBase):
    """numba's usual pipeline, with a promise to LLVM that no two pointer arguments overlap."""

    def define_pipelines(self) -> list[Any]:
        self.state.flags.noalias = True
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


@intrinsic
def _at(typingctx: Any, address: Any, element: Any, dtype: Any) -> Any:
    """Return a pointer to the given element of the array of ``dtype`` that starts at ``address``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = context.get_value_type(signature.return_type)
        size = ir.Constant(ir.IntType(64), context.get_abi_sizeof(pointer.pointee))
        return builder.inttoptr(builder.add(args[0], builder.mul(args[1], size)), pointer)

    return types.CPointer(dtype.dtype)(types.int64, types.int64, dtype), codegen


@intrinsic
def _take(typingctx: Any, counter: Any) -> Any:
    """Add one to the 64-bit counter in one atomic step and return what it held."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", args[0], ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(types.CPointer(types.int64)), codegen


# A scan that goes down through memory goes down inside the rows as well: hardware prefetchers follow a stream in either
# direction, but rising runs in falling order cost up to 3 times as much.


@njit
def _forward_real_at(j, x, gate, prev, h):  # type: ignore[no-untyped-def]
    h[j] = gate[j] * prev[j] + x[j]


@njit(pipeline_class=_NoAlias)
def _forward_real_row(x, gate, prev, h, n, down):  # type: ignore[no-untyped-def]
    if down:
        for j in range(n - 1, -1, -1):
            _forward_real_at(j, x, gate, prev, h)
    else:
        for j in range(n):
            _forward_real_at(j, x, gate, prev, h)


@njit(pipeline_class=_NoAlias)
def _forward_complex_row(xr, xi, gate, cos, sin, pr, pi, hr, hi, n, down):  # type: ignore[no-untyped-def]
    # One loop for each plane written: 1.4 times as fast as both in one.
    if down:
        for j in range(n - 1, -1, -1):
            hr[j] = gate[j] * (pr[j] * cos[j] - pi[j] * sin[j]) + xr[j]
        for j in range(n - 1, -1, -1):
            hi[j] = gate[j] * (pr[j] * sin[j] + pi[j] * cos[j]) + xi[j]
    else:
        for j in range(n):
            hr[j] = gate[j] * (pr[j] * cos[j] - pi[j] * sin[j]) + xr[j]
        for j in range(n):
            hi[j] = gate[j] * (pr[j] * sin[j] + pi[j] * cos[j]) + xi[j]


@njit
def _backward_real_at(j, dh, gate, prev, carry, dx, dgate):  # type: ignore[no-untyped-def]
    a = dh[j] + carry[j]
    dx[j] = a
    dgate[j] += a * prev[j]
    carry[j] = gate[j] * a


@njit(pipeline_class=_NoAlias)
def _backward_real_row(dh, gate, prev, carry, dx, dgate, first_plane, n, down):  # type: ignore[no-untyped-def]
    if first_plane:
        for j in range(n):
            dgate[j] = 0
    if down:
        for j in range(n - 1, -1, -1):
            _backward_real_at(j, dh, gate, prev, carry, dx, dgate)
    else:
        for j in range(n):
            _backward_real_at(j, dh, gate, prev, carry, dx, dgate)


@njit
def _backward_complex_at(  # type: ignore[no-untyped-def]
    j, dr, di, gate, cos, sin, pr, pi, cr, ci, dxr, dxi, dgate, dtheta
):
    # With a = dL/dh_t and w = e^{-iθ} a: dx = a, dgate = Re(w* h_{t-1}), dθ += gate · Re(w* i h_{t-1}), and what
    # reaches h_{t-1} is gate · w.
    ar = dr[j] + cr[j]
    ai = di[j] + ci[j]
    wr = cos[j] * ar + sin[j] * ai
    wi = cos[j] * ai - sin[j] * ar
    dxr[j] = ar
    dxi[j] = ai
    dgate[j] = wr * pr[j] + wi * pi[j]
    dtheta[j] += gate[j] * (wi * pr[j] - wr * pi[j])
    cr[j] = gate[j] * wr
    ci[j] = gate[j] * wi


@njit(pipeline_class=_NoAlias)
def _backward_complex_row(  # type: ignore[no-untyped-def]
    dr, di, gate, cos, sin, pr, pi, cr, ci, dxr, dxi, dgate, dtheta, n, down
):
    if down:
        for j in range(n - 1, -1, -1):
            _backward_complex_at(j, dr, di, gate, cos, sin, pr, pi, cr, ci, dxr, dxi, dgate, dtheta)
    else:
        for j in range(n):
            _backward_complex_at(j, dr, di, gate, cos, sin, pr, pi, cr, ci, dxr, dxi, dgate, dtheta)


@njit(pipeline_class=_NoAlias)
def _flush_row(part, total, n):  # type: ignore[no-untyped-def]
    for j in range(n):
        total[j] += part[j]
        part[j] = 0


def _forward_real(dtype: Any) -> Any:
    @_kernel
    def forward_real(p):  # type: ignore[no-untyped-def]
        L, D = p[LENGTH], p[CHANNELS]
        width = p[PLANES] * D
        while True:
            item = _take(p)
            if item >= p[ITEMS]:
                return
            b, first = item // p[TILES], (item % p[TILES]) * p[TILE]
            n = min(p[TILE], D - first)
            for plane in range(p[PLANES]):
                offset = plane * D + first
                prev = _at(p[INITIAL], b * width + offset, dtype)
                for i in range(L):
                    t = L - 1 - i if p[REVERSE] else i
                    x = _at(p[INPUT], b * p[INPUT_BATCH] + t * p[INPUT_STEP] + offset, dtype)
                    gate = _at(p[GATE], b * p[GATE_BATCH] + t * p[GATE_STEP] + first, dtype)
                    h = _at(p[H], (b * L + t) * width + offset, dtype)
                    _forward_real_row(x, gate, prev, h, n, p[REVERSE] != 0)
                    prev = h

    return forward_real


def _forward_complex(dtype: Any) -> Any:
    @_kernel
    def forward_complex(p):  # type: ignore[no-untyped-def]
        L, D = p[LENGTH], p[CHANNELS]
        while True:
            item = _take(p)
            if item >= p[ITEMS]:
                return
            b, first = item // p[TILES], (item % p[TILES]) * p[TILE]
            n = min(p[TILE], D - first)
            cos, sin = _at(p[COS], first, dtype), _at(p[SIN], first, dtype)
            pr = _at(p[INITIAL], b * 2 * D + first, dtype)
            pi = _at(p[INITIAL], b * 2 * D + D + first, dtype)
            for i in range(L):
                t = L - 1 - i if p[REVERSE] else i
                row = b * p[INPUT_BATCH] + t * p[INPUT_STEP] + first
                xr, xi = _at(p[INPUT], row, dtype), _at(p[INPUT], row + D, dtype)
                gate = _at(p[GATE], b * p[GATE_BATCH] + t * p[GATE_STEP] + first, dtype)
                row = (b * L + t) * 2 * D + first
                hr, hi = _at(p[H], row, dtype), _at(p[H], row + D, dtype)
                _forward_complex_row(xr, xi, gate, cos, sin, pr, pi, hr, hi, n, p[REVERSE] != 0)
                pr, pi = hr, hi

    return forward_complex


def _backward_real(dtype: Any) -> Any:
    @_kernel
    def backward_real(p):  # type: ignore[no-untyped-def]
        L, D = p[LENGTH], p[CHANNELS]
        width = p[PLANES] * D
        before = width if p[REVERSE] else -width  # from h_t to h_{t-1}
        while True:
            item = _take(p)
            if item >= p[ITEMS]:
                return
            b, first = item // p[TILES], (item % p[TILES]) * p[TILE]
            n = min(p[TILE], D - first)
            for i in range(L):
                t = i if p[REVERSE] else L - 1 - i
                gate = _at(p[GATE], b * p[GATE_BATCH] + t * p[GATE_STEP] + first, dtype)
                dgate = _at(p[DGATE], (b * L + t) * D + first, dtype)
                for plane in range(p[PLANES]):
                    offset = plane * D + first
                    dh = _at(p[INPUT], b * p[INPUT_BATCH] + t * p[INPUT_STEP] + offset, dtype)
                    row = (b * L + t) * width + offset
                    dx = _at(p[DX], row, dtype)
                    carry = _at(p[CARRY], b * width + offset, dtype)
                    prev = _at(p[H], row + before, dtype)
                    if i == L - 1:
                        prev = _at(p[INITIAL], b * width + offset, dtype)
                    _backward_real_row(dh, gate, prev, carry, dx, dgate, plane == 0, n, p[REVERSE] == 0)

    return backward_real


def _backward_complex(dtype: Any) -> Any:
    @_kernel
    def backward_complex(p):  # type: ignore[no-untyped-def]
        L, D = p[LENGTH], p[CHANNELS]
        before = 2 * D if p[REVERSE] else -2 * D  # from h_t to h_{t-1}
        while True:
            item = _take(p)
            if item >= p[ITEMS]:
                return
            b, first = item // p[TILES], (item % p[TILES]) * p[TILE]
            n = min(p[TILE], D - first)
            cos, sin = _at(p[COS], first, dtype), _at(p[SIN], first, dtype)
            state = b * 2 * D + first
            cr, ci = _at(p[CARRY], state, dtype), _at(p[CARRY], state + D, dtype)
            part = _at(p[DTHETA_PART], b * D + first, dtype)
            total = _at(p[DTHETA], b * D + first, types.float64)
            for i in range(L):
                t = i if p[REVERSE] else L - 1 - i
                row = b * p[INPUT_BATCH] + t * p[INPUT_STEP] + first
                dr, di = _at(p[INPUT], row, dtype), _at(p[INPUT], row + D, dtype)
                gate = _at(p[GATE], b * p[GATE_BATCH] + t * p[GATE_STEP] + first, dtype)
                row = (b * L + t) * 2 * D + first
                dxr, dxi = _at(p[DX], row, dtype), _at(p[DX], row + D, dtype)
                pr, pi = _at(p[H], row + before, dtype), _at(p[H], row + before + D, dtype)
                if i == L - 1:
                    pr, pi = _at(p[INITIAL], state, dtype), _at(p[INITIAL], state + D, dtype)
                dgate = _at(p[DGATE], (b * L + t) * D + first, dtype)
                down = p[REVERSE] == 0
                _backward_complex_row(dr, di, gate, cos, sin, pr, pi, cr, ci, dxr, dxi, dgate, part, n, down)
                if i % _FLUSH == _FLUSH - 1 or i == L - 1:
                    _flush_row(part, total, n)

    return backward_complex


def _kernel(function: Callable[..., None]) -> Any:
    """Compile a kernel, through numba's cache on disk where it finds a folder it may write."""
    try:
        return cfunc(_BLOCK, cache=True)(function)
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        return cfunc(_BLOCK)(function)


_KERNELS = {
    "forward_real": _forward_real,
    "forward_complex": _forward_complex,
    "backward_real": _backward_real,
    "backward_complex": _backward_complex,
}


@functools.cache
def kernel(name: str, double: bool) -> Any:
    """Return the compiled kernel of that name, a ctypes function, for float64 or float32 tensors."""
    return _KERNELS[name](types.float64 if double else types.float32).ctypes
