"""The kernels of a recurrence in one direction.

An item is a tile of the channels of one sequence. Time is the outer loop and a row of channels the inner one, so memory
is read in order. The forward pass goes straight through and keeps the state before every chunk of rows. The backward
pass takes the chunks in the opposite order: it runs each chunk's states again, into a buffer of the thread's own that
fits the core's second level cache, and then their adjoints. Against the order of memory the hardware foresees little,
so the next chunk is asked for while this one is worked on, what will be written as well: that halves the time.
"""

from typing import Any

from numba import types

from hgrn_kernels.cpu import fields as f
from hgrn_kernels.cpu import rows
from hgrn_kernels.cpu.native import at, kernel, move, take
from hgrn_kernels.cpu.steps import begins, clear, copy, counts, fetch, hgru, hgru_back, scan, scan_back


def forward_rows(planes: int, chunk: int) -> int:
    """Return how many rows of D elements the buffer of a thread has."""
    return 3 + 3 * planes


def backward_rows(planes: int, chunk: int) -> int:
    return chunk * (3 + 2 * planes) + 2 + 3 * planes


def forward(dtype: Any) -> Any:
    line = 512 // dtype.bitwidth

    @kernel
    def forward(p):  # type: ignore[no-untyped-def]
        D, C, P = p[f.CHANNELS], p[f.CHUNK], p[f.PLANES]
        gated, down, width = p[f.GATED] != 0, p[f.REVERSE] != 0, P * D
        chunks = (p[f.LENGTH] + C - 1) // C
        scratch = take(move(p, f.SLOT)) * p[f.SCRATCH_SIZE]
        while True:
            item = take(p)
            if item >= p[f.ITEMS]:
                return
            sequence, first = item // p[f.TILES], (item % p[f.TILES]) * p[f.TILE]
            n, count = min(p[f.TILE], D - first), counts(p, sequence)
            keep = at(p[f.SCRATCH], scratch + first, dtype)
            open, shut, write = move(keep, D), move(keep, 2 * D), move(keep, 3 * D)
            slope, zero = move(write, width), move(write, 2 * width)
            x0 = at(p[f.X], begins(p, f.X_OUTER, sequence) + first, dtype)
            g0 = at(p[f.GATE], begins(p, f.GATE_OUTER, sequence) + first, dtype)
            h0 = at(p[f.H], begins(p, f.OUT_OUTER, sequence) * width + first, dtype)
            x_step, g_step, h_step = p[f.X_STEP], p[f.GATE_STEP], p[f.OUT_STEP] * width
            kept = at(p[f.CHECKPOINTS], sequence * chunks * width + first, dtype)
            lower, rest = at(p[f.LOWER], first, dtype), at(p[f.REST], first, dtype)
            cos, sin = at(p[f.COS], first, dtype), at(p[f.SIN], first, dtype)
            clear(p, zero, n)
            prev = at(p[f.INITIAL], sequence * width + first, dtype) if p[f.INITIAL] else zero
            used = (count + C - 1) // C
            for i in range(used):
                chunk = used - 1 - i if down else i
                here, length = chunk * C, min(C, count - chunk * C)
                ahead = here - C if down else here + C
                if p[f.CHECKPOINTS]:
                    copy(p, prev, move(kept, chunk * width), n)
                for k in range(length):
                    if p[f.FETCH] and i + 1 < used:
                        fetch(p, P, move(x0, (ahead + k) * x_step), line, n)
                        fetch(p, 1, move(g0, (ahead + k) * g_step), line, n)
                        fetch(p, P, move(h0, (ahead + k) * h_step), line, n)
                    t = here + length - 1 - k if down else here + k
                    x, g, h = move(x0, t * x_step), move(g0, t * g_step), move(h0, t * h_step)
                    if gated:
                        hgru(p, x, g, lower, rest, cos, sin, prev, h, keep, open, shut, slope, write, False, n)
                    else:
                        scan(p, x, g, cos, sin, prev, h, n)
                    prev = h
            if p[f.FINAL]:
                copy(p, prev, at(p[f.FINAL], sequence * width + first, dtype), n)
            for t in range(count, p[f.LENGTH]):
                clear(p, move(h0, t * h_step), n)

    return forward


def backward(dtype: Any) -> Any:
    line = 512 // dtype.bitwidth

    @kernel
    def backward(p):  # type: ignore[no-untyped-def]
        D, C, P = p[f.CHANNELS], p[f.CHUNK], p[f.PLANES]
        gated, down, width = p[f.GATED] != 0, p[f.REVERSE] != 0, P * D
        chunks = (p[f.LENGTH] + C - 1) // C
        scratch = take(move(p, f.SLOT)) * p[f.SCRATCH_SIZE]
        while True:
            item = take(p)
            if item >= p[f.ITEMS]:
                return
            sequence, first = item // p[f.TILES], (item % p[f.TILES]) * p[f.TILE]
            n, count = min(p[f.TILE], D - first), counts(p, sequence)
            # By row of the chunk: λ, the sigmoids of ±forget, the states, the sigmoids in SiLU.
            keep0 = at(p[f.SCRATCH], scratch + first, dtype)
            open0, shut0, hidden0 = move(keep0, C * D), move(keep0, 2 * C * D), move(keep0, 3 * C * D)
            slope0 = move(hidden0, C * width)
            dtheta = move(slope0, C * width)
            dlower, write = move(dtheta, D), move(dtheta, 2 * D)
            zero, carry = move(write, width), move(write, 2 * width)
            x0 = at(p[f.X], begins(p, f.X_OUTER, sequence) + first, dtype)
            g0 = at(p[f.GATE], begins(p, f.GATE_OUTER, sequence) + first, dtype)
            dh0 = at(p[f.DH], begins(p, f.DH_OUTER, sequence) + first, dtype)
            out = begins(p, f.OUT_OUTER, sequence)
            dx0, dg0 = at(p[f.DX], out * width + first, dtype), at(p[f.DGATE], out * D + first, dtype)
            x_step, g_step, dh_step, out_step = p[f.X_STEP], p[f.GATE_STEP], p[f.DH_STEP], p[f.OUT_STEP]
            kept = at(p[f.CHECKPOINTS], sequence * chunks * width + first, dtype)
            lower, rest = at(p[f.LOWER], first, dtype), at(p[f.REST], first, dtype)
            cos, sin = at(p[f.COS], first, dtype), at(p[f.SIN], first, dtype)
            rows.clear_row(dtheta, n)
            rows.clear_row(dlower, n)
            clear(p, zero, n)
            if p[f.DFINAL]:
                copy(p, at(p[f.DFINAL], sequence * width + first, dtype), carry, n)
            else:
                clear(p, carry, n)
            used = (count + C - 1) // C
            for i in range(used):
                chunk = i if down else used - 1 - i
                here, length = chunk * C, min(C, count - chunk * C)
                ahead = here + C if down else here - C
                prev = move(kept, chunk * width)
                for k in range(length):
                    if i + 1 < used:
                        t = ahead + k
                        fetch(p, P, move(x0, t * x_step), line, n)
                        fetch(p, 1, move(g0, t * g_step), line, n)
                        fetch(p, P, move(dh0, t * dh_step), line, n)
                    r = length - 1 - k if down else k
                    x, g, h = move(x0, (here + r) * x_step), move(g0, (here + r) * g_step), move(hidden0, r * width)
                    if gated:
                        keep, open, shut = move(keep0, r * D), move(open0, r * D), move(shut0, r * D)
                        slope = move(slope0, r * width)
                        hgru(p, x, g, lower, rest, cos, sin, prev, h, keep, open, shut, slope, write, True, n)
                    else:
                        scan(p, x, g, cos, sin, prev, h, n)
                    prev = h
                for k in range(length - 1, -1, -1):
                    if i + 1 < used:
                        t = ahead + length - 1 - k
                        fetch(p, P, move(dx0, t * out_step * width), line, n)
                        fetch(p, 1, move(dg0, t * out_step * D), line, n)
                    r = length - 1 - k if down else k
                    t = here + r
                    prev = move(kept, chunk * width) if k == 0 else move(hidden0, (r + 1 if down else r - 1) * width)
                    x, g, dh = move(x0, t * x_step), move(g0, t * g_step), move(dh0, t * dh_step)
                    dx, dg = move(dx0, t * out_step * width), move(dg0, t * out_step * D)
                    if gated:
                        keep, open, shut = move(keep0, r * D), move(open0, r * D), move(shut0, r * D)
                        slope = move(slope0, r * width)
                        hgru_back(
                            p, x, dh, rest, cos, sin, prev, keep, open, shut, slope, zero, zero, zero, carry, dx, dg,
                            dtheta, dlower, n,
                        )  # fmt: skip
                    else:
                        scan_back(p, dh, g, cos, sin, prev, carry, dx, dg, dtheta, n)
                if p[f.ROTATE]:
                    rows.flush_row(dtheta, at(p[f.DTHETA], sequence * 2 * D + first, types.float64), n)
                if gated:
                    rows.flush_row(dlower, at(p[f.DLOWER], sequence * D + first, types.float64), n)
            if p[f.DINITIAL]:
                copy(p, carry, at(p[f.DINITIAL], sequence * width + first, dtype), n)
            for t in range(count, p[f.LENGTH]):
                clear(p, move(dx0, t * out_step * width), n)
                rows.clear_row(move(dg0, t * out_step * D), n)

    return backward
