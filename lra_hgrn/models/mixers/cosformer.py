"""cosFormer: Qin et al., "cosFormer: Rethinking Softmax in Attention", ICLR 2022, arXiv 2202.08791."""

import math

import torch
from torch import Tensor

from lra_hgrn.errors import UserError
from lra_hgrn.models.arguments import check_at_least
from lra_hgrn.models.heads import MultiHead, true_lengths
from lra_hgrn.models.mixers.linear_attention import feature_attention
from lra_hgrn.models.precision import full
from lra_hgrn.models.registry import register_mixer


@register_mixer("cosformer", family="Transformer", paper="Qin et al., ICLR 2022, arXiv 2202.08791")
class CosFormer(MultiHead):
    """Attention with weights ReLU(q_i)·ReLU(k_j) cos(π/2 (i − j)/M) (equation 10), by cos(a − b) = cos a cos b +
    sin a sin b (equation 12).

    M is the length of the sample without its padding. A causal layer may not know that length, for it tells how much
    follows: there M is the longest input of the task.

    Args:
        d_model: width d.
        heads: number of heads; d is a multiple of it.
        causal: a position sees itself and those before it.
        max_length: positions of the longest input; only ``causal`` needs it.
    """

    def __init__(self, d_model: int, heads: int = 4, causal: bool = False, max_length: int | None = None) -> None:
        super().__init__(d_model, heads)
        if causal and max_length is None:
            raise UserError("model.kwargs.causal=true of cosformer needs model.kwargs.max_length.")
        if max_length is not None:
            check_at_least(1, max_length=max_length)
        self.causal = causal
        self.max_length = max_length

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """cosFormer of each head: q, k, v (B, H, L, d/H), mask (B, L) or None; returns (B, H, L, d/H)."""
        angles = self._angles(full(q), mask)
        cos, sin = angles.cos(), angles.sin()
        q, k = (torch.cat([x * cos, x * sin], dim=-1) for x in (q.relu(), k.relu()))
        return feature_attention(q, k, v, mask, self.causal)

    def _angles(self, q: Tensor, mask: Tensor | None) -> Tensor:
        """Return π/2 · i/M of each position i, (B or 1, 1, L, 1), in the dtype of q (B, H, L, n)."""
        length = q.shape[2]
        positions = torch.arange(length, device=q.device, dtype=q.dtype)[:, None]
        if not self.causal:
            parts = positions / true_lengths(q, mask).to(q.dtype)[:, None, None, None]
            return parts.clamp(max=1) * (math.pi / 2)  # past the quarter turn, in the padding, weights were negative
        assert self.max_length is not None
        if length > self.max_length:
            raise UserError(f"An input of {length} positions is longer than model.kwargs.max_length={self.max_length}.")
        return (positions * (math.pi / 2 / self.max_length))[None, None]
