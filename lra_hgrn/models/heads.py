"""What the token mixers of the Transformer family share: queries, keys and values by heads, and rotary positions."""

import torch
from torch import Tensor, nn

from lra_hgrn.errors import UserError
from lra_hgrn.models.precision import full


class MultiHead(nn.Module):
    """Queries, keys and values of every head from one linear map, `attend`, and a linear map of the joined heads.

    Args:
        d_model: width d.
        heads: number of heads H; d is a multiple of it.
    """

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or d_model % heads:
            raise UserError(f"d_model={d_model} must be a multiple of model.kwargs.heads={heads}.")
        self.heads = heads
        self.width = d_model // heads
        self.qkv_proj = nn.Linear(d_model, 3 * d_model)
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mix positions: x (B, L, d); mask (B, L) bool, True on real positions; returns (B, L, d)."""
        q, k, v = self.qkv_proj(x).unflatten(-1, (3, self.heads, self.width)).permute(2, 0, 3, 1, 4)
        o = self.attend(q, k, v, mask)
        return self.out_proj(o.transpose(1, 2).flatten(2))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Mix the positions of each head: q, k, v (B, H, L, d/H), mask (B, L) or None; returns (B, H, L, d/H)."""
        raise NotImplementedError


def check_rotary(width: int) -> None:
    """Raise a `UserError` if heads of this width cannot be turned by `rotate`."""
    if width % 2:
        raise UserError(f"Rotary positions need an even width of a head, not {width}: change model.kwargs.heads.")


def rotate(x: Tensor) -> Tensor:
    """Turn channel pairs (j, j + n/2) of position t by the angle t · 10000^(−2j/n): x (..., L, n), n even."""
    half = x.shape[-1] // 2
    dtype = full(x).dtype
    frequencies = 10000 ** (-torch.arange(half, device=x.device, dtype=dtype) / half)
    angles = torch.arange(x.shape[-2], device=x.device, dtype=dtype)[:, None] * frequencies
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


def true_lengths(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return the number of real positions of each sample, (B,) int64: x (B, H, L, n), mask (B, L) bool or None."""
    if mask is None:
        return torch.full((x.shape[0],), x.shape[2], device=x.device)
    return mask.sum(dim=1)
