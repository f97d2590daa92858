"""S4D, diagonal state spaces: Gu, Gupta, Goel and Ré, "On the Parameterization and Initialization of Diagonal State
Space Models", NeurIPS 2022, arXiv 2206.11893.
"""

import math
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lra_hgrn.errors import UserError
from lra_hgrn.models.directions import convolve, power_sums
from lra_hgrn.models.padding import zero_padding
from lra_hgrn.models.registry import register_mixer


def hippo_normal(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Diagonalise A + p pᵀ, the normal part of HiPPO-LegS, with p_k = √(k + 1/2).

    Returns:
        Of each conjugate pair the eigenvalue with positive imaginary part, (n/2,), all with real part −1/2, and its
        eigenvector, (n, n/2); complex128.
    """
    k = np.arange(n)
    root = np.sqrt(2 * k + 1)
    a = -np.tril(np.outer(root, root), -1) - np.diag(k + 1.0)
    values, vectors = np.linalg.eigh(-1j * (a + np.outer(root, root) / 2 + np.eye(n) / 2))
    return -0.5 + 1j * values[n // 2 :], vectors[:, n // 2 :]


def log_timescales(n: int, dt_min: float, dt_max: float) -> Tensor:
    """Draw log Δ, (n,), uniformly between the logarithms of two timescales."""
    if not 0 < dt_min <= dt_max:
        raise UserError(f"model.kwargs.dt_min={dt_min} must be over 0 and at most model.kwargs.dt_max={dt_max}.")
    return torch.empty(n).uniform_(math.log(dt_min), math.log(dt_max))


def expm1(z: Tensor) -> Tensor:
    """Return exp(z) − 1 of a complex tensor, without cancellation at small z."""
    real = z.real.expm1() * z.imag.cos() - 2 * (z.imag / 2).sin().square()
    return torch.complex(real, z.real.exp() * z.imag.sin())


@register_mixer("s4d", family="state space", paper="Gu et al., NeurIPS 2022, arXiv 2206.11893", compute="L log L")
class S4D(nn.Module):
    """One diagonal state space a channel, as a convolution: K_t = 2 Re Σ_n C_n (exp(ΔA_n) − 1) / A_n exp(t ΔA_n).

    A has N/2 eigenvalues for N/2 conjugate pairs and is discretised by zero-order hold with a Δ of its own for each
    channel; B is a part of C. y = K ∗ x + D x goes through GELU and a linear map, which is the only place where
    channels mix. Both ways: a second kernel with a C of its own and the same A and Δ, added into one two-sided
    convolution, as in the authors' code for Long Range Arena; its lags begin at 1.

    Args:
        d_model: width d.
        state: real size N of each channel's state.
        init: A_n, n < N/2, at the start. "lin": −1/2 + iπn; "inv": −1/2 + i (N/π) (N / (2n + 1) − 1); "legs":
            eigenvalues of the normal part of HiPPO-LegS, with B half of HiPPO's in that basis (else B = 1).
        causal: from left to right only; false: both ways.
        dt_min, dt_max: Δ starts between these, log-uniformly.
        gate: the linear map has 2d outputs and ends in a GLU, as in the authors' experiments; false: d outputs.
    """

    recurrence_parameters = ("log_dt", "log_a_real", "a_imag")

    def __init__(
        self,
        d_model: int,
        state: int = 64,
        init: Literal["lin", "inv", "legs"] = "legs",
        causal: bool = False,
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        gate: bool = True,
    ) -> None:
        super().__init__()
        if state < 2 or state % 2:
            raise UserError(f"model.kwargs.state={state} must be even and at least 2.")
        self.causal = causal
        self.gate = gate
        a_imag, b = _initial(init, state)
        self.log_dt = nn.Parameter(log_timescales(d_model, dt_min, dt_max))
        self.log_a_real = nn.Parameter(torch.full((d_model, state // 2), math.log(0.5)))
        self.a_imag = nn.Parameter(torch.as_tensor(a_imag, dtype=torch.float32).repeat(d_model, 1))
        c = torch.randn(1 if causal else 2, d_model, state // 2, 2) * math.sqrt(0.5)
        self.c = nn.Parameter(c * torch.as_tensor(b, dtype=torch.float32).unsqueeze(-1))
        self.d = nn.Parameter(torch.randn(d_model))
        self.out_proj = nn.Linear(d_model, 2 * d_model if gate else d_model)

    def kernel(self, length: int) -> Tensor:
        """Return K for ``length`` steps, (1 or 2 directions, d, length)."""
        a = torch.complex(-self.log_a_real.exp(), self.a_imag)
        rates = self.log_dt.exp().unsqueeze(-1) * a
        return power_sums(2 * torch.complex(*self.c.unbind(-1)) * expm1(rates) / a, rates, length)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mix positions: x (B, L, d); mask (B, L) bool, True on real positions; returns (B, L, d)."""
        x = zero_padding(x, mask)
        y = self.out_proj(F.gelu(convolve(x, *self.kernel(x.shape[1])) + self.d * x))
        return F.glu(y, dim=-1) if self.gate else y


def _initial(init: str, state: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the imaginary parts of A and the absolute values of B, (state / 2,) each; the phase of B is one of C."""
    n = np.arange(state // 2)
    if init == "legs":
        a, vectors = hippo_normal(state)
        return a.imag, np.abs(vectors.conj().T @ np.sqrt(2 * np.arange(state) + 1)) / 2
    a_imag = np.pi * n if init == "lin" else state / np.pi * (state / (2 * n + 1) - 1)
    return a_imag, np.ones(state // 2)
