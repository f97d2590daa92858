"""From token ids or values to vectors, with positions."""

import torch
from torch import Tensor, nn

from lra_hgrn.errors import UserError


class Embedding(nn.Module):
    """Embedding of tokens (a table) or of values (a linear map), positions and dropout.

    Table and map start as PyTorch's ``nn.Embedding`` and ``nn.Linear`` do, as in the S4 line of LRA code; learned
    positions start at a standard deviation of 0.02 (BERT, arXiv 1810.04805).

    Args:
        d_model: width d.
        vocab_size: number of token ids; 0: the inputs are values.
        channels: values of a step.
        max_length: longest sequence, in positions.
        positions: "none", "sinusoidal" or "learned".
        dropout: probability, after the positions are added.
        cls: put a learnt vector before each sequence, at a position of its own (BERT's [CLS]).
    """

    table: Tensor | None

    def __init__(
        self,
        d_model: int,
        vocab_size: int,
        max_length: int,
        positions: str,
        dropout: float,
        cls: bool = False,
        channels: int = 1,
    ) -> None:
        super().__init__()
        self.cls = nn.Parameter(0.02 * torch.randn(d_model)) if cls else None
        max_length += cls
        self.tokens = nn.Embedding(vocab_size, d_model) if vocab_size else None
        self.values = None if vocab_size else nn.Linear(channels, d_model)
        self.max_length = max_length
        if positions == "learned":
            self.table = nn.Parameter(0.02 * torch.randn(max_length, d_model))
        else:  # a function of the width, so no part of a checkpoint
            table = sinusoids(max_length, d_model) if positions == "sinusoidal" else None
            self.register_buffer("table", table, persistent=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor) -> Tensor:
        """Embed int64 tokens or float values (B, L) or (B, L, channels) as (B, L, d), or (B, 1 + L, d) with ``cls``."""
        x = self.embed_steps(inputs)
        if self.cls is not None:
            x = torch.cat([self.cls.to(x.dtype).expand(len(x), 1, -1), x], dim=1)
        if self.table is not None:
            length = x.shape[1]
            if length > self.max_length:
                raise UserError(f"A sequence of {length} positions is longer than the task's {self.max_length}.")
            x = x + self.table[:length]
        return self.dropout(x)

    def embed_steps(self, inputs: Tensor) -> Tensor:
        """Embed steps without positions: (...) as (..., d), or (..., channels) where a step has several values."""
        if self.values is None:
            assert self.tokens is not None
            return self.tokens(inputs)
        return self.values(inputs.unsqueeze(-1) if self.values.in_features == 1 else inputs)


def sinusoids(length: int, d_model: int) -> Tensor:
    """Return sinusoidal positions, (length, d) float32: Vaswani et al., arXiv 1706.03762, section 3.5.

    PE(t, 2i) = sin(t / 10000^(2i/d)) and PE(t, 2i+1) = cos of the same, computed in float64.
    """
    channels = torch.arange(d_model, dtype=torch.float64)
    frequencies = 10000 ** (-2 * (channels // 2) / d_model)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies
    return torch.where(channels % 2 == 0, angles.sin(), angles.cos()).float()
