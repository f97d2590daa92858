"""Names, dotted paths and keyword arguments of token mixers."""

import sys
from typing import Literal

import pytest
import torch
from torch import nn

from lra_hgrn.errors import UserError
from lra_hgrn.models import mixer_names, register_mixer
from lra_hgrn.models.arguments import check_kwargs
from lra_hgrn.models.mixers.hgru import HGRU
from lra_hgrn.models.registry import MixerCard, build_mixer, mixer_card, resolve_mixer


def test_names_and_duplicates(monkeypatch):
    assert {"attention", "hgru"} <= set(mixer_names())
    assert resolve_mixer("hgru") is HGRU
    monkeypatch.setattr("lra_hgrn.models.registry._MIXERS", {})
    register = register_mixer("one", family="recurrent", paper="none", memory="1")
    assert register(nn.Identity) is nn.Identity
    assert mixer_names() == ["one"]
    assert mixer_card("one") == MixerCard("recurrent", "none", compute="L", memory="1")
    assert mixer_card("torch.nn.GRU") is None
    with pytest.raises(ValueError, match="'one' is registered already, by Identity"):
        register(nn.Identity)


def test_dotted_path_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "my_own_mixer.py").write_text(
        "from torch import nn\nclass Plain(nn.Linear):\n    def __init__(self, d):\n        super().__init__(d, d)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_own_mixer", raising=False)
    mixer = build_mixer("my_own_mixer.Plain", 4, {})
    assert mixer(torch.zeros(1, 2, 4)).shape == (1, 2, 4)
    with pytest.raises(UserError, match=r"'my_own_mixer' has no 'Plan'.*Did you mean 'Plain'"):
        resolve_mixer("my_own_mixer.Plan")
    monkeypatch.delitem(sys.modules, "my_own_mixer")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("hgruu", "Unknown token mixer 'hgruu'. Did you mean 'hgru'"),
        ("..hgru", "Unknown token mixer '..hgru'. Did you mean 'hgru'"),
        ("no_such_module.Mixer", "cannot be imported .* No module named 'no_such_module'"),
        ("torch.nn.Relu", "'torch.nn' has no 'Relu'.*Did you mean"),
        ("torch.nn.functional.relu", "not a class of nn.Module"),
        ("pathlib.Path", "not a class of nn.Module"),
    ],
)
def test_wrong_targets(target, words):
    with pytest.raises(UserError, match=words):
        resolve_mixer(target)


@pytest.mark.parametrize(
    ("target", "kwargs", "words"),
    [
        ("hgru", {"causl": True}, r"model.kwargs.causl of hgru. Did you mean 'causal'\? Known: complex, causal"),
        ("hgru", {"d_model": 4}, "Unknown option model.kwargs.d_model"),
        ("hgru", {"causal": 1}, "causal=1 of hgru must be true or false"),
        ("hgru", {"output": "papers"}, "must be one of released, paper"),
        ("attention", {"heads": 2.0}, "heads=2.0 of attention must be a whole number"),
        ("attention", {"heads": True}, "must be a whole number"),
        ("attention", {"dropout": "much"}, "must be a number"),
        ("attention", {"dropout": None}, "must be a number"),
        ("torch.nn.Linear", {}, "torch.nn.Linear needs model.kwargs.out_features"),
        ("torch.nn.LSTM", {"hidden_width": 8}, "torch.nn.LSTM cannot be made with d_model=8"),
    ],
)
def test_wrong_keyword_arguments(target, kwargs, words):
    with pytest.raises(UserError, match=words):
        build_mixer(target, 8, kwargs)


class Typed(nn.Module):
    def __init__(
        self,
        d: int,
        kind: Literal["a", 2] = "a",
        size: int | None = None,
        rate: float = 0.0,
        word: "str" = "",
        free=0,
        callback: "NotImported" = None,  # noqa: F821
    ):
        super().__init__()


class Hinted(nn.Module):
    def __init__(self, d: int, kind: Literal["a", 2] = "a", size: int | None = None, word: "str" = "", free=0):
        super().__init__()


class Open(nn.Module):
    def __init__(self, d: int, **anything):
        super().__init__()


def test_annotations_are_checked():
    for kwargs in ({"kind": 2}, {"size": None}, {"size": 3}, {"word": "x"}, {"free": object()}):
        check_kwargs("mine", Hinted, kwargs)
    for kwargs, words in (
        ({"kind": "b"}, "kind=b of mine must be one of a, 2"),
        ({"size": "3"}, "must be a whole number or null"),
        ({"word": 3}, "must be a word"),
    ):
        with pytest.raises(UserError, match=words):
            check_kwargs("mine", Hinted, kwargs)


def test_whole_numbers_are_numbers():
    check_kwargs("attention", resolve_mixer("attention"), {"dropout": 0})


def test_unreadable_annotations_and_open_constructors_take_anything():
    check_kwargs("mine", Typed, {"size": "3", "callback": print})
    with pytest.raises(UserError, match=r"Unknown option model.kwargs.sise of mine. Did you mean 'size'"):
        check_kwargs("mine", Typed, {"sise": 3})
    check_kwargs("mine", Open, {"whatever": 3})
