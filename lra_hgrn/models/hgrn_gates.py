"""What the units of HGRN share: forget gates over a lower bound, and the maps around the recurrence of an HGRU."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hgrn_kernels import gated_norm
from lra_hgrn.models.precision import full

Candidate = Literal["silu", "tanh", "identity"]
Output = Literal["released", "paper"]


def forget_gates(logits: Tensor, lower_bound: Tensor | None) -> Tensor:
    """Return λ = γ + (1 − γ) sigmoid(f) (HGRN, arXiv 2311.04823, equation 4): f (..., d), γ (d,) or None for 0.

    In float32, or float64 for float64 logits: half precision would round a slow gate to one that never forgets.
    """
    mu = full(logits).sigmoid()
    return mu if lower_bound is None else lower_bound + (1 - lower_bound) * mu


class GatedUnit(nn.Module):
    """The maps around the recurrence of an HGRU: candidate, output gate and forget gate before it, norm after it.

    Args:
        d_model: width d.
        thetas: rows of θ, one for each direction that has its own; 0: no rotation.
        complex: complex candidate and state, real and imaginary part each with d channels.
        candidate: activation of the candidate.
        lower_bound: use the lower bound that the encoder gives this layer.
        output: "released" or "paper", the order of norm and output gate.
        output_gate: multiply by the output gate.
        input_forget: forget gates depend on the input.
    """

    def __init__(
        self,
        d_model: int,
        thetas: int,
        complex: bool,
        candidate: Candidate,
        lower_bound: bool,
        output: Output,
        output_gate: bool,
        input_forget: bool,
    ) -> None:
        super().__init__()
        self.candidate = candidate
        self.output = output
        self.uses_lower_bound = lower_bound
        state = 2 * d_model if complex else d_model
        # Candidate, output gate and forget gate come out of one matrix product.
        self.widths = [state, state if output_gate else 0, d_model if input_forget else 0]
        self.in_proj = nn.Linear(d_model, sum(self.widths))
        if not input_forget:
            bound = d_model**-0.5  # as the bias of the map that it replaces
            self.forget = nn.Parameter(torch.empty(d_model).uniform_(-bound, bound))
        if thetas:
            frequencies = 10000 ** (-2 * torch.arange(d_model) / d_model)
            self.theta = nn.Parameter(frequencies.repeat(thetas, 1))
        self.recurrence_parameters = (*(["theta"] if thetas else []), *([] if input_forget else ["forget"]))
        self.norm = nn.LayerNorm(state)
        self.out_proj = nn.Linear(state, d_model)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return candidate, output gate and forget gate of x (..., d), before their activations (but for tanh)."""
        candidate, output_gate, forget = self.in_proj(x).split(self.widths, dim=-1)
        if self.candidate == "tanh":  # SiLU is left to the kernels
            candidate = candidate.tanh()
        return candidate, output_gate, forget if self.widths[2] else self.forget.expand_as(x)

    @property
    def activation(self) -> Literal["silu", "identity"]:
        """What the kernels still have to apply to the candidate."""
        return "silu" if self.candidate == "silu" else "identity"

    @property
    def thetas(self) -> Tensor | None:
        """θ for the kernels, (d,) where one row serves every direction, else (2, d); None: no rotation."""
        theta = getattr(self, "theta", None)
        return None if theta is None else theta.squeeze(0)

    def read_out(self, h: Tensor, output_gate: Tensor) -> Tensor:
        """Map states (..., d or 2d) to (..., d): norm, output gate, projection."""
        norm = self.norm
        if not self.widths[1]:
            return self.out_proj(norm(h))
        y = gated_norm(h, output_gate, norm.weight, norm.bias, eps=norm.eps, gate_first=self.output == "paper")
        return self.out_proj(y)

    def forget_gates(self, x: Tensor, mask: Tensor | None = None, lower_bound: Tensor | None = None) -> Tensor:
        """Return λ, (B, L, d) in [0, 1]: how much of the state each step keeps; arguments as those of `forward`."""
        start = sum(self.widths[:2])
        logits = F.linear(x, self.in_proj.weight[start:], self.in_proj.bias[start:])
        return forget_gates(logits if self.widths[2] else self.forget.expand_as(x), lower_bound)
