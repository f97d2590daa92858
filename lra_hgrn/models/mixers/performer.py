"""Performer: Choromanski et al., "Rethinking Attention with Performers", ICLR 2021, arXiv 2009.14794."""

import math

import torch
from torch import Tensor

from lra_hgrn.models.arguments import check_at_least
from lra_hgrn.models.heads import MultiHead
from lra_hgrn.models.mixers.linear_attention import feature_attention
from lra_hgrn.models.precision import full, without_autocast
from lra_hgrn.models.registry import register_mixer

FLOOR = 1e-6  # added to each feature, as the authors' code does: no sum of weights is zero


@register_mixer("performer", family="Transformer", paper="Choromanski et al., ICLR 2021, arXiv 2009.14794")
class Performer(MultiHead):
    """FAVOR+: softmax attention estimated by positive orthogonal random features (lemma 1 and section 2.4).

    exp(x·y) is the expectation of exp(ω·x − |x|²/2) exp(ω·y − |y|²/2) over Gaussian ω, for queries x and keys y scaled
    by (d/H)^(−1/4). The ω are drawn once, at construction, and are the same for all heads of a layer; they belong to
    the state of the module.

    Args:
        d_model: width d.
        heads: number of heads H; d is a multiple of it.
        features: number m of random features; null: n ln n for heads of width n, and n at least (theorem 4 asks for
            m of the order of n ln n).
        causal: a position sees itself and those before it.
    """

    omega: Tensor

    def __init__(self, d_model: int, heads: int = 4, features: int | None = None, causal: bool = False) -> None:
        super().__init__(d_model, heads)
        n = self.width
        if features is None:
            features = max(n, math.ceil(n * math.log(n)))
        check_at_least(1, features=features)
        self.causal = causal
        self.register_buffer("omega", orthogonal_gaussian(features, n))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """FAVOR+ of each head: q, k, v (B, H, L, d/H), mask (B, L) or None; returns (B, H, L, d/H)."""
        with without_autocast(q):  # the exponents need more than half precision
            q, k = self._exponents(q), self._exponents(k)
            # A factor of a query is in all its weights and cancels: it may depend on the query.
            q = (q - q.detach().amax(dim=-1, keepdim=True)).exp() + FLOOR
            k = (k - self._shift(k.detach(), mask)).exp() + FLOOR
        return feature_attention(q, k, v, mask, self.causal)

    def _exponents(self, x: Tensor) -> Tensor:
        """Return ω·x − |x|²/2 for every ω, (B, H, L, m): x (B, H, L, n) before it is scaled."""
        x = full(x) * self.width**-0.25
        return x @ full(self.omega).mT - x.square().sum(dim=-1, keepdim=True) / 2

    def _shift(self, exponents: Tensor, mask: Tensor | None) -> Tensor | float:
        """What exponents of keys (B, H, L, m) are lowered by: their maximum in each sample and head, (B, H, 1, 1).

        The maximum would tell a causal layer of the future. There it is nothing, and nothing overflows either:
        ω·x − |x|²/2 ≤ |ω|²/2, which is near half the width of a head.
        """
        if self.causal:
            return 0.0
        if mask is not None:
            exponents = exponents.masked_fill(~mask[:, None, :, None], -math.inf)
        return exponents.amax(dim=(2, 3), keepdim=True)


def orthogonal_gaussian(rows: int, n: int) -> Tensor:
    """Draw (rows, n): each row is a Gaussian vector, and rows are orthogonal within each n of them."""
    q, r = torch.linalg.qr(torch.randn(math.ceil(rows / n), n, n))
    # Signs of Q are the algorithm's choice; with those of R they are uniform, as the expectation of the features needs.
    directions = (q * r.diagonal(dim1=1, dim2=2).sign().unsqueeze(1)).mT.flatten(0, 1)[:rows]
    return directions * torch.randn(rows, n).norm(dim=1, keepdim=True)
