"""LRU, the Linear Recurrent Unit: Orvieto et al., "Resurrecting Recurrent Neural Networks for Long Sequences", ICML
2023, arXiv 2303.06349.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lra_hgrn.errors import UserError
from lra_hgrn.models.arguments import check_at_least
from lra_hgrn.models.directions import diagonal_states, real_part_of
from lra_hgrn.models.padding import zero_padding
from lra_hgrn.models.registry import register_mixer


@register_mixer("lru", family="state space", paper="Orvieto et al., ICML 2023, arXiv 2303.06349")
class LRU(nn.Module):
    """Linear recurrence h_t = λ ⊙ h_{t−1} + γ ⊙ B x_t and y_t = Re(C h_t) + D ⊙ x_t, then GELU, linear map and GLU.

    λ = exp(−exp(ν) + i exp(θ)) never leaves the unit disk; it starts uniformly on a ring, and γ, learnt as its
    logarithm, starts as √(1 − |λ|²). B and C are complex, with Glorot's variances. Both ways: λ, γ and B are shared,
    each direction has its own C, as in S5.

    Args:
        d_model: width d.
        state: number of complex states N.
        causal: from left to right only; false: both ways.
        r_min, r_max: radii of the ring.
        max_phase: arg λ starts uniformly between 0 and this.
    """

    recurrence_parameters = ("nu_log", "theta_log", "gamma_log", "b")  # appendix D: one small rate, no decay

    def __init__(
        self,
        d_model: int,
        state: int = 64,
        causal: bool = False,
        r_min: float = 0.0,
        r_max: float = 1.0,
        max_phase: float = 2 * math.pi,
    ) -> None:
        super().__init__()
        check_at_least(1, state=state)
        if not 0 <= r_min < r_max <= 1:
            raise UserError(
                f"model.kwargs.r_min={r_min} must be at least 0 and under model.kwargs.r_max={r_max}, that at most 1."
            )
        if not 0 < max_phase <= 2 * math.pi:
            raise UserError(f"model.kwargs.max_phase={max_phase} must be over 0 and at most 2π.")
        self.causal = causal
        radius, phase = torch.empty(2, state).uniform_(1e-6, 1 - 1e-6)  # their ends have no logarithm
        nu = -0.5 * (r_min**2 + radius * (r_max**2 - r_min**2)).log()
        self.nu_log = nn.Parameter(nu.log())
        self.theta_log = nn.Parameter((max_phase * phase).log())
        self.gamma_log = nn.Parameter((-(-2 * nu).expm1()).log() / 2)
        self.b = nn.Parameter(torch.randn(2, state, d_model) / math.sqrt(2 * d_model))
        self.c = nn.Parameter(torch.randn(d_model, 1 if causal else 2, 2, state) / math.sqrt(state))
        self.d = nn.Parameter(torch.randn(d_model))
        self.out_proj = nn.Linear(d_model, 2 * d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mix positions: x (B, L, d); mask (B, L) bool, True on real positions; returns (B, L, d)."""
        x = zero_padding(x, mask)
        u = F.linear(x, (self.gamma_log.exp().unsqueeze(-1) * self.b).flatten(0, 1))
        h = diagonal_states(u, (-self.nu_log.exp()).exp(), self.theta_log.exp(), both=not self.causal)
        y = F.linear(h, real_part_of(self.c)) + self.d * x
        return F.glu(self.out_proj(F.gelu(y)), dim=-1)
