"""Steps of the recurrence: a row with all its planes, which in memory and in the buffers lie D elements apart.

``p`` is the block of integers, ``n`` the number of channels of the item.
"""

from numba import njit, types

from hgrn_kernels.cpu import fields as f
from hgrn_kernels.cpu import rows
from hgrn_kernels.cpu.native import at, move, touch


@njit
def begins(p, field, sequence):  # type: ignore[no-untyped-def]
    """Where a sequence begins; ``field`` is the first of its strides."""
    return (sequence // p[f.INNER]) * p[field] + (sequence % p[f.INNER]) * p[field + 1]


@njit
def counts(p, sequence):  # type: ignore[no-untyped-def]
    """How many steps of a sequence are no padding."""
    if p[f.LENGTHS] == 0:
        return p[f.LENGTH]
    return min(max(at(p[f.LENGTHS], sequence, types.int64)[0], 0), p[f.LENGTH])


@njit
def copy(p, source, target, n):  # type: ignore[no-untyped-def]
    for o in range(0, p[f.PLANES] * p[f.CHANNELS], p[f.CHANNELS]):
        rows.copy_row(move(source, o), move(target, o), n)


@njit
def clear(p, target, n):  # type: ignore[no-untyped-def]
    for o in range(0, p[f.PLANES] * p[f.CHANNELS], p[f.CHANNELS]):
        rows.clear_row(move(target, o), n)


@njit
def fetch(p, planes, start, line, n):  # type: ignore[no-untyped-def]
    """Ask for a row of so many planes; ``line`` elements fill a cache line."""
    for o in range(0, planes * p[f.CHANNELS], p[f.CHANNELS]):
        for j in range(0, n, line):
            touch(move(start, o + j))


@njit
def scan(p, x, gate, cos, sin, prev, h, n):  # type: ignore[no-untyped-def]
    D = p[f.CHANNELS]
    if p[f.ROTATE]:
        rows.scan_complex(x, move(x, D), gate, cos, sin, prev, move(prev, D), h, move(h, D), n)
    else:
        for o in range(0, p[f.PLANES] * D, D):
            rows.scan_real(move(x, o), gate, move(prev, o), move(h, o), n)


@njit
def scan_back(p, dh, gate, cos, sin, prev, carry, dx, dgate, dtheta, n):  # type: ignore[no-untyped-def]
    """The adjoint of `scan`: ``carry`` is what later steps give, and what this one gives to earlier ones."""
    D = p[f.CHANNELS]
    for o in range(0, p[f.PLANES] * D, D):
        rows.sum_row(move(dh, o), move(carry, o), move(dx, o), False, n)
    if p[f.ROTATE]:
        pi, ci = move(prev, D), move(carry, D)
        rows.scan_back_complex(dx, move(dx, D), gate, cos, sin, prev, pi, carry, ci, dgate, dtheta, n)
    else:
        for o in range(0, p[f.PLANES] * D, D):
            rows.scan_back_real(move(dx, o), gate, move(prev, o), move(carry, o), dgate, o > 0, n)


@njit
def hgru(  # type: ignore[no-untyped-def]
    p, x, forget, lower, rest, cos, sin, prev, h, keep, open, shut, slope, write, save, n
):
    D, silu = p[f.CHANNELS], p[f.SILU] != 0
    if p[f.ROTATE]:
        xi, pi, hi, si, wi = move(x, D), move(prev, D), move(h, D), move(slope, D), move(write, D)
        rows.hgru_complex(
            x, xi, forget, lower, rest, cos, sin, prev, pi, h, hi, keep, open, shut, slope, si, write, wi, silu, save, n
        )
    else:
        for o in range(0, p[f.PLANES] * D, D):
            s, w = move(slope, o), move(write, o)
            rows.hgru_real(
                move(x, o), forget, lower, rest, move(prev, o), move(h, o), keep, open, shut, s, w, silu, save, n
            )


@njit
def hgru_back(  # type: ignore[no-untyped-def]
    p, x, dh, rest, cos, sin, prev, keep, open, shut, slope, other, dkeep, zero, carry, dx, dgate, dtheta, dlower, n
):
    """The adjoint of `hgru`; ``other`` and ``dkeep`` are dL/dwrite and dL/dλ of the other direction, or zero."""
    D, silu, add = p[f.CHANNELS], p[f.SILU] != 0, p[f.ADD] != 0
    if p[f.ROTATE]:
        xi, di, pi, si, oi, ci, dxi = (
            move(x, D), move(dh, D), move(prev, D), move(slope, D), move(other, D), move(carry, D), move(dx, D),
        )  # fmt: skip
        rows.hgru_back_complex(
            x, xi, dh, di, rest, cos, sin, prev, pi, keep, open, shut, slope, si, other, oi, dkeep, carry, ci, dx, dxi,
            dgate, dtheta, dlower, silu, add, n,
        )  # fmt: skip
    else:
        for o in range(0, p[f.PLANES] * D, D):
            rows.hgru_back_real(
                move(x, o), move(dh, o), rest, move(prev, o), keep, open, shut, move(slope, o), move(other, o),
                zero if o else dkeep, move(carry, o), move(dx, o), dgate, dlower, silu, add, add or o > 0, n,
            )  # fmt: skip


@njit
def hgru_carry(p, dh, forget, lower, rest, cos, sin, carry, n):  # type: ignore[no-untyped-def]
    D = p[f.CHANNELS]
    if p[f.ROTATE]:
        rows.hgru_carry_complex(dh, move(dh, D), forget, lower, rest, cos, sin, carry, move(carry, D), n)
    else:
        for o in range(0, p[f.PLANES] * D, D):
            rows.hgru_carry_real(move(dh, o), forget, lower, rest, move(carry, o), n)
