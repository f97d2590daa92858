"""The recurrence as a plain loop over time: the definition that every other backend is tested against."""

import torch
from torch import Tensor

from hgrn_kernels._arguments import state_dtype


def scan(
    x: Tensor,
    gate: Tensor,
    theta: Tensor | None = None,
    initial_state: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return every h_t = gate_t · e^{iθ} · h_{t-1} + x_t and the last of them (HGRN, arXiv 2311.04823, eq. 5).

    Args:
        x: (B, L, D), or two planes (B, L, 2D): real parts in the first D channels, imaginary parts in the others.
        gate: (B, L, D), real.
        theta: (D,), radians; only with two planes. Without it they are two real scans that share the gate.
        initial_state: h before the first step, (B, D) or (B, 2D); zeros if None.
        reverse: run from t = L - 1 down to 0.

    Returns:
        h, shaped and typed as x, and the final state, (B, D) or (B, 2D), in the state's dtype: float64 if x or gate is
        float64, else float32. Differentiable by autograd any number of times, on every device.
    """
    batch, length, width = x.shape
    dtype, out_dtype = state_dtype(x, gate), x.dtype
    planes = width // gate.shape[2]
    x = x.to(dtype).unflatten(2, (planes, -1))
    gate = gate.to(dtype).unsqueeze(2)
    if theta is not None:
        cos, sin = theta.to(dtype).cos(), theta.to(dtype).sin()
    state = x.new_zeros(batch, width) if initial_state is None else initial_state.to(dtype)
    state = state.unflatten(1, (planes, -1))

    states = []
    for t in reversed(range(length)) if reverse else range(length):
        if theta is not None:
            re, im = state.unbind(1)
            state = torch.stack([re * cos - im * sin, re * sin + im * cos], dim=1)
        state = gate[:, t] * state + x[:, t]
        states.append(state)

    final = state.flatten(1)
    if not states:
        return x.flatten(2).to(out_dtype), final
    h = torch.stack(states[::-1] if reverse else states, dim=1)
    return h.flatten(2).to(out_dtype), final
