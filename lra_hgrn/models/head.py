"""From the encoder's last layer to logits."""

import torch
from torch import Tensor, nn


def masked_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Average (B, L, d) over the real positions of each sample: (B, d)."""
    if mask is None:
        return x.mean(dim=1)
    return x.masked_fill(~mask.unsqueeze(-1), 0).sum(dim=1) / mask.sum(dim=1, keepdim=True)


class PairHead(nn.Module):
    """Two layers on [u, v, u − v, u ⊙ v] for two documents, as the S4 line of LRA code on Retrieval.

    Args:
        d_model: width d of a document's vector, and of the hidden layer.
        n_classes: number of classes C.
    """

    def __init__(self, d_model: int, n_classes: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(4 * d_model, d_model), nn.ReLU(), nn.Linear(d_model, n_classes))

    def forward(self, documents: Tensor) -> Tensor:
        """Map (2B, d), all first documents before all second ones, to logits (B, C)."""
        u, v = documents.chunk(2)
        return self.mlp(torch.cat([u, v, u - v, u * v], dim=-1))
