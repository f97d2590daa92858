"""The torch operators of the compiled backends: one schema, shape functions and derivatives for all of them.

`hgrn_kernels::<backend>_recurrence` is the recurrence with everything that is fused into it, `…_backward` its first
derivatives; `hgrn_kernels::<backend>_gated_norm` likewise. A backend brings the four functions that fill the tensors.
The operators trace through torch.compile and torch.func.grad; vmap and second derivatives are refused in a sentence.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hgrn_kernels._arguments import state_dtype

_TAGS = (torch.Tag.pt2_compliant_tag,)

_RECURRENCE = """(Tensor x, Tensor gate, Tensor? lower_bound, Tensor? theta, Tensor? initial_state, Tensor? lengths,
    str? activation, bool bidirectional, bool reverse, bool final, bool save)
    -> (Tensor h, Tensor final, Tensor checkpoints, Tensor carries)"""
_RECURRENCE_BACKWARD = """(Tensor dh, Tensor? dfinal, Tensor x, Tensor gate, Tensor? lower_bound, Tensor? theta,
    Tensor? initial_state, Tensor? lengths, Tensor checkpoints, Tensor carries, str? activation, bool bidirectional,
    bool reverse) -> (Tensor dx, Tensor dgate, Tensor dlower_bound, Tensor dtheta, Tensor dinitial)"""
_NORM = """(Tensor h, Tensor gate, Tensor weight, Tensor bias, float eps, bool gate_first)
    -> (Tensor y, Tensor mean, Tensor rstd)"""
_NORM_BACKWARD = """(Tensor dy, Tensor h, Tensor gate, Tensor weight, Tensor bias, Tensor mean, Tensor rstd,
    bool gate_first) -> (Tensor dh, Tensor dgate, Tensor dweight, Tensor dbias)"""


class Residuals(NamedTuple):
    """Shapes of what the forward pass keeps for the backward pass, besides its inputs; both in the state's dtype."""

    checkpoints: tuple[Any, ...]
    carries: tuple[Any, ...]


def define_recurrence(
    backend: str,
    devices: tuple[str, ...],
    forward: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]],
    backward: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor, Tensor]],
    residuals: Callable[[Tensor, Tensor, bool], Residuals],
) -> Callable[..., tuple[Tensor, Tensor]]:
    """Register the recurrence of a backend; return it as a function of the schema's arguments less ``save``.

    Args:
        backend: its name, the first word of the operators' names.
        devices: types of device that the functions work on.
        forward: of the schema's arguments; returns the schema's tensors. ``final`` is empty unless asked for, the
            residuals have no elements unless ``save``.
        backward: of the schema's arguments; gradients of arguments that were None have no elements.
        residuals: shapes of the residuals for (x, gate, bidirectional).
    """
    name = f"hgrn_kernels::{backend}_recurrence"

    def fake_forward(  # type: ignore[no-untyped-def]
        x, gate, lower_bound, theta, initial_state, lengths, activation, bidirectional, reverse, final, save
    ):
        dtype = state_dtype(x, gate)
        kept = residuals(x, gate, bidirectional) if save else Residuals((0,), (0,))
        return (
            x.new_empty(x.shape),
            x.new_empty((x.shape[0], x.shape[-1]) if final else (0,), dtype=dtype),
            x.new_empty(kept.checkpoints, dtype=dtype),
            x.new_empty(kept.carries, dtype=dtype),
        )

    def fake_backward(  # type: ignore[no-untyped-def]
        dh, dfinal, x, gate, lower_bound, theta, initial_state, lengths, checkpoints, carries, activation,
        bidirectional, reverse,
    ):  # fmt: skip
        small = (lower_bound, theta, initial_state)
        return (
            x.new_empty(x.shape),
            gate.new_empty(gate.shape),
            *(x.new_empty(0) if t is None else t.new_empty(t.shape) for t in small),
        )

    def save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
        *tensors, ctx.activation, ctx.bidirectional, ctx.reverse, ctx.final, saved = inputs
        _, final, checkpoints, carries = output
        ctx.mark_non_differentiable(checkpoints, carries, *([] if ctx.final else [final]))
        ctx.set_materialize_grads(False)
        if saved:
            ctx.save_for_backward(*tensors, checkpoints, carries)

    def differentiate(ctx, dh, dfinal, *_):  # type: ignore[no-untyped-def]
        x, gate, *small, lengths, checkpoints, carries = ctx.saved_tensors
        if dh is None:
            dh = torch.zeros_like(x)
        dx, dgate, *dsmall = getattr(torch.ops.hgrn_kernels, f"{backend}_recurrence_backward")(
            dh, dfinal if ctx.final else None, x, gate, *small, lengths, checkpoints, carries,
            ctx.activation, ctx.bidirectional, ctx.reverse,
        )  # fmt: skip
        return dx, dgate, *(None if t is None else d for t, d in zip(small, dsmall, strict=True)), *[None] * 6

    _define(name, devices, _RECURRENCE, forward, fake_forward, backend)
    torch.library.register_autograd(name, differentiate, setup_context=save)
    _define(name + "_backward", devices, _RECURRENCE_BACKWARD, backward, fake_backward, backend)
    torch.library.register_autograd(name + "_backward", _refuse_second_derivative(backend))

    def recurrence(
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
    ) -> tuple[Tensor, Tensor]:
        given = [t for t in (x, gate, lower_bound, theta, initial_state) if t is not None]
        save = torch.is_grad_enabled() and any(t.requires_grad for t in given)
        h, last, _, _ = getattr(torch.ops.hgrn_kernels, f"{backend}_recurrence")(
            x, gate, lower_bound, theta, initial_state, lengths, activation, bidirectional, reverse, final, save
        )
        return h, last

    return recurrence


def define_gated_norm(
    backend: str,
    devices: tuple[str, ...],
    forward: Callable[..., tuple[Tensor, Tensor, Tensor]],
    backward: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]],
) -> Callable[[Tensor, Tensor, Tensor, Tensor, float, bool], Tensor]:
    """Register the gated norm of a backend; return it as a function (h, gate, weight, bias, eps, gate_first) -> y.

    ``mean`` and ``rstd`` (..., ) are those of each row, in the state's dtype.
    """
    name = f"hgrn_kernels::{backend}_gated_norm"

    def fake_forward(h, gate, weight, bias, eps, gate_first):  # type: ignore[no-untyped-def]
        statistics = h.new_empty(h.shape[:-1], dtype=state_dtype(h, gate))
        return h.new_empty(h.shape), statistics, torch.empty_like(statistics)

    def fake_backward(dy, h, gate, weight, bias, mean, rstd, gate_first):  # type: ignore[no-untyped-def]
        return h.new_empty(h.shape), gate.new_empty(gate.shape), torch.empty_like(weight), torch.empty_like(bias)

    def save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
        h, gate, weight, bias, _, ctx.gate_first = inputs
        _, mean, rstd = output
        ctx.mark_non_differentiable(mean, rstd)
        ctx.save_for_backward(h, gate, weight, bias, mean, rstd)

    def differentiate(ctx, dy, *_):  # type: ignore[no-untyped-def]
        gradients = getattr(torch.ops.hgrn_kernels, f"{backend}_gated_norm_backward")(
            dy, *ctx.saved_tensors, ctx.gate_first
        )
        return *gradients, None, None

    _define(name, devices, _NORM, forward, fake_forward, backend)
    torch.library.register_autograd(name, differentiate, setup_context=save)
    _define(name + "_backward", devices, _NORM_BACKWARD, backward, fake_backward, backend)
    torch.library.register_autograd(name + "_backward", _refuse_second_derivative(backend))

    def gated_norm(h: Tensor, gate: Tensor, weight: Tensor, bias: Tensor, eps: float, gate_first: bool) -> Tensor:
        return getattr(torch.ops.hgrn_kernels, f"{backend}_gated_norm")(h, gate, weight, bias, eps, gate_first)[0]

    return gated_norm


def _define(
    name: str,
    devices: tuple[str, ...],
    schema: str,
    function: Callable[..., Any],
    fake: Callable[..., Any],
    backend: str,
) -> None:
    def refuse(info, in_dims, *args):  # type: ignore[no-untyped-def]
        raise RuntimeError(
            f"The {backend} backend of hgrn_kernels does not work under torch.func.vmap; pass backend='reference'."
        )

    torch.library.define(name, " ".join(schema.split()), tags=_TAGS)
    torch.library.impl(name, devices, function)
    torch.library.register_fake(name, fake)
    torch.library.register_vmap(name, refuse)


def _refuse_second_derivative(backend: str) -> Callable[..., Any]:
    def refuse(ctx, *gradients):  # type: ignore[no-untyped-def]
        raise RuntimeError(
            f"The {backend} backend of hgrn_kernels has first derivatives only; pass backend='reference' for second."
        )

    return refuse
