"""Nyströmformer: Xiong et al., "Nyströmformer: A Nyström-Based Algorithm for Approximating Self-Attention", AAAI 2021,
arXiv 2102.03902.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lra_hgrn.errors import UserError
from lra_hgrn.models.arguments import check_at_least
from lra_hgrn.models.heads import MultiHead, true_lengths
from lra_hgrn.models.padding import zero_padding
from lra_hgrn.models.precision import full, without_autocast
from lra_hgrn.models.registry import register_mixer


@register_mixer("nystromformer", family="Transformer", paper="Xiong et al., AAAI 2021, arXiv 2102.03902")
class Nystromformer(MultiHead):
    """Softmax attention through m landmarks: softmax(Q K̃ᵀ) A⁺ softmax(Q̃ Kᵀ) V with A = softmax(Q̃ K̃ᵀ), every product
    of queries and keys over √(d/H) (equation 13), beside a depthwise convolution of the values.

    Landmarks are means of segments (equation 10): position t of a sample of length ℓ without its padding is in segment
    floor(t m / ℓ). A sample shorter than m has fewer landmarks, one for each position.

    Args:
        d_model: width d.
        heads: number of heads H; d is a multiple of it.
        landmarks: number m of landmarks.
        kernel: width of the convolution, odd, with one filter for each head; 0: no convolution.
        iterations: steps of `pseudo_inverse`.
    """

    def __init__(
        self, d_model: int, heads: int = 4, landmarks: int = 64, kernel: int = 33, iterations: int = 6
    ) -> None:
        super().__init__(d_model, heads)
        check_at_least(1, landmarks=landmarks, iterations=iterations)
        if kernel < 0 or (kernel and not kernel % 2):
            raise UserError(f"model.kwargs.kernel={kernel} must be odd, or 0 for no convolution.")
        self.landmarks = landmarks
        self.iterations = iterations
        self.conv = (
            nn.Conv2d(heads, heads, (kernel, 1), padding=(kernel // 2, 0), groups=heads, bias=False) if kernel else None
        )

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Nyström attention of each head: q, k, v (B, H, L, d/H), mask (B, L) or None; returns (B, H, L, d/H)."""
        segments = self._segments(q, mask)
        used = segments.any(dim=-1)[:, None, None, :]  # (B, 1, 1, m)
        with without_autocast(q):  # the inverse needs more than half precision
            means = segments.to(full(q).dtype) / segments.sum(dim=-1, keepdim=True).clamp(min=1)
            q_means, k_means = (means.unsqueeze(1) @ full(x) for x in (q, k))  # (B, H, m, n)
            scores = q_means @ k_means.mT * self.width**-0.5
            # Unused landmarks are zero rows and columns, in A as in its pseudo-inverse.
            a = scores.masked_fill(~used, -torch.inf).softmax(dim=-1).masked_fill(~used.mT, 0)
            inverse = pseudo_inverse(a, self.iterations)
        keys = None if mask is None else mask[:, None, None, :]
        values = F.scaled_dot_product_attention(q_means.to(v.dtype), k, v, attn_mask=keys)
        values = (inverse @ values.to(inverse.dtype)).to(v.dtype)
        o = F.scaled_dot_product_attention(q, k_means.to(v.dtype), values, attn_mask=used)
        return o if self.conv is None else o + self.conv(zero_padding(v, mask))

    def _segments(self, q: Tensor, mask: Tensor | None) -> Tensor:
        """Return which positions are in which segment, (B, m, L) bool: q (B, H, L, n), mask (B, L) bool or None."""
        positions = torch.arange(q.shape[2], device=q.device)
        lengths = true_lengths(q, mask)[:, None]
        segment = positions * self.landmarks // lengths  # padding is in none: it gets m or more
        return segment.unsqueeze(1) == torch.arange(self.landmarks, device=q.device)[:, None]


def pseudo_inverse(a: Tensor, iterations: int) -> Tensor:
    """Approximate the Moore-Penrose inverse of matrices a (..., m, m) that have no negative entries (equation 11).

    The first guess is aᵀ/(‖a‖₁ ‖a‖∞) for each matrix by itself. (The authors' code divides by the largest norms of the
    batch, which makes a sample depend on the others.)
    """
    norms = a.sum(dim=-2).amax(dim=-1) * a.sum(dim=-1).amax(dim=-1)
    z = a.mT / norms[..., None, None]
    eye = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    for _ in range(iterations):
        az = a @ z
        z = z @ (13 * eye - az @ (15 * eye - az @ (7 * eye - az))) / 4
    return z
