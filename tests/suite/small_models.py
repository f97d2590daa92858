"""Small classifiers and inputs that several tests use."""

import functools
from dataclasses import replace

import torch

from lra_hgrn.config import ModelConfig
from lra_hgrn.config.compose import compose_model, names
from lra_hgrn.models import build_classifier
from lra_tasks import TaskSpec

TEXT = TaskSpec("text", "tokens", vocab_size=12, n_classes=3, max_length=32)
PAIRS = TaskSpec("pairs", "tokens", vocab_size=12, n_classes=2, max_length=32, documents=2)
PIXELS = TaskSpec("pixels", "values", vocab_size=0, n_classes=4, max_length=16)
LENGTHS = torch.tensor([9, 1, 5])


@functools.cache
def distinct_models():
    """Return the configurations of the project's models that differ in more than their name and recipes, by name."""
    found = {}
    for name in names("models"):
        config = compose_model(name)
        found.setdefault(repr(replace(config, name="")), (name, config))
    return dict(found.values())


def build(spec=TEXT, target="hgru", kwargs=None, seed=0, **options):
    torch.manual_seed(seed)
    config = ModelConfig(name="x", target=target, kwargs=kwargs or {}, **{"layers": 2, "d_model": 8, **options})
    return build_classifier(spec, config)


def tokens(lengths=LENGTHS, length=9, pad=0):
    torch.manual_seed(1)
    inputs = torch.randint(1, 12, (len(lengths), length))
    return inputs.masked_fill(torch.arange(length) >= lengths[:, None], pad)


def settle(net):
    """Give batch norms running statistics that are not their initial ones, and evaluate."""
    for name, buffer in net.named_buffers():
        if "running" in name:
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    return net.eval()
