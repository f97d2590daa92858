"""Maps from left to right run both ways over padded samples: long convolutions, diagonal recurrences, reversal.

Padding stands at the end of a sample; a map that reads zeros there begins its way back anew at each sample's end.
"""

import torch
from torch import Tensor

from hgrn_kernels import scan
from lra_hgrn.models.precision import full, without_autocast

_BLOCK = 128  # steps between two powers that `power_sums` computes for every block


def reverse_within(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return x (B, L, d) with the real positions of each sample in reverse order, padding left where it is."""
    if mask is None:
        return x.flip(1)
    position = torch.arange(x.shape[1], device=x.device)
    mirrored = (mask.sum(dim=1, keepdim=True) - 1 - position).where(mask, position)
    return x.gather(1, mirrored.unsqueeze(-1).expand_as(x))


def power_sums(weights: Tensor, rates: Tensor, length: int) -> Tensor:
    """Return K_t = Re Σ_n w_n exp(r_n t) for t = 0, …, L − 1: the product of a vector with a Vandermonde matrix.

    With t = 128 a + b it is a product of two small matrices, (L / 128, N) and (N, 128), and no (N, L) is ever made.

    Args:
        weights, rates: w and r, (..., N), both real or both complex.
        length: L.

    Returns:
        (..., L), real.
    """
    with without_autocast(weights):
        steps = torch.arange(_BLOCK, device=rates.device)
        starts = _BLOCK * torch.arange(-(-length // _BLOCK), device=rates.device)
        left = weights.unsqueeze(-2) * (rates.unsqueeze(-2) * starts.unsqueeze(-1)).exp()
        right = (rates.unsqueeze(-1) * steps).exp()
        if rates.is_complex():
            left = torch.cat([left.real, -left.imag], dim=-1)
            right = torch.cat([right.real, right.imag], dim=-2)
        return (left @ right).flatten(-2)[..., :length]


def convolve(x: Tensor, kernel: Tensor, back: Tensor | None = None) -> Tensor:
    """Return y_t = Σ_{s ≤ t} K_{t−s} x_s, and with a kernel for the way back + Σ_{s > t} K'_{s−t−1} x_s; by FFT.

    Args:
        x: (B, L, d), zeros at padding.
        kernel: K, (d, L).
        back: K', (d, L), of which the last value meets no input; None: from left to right only.

    Returns:
        (B, L, d), in float32, or float64 for float64 inputs.
    """
    length = x.shape[1]
    if back is not None:  # negative lags stand at the end of the period
        kernel = torch.cat([kernel, back.flip(-1)], dim=-1)
    spectrum = torch.fft.rfft(full(x).transpose(1, 2), n=2 * length) * torch.fft.rfft(kernel, n=2 * length)
    return torch.fft.irfft(spectrum, n=2 * length)[..., :length].transpose(1, 2)


def diagonal_states(u: Tensor, decay: Tensor, angle: Tensor, both: bool) -> Tensor:
    """Return the states of h_t = λ ⊙ h_{t−1} + u_t with λ = decay · exp(i angle), one complex number a channel.

    Args:
        u: (B, L, 2N), real parts first; zeros at padding.
        decay, angle: |λ| and arg λ, (N,).
        both: also run from right to left.

    Returns:
        (B, L, 2N), or (B, L, 4N) with the states of the way back behind the others.
    """
    gate = decay.expand(*u.shape[:2], -1)
    h = scan(u, gate, theta=angle)
    return torch.cat([h, scan(u, gate, theta=angle, reverse=True)], dim=-1) if both else h


def real_part_of(c: Tensor) -> Tensor:
    """Return the real matrix (d, 2ND) that maps states, as `diagonal_states` has them, to Re(C h), D directions added.

    Args:
        c: (d, D, 2, N), real and imaginary parts of C for each direction.
    """
    return torch.stack([c[:, :, 0], -c[:, :, 1]], dim=2).flatten(1)
