"""Configuration: the options (schema) and their composition from files and the command line."""

from lra_hgrn.config.compose import Composed, Layer, compose, from_plain, identity, plain
from lra_hgrn.config.schema import Config, ModelConfig, OptimConfig, TaskConfig, TrainConfig

__all__ = [
    "Composed",
    "Config",
    "Layer",
    "ModelConfig",
    "OptimConfig",
    "TaskConfig",
    "TrainConfig",
    "compose",
    "from_plain",
    "identity",
    "plain",
]
