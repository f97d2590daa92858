"""The sequence classifier that every model and every task shares."""

import dataclasses
import inspect

from torch import Tensor, nn

from lra_hgrn.config.schema import ModelConfig
from lra_hgrn.errors import UserError
from lra_hgrn.models.block import Block
from lra_hgrn.models.embedding import Embedding
from lra_hgrn.models.head import PairHead, masked_mean, single_head
from lra_hgrn.models.lower_bound import LowerBound
from lra_hgrn.models.norm import NORMS
from lra_hgrn.models.padding import padding_mask
from lra_hgrn.models.registry import build_mixer, construct, is_classifier, resolve_mixer
from lra_tasks import TaskSpec


def build_classifier(spec: TaskSpec, config: ModelConfig) -> nn.Module:
    """Build the classifier of a task; its weights depend on torch's global random state only.

    ``model.target`` names a token mixer, which goes into a `SequenceClassifier`, or a whole classifier: a class whose
    constructor begins with ``spec`` and whose ``forward(inputs, lengths)`` is that of `SequenceClassifier`. The latter
    is given ``model.kwargs``, and those options of ``model`` that its constructor names (``d_model``, ``layers``, ...).

    Raises:
        UserError: for an unknown token mixer, or options that cannot be.
    """
    cls = resolve_mixer(config.target)
    if not is_classifier(cls):
        return SequenceClassifier(spec, config)
    named = inspect.signature(cls).parameters
    offered = {key: value for key, value in dataclasses.asdict(config).items() if key in named}
    return construct(config.target, cls, spec, {**offered, **config.kwargs}, f"the task {spec.name} and ")


class SequenceClassifier(nn.Module):
    """Embedding, K blocks of token and channel mixer, norm, pooling, head.

    Pooling is the mean over the true length, or the first position where ``pooling`` is "cls". With two documents a
    sample both go through one encoder as one batch.

    Inputs of varying length are padded at the end, and padding changes no result. Images all have the task's length, so
    they need no mask.
    """

    def __init__(self, spec: TaskSpec, config: ModelConfig) -> None:
        super().__init__()
        d, layers = config.d_model, config.layers
        hidden = int(config.expansion * d)
        if min(d, layers, hidden) < 1:
            raise UserError("model.d_model, model.layers and model.expansion · d_model must each be at least 1.")
        self.cls = config.pooling == "cls"
        self.padded = spec.variable
        self.mask_padding = config.mask_padding
        self.embedding = Embedding(
            d, spec.vocab_size, spec.max_length, config.positions, config.position_dropout, self.cls, spec.channels
        )
        facts = {"max_length": spec.max_length + self.cls, "side": 0 if self.cls else spec.side}
        mixers = [build_mixer(config.target, d, config.kwargs, facts) for _ in range(layers)]
        self.blocks = nn.ModuleList(
            Block(mixer, d, config.channel_mixer, hidden, config.norm, config.dropout) for mixer in mixers
        )
        bounded = any(getattr(mixer, "uses_lower_bound", False) for mixer in mixers)
        self.lower_bound = LowerBound(layers, d) if bounded else None
        self.norm = NORMS[config.norm](d)
        head = PairHead if spec.documents == 2 else single_head
        self.head = head(d, config.head_hidden, spec.n_classes)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Classify.

        Args:
            inputs: (N·B, L) int64 tokens or float values, or (N·B, L, C) where a step has C values; N documents a
                sample, all first documents before all second ones.
            lengths: (N·B,) int64, true lengths.

        Returns:
            Logits (B, C).
        """
        extra = int(self.cls)
        real = padding_mask(lengths + extra, inputs.shape[1] + extra) if self.padded else None
        mask = real if self.mask_padding else None
        bounds = self.lower_bounds()
        x = self.embedding(inputs)
        for layer, block in enumerate(self.blocks):
            x = block(x, mask, None if bounds is None else bounds[layer])
        x = self.norm(x, mask)
        return self.head(x[:, 0] if self.cls else masked_mean(x, real))

    def lower_bounds(self) -> Tensor | None:
        """Return the lower bounds γ^k of the forget gates, (K, d), or None if the token mixers have none."""
        return None if self.lower_bound is None else self.lower_bound()

    @property
    def departures(self) -> list[str]:
        """What takes a run out of the strict track, in sentences."""
        mixers = [sentence for block in self.blocks for sentence in getattr(block.token_mixer, "departures", ())]
        padding = [] if self.mask_padding else ["Padding is scanned and counted."]
        return list(dict.fromkeys([*mixers, *padding]))
