"""The recurrence on a GPU: how its kernels are put together. The design is drawn in kernels/README.md.

A sequence is cut into segments so that also a small batch fills the GPU, and a segment into chunks of rows that a
thread holds in registers. `summarise` tells what each segment passes on by itself; `forward` or `backward` then starts
every segment from the fold of those before it, and of those after it. All states are float32, nothing is added up in an
order that could change, and no number that depends on the batch or the length is a compile-time constant.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hgrn_kernels._operators import Residuals, define_recurrence
from hgrn_kernels.triton.launch import common_dtype, launch, processors, rows

CHUNK = 8  # rows in registers, and from one saved state to the next
BLOCK = 32  # channels of a program: one for each thread of its warp
_SHORTEST = 64  # steps in a segment
_WARPS = 16  # aimed at on each multiprocessor
# The candidate is multiplied by 1 / (1 + 2^(scale · candidate + offset)): σ or 1.
_ACTIVATIONS = {None: (0.0, 0.0), "silu": (-math.log2(math.e), 0.0), "identity": (0.0, -math.inf)}


class _Pass(NamedTuple):
    """One pass over x: INNER sequences lie side by side, their residuals begin at these rows."""

    sequences: int
    length: int
    inner: int
    first_chunk: int
    first_segment: int


def segments_for(sequences: int, length: int, channels: int, processors: int) -> tuple[int, int]:
    """Return the number of segments and the steps in each, a multiple of CHUNK: as many as fill the GPU, no more."""
    programs = max(sequences * math.ceil(channels / BLOCK), 1)
    wanted = max(min(_WARPS * processors // programs, length // _SHORTEST), 1)
    steps = math.ceil(math.ceil(length / wanted) / CHUNK) * CHUNK
    return math.ceil(length / steps), steps


def residuals(x: Tensor, gate: Tensor, bidirectional: bool) -> Residuals:
    """Shapes: the state before every chunk, and what the right scan brings into each of the most segments there can be.

    The number of segments depends on the GPU, which shape functions do not know.
    """
    rows, segments = _ends(_passes(x)[-1])
    return Residuals((rows, x.shape[-1]), (segments if bidirectional else 0, x.shape[-1]))


def _ends(one: _Pass) -> tuple[int, int]:
    """Return the rows of residuals at which a pass ends; plain arithmetic, for symbolic sizes."""
    chunks = (one.length + CHUNK - 1) // CHUNK
    segments = (one.length + _SHORTEST - 1) // _SHORTEST
    return one.first_chunk + one.sequences * chunks, one.first_segment + one.sequences * segments


def _passes(x: Tensor) -> list[_Pass]:
    """Sequences are scanned as they lie; images along their rows and then along their columns."""
    if x.ndim == 3:
        return [_Pass(x.shape[0], x.shape[1], 1, 0, 0)]
    batch, height, width = x.shape[:3]
    rows = _Pass(batch * height, width, 1, 0, 0)
    return [rows, _Pass(batch * width, height, width, *_ends(rows))]


class _Call:
    """What the kernels of one call share: inputs in one dtype with rows at one distance, and the constants."""

    def __init__(
        self, x: Tensor, gate: Tensor, lower_bound: Tensor | None, theta: Tensor | None, lengths: Tensor | None,
        activation: str | None, bidirectional: bool, reverse: bool,
    ) -> None:  # fmt: skip
        self.dtype = common_dtype(x, gate)
        self.channels = gate.shape[-1]
        self.planes = x.shape[-1] // self.channels
        self.both, self.device = bidirectional, x.device
        self.nothing = x.new_empty(0, dtype=torch.float32)  # where a kernel is given no tensor, and reads none
        if self.planes == 2 and theta is None:
            theta = self.nothing.new_zeros(1, self.channels)
        if theta is not None:
            directions = 1 if not bidirectional else 2 * len(_passes(x))
            theta = theta.float().expand(directions, -1).contiguous()
        self.theta = theta
        self.x, self.x_row = rows(x, self.dtype)
        gate, g_row = rows(gate, self.dtype)
        scale, offset = _ACTIVATIONS[activation]
        self.given: dict[str, Any] = {
            "x": self.x, "X_ROW": self.x_row, "gate": gate, "G_ROW": g_row, "D": self.channels,
            "lower": self.nothing if lower_bound is None else lower_bound.float().contiguous(),
            "lengths": (self.nothing if lengths is None else lengths).long().contiguous(),
            "has_lower": int(lower_bound is not None), "has_lengths": int(lengths is not None),
            "scale": scale, "offset": offset, "GATED": activation is not None, "COMPLEX": self.planes == 2,
            "SIGN": -1 if reverse else 1, "CHUNK": CHUNK, "BLOCK": BLOCK,
        }  # fmt: skip

    def launch(self, kernel: Any, one: _Pass, segments: int, steps: int, **arguments: Any) -> None:
        """Run a kernel on every tile of channels of every segment of every sequence of one pass."""
        theta = self.nothing if self.theta is None else self.theta[2 if one.first_chunk else 0 :]
        place = {"theta": theta, "INNER": one.inner, "length": one.length, "segments": segments, "segment": steps}
        programs = one.sequences * segments * math.ceil(self.channels / BLOCK)
        launch(kernel, programs, self.device, self.given | place | arguments, num_warps=1, enable_fp_fusion=True)

    def summarise(self, one: _Pass, segments: int, steps: int, v: Tensor, v_row: int, adjoint: bool) -> list[Tensor]:
        """Return checkpoints, products and totals, where the pass needs any."""
        if segments == 1 and not self.both:
            return [self.nothing] * 3
        from hgrn_kernels.triton.summary import summarise

        chunks = one.sequences * math.ceil(one.length / CHUNK) if self.both else 0
        made = [
            self.nothing.new_empty(chunks, self.planes, self.channels),
            self.nothing.new_empty(chunks, self.channels),
            self.nothing.new_empty(one.sequences * segments, 1 + 2 * self.planes, self.channels),
        ]
        self.launch(
            summarise, one, segments, steps, v=v, V_ROW=v_row, checkpoints=made[0], products=made[1], totals=made[2],
            ADJOINT=adjoint, BOTH=self.both,
        )  # fmt: skip
        return made

    def split(self, one: _Pass) -> tuple[int, int]:
        """Return the number of segments and their steps."""
        return segments_for(one.sequences, one.length, self.channels, processors(self.device))


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
    from hgrn_kernels.triton import one_way, two_ways

    call = _Call(x, gate, lower_bound, theta, lengths, activation, bidirectional, reverse)
    kept = residuals(x, gate, bidirectional)
    starts = call.nothing.new_empty(kept.checkpoints if save else 0)
    carries = call.nothing.new_empty(kept.carries if save else 0)
    last = call.nothing.new_empty((x.shape[0], x.shape[-1]) if final else 0)
    h = torch.empty(x.shape, dtype=call.dtype, device=x.device)
    initial = call.nothing if initial_state is None else initial_state.float().contiguous()
    if h.numel() == 0:
        if final:
            last.copy_(initial) if initial_state is not None else last.zero_()
        return h.to(x.dtype), last, starts, carries
    for one in _passes(x):
        segments, steps = call.split(one)
        made = call.summarise(one, segments, steps, call.x, call.x_row, adjoint=False)
        buffers = dict(zip(("checkpoints", "products", "totals"), made, strict=True))
        kept_here = (starts[one.first_chunk :], carries[one.first_segment :]) if save else (call.nothing, call.nothing)
        if bidirectional:
            call.launch(
                two_ways.forward, one, segments, steps, **buffers, starts=kept_here[0], carries=kept_here[1], h=h,
                save=int(save), ADD=one.first_chunk > 0,
            )  # fmt: skip
        else:
            call.launch(
                one_way.forward, one, segments, steps, totals=buffers["totals"], initial=initial, h=h, final=last,
                starts=starts, has_initial=int(initial_state is not None), has_final=int(final), save=int(save),
            )  # fmt: skip
    return h.to(x.dtype), last, starts, carries


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
    from hgrn_kernels.triton import one_way, two_ways

    call = _Call(x, gate, lower_bound, theta, lengths, activation, bidirectional, reverse)
    dx, dgate = (torch.empty(t.shape, dtype=call.dtype, device=x.device) for t in (x, gate))
    dinitial = call.nothing.new_empty(0 if initial_state is None else initial_state.shape)
    dlower, dthetas = call.nothing.new_zeros(call.channels), []
    end = call.nothing if dfinal is None else dfinal.float().contiguous()
    v, v_row = rows(dh, call.dtype)
    if dx.numel() == 0:
        if initial_state is not None:
            dinitial.copy_(end) if dfinal is not None else dinitial.zero_()
        dthetas.append(call.nothing.new_zeros(0 if theta is None else theta.shape[0], call.channels))
    for one in _passes(x) if dx.numel() else ():
        segments, steps = call.split(one)
        checks, products, totals = call.summarise(one, segments, steps, v, v_row, adjoint=True)
        sums = call.nothing.new_empty(one.sequences * segments, 3 if bidirectional else 2, call.channels)
        shared = {"dh": v, "V_ROW": v_row, "totals": totals, "starts": checkpoints[one.first_chunk :], "sums": sums}
        if bidirectional:
            call.launch(
                two_ways.backward, one, segments, steps, **shared, checkpoints=checks, products=products,
                carries=carries[one.first_segment :], dx=dx, dgate=dgate, ADD=one.first_chunk > 0,
            )  # fmt: skip
        else:
            call.launch(
                one_way.backward, one, segments, steps, **shared, dfinal=end, dx=dx, dgate=dgate, dinitial=dinitial,
                has_initial=int(initial_state is not None), has_final=int(dfinal is not None),
            )  # fmt: skip
        total = sums.sum(dim=0)
        dlower += total[0]
        dthetas.append(total[1:])
    return (
        dx.to(x.dtype),
        dgate.to(gate.dtype),
        x.new_empty(0) if lower_bound is None else dlower.to(lower_bound.dtype),
        x.new_empty(0) if theta is None else torch.cat(dthetas).to(theta.dtype),
        x.new_empty(0) if initial_state is None else dinitial.to(initial_state.dtype),
    )


recurrence = define_recurrence("triton", ("cuda", "cpu"), _forward, _backward, residuals)
