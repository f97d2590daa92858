"""The recurrence in both directions at once: `summarise` has always run before."""

# mypy: ignore-errors
import triton
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


@triton.jit
def _resume(checkpoints, products, row, re, im, cos, sin, d, D: tl.constexpr, COMPLEX: tl.constexpr):
    """Return the first quantity before a chunk: its checkpoint, plus what entered the segment, on its way so far."""
    pr, pi = read_state(checkpoints + row * (1 + COMPLEX) * D + d, D, COMPLEX)
    return advance(tl.load(products + row * D + d), re, im, cos, sin, pr, pi, COMPLEX)


@kernel
def forward(
    x, gate, lower, theta, lengths, checkpoints, products, totals, h, starts, carries,
    length, segments, segment, scale, offset, has_lower, has_lengths, save,
    ADD: tl.constexpr, GATED: tl.constexpr, COMPLEX: tl.constexpr, D: tl.constexpr, X_ROW: tl.constexpr,
    G_ROW: tl.constexpr, INNER: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write h of one segment, added to what is there if ADD; to ``starts`` the left scan's state before each chunk, and
    to ``carries`` what the right scan brings into the segment.

    From the last chunk to the first: each runs the left scan up, into registers, and then the right scan down.
    """
    n, s, d, mask, count, begin, end = place(lengths, length, segments, segment, has_lengths, D, BLOCK)
    PLANES: tl.constexpr = 1 + COMPLEX
    X_STEP: tl.constexpr = INNER * X_ROW
    G_STEP: tl.constexpr = INNER * G_ROW
    H_STEP: tl.constexpr = INNER * PLANES * D
    WIDTH: tl.constexpr = (1 + 2 * PLANES) * D
    bound = bounds(lower, d, has_lower)
    x += origin(n, length, count, X_ROW, INNER, 1) + d
    gate += origin(n, length, count, G_ROW, INNER, 1) + d
    out = h + origin(n, length, count, PLANES * D, INNER, 1) + d
    chunk, total = n * tl.cdiv(length, CHUNK), n * segments
    zero = tl.zeros(d.shape, tl.float32)
    ar, ai = fold(totals + total * WIDTH, 1, 1, s, theta, segment, d, zero, zero, D, COMPLEX)
    end_totals = totals + (total + segments - 1) * WIDTH
    br, bi = fold(end_totals, 1 + PLANES, -1, segments - 1 - s, theta + D, segment, d, zero, zero, D, COMPLEX)
    write_state(carries + (total + s) * PLANES * D + d, br, bi, mask & (save != 0), D, COMPLEX)
    c1, s1 = rotation(theta, d, 1, COMPLEX)
    c2, s2 = rotation(theta + D, d, 1, COMPLEX)
    chunks = tl.cdiv(tl.maximum(end - begin, 0), CHUNK)
    cos, sin = rotation(theta, d, (chunks - 1) * CHUNK, COMPLEX)  # over the chunks before
    c0, s0 = rotation(theta, d, -CHUNK, COMPLEX)
    for i in range(chunks):
        t = begin + (chunks - 1 - i) * CHUNK
        at = t.to(tl.int64)
        xr, xi = read_planes(x + at * X_STEP, end - t, D, X_STEP, COMPLEX, CHUNK)
        f = read_gates(gate + at * G_STEP, end - t, G_STEP, GATED, CHUNK)
        row = chunk + t // CHUNK
        hr, hi = _resume(checkpoints, products, row, ar, ai, cos, sin, d, D, COMPLEX)
        cos, sin = turn(cos, sin, c0, s0, COMPLEX)
        write_state(starts + row * PLANES * D + d, hr, hi, mask & (save != 0), D, COMPLEX)
        keeps, res, ims, hrs, his = (), (), (), (), ()
        for r in tl.static_range(CHUNK):
            keep, _, away = gates(f[r], bound, GATED)
            shut = (1.0 - bound) * away
            re, im = written(xr[r], shut, scale, offset, GATED), written(xi[r], shut, scale, offset, GATED)
            hr, hi = advance(keep, hr, hi, c1, s1, re, im, COMPLEX)
            keeps, res, ims, hrs, his = keeps + (keep,), res + (re,), ims + (im,), hrs + (hr,), his + (hi,)
        for r in tl.static_range(CHUNK - 1, -1, -1):
            br, bi = advance(keeps[r], br, bi, c2, s2, res[r], ims[r], COMPLEX)
            here = mask & (r < end - t)
            to = out + at * H_STEP + r * H_STEP
            re, im = hrs[r] + br, his[r] + bi
            if ADD:
                pr, pi = read_state_if(here, to, D, COMPLEX)
                re, im = re + pr, im + pi
            write_state(to, re, im, here, D, COMPLEX)
    clear(h + d, n, length, begin, segment, count, mask, D, COMPLEX)


@kernel
def backward(
    dh, x, gate, lower, theta, lengths, checkpoints, products, totals, starts, carries, dx, dgate, sums,
    length, segments, segment, scale, offset, has_lower, has_lengths,
    ADD: tl.constexpr, GATED: tl.constexpr, COMPLEX: tl.constexpr, D: tl.constexpr, V_ROW: tl.constexpr,
    X_ROW: tl.constexpr, G_ROW: tl.constexpr, INNER: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the gradients of one segment: of x and of the gate, added to what is there if ADD, and to ``sums`` its
    share of those of γ and of each direction's θ.

    ``starts`` and ``carries`` are what `forward` saved; the checkpoints, products and totals are of the gradients. From
    the last chunk to the first: each runs the left scan and the right scan's gradient up, into registers, and then the
    right scan and the left scan's gradient down.
    """
    n, s, d, mask, count, begin, end = place(lengths, length, segments, segment, has_lengths, D, BLOCK)
    PLANES: tl.constexpr = 1 + COMPLEX
    V_STEP: tl.constexpr = INNER * V_ROW
    X_STEP: tl.constexpr = INNER * X_ROW
    G_STEP: tl.constexpr = INNER * G_ROW
    DX_STEP: tl.constexpr = INNER * PLANES * D
    DG_STEP: tl.constexpr = INNER * D
    WIDTH: tl.constexpr = (1 + 2 * PLANES) * D
    bound = bounds(lower, d, has_lower)
    dh += origin(n, length, count, V_ROW, INNER, 1) + d
    x += origin(n, length, count, X_ROW, INNER, 1) + d
    gate += origin(n, length, count, G_ROW, INNER, 1) + d
    dx_out = dx + origin(n, length, count, PLANES * D, INNER, 1) + d
    dg_out = dgate + origin(n, length, count, D, INNER, 1) + d
    chunk, total = n * tl.cdiv(length, CHUNK), n * segments
    zero = tl.zeros(d.shape, tl.float32)
    br, bi = fold(totals + total * WIDTH, 1, 1, s, theta + D, -segment, d, zero, zero, D, COMPLEX)
    end_totals = totals + (total + segments - 1) * WIDTH
    ar, ai = fold(end_totals, 1 + PLANES, -1, segments - 1 - s, theta, -segment, d, zero, zero, D, COMPLEX)
    gr, gi = read_state(carries + (total + s) * PLANES * D + d, D, COMPLEX)
    c1, s1 = rotation(theta, d, 1, COMPLEX)
    c2, s2 = rotation(theta + D, d, 1, COMPLEX)
    chunks = tl.cdiv(tl.maximum(end - begin, 0), CHUNK)
    cos, sin = rotation(theta + D, d, -(chunks - 1) * CHUNK, COMPLEX)
    c0, s0 = rotation(theta + D, d, CHUNK, COMPLEX)
    dtheta1, dtheta2, dbound = zero, zero, zero
    for i in range(chunks):
        t = begin + (chunks - 1 - i) * CHUNK
        at = t.to(tl.int64)
        vr, vi = read_planes(dh + at * V_STEP, end - t, D, V_STEP, COMPLEX, CHUNK)
        xr, xi = read_planes(x + at * X_STEP, end - t, D, X_STEP, COMPLEX, CHUNK)
        f = read_gates(gate + at * G_STEP, end - t, G_STEP, GATED, CHUNK)
        row = chunk + t // CHUNK
        hr, hi = read_state(starts + row * PLANES * D + d, D, COMPLEX)
        er, ei = _resume(checkpoints, products, row, br, bi, cos, sin, d, D, COMPLEX)
        cos, sin = turn(cos, sin, c0, s0, COMPLEX)
        hrs, his, ers, eis = (), (), (), ()
        for r in tl.static_range(CHUNK):
            keep, _, away = gates(f[r], bound, GATED)
            shut = (1.0 - bound) * away
            hr, hi = turn(hr, hi, c1, s1, COMPLEX)
            er, ei = er + vr[r].to(tl.float32), ei + vi[r].to(tl.float32)
            hrs, his, ers, eis = hrs + (hr,), his + (hi,), ers + (er,), eis + (ei,)
            hr = written(xr[r], shut, scale, offset, GATED) + keep * hr
            hi = written(xi[r], shut, scale, offset, GATED) + keep * hi
            er, ei = retreat(keep, er, ei, c2, s2, COMPLEX)
        for r in tl.static_range(CHUNK - 1, -1, -1):
            keep, open, away = gates(f[r], bound, GATED)
            shut = (1.0 - bound) * away
            cr, sr = activate(xr[r], scale, offset, GATED)
            ci, si = activate(xi[r], scale, offset, GATED)
            ar, ai = ar + vr[r].to(tl.float32), ai + vi[r].to(tl.float32)
            gr, gi = turn(gr, gi, c2, s2, COMPLEX)
            dkeep = dot(ar, ai, hrs[r], his[r], COMPLEX) + dot(ers[r], eis[r], gr, gi, COMPLEX)
            if COMPLEX:
                dtheta1 += keep * cross(ar, ai, hrs[r], his[r])
                dtheta2 += keep * cross(ers[r], eis[r], gr, gi)
            dr, di = ar + ers[r], ai + eis[r]
            gr, gi = shut * cr + keep * gr, shut * ci + keep * gi
            ar, ai = retreat(keep, ar, ai, c1, s1, COMPLEX)
            share = away * (dkeep - dot(dr, di, cr, ci, COMPLEX))
            dbound += share
            df = open * share
            dr = shut * dr * (sr + cr * (1.0 - sr))
            di = shut * di * (si + ci * (1.0 - si))
            here = mask & (r < end - t)
            dx_to, dg_to = dx_out + at * DX_STEP + r * DX_STEP, dg_out + at * DG_STEP + r * DG_STEP
            if ADD:
                pr, pi = read_state_if(here, dx_to, D, COMPLEX)
                dr, di = dr + pr, di + pi
                df += tl.load(dg_to, mask=here, other=0.0).to(tl.float32)
            write_state(dx_to, dr, di, here, D, COMPLEX)
            tl.store(dg_to, df.to(dgate.dtype.element_ty), mask=here)
    sums += (n * segments + s) * 3 * D + d
    tl.store(sums, dbound, mask=mask)
    tl.store(sums + D, dtheta1, mask=mask)
    tl.store(sums + 2 * D, dtheta2, mask=mask)
    clear(dx + d, n, length, begin, segment, count, mask, D, COMPLEX)
    clear(dgate + d, n, length, begin, segment, count, mask, D, False)
