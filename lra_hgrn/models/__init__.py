"""Models: one sequence classifier for every task, and the token mixers that it compares."""

from lra_hgrn.models import mixers as mixers  # registers the mixers of this package
from lra_hgrn.models.classifier import SequenceClassifier, build_classifier
from lra_hgrn.models.parameters import parameter_groups
from lra_hgrn.models.registry import mixer_names, register_mixer

__all__ = ["SequenceClassifier", "build_classifier", "mixer_names", "parameter_groups", "register_mixer"]
