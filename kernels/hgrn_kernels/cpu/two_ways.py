"""The kernels of a recurrence in both directions, whose states are added; see `one_way`.

Only the sum of the directions is stored, so neither pass can read the states of one. The forward pass scans from the
left for its state before every chunk; then it takes the chunks from the right, runs the left scan of each again and the
right one against it. The backward pass does the same with the adjoints, of which that of the right scan runs from the
left.
"""

from typing import Any

from numba import types

from hgrn_kernels.cpu import fields as f
from hgrn_kernels.cpu import rows
from hgrn_kernels.cpu.native import at, kernel, move, take
from hgrn_kernels.cpu.steps import begins, clear, copy, counts, fetch, hgru, hgru_back, hgru_carry, scan, scan_back


def forward_rows(planes: int, chunk: int) -> int:
    """Return how many rows of D elements the buffer of a thread has."""
    return chunk * (1 + 2 * planes) + 2 + 4 * planes


def backward_rows(planes: int, chunk: int) -> int:
    return chunk * (4 + 4 * planes) + 4 + planes


def forward(dtype: Any) -> Any:
    line = 512 // dtype.bitwidth

    @kernel
    def forward_both(p):  # type: ignore[no-untyped-def]
        D, C, P = p[f.CHANNELS], p[f.CHUNK], p[f.PLANES]
        width, chunks = P * D, (p[f.LENGTH] + C - 1) // C
        scratch = take(move(p, f.SLOT)) * p[f.SCRATCH_SIZE]
        while True:
            item = take(p)
            if item >= p[f.ITEMS]:
                return
            sequence, first = item // p[f.TILES], (item % p[f.TILES]) * p[f.TILE]
            n, count = min(p[f.TILE], D - first), counts(p, sequence)
            keep0 = at(p[f.SCRATCH], scratch + first, dtype)
            write0, left0 = move(keep0, C * D), move(keep0, C * D + C * width)
            open = move(left0, C * width)
            shut, slope = move(open, D), move(open, 2 * D)
            state, other, zero = move(slope, width), move(slope, 2 * width), move(slope, 3 * width)
            x0 = at(p[f.X], begins(p, f.X_OUTER, sequence) + first, dtype)
            g0 = at(p[f.GATE], begins(p, f.GATE_OUTER, sequence) + first, dtype)
            h0 = at(p[f.H], begins(p, f.OUT_OUTER, sequence) * width + first, dtype)
            x_step, g_step, h_step = p[f.X_STEP], p[f.GATE_STEP], p[f.OUT_STEP] * width
            kept = at(p[f.CHECKPOINTS], sequence * chunks * width + first, dtype)
            carries = at(p[f.CARRIES], sequence * chunks * width + first, dtype)
            lower, rest = at(p[f.LOWER], first, dtype), at(p[f.REST], first, dtype)
            cos, sin = at(p[f.COS], first, dtype), at(p[f.SIN], first, dtype)
            cos2, sin2 = move(cos, D), move(sin, D)
            used = (count + C - 1) // C
            clear(p, zero, n)
            prev = zero
            for t in range(count):
                if t % C == 0:
                    copy(p, prev, move(kept, t // C * width), n)
                if p[f.FETCH]:
                    fetch(p, P, move(x0, (t + C) * x_step), line, n)
                    fetch(p, 1, move(g0, (t + C) * g_step), line, n)
                x, g, h = move(x0, t * x_step), move(g0, t * g_step), other if t & 1 else state
                hgru(p, x, g, lower, rest, cos, sin, prev, h, keep0, open, shut, slope, write0, False, n)
                prev = h
            prev = zero
            for chunk in range(used - 1, -1, -1):
                here, length = chunk * C, min(C, count - chunk * C)
                before = move(kept, chunk * width)
                for r in range(length):
                    if chunk > 0:
                        t = here - C + r
                        fetch(p, P, move(x0, t * x_step), line, n)
                        fetch(p, 1, move(g0, t * g_step), line, n)
                        fetch(p, P, move(h0, t * h_step), line, n)
                    x, g = move(x0, (here + r) * x_step), move(g0, (here + r) * g_step)
                    keep, write, h = move(keep0, r * D), move(write0, r * width), move(left0, r * width)
                    hgru(p, x, g, lower, rest, cos, sin, before, h, keep, open, shut, slope, write, True, n)
                    before = h
                if p[f.CARRIES]:
                    copy(p, prev, move(carries, chunk * width), n)
                for r in range(length - 1, -1, -1):
                    h = other if r & 1 else state
                    scan(p, move(write0, r * width), move(keep0, r * D), cos2, sin2, prev, h, n)
                    prev = h
                    for o in range(0, width, D):
                        to = move(h0, (here + r) * h_step + o)
                        rows.sum_row(move(left0, r * width + o), move(h, o), to, p[f.ADD] != 0, n)
            for t in range(count, p[f.LENGTH]):
                clear(p, move(h0, t * h_step), n)

    return forward_both


def backward(dtype: Any) -> Any:
    line = 512 // dtype.bitwidth

    @kernel
    def backward_both(p):  # type: ignore[no-untyped-def]
        D, C, P = p[f.CHANNELS], p[f.CHUNK], p[f.PLANES]
        width, chunks = P * D, (p[f.LENGTH] + C - 1) // C
        scratch = take(move(p, f.SLOT)) * p[f.SCRATCH_SIZE]
        while True:
            item = take(p)
            if item >= p[f.ITEMS]:
                return
            sequence, first = item // p[f.TILES], (item % p[f.TILES]) * p[f.TILE]
            n, count = min(p[f.TILE], D - first), counts(p, sequence)
            keep0 = at(p[f.SCRATCH], scratch + first, dtype)
            open0, shut0, dkeep0 = move(keep0, C * D), move(keep0, 2 * C * D), move(keep0, 3 * C * D)
            slope0 = move(keep0, 4 * C * D)
            write0, left0, right0 = move(slope0, C * width), move(slope0, 2 * C * width), move(slope0, 3 * C * width)
            dtheta = move(slope0, 4 * C * width)
            dtheta2, dlower, carry = move(dtheta, D), move(dtheta, 2 * D), move(dtheta, 3 * D)
            zero = move(carry, width)
            x0 = at(p[f.X], begins(p, f.X_OUTER, sequence) + first, dtype)
            g0 = at(p[f.GATE], begins(p, f.GATE_OUTER, sequence) + first, dtype)
            dh0 = at(p[f.DH], begins(p, f.DH_OUTER, sequence) + first, dtype)
            out = begins(p, f.OUT_OUTER, sequence)
            dx0, dg0 = at(p[f.DX], out * width + first, dtype), at(p[f.DGATE], out * D + first, dtype)
            x_step, g_step, dh_step, out_step = p[f.X_STEP], p[f.GATE_STEP], p[f.DH_STEP], p[f.OUT_STEP]
            kept = at(p[f.CHECKPOINTS], sequence * chunks * width + first, dtype)
            carries = at(p[f.CARRIES], sequence * chunks * width + first, dtype)
            adjoints = at(p[f.ADJOINTS], sequence * chunks * width + first, dtype)
            lower, rest = at(p[f.LOWER], first, dtype), at(p[f.REST], first, dtype)
            cos, sin = at(p[f.COS], first, dtype), at(p[f.SIN], first, dtype)
            cos2, sin2 = move(cos, D), move(sin, D)
            for i in range(3):
                rows.clear_row(move(dtheta, i * D), n)
            rows.clear_row(zero, n)
            clear(p, carry, n)
            for t in range(count):
                if t % C == 0:
                    copy(p, carry, move(adjoints, t // C * width), n)
                if p[f.FETCH]:
                    fetch(p, 1, move(g0, (t + C) * g_step), line, n)
                    fetch(p, P, move(dh0, (t + C) * dh_step), line, n)
                hgru_carry(p, move(dh0, t * dh_step), move(g0, t * g_step), lower, rest, cos2, sin2, carry, n)
            clear(p, carry, n)
            used = (count + C - 1) // C
            for chunk in range(used - 1, -1, -1):
                here, length = chunk * C, min(C, count - chunk * C)
                prev = move(kept, chunk * width)
                for r in range(length):  # the states from the left
                    if chunk > 0:
                        t = here - C + r
                        fetch(p, P, move(x0, t * x_step), line, n)
                        fetch(p, 1, move(g0, t * g_step), line, n)
                        fetch(p, P, move(dh0, t * dh_step), line, n)
                    x, g = move(x0, (here + r) * x_step), move(g0, (here + r) * g_step)
                    keep, open, shut = move(keep0, r * D), move(open0, r * D), move(shut0, r * D)
                    write, h = move(write0, r * width), move(left0, r * width)
                    slope = move(slope0, r * width)
                    hgru(p, x, g, lower, rest, cos, sin, prev, h, keep, open, shut, slope, write, True, n)
                    prev = h
                right = move(carries, chunk * width)
                for r in range(length - 1, -1, -1):  # the states from the right, the adjoints of those from the left
                    if chunk > 0:
                        t = here - 1 - r
                        fetch(p, P, move(dx0, t * out_step * width), line, n)
                        fetch(p, 1, move(dg0, t * out_step * D), line, n)
                    dh, keep, dkeep = move(dh0, (here + r) * dh_step), move(keep0, r * D), move(dkeep0, r * D)
                    write, h = move(write0, r * width), move(right0, r * width)
                    scan(p, write, keep, cos2, sin2, right, h, n)
                    right = h
                    prev = move(kept, chunk * width) if r == 0 else move(left0, (r - 1) * width)
                    scan_back(p, dh, keep, cos, sin, prev, carry, write, dkeep, dtheta, n)
                against = move(adjoints, chunk * width)
                for r in range(length):  # the adjoints of those from the right, and what both give
                    t = here + r
                    dh, keep, dkeep = move(dh0, t * dh_step), move(keep0, r * D), move(dkeep0, r * D)
                    prev = move(carries, chunk * width) if r + 1 == length else move(right0, (r + 1) * width)
                    slope, open, shut = move(slope0, r * width), move(open0, r * D), move(shut0, r * D)
                    x, dx, dg = move(x0, t * x_step), move(dx0, t * out_step * width), move(dg0, t * out_step * D)
                    hgru_back(
                        p, x, dh, rest, cos2, sin2, prev, keep, open, shut, slope, move(write0, r * width), dkeep,
                        zero, against, dx, dg, dtheta2, dlower, n,
                    )  # fmt: skip
                if p[f.ROTATE]:
                    total = at(p[f.DTHETA], sequence * 2 * D + first, types.float64)
                    rows.flush_row(dtheta, total, n)
                    rows.flush_row(dtheta2, move(total, D), n)
                rows.flush_row(dlower, at(p[f.DLOWER], sequence * D + first, types.float64), n)
            for t in range(count, p[f.LENGTH]):
                clear(p, move(dx0, t * out_step * width), n)
                rows.clear_row(move(dg0, t * out_step * D), n)

    return backward_both
