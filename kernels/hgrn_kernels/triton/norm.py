"""The gated norm on a GPU. A program holds whole rows of channels; the width is a compile-time constant."""

from typing import Any

import torch
from torch import Tensor

from hgrn_kernels._operators import define_gated_norm
from hgrn_kernels.triton.launch import common_dtype, launch, processors, rows

_WIDEST = 32768  # channels that fit the registers of a program
_TILE = 1024  # elements of a program, unless one row has more
_PROGRAMS = 8  # of the backward pass, on each multiprocessor


def _constants(h: Tensor, gate: Tensor, weight: Tensor, gate_first: bool) -> tuple[dict[str, Any], int]:
    """Return what forward and backward give their kernels, and the programs that cover all rows."""
    width = h.shape[-1]
    if width > _WIDEST:
        raise ValueError(f"The triton backend takes at most {_WIDEST} channels, not {width}: pass backend='reference'.")
    dtype = common_dtype(h, gate)
    block = 1 << (width - 1).bit_length()
    tile = max(1, _TILE // block)
    given: dict[str, Any] = {"D": width, "BLOCK": block, "TILE": tile, "GATE_FIRST": gate_first}
    given["h"], given["H_ROW"] = rows(h, dtype)
    given["gate"], given["G_ROW"] = rows(gate, dtype)
    given["weight"] = weight.float().contiguous()
    given["rows"] = given["h"].shape[0]
    return given, -(-given["rows"] // tile)


def _warps(given: dict[str, Any]) -> int:
    return min(max(given["TILE"] * given["BLOCK"] // 256, 1), 16)


def _forward(
    h: Tensor, gate: Tensor, weight: Tensor, bias: Tensor, eps: float, gate_first: bool
) -> tuple[Tensor, Tensor, Tensor]:
    from hgrn_kernels.triton.norm_kernels import forward

    given, programs = _constants(h, gate, weight, gate_first)
    y = torch.empty(h.shape, dtype=given["h"].dtype, device=h.device)
    mean = torch.empty(h.shape[:-1], dtype=torch.float32, device=h.device)
    rstd = torch.empty_like(mean)
    if y.numel():
        given.update(bias=bias.float().contiguous(), y=y, mean=mean, rstd=rstd, EPS=eps)
        launch(forward, programs, h.device, given, num_warps=_warps(given))
    return y.to(h.dtype), mean, rstd


def _backward(
    dy: Tensor, h: Tensor, gate: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, rstd: Tensor, gate_first: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from hgrn_kernels.triton.norm_kernels import backward

    given, programs = _constants(h, gate, weight, gate_first)
    programs = min(programs, _PROGRAMS * processors(h.device))  # each takes many rows: fewer partial sums
    dh, dgate = (torch.empty(t.shape, dtype=given["h"].dtype, device=h.device) for t in (h, gate))
    sums = torch.empty(programs, 2, h.shape[-1], dtype=torch.float32, device=h.device)
    if dh.numel():
        given["dy"], given["Y_ROW"] = rows(dy, given["h"].dtype)
        given.update(bias=bias.float().contiguous(), mean=mean, rstd=rstd, dh=dh, dgate=dgate, sums=sums)
        launch(backward, programs, h.device, given, num_warps=_warps(given))
    dweight, dbias = (sums[:, i].sum(dim=0) for i in range(2))
    return dh.to(h.dtype), dgate.to(gate.dtype), dweight.to(weight.dtype), dbias.to(bias.dtype)


gated_norm = define_gated_norm("triton", ("cuda", "cpu"), _forward, _backward)
