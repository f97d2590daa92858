"""Streaming: logits after each step against the classifier on the prefix."""

import pytest
import torch
from torch import nn

from lra_hgrn.config import ModelConfig
from lra_hgrn.errors import UserError
from lra_hgrn.models import build_classifier
from lra_hgrn.models.norm import BatchNorm
from lra_hgrn.models.stream import Stream
from lra_tasks import TaskSpec

TEXT = TaskSpec("text", "tokens", vocab_size=11, n_classes=3, max_length=40)
CAUSAL = {"causal": True}


def classifier(spec=TEXT, target="hgru", kwargs=CAUSAL, **options):
    torch.manual_seed(0)
    config = ModelConfig(name="x", target=target, kwargs=kwargs, layers=3, d_model=8, **options)
    net = build_classifier(spec, config)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        for module in net.modules():
            if isinstance(module, BatchNorm):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    return net.double().eval()


@pytest.mark.parametrize(
    "options",
    [
        {"norm": "layer", "positions": "sinusoidal"},
        {"norm": "batch", "positions": "learned", "dropout": 0.5, "position_dropout": 0.5},
        {"norm": "rms", "positions": "none", "channel_mixer": "mlp", "head_hidden": 5},
        {"target": "hgrn2", "norm": "batch", "positions": "sinusoidal"},
        {"kwargs": {"causal": True, "lower_bound": False, "complex": False}},
    ],
    ids=str,
)
def test_logits_are_those_of_the_classifier_on_each_prefix(options):
    net = classifier(**options)
    inputs = torch.randint(1, 11, (4, 40))
    stream = Stream(net)
    for _ in range(2):
        for t in range(40):
            logits = stream.step(inputs[:, t])
            want = net(inputs[:, : t + 1], torch.full((4,), t + 1))
            torch.testing.assert_close(logits, want, rtol=1e-10, atol=1e-10)
        assert not logits.requires_grad
        stream.reset()


def test_values_are_streamed():
    spec = TaskSpec("image", "values", vocab_size=0, n_classes=2, max_length=16, side=4, variable=False)
    net = classifier(spec)
    inputs = torch.rand(2, 16).double()
    stream = Stream(net)
    for t in range(16):
        logits = stream.step(inputs[:, t])
    torch.testing.assert_close(logits, net(inputs, torch.full((2,), 16)), rtol=1e-10, atol=1e-10)


class Ahead(nn.Linear):
    """A causal mixer without steps."""

    causal = True

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model, d_model)


def test_what_cannot_be_streamed_is_named(monkeypatch):
    for options, words in [
        ({"kwargs": {}}, "HGRU also looks ahead"),
        ({"target": "hgrn2", "kwargs": {}}, "HGRN2 also looks ahead"),
        ({"pooling": "cls"}, r"model\.pooling=mean"),
        ({"spec": TaskSpec("pairs", "tokens", vocab_size=11, n_classes=2, max_length=40, documents=2)}, "one document"),
    ]:
        with pytest.raises(UserError, match=words):
            Stream(classifier(**options))
    monkeypatch.setattr("lra_hgrn.models.classifier.resolve_mixer", lambda _: Ahead)
    monkeypatch.setattr("lra_hgrn.models.registry.resolve_mixer", lambda _: Ahead)
    with pytest.raises(UserError, match="method step, and Ahead has none"):
        Stream(classifier(kwargs={}))


def test_wrong_use_is_a_user_error():
    stream = Stream(classifier())
    tokens = torch.ones(2, dtype=torch.int64)
    stream.step(tokens)
    with pytest.raises(UserError, match="began with 2 samples, and this step has 3"):
        stream.step(torch.ones(3, dtype=torch.int64))
    stream.model.train()
    with pytest.raises(UserError, match=r"model\.eval\(\)"):
        stream.step(tokens)
    stream.model.eval()
    stream = Stream(classifier(positions="sinusoidal"))
    for _ in range(40):
        stream.step(tokens)
    with pytest.raises(UserError, match="longer than the 40 positions"):
        stream.step(tokens)
