"""LSTM: Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 1997; with forget gates (Gers,
Schmidhuber and Cummins, 2000), as in PyTorch.
"""

import torch
from torch import Tensor, nn

from lra_hgrn.errors import UserError
from lra_hgrn.models.directions import reverse_within
from lra_hgrn.models.registry import register_mixer


@register_mixer("lstm", family="recurrent", paper="Hochreiter and Schmidhuber, Neural Computation 1997")
class LSTM(nn.Module):
    """PyTorch's LSTM, one layer a direction. Both ways: two of them with d/2 states each, outputs side by side.

    The way back reads each sample reversed within its true length, so padding is read last and changes nothing.

    Args:
        d_model: width d.
        causal: from left to right only, with d states; false: both ways.
    """

    exempt = {"compile": "torch.compile does not trace PyTorch's LSTM: it runs as it is, between compiled parts."}

    def __init__(self, d_model: int, causal: bool = False) -> None:
        super().__init__()
        if not causal and d_model % 2:
            raise UserError(f"d_model={d_model} must be even for an lstm that reads both ways (model.kwargs.causal).")
        self.causal = causal
        self.onwards = nn.LSTM(d_model, d_model if causal else d_model // 2, batch_first=True)
        self.back = None if causal else nn.LSTM(d_model, d_model // 2, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mix positions: x (B, L, d); mask (B, L) bool, True on real positions; returns (B, L, d)."""
        y = self.onwards(x)[0]
        if self.back is None:
            return y
        back = self.back(reverse_within(x, mask))[0]
        return torch.cat([y, reverse_within(back, mask)], dim=-1)
