"""HGRU, the token mixer of HGRN: Qin, Yang and Zhong, "Hierarchically Gated Recurrent Neural Network for Sequence
Modeling", NeurIPS 2023, arXiv 2311.04823.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from hgrn_kernels import gated_norm, hgru
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
            mask: (B, L) bool, True on real positions, which come first; None: nothing is padded.
            lower_bound: γ of this layer, (d,), in [0, 1); None: no bound.

        Returns:
            (B, L, d).
        """
        candidate, output_gate, forget = self.in_proj(x).split(self.widths, dim=-1)
        theta = getattr(self, "theta", None)
        # Under autocast these are in half precision, and no copies are made: the kernels compute in float32.
        h = hgru(
            candidate,
            forget if forget.shape[-1] else self.forget.expand_as(x),
            lower_bound,
            None if theta is None else theta.squeeze(0),  # one row serves both directions
            bidirectional=not self.causal,
            lengths=None if mask is None else mask.sum(dim=1),
        )
        if not output_gate.shape[-1]:
            return self.out_proj(self.norm(h))
        norm = self.norm
        y = gated_norm(h, output_gate, norm.weight, norm.bias, eps=norm.eps, gate_first=self.output == "paper")
        return self.out_proj(y)
