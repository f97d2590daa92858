"""The kernels of the gated norm. An item is a block of rows, whose size does not depend on the number of threads.

A row is read from memory once; all further passes over it find it in the core's cache. The numbers are taken relative
to one of them, or to the mean as it was rounded, and then to the mean of what is left: a large mean costs no digits.
"""

import math
from typing import Any

from numba import types

from hgrn_kernels.cpu import fields as f
from hgrn_kernels.cpu.native import at, fma, kernel, move, row, row_sum, sigmoids, take
from hgrn_kernels.cpu.rows import clear_row, flush_row

_FLUSH = 32  # rows between two transfers of the sums over rows into float64


def forward_rows(planes: int, chunk: int) -> int:
    """Return how many rows of D elements the buffer of a thread has."""
    return 4


def backward_rows(planes: int, chunk: int) -> int:
    return 7


@row_sum
def _sum(x, n):  # type: ignore[no-untyped-def]
    total = x[0]
    for j in range(1, n):
        total += x[j]
    return total


@row_sum
def _sum_of_products(x, y, n):  # type: ignore[no-untyped-def]
    total = x[0] * y[0]
    for j in range(1, n):
        total += x[j] * y[j]
    return total


@row
def _shift_row(x, by, shifted, n):  # type: ignore[no-untyped-def]
    for j in range(n):
        shifted[j] = x[j] - by


@row
def _shift_in_place(x, by, n):  # type: ignore[no-untyped-def]
    for j in range(n):
        x[j] -= by


@row
def _product_row(h, gate, product, silu, slope, n):  # type: ignore[no-untyped-def]
    """SiLU(gate) ⊙ h, SiLU(gate) and its slope."""
    for j in range(n):
        s, c = sigmoids(gate[j])
        v = gate[j] * s
        product[j] = v * h[j]
        silu[j] = v
        slope[j] = fma(v, c, s)


@row
def _norm_row(shifted, rstd, weight, bias, y, n):  # type: ignore[no-untyped-def]
    for j in range(n):
        y[j] = fma(shifted[j] * rstd, weight[j], bias[j])


@row
def _norm_gate_row(shifted, rstd, weight, bias, gate, y, n):  # type: ignore[no-untyped-def]
    for j in range(n):
        s, _ = sigmoids(gate[j])
        y[j] = fma(shifted[j] * rstd, weight[j], bias[j]) * (gate[j] * s)


@row
def _norm_back_row(shifted, rstd, weight, dy, dnormal, dweight, dbias, n):  # type: ignore[no-untyped-def]
    """Makes the shifted row the normalised one, and gives the gradient of that."""
    for j in range(n):
        x, d = shifted[j] * rstd, dy[j]
        shifted[j] = x
        dweight[j] = fma(d, x, dweight[j])
        dbias[j] += d
        dnormal[j] = d * weight[j]


@row
def _norm_gate_back_row(  # type: ignore[no-untyped-def]
    shifted, rstd, weight, bias, gate, dy, dnormal, dgate, dweight, dbias, n
):
    for j in range(n):
        s, c = sigmoids(gate[j])
        x, v = shifted[j] * rstd, gate[j] * s
        shifted[j] = x
        d = dy[j] * v
        dgate[j] = dy[j] * fma(x, weight[j], bias[j]) * fma(v, c, s)
        dweight[j] = fma(d, x, dweight[j])
        dbias[j] += d
        dnormal[j] = d * weight[j]


@row
def _shift_back_row(dnormal, normal, rstd, mean, along, dx, n):  # type: ignore[no-untyped-def]
    """Through the mean and the variance; ``mean`` is that of dnormal, ``along`` that of its product with normal."""
    for j in range(n):
        dx[j] = rstd * (dnormal[j] - fma(normal[j], along, mean))


@row
def _product_back_row(dproduct, h, silu, slope, dh, dgate, n):  # type: ignore[no-untyped-def]
    for j in range(n):
        dh[j] = dproduct[j] * silu[j]
    for j in range(n):
        dgate[j] = dproduct[j] * h[j] * slope[j]


def forward(dtype: Any) -> Any:
    @kernel
    def gated_norm(p):  # type: ignore[no-untyped-def]
        D, C, gate_first = p[f.CHANNELS], p[f.CHUNK], p[f.GATE_FIRST] != 0
        weight, bias, eps = at(p[f.WEIGHT], 0, dtype), at(p[f.BIAS], 0, dtype), at(p[f.EPS], 0, types.float64)[0]
        mean, rstd = at(p[f.MEAN], 0, dtype), at(p[f.RSTD], 0, dtype)
        shifted = at(p[f.SCRATCH], take(move(p, f.SLOT)) * p[f.SCRATCH_SIZE], dtype)
        product, silu, slope = move(shifted, D), move(shifted, 2 * D), move(shifted, 3 * D)
        while True:
            item = take(p)
            if item >= p[f.ITEMS]:
                return
            for t in range(item * C, min(item * C + C, p[f.LENGTH])):
                x, gate = at(p[f.X], t * p[f.X_STEP], dtype), at(p[f.GATE], t * p[f.GATE_STEP], dtype)
                y = at(p[f.H], t * D, dtype)
                if gate_first:
                    _product_row(x, gate, product, silu, slope, D)
                    x = product
                _shift_row(x, x[0], shifted, D)
                left = dtype(_sum(shifted, D) / D)
                _shift_in_place(shifted, left, D)
                mean[t] = x[0] + left
                rstd[t] = 1 / math.sqrt(_sum_of_products(shifted, shifted, D) / D + eps)
                if gate_first:
                    _norm_row(shifted, rstd[t], weight, bias, y, D)
                else:
                    _norm_gate_row(shifted, rstd[t], weight, bias, gate, y, D)

    return gated_norm


def backward(dtype: Any) -> Any:
    @kernel
    def gated_norm_backward(p):  # type: ignore[no-untyped-def]
        D, C, gate_first = p[f.CHANNELS], p[f.CHUNK], p[f.GATE_FIRST] != 0
        weight, bias = at(p[f.WEIGHT], 0, dtype), at(p[f.BIAS], 0, dtype)
        mean, rstd = at(p[f.MEAN], 0, dtype), at(p[f.RSTD], 0, dtype)
        shifted = at(p[f.SCRATCH], take(move(p, f.SLOT)) * p[f.SCRATCH_SIZE], dtype)
        product, silu, slope = move(shifted, D), move(shifted, 2 * D), move(shifted, 3 * D)
        dnormal, dweight, dbias = move(shifted, 4 * D), move(shifted, 5 * D), move(shifted, 6 * D)
        clear_row(dweight, 2 * D)
        while True:
            item = take(p)
            if item >= p[f.ITEMS]:
                return
            end = min(item * C + C, p[f.LENGTH])
            for t in range(item * C, end):
                h, gate = at(p[f.X], t * p[f.X_STEP], dtype), at(p[f.GATE], t * p[f.GATE_STEP], dtype)
                dy = at(p[f.DH], t * p[f.DH_STEP], dtype)
                dh, dgate = at(p[f.DX], t * D, dtype), at(p[f.DGATE], t * D, dtype)
                if gate_first:
                    _product_row(h, gate, product, silu, slope, D)
                    _shift_row(product, mean[t], shifted, D)
                else:
                    _shift_row(h, mean[t], shifted, D)
                _shift_in_place(shifted, dtype(_sum(shifted, D) / D), D)
                if gate_first:
                    _norm_back_row(shifted, rstd[t], weight, dy, dnormal, dweight, dbias, D)
                else:
                    _norm_gate_back_row(shifted, rstd[t], weight, bias, gate, dy, dnormal, dgate, dweight, dbias, D)
                along, level = dtype(_sum_of_products(dnormal, shifted, D) / D), dtype(_sum(dnormal, D) / D)
                if gate_first:
                    _shift_back_row(dnormal, shifted, rstd[t], level, along, product, D)
                    _product_back_row(product, h, silu, slope, dh, dgate, D)
                else:
                    _shift_back_row(dnormal, shifted, rstd[t], level, along, dh, D)
                if t + 1 == end or t % _FLUSH == 0:
                    flush_row(dweight, at(p[f.DWEIGHT], item * D, types.float64), D)
                    flush_row(dbias, at(p[f.DBIAS], item * D, types.float64), D)

    return gated_norm_backward
