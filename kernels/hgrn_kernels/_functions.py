"""The public functions: they check their arguments, choose a backend and call it."""

from typing import Literal, overload

import torch
from torch import Tensor

from hgrn_kernels import _arguments as arguments
from hgrn_kernels._backends import BACKENDS, Backend, backend_for


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
            others. HGRN passes (1 - gate) · candidate; `hgru` fuses that.
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
    arguments.check_scan(x, gate, theta, initial_state)
    run = _backend(backend, x, gate).recurrence
    thetas = None if theta is None else theta.unsqueeze(0)
    h, final = run(x, gate, None, thetas, initial_state, None, None, False, reverse, return_final_state)
    return (h, final) if return_final_state else h


@overload
def hgru(
    candidate: Tensor,
    forget: Tensor,
    lower_bound: Tensor | None = None,
    theta: Tensor | None = None,
    *,
    bidirectional: bool,
    activation: Literal["silu", "identity"] = "silu",
    lengths: Tensor | None = None,
    initial_state: Tensor | None = None,
    return_final_state: Literal[False] = False,
    backend: str = "auto",
) -> Tensor: ...


@overload
def hgru(
    candidate: Tensor,
    forget: Tensor,
    lower_bound: Tensor | None = None,
    theta: Tensor | None = None,
    *,
    bidirectional: bool,
    activation: Literal["silu", "identity"] = "silu",
    lengths: Tensor | None = None,
    initial_state: Tensor | None = None,
    return_final_state: Literal[True],
    backend: str = "auto",
) -> tuple[Tensor, Tensor]: ...


def hgru(
    candidate: Tensor,
    forget: Tensor,
    lower_bound: Tensor | None = None,
    theta: Tensor | None = None,
    *,
    bidirectional: bool,
    activation: Literal["silu", "identity"] = "silu",
    lengths: Tensor | None = None,
    initial_state: Tensor | None = None,
    return_final_state: bool = False,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Run the recurrence of HGRN's token mixer, activations and gates included (arXiv 2311.04823, eqs. 1-5).

    With c = activation(candidate) and λ = γ + (1 − γ) · sigmoid(forget), where γ is the lower bound,

        h_t = λ_t · e^{iθ} · h_{t-1} + (1 − λ_t) · c_t

    from left to right; ``bidirectional`` adds the same recurrence from right to left. 1 − λ is computed as
    (1 − γ) · sigmoid(−forget), without cancellation. The state is float32 (float64 for float64 inputs) whatever the
    dtype of the inputs.

    Args:
        candidate: (B, L, D), or complex as two planes (B, L, 2D), real parts first; before the activation.
        forget: (B, L, D), logits of the forget gate.
        lower_bound: γ, (D,), in [0, 1); None: 0.
        theta: radians, (D,), or (2, D): one row for each direction. Only with two planes; None: no rotation.
        bidirectional: both directions, their states added; else from left to right only.
        activation: "silu" (of the real and of the imaginary part), or "identity" for a candidate that has had its own.
        lengths: (B,) integers in 0…L, the number of real positions of each sample; the padding after them is neither
            read nor counted, h is 0 there and so are the gradients. None: no padding.
        initial_state: h before the first step, (B, D) or (B, 2D); not with ``bidirectional``.
        return_final_state: also return h after each sample's last real step; not with ``bidirectional``.
        backend: a name of `available_backends`, or "auto" (see `backend_for`).

    Returns:
        h, shaped and typed as ``candidate``; with ``return_final_state`` also the final state, as `scan` does.

    Raises:
        TypeError, ValueError: arguments that do not fit together, or a backend that cannot run; one sentence.
    """
    arguments.check_hgru(
        candidate, forget, lower_bound, theta, bidirectional, activation, lengths, initial_state, return_final_state
    )
    run = _backend(backend, candidate, forget).recurrence
    thetas = _rows(theta, 2 if bidirectional else 1)
    h, final = run(
        candidate, forget, lower_bound, thetas, initial_state, lengths, activation, bidirectional, False,
        return_final_state,
    )  # fmt: skip
    return (h, final) if return_final_state else h


def hgru2d(
    candidate: Tensor,
    forget: Tensor,
    lower_bound: Tensor | None = None,
    theta: Tensor | None = None,
    *,
    activation: Literal["silu", "identity"] = "silu",
    backend: str = "auto",
) -> Tensor:
    """Run `hgru` over the rows and over the columns of images, both ways each, and add the four hidden states.

    This is the authors' variant for images (``BiHgru2d`` of Doraemonzzz/hgru-pytorch). Nothing is transposed in memory.

    Args:
        candidate: (B, H, W, D), or complex as two planes (B, H, W, 2D), real parts first; before the activation.
        forget: (B, H, W, D), logits of the forget gate.
        lower_bound: γ, (D,), in [0, 1); None: 0.
        theta: radians; (D,), or (2, D): onwards and back, for rows and columns alike as the authors have it, or (4, D):
            along rows to the right and to the left, along columns down and up. Only with two planes; None: no rotation.
        activation: as in `hgru`.
        backend: a name of `available_backends`, or "auto" (see `backend_for`).

    Returns:
        h, shaped and typed as ``candidate``.

    Raises:
        TypeError, ValueError: arguments that do not fit together, or a backend that cannot run; one sentence.
    """
    arguments.check_hgru2d(candidate, forget, lower_bound, theta, activation)
    run = _backend(backend, candidate, forget).recurrence
    if theta is not None and len(theta) == 2 and theta.ndim == 2:
        theta = theta.repeat(2, 1)
    return run(candidate, forget, lower_bound, _rows(theta, 4), None, None, activation, True, False, False)[0]


def gated_norm(
    h: Tensor,
    gate: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    eps: float = 1e-5,
    gate_first: bool = False,
    backend: str = "auto",
) -> Tensor:
    """Normalise the hidden states over their channels and multiply by the output gate, in one pass over memory.

        y = LayerNorm(h) ⊙ SiLU(gate), or with ``gate_first`` y = LayerNorm(SiLU(gate) ⊙ h)

    The first is what the authors released, the second what their paper writes (arXiv 2311.04823, eq. 7).

    Args:
        h: (..., D), hidden states.
        gate: (..., D), logits of the output gate.
        weight, bias: (D,), of the LayerNorm.
        eps: added to the variance.
        gate_first: multiply before the norm.
        backend: a name of `available_backends`, or "auto" (see `backend_for`).

    Returns:
        y, shaped and typed as h; statistics and products are computed in float32 (float64 for float64 inputs).

    Raises:
        TypeError, ValueError: arguments that do not fit together, or a backend that cannot run; one sentence.
    """
    arguments.check_gated_norm(h, gate, weight, bias)
    return _backend(backend, h, gate).gated_norm(h, gate, weight, bias, eps, gate_first)


def _backend(name: str, first: Tensor, second: Tensor) -> Backend:
    """Return the backend for tensors of which the wider one decides about the precision."""
    return BACKENDS[backend_for(second if second.dtype == torch.float64 else first, name)]


def _rows(theta: Tensor | None, directions: int) -> Tensor | None:
    """Return θ with one row for each direction, (directions, D)."""
    if theta is None:
        return None
    return theta.expand(directions, theta.shape[-1])
