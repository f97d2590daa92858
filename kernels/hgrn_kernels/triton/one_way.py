"""The recurrence in one direction. With one segment `summarise` is not needed and the fold has nothing to do."""

# mypy: ignore-errors
import triton.language as tl

from hgrn_kernels.triton.steps import (
    activate,
    advance,
    cross,
    dot,
    gates,
    origin,
    read_gates,
    read_planes,
    read_state,
    read_state_if,
    retreat,
    rotation,
    turn,
    write_state,
    written,
)
from hgrn_kernels.triton.summary import bounds, clear, fold, kernel, place


@kernel
def forward(
    x, gate, lower, theta, initial, lengths, totals, h, final, starts,
    length, segments, segment, scale, offset, has_lower, has_lengths, has_initial, has_final, save,
    GATED: tl.constexpr, COMPLEX: tl.constexpr, D: tl.constexpr, X_ROW: tl.constexpr, G_ROW: tl.constexpr,
    SIGN: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write h of one segment, and to ``starts`` the state before each of its chunks."""
    n, s, d, mask, count, begin, end = place(lengths, length, segments, segment, has_lengths, D, BLOCK)
    PLANES: tl.constexpr = 1 + COMPLEX
    H_STEP: tl.constexpr = SIGN * PLANES * D
    bound = bounds(lower, d, has_lower)
    x += origin(n, length, count, X_ROW, 1, SIGN) + d
    gate += origin(n, length, count, G_ROW, 1, SIGN) + d
    out = h + origin(n, length, count, PLANES * D, 1, SIGN) + d
    starts += n * tl.cdiv(length, CHUNK) * PLANES * D + d
    hr, hi = read_state_if(has_initial != 0, initial + n * PLANES * D + d, D, COMPLEX)
    totals += n * segments * (1 + 2 * PLANES) * D
    hr, hi = fold(totals, 1, 1, s, theta, segment, d, hr, hi, D, COMPLEX)
    cos, sin = rotation(theta, d, 1, COMPLEX)
    for i in range(tl.cdiv(tl.maximum(end - begin, 0), CHUNK)):
        t = begin + i * CHUNK
        at = t.to(tl.int64)
        xr, xi = read_planes(x + at * SIGN * X_ROW, end - t, D, SIGN * X_ROW, COMPLEX, CHUNK)
        f = read_gates(gate + at * SIGN * G_ROW, end - t, SIGN * G_ROW, GATED, CHUNK)
        write_state(starts + at // CHUNK * PLANES * D, hr, hi, mask & (save != 0), D, COMPLEX)
        for r in tl.static_range(CHUNK):
            keep, _, away = gates(f[r], bound, GATED)
            shut = (1.0 - bound) * away
            re, im = written(xr[r], shut, scale, offset, GATED), written(xi[r], shut, scale, offset, GATED)
            hr, hi = advance(keep, hr, hi, cos, sin, re, im, COMPLEX)
            write_state(out + at * H_STEP + r * H_STEP, hr, hi, mask & (r < end - t), D, COMPLEX)
    # The rows that fill the last chunk have turned the state: back.
    steps = tl.maximum(end - begin, 0)
    cos, sin = rotation(theta, d, steps - tl.cdiv(steps, CHUNK) * CHUNK, COMPLEX)
    hr, hi = turn(hr, hi, cos, sin, COMPLEX)
    last = (s == tl.maximum(tl.cdiv(count, segment) - 1, 0)) & (has_final != 0)
    write_state(final + n * PLANES * D + d, hr, hi, mask & last, D, COMPLEX)
    clear(h + d, n, length, begin, segment, count, mask, D, COMPLEX)


@kernel
def backward(
    dh, x, gate, lower, theta, dfinal, lengths, totals, starts, dx, dgate, dinitial, sums,
    length, segments, segment, scale, offset, has_lower, has_lengths, has_initial, has_final,
    GATED: tl.constexpr, COMPLEX: tl.constexpr, D: tl.constexpr, V_ROW: tl.constexpr, X_ROW: tl.constexpr,
    G_ROW: tl.constexpr, SIGN: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the gradients of one segment: of x, of the gate, and to ``sums`` its share of those of γ and θ.

    Each chunk runs the states up from where `forward` saved one, into registers, and then the gradient down.
    """
    n, s, d, mask, count, begin, end = place(lengths, length, segments, segment, has_lengths, D, BLOCK)
    PLANES: tl.constexpr = 1 + COMPLEX
    DX_STEP: tl.constexpr = SIGN * PLANES * D
    DG_STEP: tl.constexpr = SIGN * D
    bound = bounds(lower, d, has_lower)
    dh += origin(n, length, count, V_ROW, 1, SIGN) + d
    x += origin(n, length, count, X_ROW, 1, SIGN) + d
    gate += origin(n, length, count, G_ROW, 1, SIGN) + d
    dx_out = dx + origin(n, length, count, PLANES * D, 1, SIGN) + d
    dg_out = dgate + origin(n, length, count, D, 1, SIGN) + d
    starts += n * tl.cdiv(length, CHUNK) * PLANES * D + d
    # The final state's gradient enters at the last segment in use, and passes the rows that fill its last chunk.
    ar, ai = read_state_if(has_final != 0, dfinal + n * PLANES * D + d, D, COMPLEX)
    last = tl.maximum(tl.cdiv(count, segment) - 1, 0)
    steps = tl.maximum(end - begin, 0)
    chunks = tl.cdiv(steps, CHUNK)
    filled = tl.where(s < last, last * segment + segment - count, chunks * CHUNK - steps)
    cos, sin = rotation(theta, d, filled, COMPLEX)
    ar, ai = turn(ar, ai, cos, sin, COMPLEX)
    totals += (n * segments + last) * (1 + 2 * PLANES) * D
    ar, ai = fold(totals, 1 + PLANES, -1, last - s, theta, -segment, d, ar, ai, D, COMPLEX)
    cos, sin = rotation(theta, d, 1, COMPLEX)
    dtheta = tl.zeros(d.shape, tl.float32)
    dbound = dtheta
    for i in range(chunks):
        t = begin + (chunks - 1 - i) * CHUNK
        at = t.to(tl.int64)
        vr, vi = read_planes(dh + at * SIGN * V_ROW, end - t, D, SIGN * V_ROW, COMPLEX, CHUNK)
        xr, xi = read_planes(x + at * SIGN * X_ROW, end - t, D, SIGN * X_ROW, COMPLEX, CHUNK)
        f = read_gates(gate + at * SIGN * G_ROW, end - t, SIGN * G_ROW, GATED, CHUNK)
        hr, hi = read_state(starts + at // CHUNK * PLANES * D, D, COMPLEX)
        hrs, his = (), ()
        for r in tl.static_range(CHUNK):
            keep, _, away = gates(f[r], bound, GATED)
            shut = (1.0 - bound) * away
            hr, hi = turn(hr, hi, cos, sin, COMPLEX)
            hrs, his = hrs + (hr,), his + (hi,)
            hr = written(xr[r], shut, scale, offset, GATED) + keep * hr
            hi = written(xi[r], shut, scale, offset, GATED) + keep * hi
        for r in tl.static_range(CHUNK - 1, -1, -1):
            keep, open, away = gates(f[r], bound, GATED)
            ar, ai = ar + vr[r].to(tl.float32), ai + vi[r].to(tl.float32)
            df = dot(ar, ai, hrs[r], his[r], COMPLEX)
            if COMPLEX:
                dtheta += tl.where(r < end - t, keep * cross(ar, ai, hrs[r], his[r]), 0.0)
            dr, di = ar, ai
            if GATED:
                cr, sr = activate(xr[r], scale, offset, GATED)
                ci, si = activate(xi[r], scale, offset, GATED)
                shut = (1.0 - bound) * away
                share = away * (df - dot(ar, ai, cr, ci, COMPLEX))
                dbound += share
                df = open * share
                dr = shut * ar * (sr + cr * (1.0 - sr))
                di = shut * ai * (si + ci * (1.0 - si))
            here = mask & (r < end - t)
            write_state(dx_out + at * DX_STEP + r * DX_STEP, dr, di, here, D, COMPLEX)
            tl.store(dg_out + at * DG_STEP + r * DG_STEP, df.to(dgate.dtype.element_ty), mask=here)
            ar, ai = retreat(keep, ar, ai, cos, sin, COMPLEX)
    # Where no step is real, the final state was the initial one.
    write_state(dinitial + n * PLANES * D + d, ar, ai, mask & (s == 0) & (has_initial != 0), D, COMPLEX)
    sums += (n * segments + s) * 2 * D + d
    tl.store(sums, dbound, mask=mask)
    tl.store(sums + D, dtheta, mask=mask)
    clear(dx + d, n, length, begin, segment, count, mask, D, COMPLEX)
    clear(dgate + d, n, length, begin, segment, count, mask, D, False)
