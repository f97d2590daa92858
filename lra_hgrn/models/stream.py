"""Streaming: classify what has come so far, one position at a time, in memory that does not grow."""

import torch
from torch import Tensor, nn

from lra_hgrn.errors import UserError
from lra_hgrn.models.block import Block
from lra_hgrn.models.classifier import SequenceClassifier
from lra_hgrn.models.embedding import Embedding
from lra_hgrn.models.head import PairHead


class Stream:
    """A causal classifier that is fed position by position.

    After t steps the logits are those of the classifier on the first t positions, to rounding. Kept are one state a
    layer and the running sum of the pooled vectors.

    A token mixer takes part if its attribute ``causal`` is true and it has ``step(x, state)``, or
    ``step(x, state, lower_bound)`` where ``uses_lower_bound`` is true: x is (B, d), state None at the first position
    and else what the last call returned; it returns the output (B, d) and the new state.

    Args:
        model: a classifier of one document with mean pooling, in evaluation mode.

    Raises:
        UserError: the model cannot be streamed; says why.
    """

    def __init__(self, model: SequenceClassifier) -> None:
        _check(model)
        self.model = model
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next step is the first one."""
        self.steps = 0
        self._states: list[object] = [None] * len(self.model.blocks)
        self._sum: Tensor | None = None

    @torch.no_grad()
    def step(self, inputs: Tensor) -> Tensor:
        """Take the next position of each sample and classify what has come so far.

        Args:
            inputs: (B,) int64 tokens or float values, or (B, C) where a step has C values; B is that of the first step.

        Returns:
            Logits (B, C).
        """
        if self.model.training:
            raise UserError("Streaming needs a model in evaluation mode: call model.eval() first.")
        if self._sum is not None and len(inputs) != len(self._sum):
            raise UserError(f"The stream began with {len(self._sum)} samples, and this step has {len(inputs)}.")
        x = _embed(self.model.embedding, inputs, self.steps)
        bounds = self.model.lower_bounds()
        for layer, block in enumerate(self.model.blocks):
            bound = None if bounds is None else bounds[layer]
            x, self._states[layer] = _step_block(block, x, self._states[layer], bound)
        x = self.model.norm(x)
        self._sum = x if self._sum is None else self._sum + x
        self.steps += 1
        return self.model.head(self._sum / self.steps)


def _check(model: SequenceClassifier) -> None:
    if model.cls:
        raise UserError("Streaming needs model.pooling=mean.")
    if isinstance(model.head, PairHead):
        raise UserError("Streaming takes one document a sample, and this task has two.")
    for block in model.blocks:
        mixer = block.token_mixer
        if not getattr(mixer, "causal", False):
            raise UserError(
                f"Streaming needs a causal model, and {type(mixer).__name__} also looks ahead as it is set."
            )
        if not hasattr(mixer, "step"):
            raise UserError(f"Streaming needs a token mixer with a method step, and {type(mixer).__name__} has none.")


def _embed(embedding: Embedding, inputs: Tensor, t: int) -> Tensor:
    """Embed the inputs of position t as (B, d), as ``embedding`` does those of whole sequences."""
    if embedding.table is not None and t >= embedding.max_length:
        raise UserError(f"The stream is longer than the {embedding.max_length} positions of the task.")
    x = embedding.embed_steps(inputs)
    return x if embedding.table is None else x + embedding.table[t]


def _step_block(block: nn.Module, x: Tensor, state: object, bound: Tensor | None) -> tuple[Tensor, object]:
    """Do what ``Block.forward`` does, for one position (B, d) in evaluation mode."""
    assert isinstance(block, Block)
    options = {"lower_bound": bound} if block.interface.lower_bound else {}
    step = getattr(block.token_mixer, "step")  # noqa: B009 - nn.Module does not declare it
    mixed, state = step(block.token_norm(x), state, **options)
    return block.mix_channels(x + mixed, None), state
