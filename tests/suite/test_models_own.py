"""A user's own token mixers and whole classifiers, in the place of ours."""

import pytest
import torch
from small_models import LENGTHS, build, settle, tokens
from torch import nn

from lra_hgrn.errors import UserError
from lra_hgrn.models import register_mixer
from lra_tasks import TaskSpec


class Sieve(nn.Module):
    """A user's mixer that takes the mask, and refuses to work without it."""

    def __init__(self, width):
        super().__init__()
        self.map = nn.Linear(width, width)

    def forward(self, x, mask):
        assert mask.dtype == torch.bool
        mean = (x * mask[..., None]).sum(1, keepdim=True) / mask.sum(1)[:, None, None]
        return self.map(mean.expand_as(x))


class Convolution(nn.Conv1d):
    """A user's mixer that takes no mask: it sees zeros in the place of padding, as at a sequence's end."""

    def __init__(self, width, kernel=3):
        super().__init__(width, width, kernel, padding="same")

    def forward(self, x):
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class Narrow(nn.Linear):
    def __init__(self, width):
        super().__init__(width, width // 2)


def register(monkeypatch, cls):
    monkeypatch.setattr("lra_hgrn.models.registry._MIXERS", {})
    register_mixer("mine", family="convolution", paper="none")(cls)


@pytest.mark.parametrize("cls", [Sieve, Convolution])
def test_user_mixers_see_no_padding(cls, monkeypatch):
    register(monkeypatch, cls)
    net = settle(build(target="mine"))
    together = net(tokens(pad=7), LENGTHS)
    alone = torch.cat([net(row[None, :n], n[None]) for row, n in zip(tokens(), LENGTHS, strict=True)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_wrong_shape_is_told(monkeypatch):
    register(monkeypatch, Narrow)
    with pytest.raises(UserError, match=r"Narrow returned shape \(3, 9, 4\) .* shape \(3, 9, 8\)"):
        build(target="mine")(tokens(), LENGTHS)


def test_recurrent_layers_that_run_along_the_batch_are_refused():
    with pytest.raises(UserError, match="batch_first=true"):
        build(target="torch.nn.LSTM", kwargs={"hidden_size": 8})


class Whole(nn.Module):
    """A user's own classifier; it takes two options of the configuration and one of its own."""

    def __init__(self, spec, d_model, layers=7, *, bins=2, dropout=0.9):
        super().__init__()
        self.options = (spec.name, d_model, layers, bins, dropout)
        self.table = nn.Embedding(spec.vocab_size, spec.n_classes)

    def forward(self, inputs, lengths):
        return self.table(inputs).mean(1)


class Odd(nn.Module):
    def __init__(self, spec, bins):
        super().__init__()
        raise ValueError(f"{bins} bins are odd")


def test_a_whole_classifier_takes_the_place_of_ours(monkeypatch):
    monkeypatch.setattr("lra_hgrn.models.registry._MIXERS", {})
    register_mixer("whole", family="convolution", paper="none")(Whole)
    register_mixer("odd", family="convolution", paper="none")(Odd)
    net = build(target="whole", kwargs={"bins": 3}, layers=2)
    assert type(net) is Whole
    assert net.options == ("text", 8, 2, 3, 0.0)
    assert net(tokens(), LENGTHS).shape == (3, 3)
    assert build(target="whole", kwargs={"layers": 5}).options[2] == 5  # its own keyword arguments come last
    with pytest.raises(UserError, match=r"Unknown option model.kwargs.binns of whole. Did you mean 'bins'"):
        build(target="whole", kwargs={"binns": 3})
    with pytest.raises(UserError, match=r"odd cannot be made with the task text and .*3 bins are odd"):
        build(target="odd", kwargs={"bins": 3})


class Facts(nn.Module):
    departures = ("It looks at the answers.",)

    def __init__(self, d_model, max_length, side=1):
        super().__init__()
        self.facts = (max_length, side)

    def forward(self, x):
        return x


def test_a_mixer_is_told_what_it_asks_of_the_task(monkeypatch):
    register(monkeypatch, Facts)
    square = TaskSpec("square", "values", 0, n_classes=4, max_length=16, variable=False, side=4)
    for options, facts in (
        ({}, (32, 0)),
        ({"spec": square}, (16, 4)),
        ({"spec": square, "pooling": "cls"}, (17, 0)),  # with a token before it, it is no image any more
        ({"kwargs": {"max_length": 7}}, (7, 0)),
    ):
        assert build(target="mine", **options).blocks[1].token_mixer.facts == facts


def test_departures_of_a_mixer_and_of_padding_are_told_once(monkeypatch):
    register(monkeypatch, Facts)
    assert build(target="mine").departures == ["It looks at the answers."]
    assert build(target="mine", mask_padding=False).departures[1:] == ["Padding is scanned and counted."]
