"""The channel mixers, which see one position at a time."""

import torch.nn.functional as F
from torch import Tensor, nn


class GLU(nn.Module):
    """Gated linear unit (SiLU(x W_1) ⊙ x W_2) W_3, without biases (Shazeer, arXiv 2002.05202, equation 6).

    Args:
        d_model: width of input and output.
        hidden: width between.
    """

    def __init__(self, d_model: int, hidden: int) -> None:
        super().__init__()
        self.in_proj = nn.Linear(d_model, 2 * hidden, bias=False)  # W_1 and W_2 in one matrix product
        self.out_proj = nn.Linear(hidden, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Mix channels at each position: (..., d) to (..., d)."""
        gate, value = self.in_proj(x).chunk(2, dim=-1)
        return self.out_proj(F.silu(gate) * value)


class MLP(nn.Module):
    """Two linear maps with GELU between (Vaswani et al., arXiv 1706.03762, section 3.3, with LRA's activation).

    Args:
        d_model: width of input and output.
        hidden: width between.
    """

    def __init__(self, d_model: int, hidden: int) -> None:
        super().__init__()
        self.in_proj = nn.Linear(d_model, hidden)
        self.out_proj = nn.Linear(hidden, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Mix channels at each position: (..., d) to (..., d)."""
        return self.out_proj(F.gelu(self.in_proj(x)))


CHANNEL_MIXERS: dict[str, type[nn.Module]] = {"glu": GLU, "mlp": MLP}
