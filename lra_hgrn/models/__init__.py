"""Models: one sequence classifier for every task, and the token mixers that it compares.

`lra_hgrn.models.registry` says what a token mixer is; `build_classifier` makes a model of a task's
`lra_tasks.TaskSpec` and a `lra_hgrn.config.ModelConfig`.
"""

from lra_hgrn.models import mixers as mixers  # registers the mixers of this package
from lra_hgrn.models.classifier import SequenceClassifier, build_classifier
from lra_hgrn.models.parameters import parameter_groups
from lra_hgrn.models.registry import MixerCard, build_mixer, mixer_card, mixer_names, register_mixer

__all__ = [
    "MixerCard",
    "SequenceClassifier",
    "build_classifier",
    "build_mixer",
    "mixer_card",
    "mixer_names",
    "parameter_groups",
    "register_mixer",
]
