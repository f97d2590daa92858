"""Norms over the residual stream, each with ``forward(x, mask)``: x (B, L, d), mask (B, L) bool or None."""

from typing import Any

import torch
import torch.distributed as dist
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
    """Batch norm over batch and time that counts real positions only, over all processes that share a batch.

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
        if self.training and (mask is not None or _several()):
            return _normalised(self, x, x.new_ones(x.shape[:-1], dtype=torch.bool) if mask is None else mask)
        rows = x.reshape(-1, x.shape[-1])
        statistics = (self.running_mean, self.running_var, self.weight, self.bias)
        return F.batch_norm(rows, *statistics, self.training, self.momentum, self.eps).view_as(x)


def _normalised(norm: Any, x: Tensor, mask: Tensor) -> Tensor:
    """Normalise x (B, L, d) by what mask (B, L) keeps of it, and update the running statistics."""
    real = mask.unsqueeze(-1)
    count = _total(mask.sum())
    mean = _total(x.masked_fill(~real, 0).sum(dim=(0, 1))) / count
    centred = x - mean
    var = _total(centred.masked_fill(~real, 0).square().sum(dim=(0, 1))) / count
    with torch.no_grad():
        unbiased = var * (count / (count - 1).clamp(min=1))
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
        norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), norm.momentum)
    return centred * (var + norm.eps).rsqrt() * norm.weight + norm.bias


class _Total(torch.autograd.Function):
    """Sum over the processes; what each of them makes of it counts in everybody's gradient."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        summed = own.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].clone()
        dist.all_reduce(summed)
        return summed


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _total(own: Tensor) -> Tensor:
    return _Total.apply(own) if _several() else own


class _SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """What `synchronise_batch_norm` makes of torch's; its own synchronised one knows only GPUs."""

    def _check_input_dim(self, input: Tensor) -> None: ...

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and _several()):
            return super().forward(input)
        rows = input.flatten(2).mT if input.ndim > 2 else input[:, None]  # (B, positions, channels)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        normal = _normalised(self, rows, rows.new_ones(rows.shape[:2], dtype=torch.bool))
        return (normal.mT if input.ndim > 2 else normal).reshape(input.shape)


def synchronise_batch_norm(net: nn.Module) -> None:
    """Let torch's own batch norms of a network take their statistics over all processes that share a batch.

    Raises:
        ValueError: one has no running statistics, no weights or no fixed momentum.
    """
    for name, module in net.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if not (module.affine and module.track_running_stats) or module.momentum is None:
                raise ValueError(f"{name}: only a batch norm with weights, momentum and running statistics is shared")
            module.__class__ = _SharedBatchNorm


NORMS: dict[str, type[nn.Module]] = {"layer": LayerNorm, "batch": BatchNorm, "rms": RMSNorm}
