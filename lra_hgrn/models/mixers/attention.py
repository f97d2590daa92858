"""Multi-head softmax attention: Vaswani et al., "Attention Is All You Need", arXiv 1706.03762; rotary positions:
Su et al., "RoFormer", arXiv 2104.09864.
"""

import torch.nn.functional as F
from torch import Tensor

from lra_hgrn.errors import UserError
from lra_hgrn.models.heads import MultiHead, check_rotary, rotate
from lra_hgrn.models.registry import register_mixer


@register_mixer(
    "attention",
    family="Transformer",
    paper="Vaswani et al., NeurIPS 2017, arXiv 1706.03762",
    compute="L²",
    memory="L",
)
class Attention(MultiHead):
    """Multi-head softmax attention through PyTorch's fused kernels; the maps start as ``nn.Linear`` does.

    Args:
        d_model: width d.
        heads: number of heads; d is a multiple of it.
        causal: a position sees itself and those before it.
        rotary: turn queries and keys by their position, so that scores depend on distances only.
        dropout: probability with which an attention weight is dropped in training.
    """

    def __init__(
        self, d_model: int, heads: int = 4, causal: bool = False, rotary: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__(d_model, heads)
        if rotary:
            check_rotary(self.width)
        if not 0 <= dropout < 1:
            raise UserError(f"model.kwargs.dropout={dropout} must be at least 0 and under 1.")
        self.causal = causal
        self.rotary = rotary
        self.dropout = dropout

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Softmax attention of each head: q, k, v (B, H, L, d/H), mask (B, L) or None; returns (B, H, L, d/H)."""
        if self.rotary:
            q, k = rotate(q), rotate(k)
        # Padding stands at the end: with causal attention no real position sees it anyway.
        keys = None if mask is None or self.causal else mask[:, None, None, :]
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, attn_mask=keys, dropout_p=dropout, is_causal=self.causal)
