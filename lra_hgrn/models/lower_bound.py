"""The lower bound of HGRN's forget gates, one learnt table for the whole encoder."""

import torch
from torch import Tensor, nn


class LowerBound(nn.Module):
    """Lower bounds γ^k, one row of d channels for each of K layers (HGRN, arXiv 2311.04823, section 3.2).

    P = softmax(Γ) over the layers and γ^k = Σ_{j<k} P_j: the first layer's bound is 0, bounds grow with depth and
    stay under 1. Γ starts at ones, so the bounds start at (k − 1) / K.
    """

    recurrence_parameters = ("gamma",)

    def __init__(self, layers: int, d_model: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(layers, d_model))

    def forward(self) -> Tensor:
        """Return the bounds, (K, d)."""
        shares = self.gamma.softmax(dim=0)
        layers = len(shares)
        # Not by cumsum, which has no deterministic form on a GPU, nor by a matrix product, which autocast would round.
        below = torch.ones(layers, layers, dtype=shares.dtype, device=shares.device).tril(-1)
        return (below.unsqueeze(-1) * shares).sum(dim=1)
