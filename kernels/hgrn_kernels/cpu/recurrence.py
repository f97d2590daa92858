"""The recurrence on CPU tensors: how its kernels are called.

Half precision is copied to float32 around the kernels; what is saved are the inputs as they came and the states before
every chunk. Images are scanned twice, over rows and then over columns, which only changes the strides. numba is
imported when the first kernel runs.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hgrn_kernels._arguments import state_dtype
from hgrn_kernels._operators import Residuals, define_recurrence
from hgrn_kernels.cpu.tensors import address, in_rows, workers

CHUNK = 16  # rows from one saved state to the next
_CACHE_LINE = 16  # channels
_WIDEST = 256  # channels in a tile, for its buffers to stay in the cache


class _Pass(NamedTuple):
    """One pass over x: the axes (of B, L or B, H, W) along which samples and neighbours lie, and the scan's axis."""

    sequences: int
    inner: int
    length: int
    axes: tuple[int, int, int]
    first: int  # row of the checkpoints at which this pass begins
    direction: int  # row of theta at which it begins


def residuals(x: Tensor, gate: Tensor, bidirectional: bool) -> Residuals:
    """Shapes: the state before every chunk, and that of the scan from the right if there are both."""
    rows = sum(one.sequences * _chunks(one.length) for one in _passes(x))
    return Residuals((rows, x.shape[-1]), (rows if bidirectional else 0, x.shape[-1]))


def _chunks(length: int) -> int:
    return (length + CHUNK - 1) // CHUNK


def _passes(x: Tensor) -> list[_Pass]:
    if x.ndim == 3:
        return [_Pass(x.shape[0], 1, x.shape[1], (0, 0, 1), 0, 0)]
    batch, height, width = x.shape[:3]
    return [
        _Pass(batch * height, height, width, (0, 1, 2), 0, 0),
        _Pass(batch * width, width, height, (0, 2, 1), batch * height * _chunks(width), 2),
    ]


def _forward(
    x: Tensor,
    gate: Tensor,
    lower_bound: Tensor | None,
    theta: Tensor | None,
    initial_state: Tensor | None,
    lengths: Tensor | None,
    activation: str | None,
    bidirectional: bool,
    reverse: bool,
    final: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dtype = state_dtype(x, gate)
    kept = residuals(x, gate, bidirectional)
    h = torch.empty(x.shape, dtype=dtype)
    last = torch.empty((x.shape[0], x.shape[-1]) if final else 0, dtype=dtype)
    checkpoints = torch.empty(kept.checkpoints if save or bidirectional else 0, dtype=dtype)
    carries = torch.empty(kept.carries if save else 0, dtype=dtype)
    call = _Call(x, gate, lower_bound, theta, initial_state, lengths, activation, bidirectional, reverse, dtype)
    for one in _passes(x):
        call.launch(
            "forward", one, H=h.data_ptr(), FINAL=address(last), CHECKPOINTS=address(checkpoints, one.first),
            CARRIES=address(carries, one.first),
        )  # fmt: skip
    return h.to(x.dtype), last, checkpoints if save else checkpoints.new_empty(0), carries


def _backward(
    dh: Tensor,
    dfinal: Tensor | None,
    x: Tensor,
    gate: Tensor,
    lower_bound: Tensor | None,
    theta: Tensor | None,
    initial_state: Tensor | None,
    lengths: Tensor | None,
    checkpoints: Tensor,
    carries: Tensor,
    activation: str | None,
    bidirectional: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    dtype = state_dtype(x, gate)
    channels = gate.shape[-1]
    dx, dgate = torch.empty(x.shape, dtype=dtype), torch.empty(gate.shape, dtype=dtype)
    dinitial = torch.empty(0 if initial_state is None else initial_state.shape, dtype=dtype)
    dh = in_rows(dh, dtype)
    dfinal = None if dfinal is None else dfinal.to(dtype).contiguous()
    call = _Call(x, gate, lower_bound, theta, initial_state, lengths, activation, bidirectional, reverse, dtype)
    dlower, dthetas = np.zeros(channels), []
    for one in _passes(x):
        thetas = torch.zeros((one.sequences, 2, channels) if theta is not None else 0, dtype=torch.float64)
        bounds = torch.zeros((one.sequences, channels) if activation is not None else 0, dtype=torch.float64)
        adjoints = torch.empty(one.sequences * _chunks(one.length) if bidirectional else 0, x.shape[-1], dtype=dtype)
        call.launch(
            "backward", one, **_strides("DH", dh, one), DFINAL=address(dfinal),
            CHECKPOINTS=address(checkpoints, one.first), CARRIES=address(carries, one.first),
            ADJOINTS=address(adjoints), DX=dx.data_ptr(), DGATE=dgate.data_ptr(), DINITIAL=address(dinitial),
            DTHETA=address(thetas), DLOWER=address(bounds),
        )  # fmt: skip
        # numpy adds the sequences in order; torch.sum may cut the sum differently for another number of threads.
        if theta is not None:
            dthetas.append(thetas.numpy().sum(axis=0)[: 2 if bidirectional else 1])
        if activation is not None:
            dlower += bounds.numpy().sum(axis=0)
    return (
        dx.to(x.dtype),
        dgate.to(gate.dtype),
        x.new_empty(0) if lower_bound is None else torch.from_numpy(dlower).to(lower_bound.dtype),
        x.new_empty(0) if theta is None else torch.from_numpy(np.concatenate(dthetas)).to(theta.dtype),
        x.new_empty(0) if initial_state is None else dinitial.to(initial_state.dtype),
    )


class _Call:
    """What the forward and the backward kernels are both told; it keeps hold of all that their addresses point to."""

    def __init__(
        self,
        x: Tensor,
        gate: Tensor,
        lower_bound: Tensor | None,
        theta: Tensor | None,
        initial_state: Tensor | None,
        lengths: Tensor | None,
        activation: str | None,
        bidirectional: bool,
        reverse: bool,
        dtype: torch.dtype,
    ) -> None:
        if bidirectional and activation is None:
            raise ValueError("a recurrence in both directions takes an activation.")
        self.dtype, self.bidirectional = dtype, bidirectional
        self.x, self.gate = in_rows(x, dtype), in_rows(gate, dtype)
        self.initial = None if initial_state is None else initial_state.to(dtype).contiguous()
        self.lengths = None if lengths is None else lengths.to(torch.int64).contiguous()
        channels = gate.shape[-1]
        turns = 0 if theta is None else theta.shape[0]
        # Rows: the lower bound, 1 less it, cos θ and sin θ; computed in float64, and by numpy: torch hands even a short
        # vector to MKL, which wakes all threads for it, and that can cost more than the scan where other processes use
        # the cores.
        self.small = torch.empty(2 + 2 * turns, channels, dtype=dtype)
        small = self.small.numpy()
        if activation is not None:
            bound = 0.0 if lower_bound is None else lower_bound.detach().double().numpy()
            small[0], small[1] = bound, 1 - bound
        if theta is not None:
            angles = theta.detach().double().numpy()
            np.cos(angles, out=small[2 : 2 + turns], casting="same_kind", dtype=np.float64)
            np.sin(angles, out=small[2 + turns :], casting="same_kind", dtype=np.float64)
        self.turns = turns
        self.fields = {
            "CHANNELS": channels,
            "PLANES": x.shape[-1] // channels,
            "CHUNK": CHUNK,
            "ROTATE": int(theta is not None),
            "GATED": int(activation is not None),
            "SILU": int(activation == "silu"),
            "REVERSE": int(reverse),
            "LOWER": address(self.small),
            "REST": address(self.small, 1),
            "INITIAL": address(self.initial),
            "LENGTHS": address(self.lengths),
        }

    def launch(self, name: str, one: _Pass, **fields: int) -> None:
        """Run a kernel over one pass; the second pass over an image adds to what the first has written."""
        from hgrn_kernels.cpu import kernels

        threads = workers(self.gate.numel())
        tiles, tile = _tiles(one.sequences, self.gate.shape[-1], threads)
        shape = self.gate.shape
        steps = shape[1:-1].numel(), *(shape[2:-1].numel() if axis == 1 else 1 for axis in one.axes[1:])
        in_order = tiles == 1 and not self.fields["REVERSE"] and self.x.stride(one.axes[2]) == self.x.shape[-1]
        fields |= self.fields
        fields |= _strides("X", self.x, one) | _strides("GATE", self.gate, one)
        fields |= zip(("OUT_OUTER", "OUT_INNER", "OUT_STEP"), steps, strict=True)
        fields |= {"ITEMS": one.sequences * tiles, "TILES": tiles, "TILE": tile, "LENGTH": one.length}
        fields |= {"INNER": one.inner, "ADD": int(one.direction > 0)}
        if self.turns:
            fields |= {"COS": address(self.small, 2 + one.direction)}
            fields |= {"SIN": address(self.small, 2 + self.turns + one.direction)}
        # Rows in order arrive by themselves, but not as fast as `hgru` writes several streams in one loop.
        fields |= {"FETCH": int(fields["GATED"] or not in_order)}
        kernels.launch(f"{name} both" if self.bidirectional else name, self.dtype, fields, threads)


def _strides(name: str, tensor: Tensor, one: _Pass) -> dict[str, int]:
    outer, inner, step = (tensor.stride(axis) for axis in one.axes)
    return {name: tensor.data_ptr(), f"{name}_OUTER": outer, f"{name}_INNER": inner, f"{name}_STEP": step}


def _tiles(sequences: int, channels: int, threads: int) -> tuple[int, int]:
    """Return (tiles in a sequence, channels in a tile): whole rows if the sequences alone keep the threads busy."""
    tiles = 1 if sequences >= 4 * threads else threads // math.gcd(sequences, threads)
    tile = min(math.ceil(math.ceil(channels / tiles) / _CACHE_LINE) * _CACHE_LINE, _WIDEST)
    return math.ceil(channels / tile), tile


recurrence = define_recurrence("cpu", ("cpu",), _forward, _backward, residuals)
