"""Local attention, in a sliding window: Beltagy, Peters and Cohan, "Longformer: The Long-Document Transformer", 2020,
arXiv 2004.05150; or in blocks: Tay et al., "Long Range Arena", ICLR 2021, arXiv 2011.04006.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lra_hgrn.models.arguments import check_at_least
from lra_hgrn.models.heads import MultiHead, check_rotary, rotate
from lra_hgrn.models.registry import register_mixer


@register_mixer("local_attention", family="Transformer", paper="Beltagy, Peters and Cohan, 2020, arXiv 2004.05150")
class LocalAttention(MultiHead):
    """Softmax attention of each position i to those near it.

    ``form="sliding"``: i sees j where |i − j| ≤ window // 2, and where 0 ≤ i − j < window if causal.
    ``form="block"``: i sees j where i // window = j // window, and i ≥ j if causal.

    Time and memory grow as length times window.

    Args:
        d_model: width d.
        heads: number of heads; d is a multiple of it.
        window: how far a position sees.
        form: a window around each position, or blocks that see only themselves.
        causal: a position sees itself and those before it.
        rotary: turn queries and keys by their position, so that scores depend on distances only.
    """

    def __init__(
        self,
        d_model: int,
        heads: int = 4,
        window: int = 64,
        form: Literal["sliding", "block"] = "sliding",
        causal: bool = False,
        rotary: bool = False,
    ) -> None:
        super().__init__(d_model, heads)
        check_at_least(1, window=window)
        if rotary:
            check_rotary(self.width)
        self.causal = causal
        self.rotary = rotary
        if form == "block":
            self.chunk, self.before, self.after = window, 0, 0
            self.lowest, self.highest = -window, 0 if causal else window  # of j − i
        else:
            self.chunk = max(window, 32)  # chunks of very few queries would be slow
            self.before, self.after = (window - 1, 0) if causal else (window // 2, window // 2)
            self.lowest, self.highest = -self.before, self.after

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Local attention of each head: q, k, v (B, H, L, d/H), mask (B, L) or None; returns (B, H, L, d/H)."""
        if self.rotary:
            q, k = rotate(q), rotate(k)
        b, _, length, _ = q.shape
        seen = self._seen(mask if mask is not None else q.new_ones(1, length, dtype=torch.bool))
        seen = seen.expand(b, -1, -1, -1).flatten(0, 1).unsqueeze(1)  # (B · chunks, 1, chunk, keys)
        q = F.pad(q, (0, 0, 0, -length % self.chunk)).unflatten(2, (-1, self.chunk))
        q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in (q, self._near(k), self._near(v)))  # (B · chunks, H, ·, n)
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return o.unflatten(0, (b, -1)).transpose(1, 2).flatten(2, 3)[:, :, :length]

    def _near(self, x: Tensor) -> Tensor:
        """Return what is in and beside each chunk, zeros beyond the ends: (B, H, L, n) to (B, H, chunks, keys, n)."""
        rest = -x.shape[2] % self.chunk
        x = F.pad(x, (0, 0, self.before, rest + self.after))
        return x.unfold(2, self.before + self.chunk + self.after, self.chunk).mT

    def _seen(self, real: Tensor) -> Tensor:
        """Return which keys each query sees, (B, chunks, chunk, keys): real (B, L) bool, True on real positions."""
        queries = torch.arange(self.chunk, device=real.device)[:, None]
        keys = torch.arange(-self.before, self.chunk + self.after, device=real.device)
        distances = keys - queries
        band = (distances >= self.lowest) & (distances <= self.highest)
        near = self._near(real[:, None, :, None])[:, 0, :, :, 0].unsqueeze(2)
        # Padded queries see themselves: a softmax over nothing would be NaN.
        return band & (near | (distances == 0))
