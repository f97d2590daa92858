"""The sequence classifier that every model and every task shares."""

import torch
from torch import Tensor, nn

from lra_hgrn.config.schema import ModelConfig
from lra_hgrn.errors import UserError
from lra_hgrn.models.block import Block
from lra_hgrn.models.embedding import Embedding
from lra_hgrn.models.head import PairHead, masked_mean
from lra_hgrn.models.lower_bound import LowerBound
from lra_hgrn.models.norm import NORMS
from lra_hgrn.models.registry import build_mixer
from lra_tasks import TaskSpec


def build_classifier(spec: TaskSpec, config: ModelConfig) -> "SequenceClassifier":
    """Build the classifier of a task; its weights depend on torch's global random state only.

    Raises:
        UserError: for an unknown token mixer, or options that cannot be.
    """
    return SequenceClassifier(spec, config)


class SequenceClassifier(nn.Module):
    """Embedding, K blocks of token and channel mixer, norm, mean over the true length, head.

    With two documents a sample both go through one encoder as one batch.

    Inputs of varying length are padded at the end, and padding changes no result. Images all have the task's length, so
    they need no mask.
    """

    def __init__(self, spec: TaskSpec, config: ModelConfig) -> None:
        super().__init__()
        d, layers = config.d_model, config.layers
        hidden = int(config.expansion * d)
        if min(d, layers, hidden) < 1:
            raise UserError("model.d_model, model.layers and model.expansion · d_model must each be at least 1.")
        self.padded = spec.variable
        self.mask_padding = config.mask_padding
        self.embedding = Embedding(d, spec.vocab_size, spec.max_length, config.positions, config.position_dropout)
        mixers = [build_mixer(config.target, d, config.kwargs) for _ in range(layers)]
        self.blocks = nn.ModuleList(Block(mixer, d, hidden, config.norm, config.dropout) for mixer in mixers)
        bounded = any(getattr(mixer, "uses_lower_bound", False) for mixer in mixers)
        self.lower_bound = LowerBound(layers, d) if bounded else None
        self.norm = NORMS[config.norm](d)
        self.head = PairHead(d, spec.n_classes) if spec.documents == 2 else nn.Linear(d, spec.n_classes)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Classify.

        Args:
            inputs: (N·B, L) int64 tokens or float values; N documents a sample, all first documents before all
                second ones.
            lengths: (N·B,) int64, true lengths.

        Returns:
            Logits (B, C).
        """
        real = padding_mask(lengths, inputs.shape[1]) if self.padded else None
        mask = real if self.mask_padding else None
        bounds = self.lower_bounds()
        x = self.embedding(inputs)
        for layer, block in enumerate(self.blocks):
            x = block(x, mask, None if bounds is None else bounds[layer])
        return self.head(masked_mean(self.norm(x, mask), real))

    def lower_bounds(self) -> Tensor | None:
        """Return the lower bounds γ^k of the forget gates, (K, d), or None if the token mixers have none."""
        return None if self.lower_bound is None else self.lower_bound()


def padding_mask(lengths: Tensor, length: int) -> Tensor:
    """Return (B, length) bool, True on real positions; an empty sample keeps one, so that no mean is 0 / 0."""
    return torch.arange(length, device=lengths.device) < lengths.clamp(min=1)[:, None]
