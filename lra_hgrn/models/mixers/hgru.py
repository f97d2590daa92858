"""HGRU, the token mixer of HGRN: Qin, Yang and Zhong, "Hierarchically Gated Recurrent Neural Network for Sequence
Modeling", NeurIPS 2023, arXiv 2311.04823.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hgrn_kernels import scan
from lra_hgrn.models.registry import register_mixer


@register_mixer("hgru")
class HGRU(nn.Module):
    """Gated linear recurrence h_t = λ_t e^{iθ} h_{t−1} + (1 − λ_t) c_t, with λ = γ + (1 − γ) sigmoid(f).

    The candidate c is complex (real and imaginary part each SiLU of a linear map), the forget gate f real; γ is the
    lower bound of the layer. The states of both directions are added, normalised, multiplied by the output gate
    SiLU(x W_g + b) and projected to d channels.

    Every map starts as PyTorch's ``nn.Linear`` does, which is what the authors' modules do; θ_j = 10000^(−2j/d).

    Args:
        d_model: width d.
        complex: complex candidate and state; false: real ones, without θ.
        causal: scan from left to right only; false: both ways.
        share_theta: one θ for both directions (the authors' ``param_share``).
        lower_bound: use the lower bound that the encoder gives this layer.
        output: "released": LayerNorm(h) ⊙ g, as the authors' code; "paper": LayerNorm(g ⊙ h), as their equation.
        output_gate: multiply by the output gate (false: the ablation without it).
        input_forget: forget gates depend on the input (false: the ablation with one learnt gate per channel).
    """

    def __init__(
        self,
        d_model: int,
        complex: bool = True,
        causal: bool = False,
        share_theta: bool = False,
        lower_bound: bool = True,
        output: Literal["released", "paper"] = "released",
        output_gate: bool = True,
        input_forget: bool = True,
    ) -> None:
        super().__init__()
        self.causal = causal
        self.output = output
        self.uses_lower_bound = lower_bound
        state = 2 * d_model if complex else d_model
        # Candidate, output gate and forget gate come out of one matrix product.
        self.widths = [state, state if output_gate else 0, d_model if input_forget else 0]
        self.in_proj = nn.Linear(d_model, sum(self.widths))
        if not input_forget:
            bound = d_model**-0.5  # as the bias of the map that it replaces
            self.forget = nn.Parameter(torch.empty(d_model).uniform_(-bound, bound))
        if complex:
            frequencies = 10000 ** (-2 * torch.arange(d_model) / d_model)
            directions = 1 if causal or share_theta else 2
            self.theta = nn.Parameter(frequencies.repeat(directions, 1))
        self.recurrence_parameters = (*(["theta"] if complex else []), *([] if input_forget else ["forget"]))
        self.norm = nn.LayerNorm(state)
        self.out_proj = nn.Linear(state, d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None, lower_bound: Tensor | None = None) -> Tensor:
        """Mix positions.

        Args:
            x: (B, L, d).
            mask: (B, L) bool, True on real positions; None: nothing is padded.
            lower_bound: γ of this layer, (d,), in [0, 1); None: no bound.

        Returns:
            (B, L, d).
        """
        candidate, output_gate, forget = self.in_proj(x).split(self.widths, dim=-1)
        keep, write = self._gates(forget, lower_bound)
        if mask is not None:  # nothing is written at padding: the backward scan reaches the last real step empty
            write = write * mask.unsqueeze(-1)
        planes = F.silu(candidate).unflatten(-1, (-1, x.shape[-1]))  # (B, L, 2 or 1, d): real and imaginary parts
        h = self._scan((write.unsqueeze(-2) * planes).flatten(-2), keep.expand_as(x))
        if not output_gate.shape[-1]:
            h = self.norm(h)
        elif self.output == "released":
            h = self.norm(h) * F.silu(output_gate)
        else:
            h = self.norm(F.silu(output_gate) * h)
        return self.out_proj(h)

    def _gates(self, forget: Tensor, lower_bound: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return λ and 1 − λ, the second not by subtraction: it would lose all its digits where λ is near 1."""
        if not forget.shape[-1]:
            forget = self.forget
        # bfloat16 has no value between 0.996 and 1: under autocast the gates and the scan's inputs stay in float32.
        forget = forget.to(torch.promote_types(forget.dtype, torch.float32))
        if lower_bound is None:
            return forget.sigmoid(), (-forget).sigmoid()
        return lower_bound + (1 - lower_bound) * forget.sigmoid(), (1 - lower_bound) * (-forget).sigmoid()

    def _scan(self, x: Tensor, gate: Tensor) -> Tensor:
        theta = getattr(self, "theta", None)
        h = scan(x, gate, theta=None if theta is None else theta[0])
        if self.causal:
            return h
        return h + scan(x, gate, theta=None if theta is None else theta[-1], reverse=True)
