"""Padding, which stands at the end of a sample: masks, and zeros in its place."""

import torch
from torch import Tensor


def padding_mask(lengths: Tensor, length: int) -> Tensor:
    """Return (B, length) bool, True on real positions; an empty sample keeps one, so that no mean is 0 / 0."""
    return torch.arange(length, device=lengths.device) < lengths.clamp(min=1)[:, None]


def zero_padding(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return x (B, ..., L, d) with zeros at padded positions; mask (B, L) bool, True on real ones, or None."""
    if mask is None:
        return x
    return x.masked_fill(~mask.view(len(mask), *[1] * (x.ndim - 3), -1, 1), 0)
