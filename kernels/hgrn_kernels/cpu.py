"""The scan on CPU tensors: two torch operators, forward and backward, around the kernels of `_native`.

`hgrn_kernels::cpu_scan` and `hgrn_kernels::cpu_scan_backward` work in float32 or float64, trace through torch.compile
and give the same bits for every number of threads. numba is imported when the first of them runs.
"""

import ctypes
import math

import numpy as np
import torch
from torch import Tensor

from hgrn_kernels import _threads
from hgrn_kernels._arguments import state_dtype

_GRAIN = 16384  # elements that are worth a thread of their own: some 20 microseconds
_CACHE_LINE = 16  # channels


def scan(
    x: Tensor,
    gate: Tensor,
    theta: Tensor | None = None,
    initial_state: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Same as `hgrn_kernels.reference.scan`, differentiable once.

    Inputs of lower precision are raised to float32 first (autocast changes nothing about that), so what is saved for
    the backward pass is float32 too.
    """
    dtype = state_dtype(x, gate)
    h, final = torch.ops.hgrn_kernels.cpu_scan(
        x.to(dtype),
        gate.to(dtype),
        None if theta is None else theta.to(dtype),
        None if initial_state is None else initial_state.to(dtype),
        reverse,
    )
    return h.to(x.dtype), final


def _forward(
    x: Tensor, gate: Tensor, theta: Tensor | None, initial_state: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor]:
    start = _start(x, initial_state)
    h = torch.empty(x.shape, dtype=x.dtype)
    if h.numel() == 0:
        return h, start.clone()
    _launch("forward", x, h, gate, theta, start, reverse, [])
    return h, h[:, 0 if reverse else -1].clone()


def _backward(
    dh: Tensor,
    dfinal: Tensor,
    h: Tensor,
    gate: Tensor,
    theta: Tensor | None,
    initial_state: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dx = torch.empty(h.shape, dtype=h.dtype)
    dgate = torch.empty(gate.shape, dtype=h.dtype)
    carry = dfinal.clone(memory_format=torch.contiguous_format)
    part, total = torch.zeros(0, dtype=h.dtype), torch.zeros(0, dtype=torch.float64)
    if theta is not None:
        part = torch.zeros(gate.shape[0], gate.shape[2], dtype=h.dtype)
        total = torch.zeros_like(part, dtype=torch.float64)
    if h.numel() > 0:
        start = _start(h, initial_state)
        _launch("backward", dh, h.contiguous(), gate, theta, start, reverse, [carry, dx, dgate, part, total])
    # numpy adds the samples in order; torch.sum may cut the sum differently for another number of threads.
    dtheta = torch.from_numpy(total.numpy().sum(axis=0)).to(h.dtype) if theta is not None else part
    return dx, dgate, dtheta, carry


def _start(x: Tensor, initial_state: Tensor | None) -> Tensor:
    return x.new_zeros(x.shape[0], x.shape[2]) if initial_state is None else initial_state.contiguous()


def _rows(tensor: Tensor) -> Tensor:
    """Return the tensor with each row contiguous, which a slice or a transpose of the leading axes already is."""
    return tensor if tensor.stride(2) == 1 else tensor.contiguous()


def _launch(
    direction: str,
    rows: Tensor,
    h: Tensor,
    gate: Tensor,
    theta: Tensor | None,
    start: Tensor,
    reverse: bool,
    outputs: list[Tensor],
) -> None:
    """Fill in the kernel's block of integers, in the order that `_native` gives, and run it."""
    from hgrn_kernels import _native

    read = [rows, gate, start, h if theta is None else theta, *outputs[:1]]
    if any(t.dtype != h.dtype for t in read) or h.dtype not in (torch.float32, torch.float64):
        raise TypeError("hgrn_kernels::cpu_scan takes tensors that are all float32 or all float64.")
    batch, length, channels = gate.shape
    rows, gate = _rows(rows), _rows(gate)
    cos, sin = (gate, gate) if theta is None else _rotation(theta)  # not read without theta
    threads = max(1, min(torch.get_num_threads(), gate.numel() // _GRAIN))
    tiles, tile = _tiles(batch, channels, threads)
    fields = [0, batch * tiles, tiles, tile, length, channels, h.shape[2] // channels, int(reverse)]
    fields += [rows.data_ptr(), rows.stride(0), rows.stride(1), gate.data_ptr(), gate.stride(0), gate.stride(1)]
    fields += [t.data_ptr() for t in (cos, sin, start, h, *outputs)]
    kernel = _native.kernel(direction + ("_real" if theta is None else "_complex"), h.dtype == torch.float64)
    _threads.run(kernel, (ctypes.c_int64 * len(fields))(*fields), threads)


def _rotation(theta: Tensor) -> tuple[Tensor, Tensor]:
    """Return cos θ and sin θ, rounded once.

    By numpy: torch hands even a short vector to MKL, which wakes all threads for it, and that can cost more than the
    scan where other processes use the cores.
    """
    angle = theta.numpy().astype(np.float64)
    return torch.from_numpy(np.cos(angle)).to(theta.dtype), torch.from_numpy(np.sin(angle)).to(theta.dtype)


def _tiles(batch: int, channels: int, threads: int) -> tuple[int, int]:
    """Return (tiles in a sample, channels in a tile): whole rows if the samples alone keep the threads busy."""
    tiles = 1 if batch >= 4 * threads else threads // math.gcd(batch, threads)
    tile = math.ceil(math.ceil(channels / tiles) / _CACHE_LINE) * _CACHE_LINE
    return math.ceil(channels / tile), tile


def _fake_forward(
    x: Tensor, gate: Tensor, theta: Tensor | None, initial_state: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape[0], x.shape[2])


def _fake_backward(
    dh: Tensor,
    dfinal: Tensor,
    h: Tensor,
    gate: Tensor,
    theta: Tensor | None,
    initial_state: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dtheta = h.new_empty(0 if theta is None else gate.shape[2])
    return h.new_empty(h.shape), gate.new_empty(gate.shape), dtheta, dfinal.new_empty(dfinal.shape)


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    _, gate, theta, initial_state, ctx.reverse = inputs
    ctx.save_for_backward(output[0], gate, theta, initial_state)


def _differentiate(ctx, dh, dfinal):  # type: ignore[no-untyped-def]
    h, gate, theta, initial_state = ctx.saved_tensors
    dx, dgate, dtheta, dinitial = torch.ops.hgrn_kernels.cpu_scan_backward(
        dh, dfinal, h, gate, theta, initial_state, ctx.reverse
    )
    return dx, dgate, None if theta is None else dtheta, None if initial_state is None else dinitial, None


def _refuse_second_derivative(ctx, *grads):  # type: ignore[no-untyped-def]
    raise RuntimeError("The cpu backend of scan has first derivatives only; pass backend='reference' for second ones.")


def _refuse_vmap(info, in_dims, *args):  # type: ignore[no-untyped-def]
    raise RuntimeError("The cpu backend of scan does not work under torch.func.vmap; pass backend='reference'.")


_FORWARD, _BACKWARD = "hgrn_kernels::cpu_scan", "hgrn_kernels::cpu_scan_backward"
_TAGS = (torch.Tag.pt2_compliant_tag,)
torch.library.define(
    _FORWARD,
    "(Tensor x, Tensor gate, Tensor? theta, Tensor? initial_state, bool reverse) -> (Tensor h, Tensor final)",
    tags=_TAGS,
)
torch.library.impl(_FORWARD, "cpu", _forward)
torch.library.register_fake(_FORWARD, _fake_forward)
torch.library.register_autograd(_FORWARD, _differentiate, setup_context=_save)
torch.library.register_vmap(_FORWARD, _refuse_vmap)

torch.library.define(
    _BACKWARD,
    "(Tensor dh, Tensor dfinal, Tensor h, Tensor gate, Tensor? theta, Tensor? initial_state, bool reverse)"
    " -> (Tensor dx, Tensor dgate, Tensor dtheta, Tensor dinitial)",
    tags=_TAGS,
)
torch.library.impl(_BACKWARD, "cpu", _backward)
torch.library.register_fake(_BACKWARD, _fake_backward)
torch.library.register_autograd(_BACKWARD, _refuse_second_derivative)
torch.library.register_vmap(_BACKWARD, _refuse_vmap)
