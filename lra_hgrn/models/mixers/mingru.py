"""minGRU: Feng, Tung, Ahmed, Bengio and Hajimirsadeghi, "Were RNNs All We Needed?", arXiv 2410.01201."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hgrn_kernels import hgru
from lra_hgrn.models.hgrn_gates import forget_gates
from lra_hgrn.models.registry import register_mixer


@register_mixer("mingru", family="recurrent", paper="Feng et al., 2024, arXiv 2410.01201")
class MinGRU(nn.Module):
    """A GRU whose gate and candidate see the input only: h_t = (1 − z_t) h_{t−1} + z_t h̃_t, z = sigmoid(W_z x + b_z).

    It is the recurrence of `hgrn_kernels.hgru` with real states, forget gates 1 − z = sigmoid(−W_z x − b_z) and no
    lower bound. Both ways, of which the paper says nothing: the states of both directions, with the same gates and
    candidates, are added. A linear map follows.

    Args:
        d_model: width d.
        candidate: h̃ = W x + b ("linear", the paper's plain form), or g of that ("positive", its log-space form):
            g(a) = a + 1/2 for a ≥ 0, else sigmoid(a).
        causal: from left to right only; false: both ways.
    """

    def __init__(
        self, d_model: int, candidate: Literal["linear", "positive"] = "positive", causal: bool = False
    ) -> None:
        super().__init__()
        self.candidate = candidate
        self.causal = causal
        self.in_proj = nn.Linear(d_model, 2 * d_model)  # candidate, update gate
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mix positions: x (B, L, d); mask (B, L) bool, True on real positions; returns (B, L, d)."""
        candidate, update = self.in_proj(x).chunk(2, dim=-1)
        if self.candidate == "positive":
            candidate = torch.where(candidate >= 0, candidate + 0.5, candidate.sigmoid())
        lengths = None if mask is None else mask.sum(dim=1)
        h = hgru(candidate, -update, bidirectional=not self.causal, activation="identity", lengths=lengths)
        return self.out_proj(h)

    def forget_gates(self, x: Tensor, mask: Tensor | None = None, lower_bound: Tensor | None = None) -> Tensor:
        """Return 1 − z, (B, L, d): how much of the state each step keeps; there is no lower bound."""
        start = self.out_proj.in_features
        return forget_gates(-F.linear(x, self.in_proj.weight[start:], self.in_proj.bias[start:]), None)
