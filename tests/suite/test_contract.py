"""The contract of every model, over the whole registry, and over models that break one rule each."""

import pytest
import torch
from small_models import distinct_models
from torch import nn

from lra_hgrn.config import ModelConfig
from lra_hgrn.config.compose import compose_model
from lra_hgrn.contract import CHECKS, check_model
from lra_hgrn.errors import UserError

SMALL = {"d_model": 16, "layers": 2}
MIXERS = {model: repr((config.target, config.kwargs)) for model, config in distinct_models().items()}


@pytest.mark.parametrize("model", MIXERS)
def test_every_model_keeps_the_contract(model):
    # What surrounds a mixer matters to "tasks" only: the rest is checked at the first model that has the mixer.
    first = list(MIXERS.values()).index(MIXERS[model]) == list(MIXERS).index(model)
    found = check_model(compose_model(model, base=SMALL), without=() if first else [c for c in CHECKS if c != "tasks"])
    assert [finding.check for finding in found] == list(CHECKS)
    assert not [finding for finding in found if finding.ok is False]
    assert all(finding.message for finding in found)


VARIANTS = [
    ("hgrn", "share_theta=true"),
    ("hgrn", "rotation=false"),
    ("hgrn", "candidate=tanh"),
    ("hgrn", "lower_bound=false"),
    ("hgrn", "output=paper"),
    ("hgrn", "output_gate=false"),
    ("hgrn", "input_forget=false"),
    ("hgrn2", "causal=true"),
    ("transformer", "causal=true"),
    ("local-attention", "causal=true"),
    ("local-attention", "form=block"),
    ("linear-transformer", "causal=true"),
    ("performer", "causal=true"),
    ("cosformer", "causal=true"),
    ("s4d", "causal=true"),
    ("s5", "causal=true"),
    ("lru", "causal=true"),
    ("mega-ema", "causal=true"),
    ("mingru", "causal=true"),
    ("lstm", "causal=true"),
    ("convolution", "causal=true"),
]
COSTLY = ["long-input", "memory", "tasks", "compile"]  # the same code as with the defaults


@pytest.mark.parametrize(("model", "option"), VARIANTS, ids=" ".join)
def test_every_variant_keeps_the_contract(model, option):
    found = check_model(compose_model(model, [f"model.kwargs.{option}"], SMALL), without=COSTLY)
    assert not [finding for finding in found if finding.ok is False]
    claimed = next(finding for finding in found if finding.check == "causality")
    assert (claimed.ok is True) is (option == "causal=true")


class Good(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.map = nn.Linear(d_model, d_model)

    def forward(self, x, mask=None):
        return self.map(x)


class Unused(Good):
    def __init__(self, d_model):
        super().__init__(d_model)
        self.other = nn.Linear(d_model, d_model)


class OverBatch(Good):
    def forward(self, x, mask=None):
        return self.map(x - x.mean(0, keepdim=True))


class OverPadding(Good):
    def forward(self, x, mask=None):
        return self.map(x + x.mean(1, keepdim=True))


class Future(Good):
    causal = True

    def forward(self, x, mask=None):
        return self.map(x + nn.functional.pad(x[:, 1:], (0, 0, 0, 1)))


class Noisy(Good):
    def forward(self, x, mask=None):
        return self.map(x) + (torch.rand_like(x) if self.training else 0)


class Unsaved(Good):
    def __init__(self, d_model):
        super().__init__(d_model)
        self.register_buffer("scale", torch.rand(d_model), persistent=False)

    def forward(self, x, mask=None):
        return self.map(x) * self.scale


class Wide(Good):
    def forward(self, x, mask=None):
        return torch.cat([self.map(x), x], dim=-1)


class Double(Good):
    def forward(self, x, mask=None):
        return self.map(x).double()


class NoShort(Good):
    def forward(self, x, mask=None):
        return self.map(x) / (x.shape[1] - 1)


class Broken(Good):
    def forward(self, x, mask=None):
        return self.map(x) * float(x.sum() > 0)


class Unseeded(Good):
    def __init__(self, d_model):
        super().__init__(d_model)
        self.map.weight.data.copy_(torch.rand(d_model, d_model, generator=torch.Generator().manual_seed(next(SEEDS))))


class Coarse(Good):
    def forward(self, x, mask=None):
        return self.map(x).bfloat16().frexp()[0].float() if torch.is_autocast_enabled("cpu") else self.map(x)


class Forgetful(Good):
    def forward(self, x, mask=None):
        return self.map(x) if x.shape[1] < 10_000 else self.map(x) * float("nan")


SEEDS = iter(range(1000))


@pytest.mark.parametrize(
    ("cls", "check", "words"),
    [
        (Unused, "gradients", "No gradient reaches mixer.other.weight, mixer.other.bias."),
        (OverBatch, "batch-mates", "A sample alone has another result than in a batch, by"),
        (OverPadding, "padding", "padding changes results at real positions, by"),
        (Future, "causality", "Positions before 1 change with what comes after, by"),
        (Noisy, "train-eval", "Training and evaluation differ, and neither by dropout nor batch norm"),
        (Unsaved, "state-dict", "Weights saved and loaded give other results."),
        (Wide, "shape", "must return the same shape"),
        (Double, "shape", "The output of float32 is torch.float64."),
        (NoShort, "shape", "is not finite"),
        (Broken, "compile", "torch.compile cannot trace it in one graph"),
        (Unseeded, "determinism", "have different weights"),
        (Coarse, "autocast", "is off by"),
        (Forgetful, "long-input", "The output of 16,384 steps is not finite."),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_broken_rule_is_found(cls, check, words):
    every = [name for name in CHECKS if name not in (check, "padding")]
    found = check_model(ModelConfig(name="x", target=f"{__name__}.{cls.__name__}", **SMALL), without=every)
    finding = next(finding for finding in found if finding.check == check)
    assert finding.ok is False, finding
    assert words in finding.message


class Mean(nn.Module):
    """A user's whole classifier."""

    def __init__(self, spec, d_model=8):
        super().__init__()
        self.spec = spec
        self.embed = nn.Embedding(spec.vocab_size, d_model) if spec.vocab_size else nn.Linear(1, d_model)
        self.head = nn.Linear(d_model * spec.documents, spec.n_classes)

    def forward(self, inputs, lengths):
        x = self.embed(inputs if self.spec.vocab_size else inputs[..., None])
        real = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        x = (x * real[..., None]).sum(1) / lengths[:, None]
        return self.head(torch.cat(x.chunk(self.spec.documents), dim=-1))


class Careless(Mean):
    def forward(self, inputs, lengths):
        return super().forward(inputs, torch.full_like(lengths, inputs.shape[1]))


def test_a_whole_classifier_is_held_to_the_same_contract():
    found = check_model(ModelConfig(name="x", target=f"{__name__}.Mean", **SMALL))
    assert not [finding for finding in found if finding.ok is False]
    found = check_model(ModelConfig(name="x", target=f"{__name__}.Careless", **SMALL), without=COSTLY)
    assert [finding.check for finding in found if finding.ok is False] == ["padding"]


class Excused(Broken):
    exempt = {"compile": "its branch is on data"}


def test_checks_can_be_left_out_by_the_user_and_excused_by_the_model():
    config = ModelConfig(name="x", target=f"{__name__}.Excused", **SMALL)
    seen = []
    found = check_model(config, without=["tasks", "long-input"], report=seen.append)
    assert seen == found
    skipped = {finding.check: finding.message for finding in found if finding.ok is None}
    assert skipped["compile"] == "its branch is on data"
    assert skipped["tasks"] == skipped["long-input"] == "left out"
    with pytest.raises(UserError, match=r"Unknown check 'taks'. Did you mean 'tasks'"):
        check_model(config, without=["taks"])


def test_the_contract_leaves_the_random_state_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    check_model(ModelConfig(name="x", target=f"{__name__}.Good", **SMALL), without=COSTLY)
    assert torch.equal(torch.get_rng_state(), before)
