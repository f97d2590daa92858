"""What the public functions ask of their arguments: each check raises TypeError or ValueError, in one sentence."""

import torch
from torch import Tensor

ACTIVATIONS = ("silu", "identity")
_INTEGERS = (torch.int32, torch.int64)


def state_dtype(x: Tensor, gate: Tensor) -> torch.dtype:
    """Return the dtype of the running state: never lower than float32, whatever the inputs."""
    return torch.float64 if torch.float64 in (x.dtype, gate.dtype) else torch.float32


def check_scan(x: Tensor, gate: Tensor, theta: Tensor | None, initial_state: Tensor | None) -> None:
    """Refuse arguments of `scan` that do not fit together."""
    _check_tensors({"x": x, "gate": gate, "theta": theta, "initial_state": initial_state}, required=2)
    _check_planes("x", x, "gate", gate, ("batch", "length"))
    _check_theta(x, gate, theta, "x", rows=())
    _check_initial_state(x, initial_state)


def check_hgru(
    candidate: Tensor,
    forget: Tensor,
    lower_bound: Tensor | None,
    theta: Tensor | None,
    bidirectional: bool,
    activation: str,
    lengths: Tensor | None,
    initial_state: Tensor | None,
    return_final_state: bool,
) -> None:
    """Refuse arguments of `hgru` that do not fit together."""
    given = {"candidate": candidate, "forget": forget, "lower_bound": lower_bound, "theta": theta}
    _check_tensors({**given, "initial_state": initial_state}, required=2)
    _check_activation(activation)
    _check_planes("candidate", candidate, "forget", forget, ("batch", "length"))
    _check_lower_bound(forget, lower_bound)
    _check_theta(candidate, forget, theta, "candidate", rows=(2,) if bidirectional else ())
    if bidirectional and (initial_state is not None or return_final_state):
        raise ValueError(
            "a bidirectional recurrence sees the whole sequence and has no state to carry over: leave out "
            "initial_state and return_final_state, or pass bidirectional=False."
        )
    _check_initial_state(candidate, initial_state)
    if lengths is not None:
        if not isinstance(lengths, Tensor) or lengths.dtype not in _INTEGERS:
            raise TypeError("lengths must be a torch.Tensor of int64 or int32, one number of positions a sample.")
        if lengths.shape != candidate.shape[:1]:
            raise ValueError(f"lengths must have shape ({candidate.shape[0]},), not {tuple(lengths.shape)}.")
        if lengths.device != candidate.device:
            raise ValueError(
                f"lengths is on {lengths.device} but candidate is on {candidate.device}; move them to one device."
            )


def check_hgru2d(
    candidate: Tensor, forget: Tensor, lower_bound: Tensor | None, theta: Tensor | None, activation: str
) -> None:
    """Refuse arguments of `hgru2d` that do not fit together."""
    given = {"candidate": candidate, "forget": forget, "lower_bound": lower_bound, "theta": theta}
    _check_tensors(given, required=2)
    _check_activation(activation)
    _check_planes("candidate", candidate, "forget", forget, ("batch", "height", "width"))
    _check_lower_bound(forget, lower_bound)
    _check_theta(candidate, forget, theta, "candidate", rows=(2, 4))


def check_gated_norm(h: Tensor, gate: Tensor, weight: Tensor, bias: Tensor) -> None:
    """Refuse arguments of `gated_norm` that do not fit together."""
    _check_tensors({"h": h, "gate": gate, "weight": weight, "bias": bias}, required=4)
    if h.ndim == 0 or h.shape[-1] == 0:
        raise ValueError(f"h must have shape (..., channels), not {tuple(h.shape)}.")
    if gate.shape != h.shape:
        raise ValueError(f"gate must have the shape of h, {tuple(h.shape)}, not {tuple(gate.shape)}.")
    for name, value in (("weight", weight), ("bias", bias)):
        if value.shape != h.shape[-1:]:
            raise ValueError(f"{name} must have shape ({h.shape[-1]},), not {tuple(value.shape)}.")


def _check_tensors(given: dict[str, Tensor | None], required: int) -> None:
    """The first names must be there; each one given is a real floating point tensor on the device of the first."""
    first = next(iter(given))
    for i, (name, value) in enumerate(given.items()):
        if value is None and i >= required:
            continue
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, not {type(value).__name__}.")
        if value.is_complex():
            raise TypeError(
                f"{name} is complex; pass real tensors, complex numbers as two planes: torch.cat([z.real, z.imag], -1)."
            )
        if not value.is_floating_point():
            raise TypeError(f"{name} has dtype {value.dtype}; convert it to a floating point dtype.")
        place = given[first]
        if place is not None and value.device != place.device:
            raise ValueError(f"{name} is on {value.device} but {first} is on {place.device}; move them to one device.")


def _check_planes(x_name: str, x: Tensor, gate_name: str, gate: Tensor, axes: tuple[str, ...]) -> None:
    if gate.ndim != len(axes) + 1 or gate.shape[-1] == 0:
        raise ValueError(f"{gate_name} must have shape ({', '.join(axes)}, channels), not {tuple(gate.shape)}.")
    channels = gate.shape[-1]
    if x.ndim != gate.ndim or x.shape[:-1] != gate.shape[:-1] or x.shape[-1] not in (channels, 2 * channels):
        raise ValueError(
            f"{x_name} must have shape {tuple(gate.shape)} or, as two planes, {(*gate.shape[:-1], 2 * channels)} "
            f"to fit {gate_name}, not {tuple(x.shape)}."
        )


def _check_activation(activation: str) -> None:
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}; choose one of: {', '.join(ACTIVATIONS)}.")


def _check_lower_bound(forget: Tensor, lower_bound: Tensor | None) -> None:
    if lower_bound is not None and lower_bound.shape != forget.shape[-1:]:
        raise ValueError(f"lower_bound must have shape ({forget.shape[-1]},), not {tuple(lower_bound.shape)}.")


def _check_theta(x: Tensor, gate: Tensor, theta: Tensor | None, x_name: str, rows: tuple[int, ...]) -> None:
    """θ is (D,), or has one of these numbers of rows of D."""
    if theta is None:
        return
    channels = gate.shape[-1]
    if x.shape[-1] == channels:
        raise ValueError(
            f"theta rotates complex numbers: pass {x_name} as two planes, 2 · {channels} channels, or leave theta out."
        )
    shapes = [(channels,), *((row, channels) for row in rows)]
    if theta.shape not in shapes:
        raise ValueError(f"theta must have shape {' or '.join(map(str, shapes))}, not {tuple(theta.shape)}.")


def _check_initial_state(x: Tensor, initial_state: Tensor | None) -> None:
    if initial_state is not None and initial_state.shape != (x.shape[0], x.shape[-1]):
        raise ValueError(
            f"initial_state must have shape ({x.shape[0]}, {x.shape[-1]}), not {tuple(initial_state.shape)}."
        )
