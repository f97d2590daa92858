"""The backends and the choice among them."""

import importlib.util
import os
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hgrn_kernels import cpu, reference, triton

VARIABLE = "HGRN_BACKEND"


class Backend(NamedTuple):
    """One implementation of the recurrence and of the gated norm, called as those of `reference` are."""

    recurrence: Callable[..., tuple[Tensor, Tensor]]
    gated_norm: Callable[..., Tensor]
    device: str | None  # the one type of device it runs on; None: any
    package: str | None  # what it needs besides torch
    double: bool = True  # takes float64


# In order of preference: the first that is ready and runs on the tensor's device is taken.
BACKENDS = {
    "cpu": Backend(cpu.recurrence, cpu.gated_norm, device="cpu", package="numba"),
    "triton": Backend(triton.recurrence, triton.gated_norm, triton.device_type(), package="triton", double=False),
    "reference": Backend(reference.recurrence, reference.gated_norm, device=None, package=None),
}
_MISSING = {
    name: backend.package
    for name, backend in BACKENDS.items()
    if backend.package is not None and importlib.util.find_spec(backend.package) is None
}


def available_backends() -> dict[str, str]:
    """Return each backend's name with "ready", or with the reason why it cannot be used."""
    return {name: _reason(name) or "ready" for name in BACKENDS}


def backend_for(tensor_or_device: Tensor | torch.device | str, backend: str = "auto") -> str:
    """Return the name of the backend that is used for tensors on this device.

    Args:
        tensor_or_device: a tensor, a torch.device or its name.
        backend: a name of `available_backends`, or "auto": what the environment variable HGRN_BACKEND says, and
            without it the fastest backend of the device (`triton` computes in float32 and takes no float64 tensor).

    Raises:
        ValueError: the name is unknown, or that backend cannot run here.
    """
    place = tensor_or_device.device if isinstance(tensor_or_device, Tensor) else torch.device(tensor_or_device)
    double = isinstance(tensor_or_device, Tensor) and tensor_or_device.dtype == torch.float64
    source = "backend"
    if backend == "auto" and os.environ.get(VARIABLE):
        backend, source = os.environ[VARIABLE], VARIABLE
    if backend == "auto":
        fit = (n for n, b in BACKENDS.items() if b.device in (None, place.type) and (b.double or not double))
        return next(name for name in fit if name not in _MISSING)
    if backend not in BACKENDS:
        raise ValueError(f"{source} is {backend!r}; choose one of: {', '.join(['auto', *BACKENDS])}.")
    if backend in _MISSING:
        raise ValueError(f"{source} is {backend!r}, but {_reason(backend)}.")
    if BACKENDS[backend].device not in (None, place.type):
        raise ValueError(
            f"{source} is {backend!r}, which runs on {BACKENDS[backend].device} tensors only, but these are on "
            f"{place}; move the tensors or choose 'auto' or 'reference'."
        )
    if double and not BACKENDS[backend].double:
        raise ValueError(f"{source} is {backend!r}, which computes in float32; pass float32 tensors or 'reference'.")
    return backend


def _reason(name: str) -> str | None:
    if name in _MISSING:
        return f"{_MISSING[name]} is not installed: pip install {_MISSING[name]}"
    if BACKENDS[name].device == "cuda" and not torch.cuda.is_available():
        return "no GPU is visible to torch"
    if BACKENDS[name].device == "hip":
        return "its kernels are for NVIDIA GPUs"
    return None
