"""What every backend asks of its arguments."""

import torch
from torch import Tensor


def state_dtype(x: Tensor, gate: Tensor) -> torch.dtype:
    """Return the dtype of the running state: never lower than float32, whatever the inputs."""
    return torch.float64 if torch.float64 in (x.dtype, gate.dtype) else torch.float32


def check(x: Tensor, gate: Tensor, theta: Tensor | None, initial_state: Tensor | None) -> None:
    """Raise TypeError or ValueError, in one sentence, unless the arguments of a scan fit together."""
    given = {"x": x, "gate": gate, "theta": theta, "initial_state": initial_state}
    for name, value in given.items():
        if value is None and name in ("theta", "initial_state"):
            continue
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, not {type(value).__name__}.")
        if value.is_complex():
            raise TypeError(
                f"{name} is complex; pass real tensors, complex numbers as two planes: torch.cat([z.real, z.imag], -1)."
            )
        if not value.is_floating_point():
            raise TypeError(f"{name} has dtype {value.dtype}; convert it to a floating point dtype.")
        if value.device != x.device:
            raise ValueError(f"{name} is on {value.device} but x is on {x.device}; move them to one device.")

    if gate.ndim != 3 or gate.shape[2] == 0:
        raise ValueError(f"gate must have shape (batch, length, channels), not {tuple(gate.shape)}.")
    batch, length, channels = gate.shape
    if x.ndim != 3 or x.shape[:2] != gate.shape[:2] or x.shape[2] not in (channels, 2 * channels):
        raise ValueError(
            f"x must have shape ({batch}, {length}, {channels}) or, as two planes, ({batch}, {length}, {2 * channels}) "
            f"to fit the gate, not {tuple(x.shape)}."
        )
    if theta is not None:
        if x.shape[2] == channels:
            raise ValueError("theta rotates complex numbers: pass x as two planes (B, L, 2D), or leave theta out.")
        if theta.shape != (channels,):
            raise ValueError(f"theta must have shape ({channels},), not {tuple(theta.shape)}.")
    if initial_state is not None and initial_state.shape != (batch, x.shape[2]):
        raise ValueError(f"initial_state must have shape ({batch}, {x.shape[2]}), not {tuple(initial_state.shape)}.")
