"""The arithmetic of a run, and full precision where half precision would spoil a result."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

_AUTOCAST = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}  # by train.precision


def full(x: Tensor) -> Tensor:
    """Return x in float32, or in float64 if it is that: for what half precision would spoil."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def without_autocast(x: Tensor) -> AbstractContextManager[None]:
    """Return a context in which products of tensors on the device of x keep their precision."""
    if x.device.type == "meta":  # which knows no autocast
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Return the context in which a network of ``train.precision`` computes."""
    dtype = _AUTOCAST[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)
