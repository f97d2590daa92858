"""The two kernels of the gated norm: y = LayerNorm(h) ⊙ SiLU(gate), or with GATE_FIRST LayerNorm(SiLU(gate) ⊙ h)."""

# mypy: ignore-errors
import functools

import triton
import triton.language as tl

from hgrn_kernels.triton.steps import sigmoid

# Compiled once for each width and dtype, not for each number of rows.
_kernel = functools.partial(triton.jit, do_not_specialize=["rows"])


@triton.jit
def _read(start, r, d, mask, ROW: tl.constexpr):
    return tl.load(start + r[:, None] * ROW + d[None, :], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _write(start, value, r, d, mask, D: tl.constexpr):
    tl.store(start + r[:, None] * D + d[None, :], value.to(start.dtype.element_ty), mask=mask)


@_kernel
def forward(
    h, gate, weight, bias, y, mean, rstd, rows, EPS: tl.constexpr, GATE_FIRST: tl.constexpr, D: tl.constexpr,
    H_ROW: tl.constexpr, G_ROW: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Write y and each row's mean and 1 / standard deviation."""
    r = tl.program_id(0) * TILE + tl.arange(0, TILE).to(tl.int64)
    d = tl.arange(0, BLOCK)
    mask = (r < rows)[:, None] & (d < D)[None, :]
    x = _read(h, r, d, mask, H_ROW)
    g = _read(gate, r, d, mask, G_ROW)
    g *= sigmoid(g)
    if GATE_FIRST:
        x *= g
    m = tl.sum(x, axis=1) / D
    centred = tl.where((d < D)[None, :], x - m[:, None], 0.0)
    s = tl.rsqrt(tl.sum(centred * centred, axis=1) / D + EPS)
    w = tl.load(weight + d, mask=d < D, other=0.0)
    b = tl.load(bias + d, mask=d < D, other=0.0)
    out = centred * s[:, None] * w[None, :] + b[None, :]
    if not GATE_FIRST:
        out *= g
    _write(y, out, r, d, mask, D)
    tl.store(mean + r, m, mask=r < rows)
    tl.store(rstd + r, s, mask=r < rows)


@_kernel
def backward(
    dy, h, gate, weight, bias, mean, rstd, dh, dgate, sums, rows, GATE_FIRST: tl.constexpr, D: tl.constexpr,
    Y_ROW: tl.constexpr, H_ROW: tl.constexpr, G_ROW: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Write the gradients of h and of the gate, and this program's share of those of weight and bias."""
    d = tl.arange(0, BLOCK)
    w = tl.load(weight + d, mask=d < D, other=0.0)[None, :]
    b = tl.load(bias + d, mask=d < D, other=0.0)[None, :]
    dweight = tl.zeros((BLOCK,), tl.float32)
    dbias = tl.zeros((BLOCK,), tl.float32)
    for block in range(tl.program_id(0), tl.cdiv(rows, TILE), tl.num_programs(0)):
        r = block * TILE + tl.arange(0, TILE).to(tl.int64)
        mask = (r < rows)[:, None] & (d < D)[None, :]
        dn = _read(dy, r, d, mask, Y_ROW)
        x = _read(h, r, d, mask, H_ROW)
        g = _read(gate, r, d, mask, G_ROW)
        s = sigmoid(g)
        m = tl.load(mean + r, mask=r < rows, other=0.0)[:, None]
        scale = tl.load(rstd + r, mask=r < rows, other=0.0)[:, None]
        z = x
        if GATE_FIRST:
            z = x * (g * s)
        z = tl.where(mask, (z - m) * scale, 0.0)
        dgated = dn
        if not GATE_FIRST:
            dgated = dn * (z * w + b)
            dn *= g * s
        dweight += tl.sum(dn * z, axis=0)
        dbias += tl.sum(dn, axis=0)
        dz = dn * w
        dx = scale * (dz - tl.sum(dz, axis=1)[:, None] / D - z * (tl.sum(dz * z, axis=1)[:, None] / D))
        if GATE_FIRST:
            dgated = dx * x
            dx *= g * s
        _write(dh, dx, r, d, mask, D)
        _write(dgate, dgated * (s + g * s * (1.0 - s)), r, d, mask, D)
    sums += tl.program_id(0) * 2 * D + d
    tl.store(sums, dweight, mask=d < D)
    tl.store(sums + D, dbias, mask=d < D)
