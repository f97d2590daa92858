"""The public scan and the choice of its backend."""

import importlib.util
import os
from collections.abc import Callable
from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor

from hgrn_kernels import cpu, reference
from hgrn_kernels._arguments import check

VARIABLE = "HGRN_BACKEND"


class Backend(NamedTuple):
    """One implementation: scan(x, gate, theta, initial_state, reverse) -> (h, final state)."""

    scan: Callable[..., tuple[Tensor, Tensor]]
    device: str | None  # the one type of device it runs on; None: any
    package: str | None  # what it needs besides torch


# In order of preference: the first that is ready and runs on the tensor's device is taken.
_BACKENDS = {
    "cpu": Backend(cpu.scan, device="cpu", package="numba"),
    "reference": Backend(reference.scan, device=None, package=None),
}
_MISSING = {
    name: backend.package
    for name, backend in _BACKENDS.items()
    if backend.package is not None and importlib.util.find_spec(backend.package) is None
}


def available_backends() -> dict[str, str]:
    """Return each backend's name with "ready", or with the reason why it cannot be used."""
    return {
        name: f"{_MISSING[name]} is not installed: pip install {_MISSING[name]}" if name in _MISSING else "ready"
        for name in _BACKENDS
    }


def backend_for(tensor_or_device: Tensor | torch.device | str, backend: str = "auto") -> str:
    """Return the name of the backend that `scan` uses for tensors on this device.

    Args:
        tensor_or_device: a tensor, a torch.device or its name.
        backend: a name of `available_backends`, or "auto": what the environment variable HGRN_BACKEND says, and
            without it the fastest backend of the device.

    Raises:
        ValueError: the name is unknown, or that backend cannot run here.
    """
    place = tensor_or_device.device if isinstance(tensor_or_device, Tensor) else torch.device(tensor_or_device)
    source = "backend"
    if backend == "auto" and os.environ.get(VARIABLE):
        backend, source = os.environ[VARIABLE], VARIABLE
    if backend == "auto":
        return next(n for n, b in _BACKENDS.items() if n not in _MISSING and b.device in (None, place.type))
    if backend not in _BACKENDS:
        raise ValueError(f"{source} is {backend!r}; choose one of: {', '.join(['auto', *_BACKENDS])}.")
    if backend in _MISSING:
        raise ValueError(f"{source} is {backend!r}, but {available_backends()[backend]}.")
    if _BACKENDS[backend].device not in (None, place.type):
        raise ValueError(
            f"{source} is {backend!r}, which runs on {_BACKENDS[backend].device} tensors only, but x is on {place}; "
            "move the tensors or choose 'auto' or 'reference'."
        )
    return backend


@overload
def scan(
    x: Tensor,
    gate: Tensor,
    *,
    theta: Tensor | None = None,
    initial_state: Tensor | None = None,
    reverse: bool = False,
    return_final_state: Literal[False] = False,
    backend: str = "auto",
) -> Tensor: ...


@overload
def scan(
    x: Tensor,
    gate: Tensor,
    *,
    theta: Tensor | None = None,
    initial_state: Tensor | None = None,
    reverse: bool = False,
    return_final_state: Literal[True],
    backend: str = "auto",
) -> tuple[Tensor, Tensor]: ...


def scan(
    x: Tensor,
    gate: Tensor,
    *,
    theta: Tensor | None = None,
    initial_state: Tensor | None = None,
    reverse: bool = False,
    return_final_state: bool = False,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Scan h_t = gate_t · e^{iθ} · h_{t-1} + x_t along the second axis (HGRN, arXiv 2311.04823, eq. 5).

    Args:
        x: (B, L, D), or complex as two planes (B, L, 2D): real parts in the first D channels, imaginary parts in the
            others. HGRN passes (1 - gate) · candidate.
        gate: (B, L, D), real. Any value is allowed; a forget gate lies in [0, 1].
        theta: (D,), radians; only with two planes. Without it two planes are two real scans that share the gate.
        initial_state: h before the first step, (B, D) or (B, 2D); zeros if None.
        reverse: run from t = L - 1 down to 0; nothing is flipped or copied.
        return_final_state: also return the last h computed (at t = L - 1, or 0 if reverse).
        backend: a name of `available_backends`, or "auto" (see `backend_for`).

    Returns:
        h, shaped and typed as x; with ``return_final_state`` also the final state, (B, D) or (B, 2D), in the dtype in
        which the state is kept: float64 if x or gate is float64, else float32 (so also for half precision and under
        autocast). With L = 0 the final state is the initial one.

    Raises:
        TypeError, ValueError: arguments that do not fit together, or a backend that cannot run; one sentence.
    """
    check(x, gate, theta, initial_state)
    name = backend_for(x, backend)
    h, final = _BACKENDS[name].scan(x, gate, theta, initial_state, reverse)
    return (h, final) if return_final_state else h
