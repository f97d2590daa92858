"""Norms over the residual stream, each with ``forward(x, mask)``: x (B, L, d), mask (B, L) bool or None."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm(nn.LayerNorm):
    """Layer norm over the channels of each position."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(x)


class RMSNorm(nn.RMSNorm):
    """Root-mean-square norm over the channels of each position."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model, eps=1e-5)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(x)


class BatchNorm(nn.Module):
    """Batch norm over batch and time that counts real positions only.

    As ``nn.BatchNorm1d`` otherwise: biased variance in the batch, unbiased in the running statistics.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, d_model: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))
        self.register_buffer("running_mean", torch.zeros(d_model))
        self.register_buffer("running_var", torch.ones(d_model))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.training and mask is not None:
            return self._masked(x, mask)
        rows = x.reshape(-1, x.shape[-1])
        statistics = (self.running_mean, self.running_var, self.weight, self.bias)
        return F.batch_norm(rows, *statistics, self.training, self.momentum, self.eps).view_as(x)

    def _masked(self, x: Tensor, mask: Tensor) -> Tensor:
        real = mask.unsqueeze(-1)
        count = mask.sum()
        mean = x.masked_fill(~real, 0).sum(dim=(0, 1)) / count
        centred = x - mean
        var = centred.masked_fill(~real, 0).square().sum(dim=(0, 1)) / count
        with torch.no_grad():
            unbiased = var * (count / (count - 1).clamp(min=1))
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        return centred * (var + self.eps).rsqrt() * self.weight + self.bias


NORMS: dict[str, type[nn.Module]] = {"layer": LayerNorm, "batch": BatchNorm, "rms": RMSNorm}
