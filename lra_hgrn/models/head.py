"""From the encoder's last layer to logits."""

import torch
from torch import Tensor, nn

from lra_hgrn.models.padding import zero_padding


def masked_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Average (B, L, d) over the real positions of each sample: (B, d)."""
    if mask is None:
        return x.mean(dim=1)
    return zero_padding(x, mask).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def single_head(d_model: int, hidden: int, n_classes: int) -> nn.Module:
    """Return the head of one document, (B, d) to (B, C): linear, or with a hidden layer as LRA's original code has."""
    if not hidden:
        return nn.Linear(d_model, n_classes)
    return nn.Sequential(nn.Linear(d_model, hidden), nn.ReLU(), nn.Linear(hidden, n_classes))


class PairHead(nn.Module):
    """Two layers on [u, v, u − v, u ⊙ v] for two documents, as the S4 line of LRA code on Retrieval.

    Args:
        d_model: width d of a document's vector.
        hidden: hidden units; 0: d.
        n_classes: number of classes C.
    """

    def __init__(self, d_model: int, hidden: int, n_classes: int) -> None:
        super().__init__()
        hidden = hidden or d_model
        self.mlp = nn.Sequential(nn.Linear(4 * d_model, hidden), nn.ReLU(), nn.Linear(hidden, n_classes))

    def forward(self, documents: Tensor) -> Tensor:
        """Map (2B, d), all first documents before all second ones, to logits (B, C)."""
        u, v = documents.chunk(2)
        return self.mlp(torch.cat([u, v, u - v, u * v], dim=-1))
