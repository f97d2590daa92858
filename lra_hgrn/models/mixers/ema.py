"""The multi-dimensional damped EMA of Mega: Ma et al., "Mega: Moving Average Equipped Gated Attention", ICLR 2023,
arXiv 2209.10655.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lra_hgrn.models.arguments import check_at_least
from lra_hgrn.models.directions import convolve, power_sums
from lra_hgrn.models.padding import zero_padding
from lra_hgrn.models.registry import register_mixer

_LARGEST = 1 - 1e-6  # of αδ: a decay of 0 has no logarithm


@register_mixer("ema", family="state space", paper="Ma et al., ICLR 2023, arXiv 2209.10655", compute="L log L")
class EMA(nn.Module):
    """Only the moving average of Mega, without its attention and its gates (section 3.1).

    Each channel j of x is expanded to u_t = β_j x_tj with h values; then h_t = α_j ⊙ u_t + (1 − α_j ⊙ δ_j) ⊙ h_{t−1},
    and y_tj = η_jᵀ h_t / √h, where α, δ in (0, 1) are sigmoids of parameters. The output is SiLU(y + ω ⊙ x). Both ways:
    each direction has its own α, δ, β, η, and their averages, which both include the present position, are added. The
    factor 1/√h and all initial values are those of the released code (main branch, where α and δ have each other's
    names).

    Args:
        d_model: width d.
        state: values h that a channel is expanded to.
        causal: from left to right only; false: both ways.
    """

    recurrence_parameters = ("alpha", "delta")

    def __init__(self, d_model: int, state: int = 16, causal: bool = False) -> None:
        super().__init__()
        check_at_least(1, state=state)
        self.causal = causal
        shape = (1 if causal else 2, d_model, state)
        signs = 1.0 - 2.0 * (torch.arange(state) % 2)
        self.alpha = nn.Parameter(0.2 * torch.randn(shape))
        self.delta = nn.Parameter(0.2 * torch.randn(shape))
        self.beta = nn.Parameter(signs + 0.02 * torch.randn(shape))
        self.eta = nn.Parameter(torch.randn(shape))
        self.omega = nn.Parameter(torch.randn(d_model))

    def kernel(self, length: int) -> Tensor:
        """Return what an input adds to y so many steps later, (1 or 2 directions, d, length)."""
        alpha = self.alpha.sigmoid()
        rates = torch.log1p(-(alpha * self.delta.sigmoid()).clamp(max=_LARGEST))
        return power_sums(alpha * self.beta * self.eta / math.sqrt(alpha.shape[-1]), rates, length)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mix positions: x (B, L, d); mask (B, L) bool, True on real positions; returns (B, L, d)."""
        x = zero_padding(x, mask)
        if self.causal:
            y = convolve(x, self.kernel(x.shape[1])[0])
        else:
            onwards, back = self.kernel(x.shape[1] + 1)
            y = convolve(x, onwards[:, :-1], back[:, 1:]) + back[:, 0] * x
        return F.silu(y + self.omega * x)
