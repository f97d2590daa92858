"""What is checked: a token mixer by itself, or a whole classifier, built and called in one way."""

import inspect
import math

import torch
from torch import Tensor, nn

from lra_hgrn.config import ModelConfig
from lra_hgrn.errors import UserError
from lra_hgrn.models import build_classifier
from lra_hgrn.models.mixing import Interface, mix
from lra_hgrn.models.padding import padding_mask
from lra_hgrn.models.registry import build_mixer, is_classifier, mixer_card, resolve_mixer
from lra_tasks import TaskSpec

LENGTH = 81  # odd, a square, and no multiple of anybody's block of steps


class MixedSequence(nn.Module):
    """A token mixer, called as a block of the encoder calls it; its lower bounds reach from 0 to 0.9."""

    lower_bound: Tensor

    def __init__(self, mixer: nn.Module, d_model: int) -> None:
        super().__init__()
        self.mixer = mixer
        self.interface = Interface.of(mixer)
        self.register_buffer("lower_bound", torch.linspace(0, 0.9, d_model), persistent=False)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Mix x (B, L, d) with true lengths (B,), or None where nothing is padded."""
        mask = None if lengths is None else padding_mask(lengths, x.shape[1])
        return mix(self.mixer, self.interface, x, mask, self.lower_bound)


class MixerSubject:
    """A token mixer of width ``model.d_model``; its output is (B, L, d)."""

    def __init__(self, config: ModelConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.card = mixer_card(config.target)
        self.square = self._needs_image()
        self.causal = bool(getattr(self.build().mixer, "causal", False))

    def _needs_image(self) -> bool:
        if "side" not in inspect.signature(resolve_mixer(self.config.target)).parameters:
            return False
        try:
            self.build(side=0)
        except UserError:
            return True
        return False

    def build(self, length: int = LENGTH, seed: int = 0, side: int | None = None) -> MixedSequence:
        """Return a new module for inputs of at most ``length`` steps, in training mode."""
        torch.manual_seed(seed)
        facts = {"max_length": length, "side": math.isqrt(length) if side is None else side}
        mixer = build_mixer(self.config.target, self.config.d_model, self.config.kwargs, facts)
        return MixedSequence(mixer, self.config.d_model).to(self.device)

    def exempt(self) -> dict[str, str]:
        return dict(getattr(self.build().mixer, "exempt", {}))

    def inputs(self, batch: int, length: int = LENGTH, seed: int = 0) -> Tensor:
        """Return random inputs."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(batch, length, self.config.d_model, generator=generator).to(self.device)

    def outputs(self, output: Tensor, lengths: Tensor) -> Tensor:
        """Return the part of an output that counts: the real positions, one after another."""
        return output[padding_mask(lengths, output.shape[1])]


class ClassifierSubject:
    """A whole classifier of sequences of tokens; its output are logits (B, C)."""

    card = None
    square = False
    causal = False
    vocabulary, classes = 20, 5

    def __init__(self, config: ModelConfig, device: torch.device) -> None:
        self.config, self.device = config, device

    def build(self, length: int = LENGTH, seed: int = 0) -> nn.Module:
        """Return a new module for inputs of at most ``length`` steps, in training mode."""
        torch.manual_seed(seed)
        spec = TaskSpec("contract", "tokens", self.vocabulary, self.classes, length)
        return build_classifier(spec, self.config).to(self.device)

    def exempt(self) -> dict[str, str]:
        return dict(getattr(self.build(), "exempt", {}))

    def inputs(self, batch: int, length: int = LENGTH, seed: int = 0) -> Tensor:
        """Return random tokens; 0 is padding."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(1, self.vocabulary, (batch, length), generator=generator).to(self.device)

    def outputs(self, output: Tensor, lengths: Tensor) -> Tensor:
        """Return the part of an output that counts: all logits."""
        return output


Subject = MixerSubject | ClassifierSubject


def subject_of(config: ModelConfig, device: torch.device) -> Subject:
    """Return what ``model.target`` names.

    Raises:
        UserError: it cannot be built.
    """
    classifier = is_classifier(resolve_mixer(config.target))
    return ClassifierSubject(config, device) if classifier else MixerSubject(config, device)
