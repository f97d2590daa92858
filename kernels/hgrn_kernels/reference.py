"""The recurrence in plain torch operations: the definition that every other backend is tested against.

Every dtype and device, differentiable by autograd any number of times.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from hgrn_kernels._arguments import state_dtype


def recurrence(
    x: Tensor,
    gate: Tensor,
    lower_bound: Tensor | None = None,
    theta: Tensor | None = None,
    initial_state: Tensor | None = None,
    lengths: Tensor | None = None,
    activation: str | None = None,
    bidirectional: bool = False,
    reverse: bool = False,
    final: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the hidden states and the final one; see `hgrn_kernels.scan`, `hgru` and `hgru2d` for what they mean.

    Args:
        x: (B, L, P·D) or images (B, H, W, P·D), P planes of D channels; with an activation the candidate before it.
        gate: (B, L, D) or (B, H, W, D): with an activation the logits of the forget gate, else the gate itself.
        lower_bound: (D,), only with an activation.
        theta: (directions, D), radians, only with P = 2.
        initial_state: (B, P·D), one direction only.
        lengths: (B,) integers, the real positions of each sample; the others come after them and stay zero.
        activation: "silu" or "identity"; None: x and gate enter the scan as they are.
        bidirectional: add the scan from the right to the one from the left. Images: always.
        reverse: scan from the right only.
        final: give the state after the last step too (else an empty tensor).

    Returns:
        h, shaped and typed as x, and the final state, (B, P·D), in the state's dtype: float64 if x or gate is
        float64, else float32.
    """
    out_dtype, dtype = x.dtype, state_dtype(x, gate)
    x, gate = x.to(dtype), gate.to(dtype)
    if activation is not None:
        x, gate = _gates(x, gate, lower_bound, activation)
    if lengths is not None:
        padding = (torch.arange(x.shape[1], device=x.device) >= lengths.unsqueeze(1)).unsqueeze(2)
        x = x.masked_fill(padding, 0)
        gate = gate.masked_fill(padding, 1)
    thetas: list[Tensor | None] = [None] * 4 if theta is None else [*theta.to(dtype)]

    if x.ndim == 4:
        h = _both(x.flatten(0, 1), gate.flatten(0, 1), thetas[:2]).view_as(x)
        columns = _both(x.transpose(1, 2).flatten(0, 1), gate.transpose(1, 2).flatten(0, 1), thetas[2:])
        h = h + columns.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)
        return h.to(out_dtype), x.new_empty(0)
    if bidirectional:
        h = _both(x, gate, thetas, lengths)
        state = x.new_empty(0)
    else:
        h, state = _scan(x, gate, thetas[0], initial_state, reverse, lengths)
    if lengths is not None:
        h = h.masked_fill(padding, 0)
    return h.to(out_dtype), state if final else x.new_empty(0)


def gated_norm(h: Tensor, gate: Tensor, weight: Tensor, bias: Tensor, eps: float, gate_first: bool) -> Tensor:
    """Return LayerNorm(h) ⊙ SiLU(gate), or with ``gate_first`` LayerNorm(SiLU(gate) ⊙ h); see `hgrn_kernels`."""
    dtype = state_dtype(h, gate)
    weight, bias, gated = weight.to(dtype), bias.to(dtype), F.silu(gate.to(dtype))
    if gate_first:
        y = F.layer_norm(gated * h.to(dtype), weight.shape, weight, bias, eps)
    else:
        y = F.layer_norm(h.to(dtype), weight.shape, weight, bias, eps) * gated
    return y.to(h.dtype)


def _gates(candidate: Tensor, forget: Tensor, lower_bound: Tensor | None, activation: str) -> tuple[Tensor, Tensor]:
    """Return (1 − λ) c and λ, the first not by subtraction: it would lose all its digits where λ is near 1."""
    keep, write = forget.sigmoid(), (-forget).sigmoid()
    if lower_bound is not None:
        bound = lower_bound.to(forget.dtype)
        keep, write = bound + (1 - bound) * keep, (1 - bound) * write
    c = F.silu(candidate) if activation == "silu" else candidate
    return (write.unsqueeze(-2) * c.unflatten(-1, (-1, forget.shape[-1]))).flatten(-2), keep


def _both(x: Tensor, gate: Tensor, thetas: list[Tensor | None], lengths: Tensor | None = None) -> Tensor:
    left, _ = _scan(x, gate, thetas[0], None, False, lengths)
    right, _ = _scan(x, gate, thetas[1], None, True, lengths)
    return left + right


def _scan(
    x: Tensor,
    gate: Tensor,
    theta: Tensor | None,
    initial_state: Tensor | None,
    reverse: bool,
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """h_t = gate_t · e^{iθ} · h_{t-1} + x_t over the second axis (HGRN, arXiv 2311.04823, eq. 5), and the last h."""
    batch, length, width = x.shape
    planes = max(1, width // gate.shape[2])
    x = x.unflatten(2, (planes, -1))
    gate = gate.unsqueeze(2)
    if theta is not None:
        cos, sin = theta.cos(), theta.sin()
    state = x.new_zeros(batch, width) if initial_state is None else initial_state.to(x.dtype)
    state = state.unflatten(1, (planes, -1))

    # Unbound at once: the gradient of a step that is indexed is as large as all steps.
    inputs, gates, states = x.unbind(1), gate.unbind(1), []
    for t in reversed(range(length)) if reverse else range(length):
        turned = state
        if theta is not None:
            re, im = state.unbind(1)
            turned = torch.stack([re * cos - im * sin, re * sin + im * cos], dim=1)
        new = gates[t] * turned + inputs[t]
        state = new if lengths is None else torch.where((t < lengths).view(-1, 1, 1), new, state)
        states.append(state)

    if not states:
        return x.flatten(2), state.flatten(1)
    return torch.stack(states[::-1] if reverse else states, dim=1).flatten(2), state.flatten(1)
