"""Linformer: Wang et al., "Linformer: Self-Attention with Linear Complexity", 2020, arXiv 2006.04768."""

import torch.nn.functional as F
from torch import Tensor, nn

from lra_hgrn.errors import UserError
from lra_hgrn.models.arguments import check_at_least
from lra_hgrn.models.heads import MultiHead
from lra_hgrn.models.padding import zero_padding
from lra_hgrn.models.registry import register_mixer


@register_mixer("linformer", family="Transformer", paper="Wang et al., 2020, arXiv 2006.04768")
class Linformer(MultiHead):
    """Softmax attention to k learnt mixtures of positions: softmax(Q (E K)ᵀ / √(d/H)) F V (equation 7).

    E and F are the same for all heads of a layer ("headwise sharing"), each layer has its own, and they start as
    ``nn.Linear`` over positions does. A shorter input uses their first columns; padded keys and values count as zero.

    Args:
        d_model: width d.
        max_length: positions of the longest input: columns of E and F.
        heads: number of heads H; d is a multiple of it.
        rank: number k of mixtures: rows of E and F.
    """

    def __init__(self, d_model: int, max_length: int, heads: int = 4, rank: int = 128) -> None:
        super().__init__(d_model, heads)
        check_at_least(1, max_length=max_length, rank=rank)
        self.max_length = max_length
        self.key_proj = nn.Linear(max_length, rank, bias=False)  # E
        self.value_proj = nn.Linear(max_length, rank, bias=False)  # F

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Linformer of each head: q, k, v (B, H, L, d/H), mask (B, L) or None; returns (B, H, L, d/H)."""
        length = q.shape[2]
        if length > self.max_length:
            raise UserError(f"An input of {length} positions is longer than model.kwargs.max_length={self.max_length}.")
        k = self.key_proj.weight[:, :length] @ zero_padding(k, mask)
        v = self.value_proj.weight[:, :length] @ zero_padding(v, mask)
        return F.scaled_dot_product_attention(q, k, v)
