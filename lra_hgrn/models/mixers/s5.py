"""S5, one state space with many inputs and outputs: Smith, Warrington and Linderman, "Simplified State Space Layers for
Sequence Modeling", ICLR 2023, arXiv 2208.04933.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lra_hgrn.errors import UserError
from lra_hgrn.models.directions import diagonal_states, real_part_of
from lra_hgrn.models.mixers.s4d import expm1, hippo_normal, log_timescales
from lra_hgrn.models.padding import zero_padding
from lra_hgrn.models.registry import register_mixer

_SLOWEST = -1e-4  # largest real part of an eigenvalue: states never grow


@register_mixer("s5", family="state space", paper="Smith et al., ICLR 2023, arXiv 2208.04933")
class S5(nn.Module):
    """Linear recurrence h_t = Λ̄ h_{t−1} + B̄ x_t with a complex diagonal Λ̄, and y_t = 2 Re(C h_t) + D ⊙ x_t.

    Λ̄ = exp(ΛΔ) and B̄ = (Λ̄ − 1) / Λ · B (zero-order hold, Δ for each state). Λ and the bases of B and C start as the
    eigendecomposition of a block-diagonal HiPPO-N; in the original basis B and C are normal with variance 1 / state.
    Real parts of Λ are held under −10⁻⁴, which the authors advise for long inputs. Both ways: Λ̄ and B̄ are shared, each
    direction has its own C. With z = GELU(y) the output is z ⊙ sigmoid(W z + b).

    Args:
        d_model: width d.
        state: real size of the state; state / 2 complex numbers are kept, one of each conjugate pair.
        blocks: number of HiPPO-N blocks on the diagonal of the initial state matrix (the paper's J).
        causal: from left to right only; false: both ways.
        dt_min, dt_max: Δ starts between these, log-uniformly.
        gate: multiply by the gate; false: the output is z.
    """

    recurrence_parameters = ("lambda_real", "lambda_imag", "log_step", "b")

    def __init__(
        self,
        d_model: int,
        state: int = 64,
        blocks: int = 1,
        causal: bool = False,
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        gate: bool = True,
    ) -> None:
        super().__init__()
        if blocks < 1 or state < 1 or state % (2 * blocks):
            raise UserError(f"model.kwargs.state={state} must be a multiple of twice model.kwargs.blocks={blocks}.")
        self.causal = causal
        values, basis = hippo_normal(state // blocks)
        eigenvalues = torch.as_tensor(np.tile(values, blocks), dtype=torch.complex64)
        vectors = torch.as_tensor(np.kron(np.eye(blocks), basis), dtype=torch.complex64)
        self.lambda_real = nn.Parameter(eigenvalues.real.clone())
        self.lambda_imag = nn.Parameter(eigenvalues.imag.clone())
        self.log_step = nn.Parameter(log_timescales(state // 2, dt_min, dt_max))
        b = vectors.mH @ (torch.randn(state, d_model) * state**-0.5).to(torch.complex64)
        self.b = nn.Parameter(torch.stack([b.real, b.imag]))
        planes = torch.randn(2, d_model, 1 if causal else 2, state) * state**-0.5
        c = torch.complex(planes[0], planes[1]) @ vectors
        self.c = nn.Parameter(torch.stack([c.real, c.imag], dim=2))
        self.d = nn.Parameter(torch.randn(d_model))
        self.gate_proj = nn.Linear(d_model, d_model) if gate else None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mix positions: x (B, L, d); mask (B, L) bool, True on real positions; returns (B, L, d)."""
        x = zero_padding(x, mask)
        eigenvalues = torch.complex(self.lambda_real.clamp(max=_SLOWEST), self.lambda_imag)
        rates = eigenvalues * self.log_step.exp()
        b = (expm1(rates) / eigenvalues).unsqueeze(-1) * torch.complex(self.b[0], self.b[1])
        u = F.linear(x, torch.cat([b.real, b.imag]))
        h = diagonal_states(u, rates.real.exp(), rates.imag, both=not self.causal)
        z = F.gelu(F.linear(h, 2 * real_part_of(self.c)) + self.d * x)
        return z if self.gate_proj is None else z * self.gate_proj(z).sigmoid()
