"""The gated norm on CPU tensors: how its kernels are called. Half precision is copied to float32 around them."""

import numpy as np
import torch
from torch import Tensor

from hgrn_kernels._arguments import state_dtype
from hgrn_kernels._operators import define_gated_norm
from hgrn_kernels.cpu.tensors import in_rows, workers

BLOCK = 256  # rows whose gradients of weight and bias are added up before those of other blocks


def _forward(
    h: Tensor, gate: Tensor, weight: Tensor, bias: Tensor, eps: float, gate_first: bool
) -> tuple[Tensor, Tensor, Tensor]:
    dtype = state_dtype(h, gate)
    y = torch.empty(h.shape, dtype=dtype)
    mean, rstd = torch.empty(h.shape[:-1], dtype=dtype), torch.empty(h.shape[:-1], dtype=dtype)
    given = [_table(t, dtype) for t in (h, gate, weight, bias)]
    constants = np.array([eps])
    _launch(
        "gated norm", given, gate_first, H=y.data_ptr(), MEAN=mean.data_ptr(), RSTD=rstd.data_ptr(),
        EPS=constants.ctypes.data,
    )  # fmt: skip
    return y.to(h.dtype), mean, rstd


def _backward(
    dy: Tensor, h: Tensor, gate: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, rstd: Tensor, gate_first: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dtype = mean.dtype
    dh, dgate = torch.empty(h.shape, dtype=dtype), torch.empty(gate.shape, dtype=dtype)
    *given, dy = (_table(t, dtype) for t in (h, gate, weight, bias, dy))
    sums = np.zeros((2, _blocks(given[0]), h.shape[-1]))
    _launch(
        "gated norm backward", given, gate_first, DH=dy.data_ptr(), DH_STEP=dy.stride(0), MEAN=mean.data_ptr(),
        RSTD=rstd.data_ptr(), DX=dh.data_ptr(), DGATE=dgate.data_ptr(), DWEIGHT=sums[0].ctypes.data,
        DBIAS=sums[1].ctypes.data,
    )  # fmt: skip
    # numpy adds the blocks in order; torch.sum may cut the sum differently for another number of threads.
    dweight, dbias = (torch.from_numpy(total) for total in sums.sum(axis=1))
    return dh.to(h.dtype), dgate.to(gate.dtype), dweight.to(weight.dtype), dbias.to(bias.dtype)


def _table(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the tensor in that dtype as (rows, channels), each row contiguous."""
    return in_rows(tensor, dtype).reshape(-1, tensor.shape[-1])


def _blocks(h: Tensor) -> int:
    return -(-h.shape[0] // BLOCK)


def _launch(name: str, given: list[Tensor], gate_first: bool, **fields: int) -> None:
    from hgrn_kernels.cpu import kernels

    h, gate, weight, bias = given
    fields |= {"ITEMS": _blocks(h), "CHUNK": BLOCK, "LENGTH": h.shape[0], "CHANNELS": h.shape[1]}
    fields |= {"X": h.data_ptr(), "X_STEP": h.stride(0), "GATE": gate.data_ptr(), "GATE_STEP": gate.stride(0)}
    fields |= {"WEIGHT": weight.data_ptr(), "BIAS": bias.data_ptr(), "GATE_FIRST": int(gate_first)}
    kernels.launch(name, h.dtype, fields, min(workers(h.numel()), max(_blocks(h), 1)))


gated_norm = define_gated_norm("cpu", ("cpu",), _forward, _backward)
