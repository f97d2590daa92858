"""What the recurrence does with one row of channels, real or complex; complex numbers are two planes, re and im.

Rows are compiled with `noalias` arguments. Without it LLVM guards every row with a test of each pair of pointers, and
takes the scalar loop for short rows: 2 to 4 times slower. Where little is computed, each loop writes to one large
tensor only: two streams of stores that take turns are slower than one after the other. Where much is computed, one loop
does it all: what goes from loop to loop has to be stored and loaded.
"""

from hgrn_kernels.cpu.native import fma, row, sigmoids


@row
def scan_real(x, gate, prev, h, n):  # type: ignore[no-untyped-def]
    for j in range(n):
        h[j] = fma(gate[j], prev[j], x[j])


@row
def scan_complex(xr, xi, gate, cos, sin, pr, pi, hr, hi, n):  # type: ignore[no-untyped-def]
    for j in range(n):
        hr[j] = fma(gate[j], fma(pr[j], cos[j], -(pi[j] * sin[j])), xr[j])
    for j in range(n):
        hi[j] = fma(gate[j], fma(pr[j], sin[j], pi[j] * cos[j]), xi[j])


@row
def scan_back_real(a, gate, prev, carry, dgate, add, n):  # type: ignore[no-untyped-def]
    """The adjoint of `scan_real`, for a = dL/dh_t + carry, which is dL/dx_t too."""
    for j in range(n):
        d = a[j] * prev[j]
        dgate[j] = dgate[j] + d if add else d
        carry[j] = gate[j] * a[j]


@row
def scan_back_complex(ar, ai, gate, cos, sin, pr, pi, cr, ci, dgate, dtheta, n):  # type: ignore[no-untyped-def]
    # With w = e^{-iθ} a: dgate = Re(w* h_{t-1}), dθ += gate · Re(w* i h_{t-1}), and what reaches h_{t-1} is gate · w.
    for j in range(n):
        wr = fma(ar[j], cos[j], ai[j] * sin[j])
        wi = fma(ai[j], cos[j], -(ar[j] * sin[j]))
        dgate[j] = fma(wr, pr[j], wi * pi[j])
        dtheta[j] = fma(gate[j], fma(wi, pr[j], -(wr * pi[j])), dtheta[j])
        cr[j] = gate[j] * wr
        ci[j] = gate[j] * wi


@row
def hgru_real(  # type: ignore[no-untyped-def]
    x, forget, lower, rest, prev, h, keep, open, shut, slope, write, silu, save, n
):
    """One step of `hgru`; ``save``: with λ, the sigmoids of ±forget and of the candidate, and what it writes."""
    for j in range(n):
        s, c = sigmoids(forget[j])
        g, a = fma(rest[j], s, lower[j]), x[j]
        if silu:
            u, _ = sigmoids(a)
            a = a * u
            if save:
                slope[j] = u
        a = rest[j] * c * a
        h[j] = fma(g, prev[j], a)
        if save:
            keep[j], open[j], shut[j], write[j] = g, s, c, a


@row
def hgru_complex(  # type: ignore[no-untyped-def]
    xr, xi, forget, lower, rest, cos, sin, pr, pi, hr, hi, keep, open, shut, sr, si, wr, wi, silu, save, n
):
    for j in range(n):
        s, c = sigmoids(forget[j])
        g, w, a, b = fma(rest[j], s, lower[j]), rest[j] * c, xr[j], xi[j]
        if silu:
            u, _ = sigmoids(a)
            v, _ = sigmoids(b)
            a, b = a * u, b * v
            if save:
                sr[j], si[j] = u, v
        a, b = w * a, w * b
        hr[j] = fma(g, fma(pr[j], cos[j], -(pi[j] * sin[j])), a)
        hi[j] = fma(g, fma(pr[j], sin[j], pi[j] * cos[j]), b)
        if save:
            keep[j], open[j], shut[j], wr[j], wi[j] = g, s, c, a, b


@row
def hgru_back_real(  # type: ignore[no-untyped-def]
    x, dh, rest, prev, keep, open, shut, slope, other, dkeep, carry, dx, dgate, dlower, silu, add, add_gate, n
):
    """The adjoint of `hgru_real`; ``other`` and ``dkeep`` are dL/dwrite and dL/dλ of the other direction, or zero."""
    for j in range(n):
        a = dh[j] + carry[j]
        k = fma(a, prev[j], dkeep[j])
        carry[j] = keep[j] * a
        a = a + other[j]
        u, d = x[j], rest[j] * shut[j] * a
        if silu:
            s = slope[j]
            u = u * s
            d = d * (s + fma(-u, s, u))
        k = shut[j] * fma(-a, u, k)
        dlower[j] += k
        k = rest[j] * open[j] * k
        dx[j] = dx[j] + d if add else d
        dgate[j] = dgate[j] + k if add_gate else k


@row
def hgru_back_complex(  # type: ignore[no-untyped-def]
    xr, xi, dr, di, rest, cos, sin, pr, pi, keep, open, shut, sr, si, otherr, otheri, dkeep, cr, ci, dxr, dxi, dgate,
    dtheta, dlower, silu, add, n,
):  # fmt: skip
    for j in range(n):
        a, b, g, w = dr[j] + cr[j], di[j] + ci[j], keep[j], rest[j] * shut[j]
        p = fma(a, cos[j], b * sin[j])
        q = fma(b, cos[j], -(a * sin[j]))
        k = fma(p, pr[j], fma(q, pi[j], dkeep[j]))
        dtheta[j] = fma(g, fma(q, pr[j], -(p * pi[j])), dtheta[j])
        cr[j], ci[j] = g * p, g * q
        a, b = a + otherr[j], b + otheri[j]
        u, v, d, e = xr[j], xi[j], w * a, w * b
        if silu:
            s, t = sr[j], si[j]
            u, v = u * s, v * t
            d, e = d * (s + fma(-u, s, u)), e * (t + fma(-v, t, v))
        k = shut[j] * fma(-a, u, fma(-b, v, k))
        dlower[j] += k
        k = rest[j] * open[j] * k
        dxr[j] = dxr[j] + d if add else d
        dxi[j] = dxi[j] + e if add else e
        dgate[j] = dgate[j] + k if add else k


@row
def hgru_carry_real(dh, forget, lower, rest, carry, n):  # type: ignore[no-untyped-def]
    """Only what the adjoint of `hgru_real` carries on."""
    for j in range(n):
        s, _ = sigmoids(forget[j])
        carry[j] = fma(rest[j], s, lower[j]) * (dh[j] + carry[j])


@row
def hgru_carry_complex(dr, di, forget, lower, rest, cos, sin, cr, ci, n):  # type: ignore[no-untyped-def]
    for j in range(n):
        s, _ = sigmoids(forget[j])
        g, a, b = fma(rest[j], s, lower[j]), dr[j] + cr[j], di[j] + ci[j]
        cr[j] = g * fma(a, cos[j], b * sin[j])
        ci[j] = g * fma(b, cos[j], -(a * sin[j]))


@row
def sum_row(first, second, target, add, n):  # type: ignore[no-untyped-def]
    for j in range(n):
        d = first[j] + second[j]
        target[j] = target[j] + d if add else d


@row
def copy_row(source, target, n):  # type: ignore[no-untyped-def]
    for j in range(n):
        target[j] = source[j]


@row
def clear_row(target, n):  # type: ignore[no-untyped-def]
    for j in range(n):
        target[j] = 0


@row
def flush_row(part, total, n):  # type: ignore[no-untyped-def]
    """Into the float64 sums."""
    for j in range(n):
        total[j] += part[j]
        part[j] = 0
