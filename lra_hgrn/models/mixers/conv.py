"""A short depthwise separable convolution: Chollet, "Xception", CVPR 2017, arXiv 1610.02357."""

import torch.nn.functional as F
from torch import Tensor, nn

from lra_hgrn.models.arguments import check_at_least
from lra_hgrn.models.padding import zero_padding
from lra_hgrn.models.registry import register_mixer


@register_mixer("conv", family="convolution", paper="Chollet, CVPR 2017, arXiv 1610.02357")
class Conv(nn.Module):
    """A filter of its own for each channel over a few neighbours, then a linear map of the channels.

    A control: N layers see N · (kernel − 1) + 1 positions, so that what they reach needs no long-range dependencies.

    Args:
        d_model: width d.
        kernel: positions K that a filter sees.
        causal: the K − 1 positions before and the present one; false: ⌊K/2⌋ before and ⌊(K − 1)/2⌋ after.
    """

    def __init__(self, d_model: int, kernel: int = 5, causal: bool = False) -> None:
        super().__init__()
        check_at_least(1, kernel=kernel)
        self.causal = causal
        before = kernel - 1 if causal else kernel // 2
        self.margins = (before, kernel - 1 - before)
        self.conv = nn.Conv1d(d_model, d_model, kernel, groups=d_model)
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mix positions: x (B, L, d); mask (B, L) bool, True on real positions; returns (B, L, d)."""
        x = zero_padding(x, mask).transpose(1, 2)
        return self.out_proj(self.conv(F.pad(x, self.margins)).transpose(1, 2))
