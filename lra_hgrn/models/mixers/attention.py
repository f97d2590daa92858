"""Multi-head softmax attention: Vaswani et al., "Attention Is All You Need", arXiv 1706.03762; rotary positions:
Su et al., "RoFormer", arXiv 2104.09864.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lra_hgrn.errors import UserError
from lra_hgrn.models.registry import register_mixer


@register_mixer("attention")
class Attention(nn.Module):
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
        super().__init__()
        if heads < 1 or d_model % heads:
            raise UserError(f"d_model={d_model} must be a multiple of model.kwargs.heads={heads}.")
        if rotary and d_model // heads % 2:
            raise UserError(f"Rotary positions need an even width of a head, not {d_model // heads}: change heads.")
        if not 0 <= dropout < 1:
            raise UserError(f"model.kwargs.dropout={dropout} must be at least 0 and under 1.")
        self.heads = heads
        self.causal = causal
        self.rotary = rotary
        self.dropout = dropout
        self.qkv_proj = nn.Linear(d_model, 3 * d_model)
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mix positions: x (B, L, d); mask (B, L) bool, True on real positions; returns (B, L, d)."""
        q, k, v = self.qkv_proj(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, H, L, d/H)
        if self.rotary:
            q, k = rotate(q), rotate(k)
        # Padding stands at the end: with causal attention no real position sees it anyway.
        keys = None if mask is None or self.causal else mask[:, None, None, :]
        dropout = self.dropout if self.training else 0.0
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=keys, dropout_p=dropout, is_causal=self.causal)
        return self.out_proj(o.transpose(1, 2).flatten(2))


def rotate(x: Tensor) -> Tensor:
    """Turn channel pairs (j, j + n/2) of position t by the angle t · 10000^(−2j/n): x (..., L, n), n even."""
    half = x.shape[-1] // 2
    dtype = torch.promote_types(x.dtype, torch.float32)
    frequencies = 10000 ** (-torch.arange(half, device=x.device, dtype=dtype) / half)
    angles = torch.arange(x.shape[-2], device=x.device, dtype=dtype)[:, None] * frequencies
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
