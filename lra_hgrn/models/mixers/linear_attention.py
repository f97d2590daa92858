"""Linear attention: Katharopoulos, Vyas, Pappas and Fleuret, "Transformers are RNNs: Fast Autoregressive Transformers
with Linear Attention", ICML 2020, arXiv 2006.16236; and attention by any features of queries and keys.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from lra_hgrn.models.heads import MultiHead
from lra_hgrn.models.padding import zero_padding
from lra_hgrn.models.precision import full
from lra_hgrn.models.registry import register_mixer

CHUNK = 128  # positions whose weights are written out in the causal form
LEAST = 1e-6  # under it a sum of weights counts as zero


@register_mixer("linear_attention", family="Transformer", paper="Katharopoulos et al., ICML 2020, arXiv 2006.16236")
class LinearAttention(MultiHead):
    """Attention with weights φ(q_i)·φ(k_j) in place of exp(q_i·k_j), φ(x) = elu(x) + 1 (equations 4, 5 and 7).

    Args:
        d_model: width d.
        heads: number of heads; d is a multiple of it.
        causal: a position sees itself and those before it (equation 8).
    """

    def __init__(self, d_model: int, heads: int = 4, causal: bool = False) -> None:
        super().__init__(d_model, heads)
        self.causal = causal

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Linear attention of each head: q, k, v (B, H, L, d/H), mask (B, L) or None; returns (B, H, L, d/H)."""
        return feature_attention(F.elu(full(q)) + 1, F.elu(full(k)) + 1, v, mask, self.causal)


def feature_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    """Return o_i = Σ_j (q_i·k_j) v_j / Σ_j q_i·k_j over real positions j, those up to i if causal.

    Time and memory grow linearly with the length. Where all weights of a position are zero, so is o_i.

    Args:
        q: features of queries, (B, H, L, m), none negative.
        k: features of keys, as q.
        v: values, (B, H, L, n).
        mask: (B, L) bool, True on real positions; None: nothing is padded.
        causal: a position sees itself and those before it.
    """
    k = zero_padding(k, mask)
    total, weight = _causal_sums(q, k, v) if causal else _sums(q, k, v)
    return total / full(weight).clamp(min=LEAST)


def _sums(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted sums of values (B, H, L, n) and the sums of weights (B, H, L, 1)."""
    return q @ (k.mT @ v), q @ k.sum(dim=2).unsqueeze(-1)


def _causal_sums(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The sums of `_sums` up to each position: by weights inside a chunk, by the state of the chunks before it."""
    length = q.shape[2]
    chunk = min(CHUNK, length)
    # Of one memory layout whether padded or not: torch.compile with dynamic shapes takes both for the same.
    q, k, v = (F.pad(x.contiguous(), (0, 0, 0, -length % chunk)).unflatten(2, (-1, chunk)) for x in (q, k, v))
    weights = (q @ k.mT).tril()
    total = weights @ v + q @ _before(k.mT @ v)
    weight = weights.sum(dim=-1, keepdim=True) + q @ _before(k.sum(dim=3).unsqueeze(-1))
    return total.flatten(2, 3)[:, :, :length], weight.flatten(2, 3)[:, :, :length]


def _before(states: Tensor) -> Tensor:
    """Sum states (B, H, chunks, m, n) over the chunks before each.

    They are shifted, not subtracted: rounding too must not tell what follows.
    """
    sums = states.cumsum(dim=2, dtype=torch.promote_types(states.dtype, torch.float32))
    return F.pad(sums[:, :, :-1], (0, 0, 0, 0, 1, 0))
