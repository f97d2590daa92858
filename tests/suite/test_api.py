"""The suite from Python."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from torch import nn
from toy_task import Toy

import lra_hgrn
from lra_hgrn import UserError
from lra_hgrn.api import _nested
from lra_hgrn.config import compose
from lra_hgrn.examples.own_mixer import RunningMean, compare
from lra_hgrn.models.registry import resolve_mixer

QUICK = {"train__batch_size": 50, "train__accelerator": "cpu", "train__threads": 1, "model__d_model": 8}


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("LRA_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


def quick(model, task=Toy, **options):
    return lra_hgrn.train(model, task, **{**QUICK, "model__layers": 1, "train__epochs": 1, **options})


def test_a_class_is_trained_and_its_results_are_a_frame(data):
    record = quick(RunningMean, seed=2, model__kwargs={"bias": False})
    assert (record.model, record.seed) == ("RunningMean", 2)
    assert record.config["model"]["kwargs"] == {"bias": False}
    assert resolve_mixer(record.target) is RunningMean
    quick("hgrn", seed=1, output=Path("elsewhere") / "run")
    assert Path("results/runs", record.run, "record.json").is_file()
    frame = lra_hgrn.load_results(".")
    assert isinstance(frame, pd.DataFrame)
    assert frame["model"].tolist() == ["HGRN", "RunningMean"]
    row = frame.iloc[1]
    assert row["accuracy"] == record.scores.best.correct / 50 == record.scores.best.accuracy
    assert row["low"] < row["accuracy"] < row["high"]
    assert (row["optim.lr"], row["model.kwargs.bias"]) == (1e-3, False)
    assert (row["status"], row["parameters"], row["total"]) == (record.status, record.parameters, 50)
    assert len(lra_hgrn.load_results("elsewhere")) == 1


def test_a_finished_run_is_not_trained_again(data):
    first = quick(RunningMean, output="here")
    assert quick(RunningMean, output="here", resume=True) == first
    with pytest.raises(UserError, match="here holds a run already"):
        quick(RunningMean, output="here")
    with pytest.raises(UserError, match=r"was started with other options \(optim.lr was 0.001, now 0.5\)"):
        quick(RunningMean, output="here", resume=True, optim__lr=0.5)


def test_the_example_runs(data):
    frame = compare(
        Path("mine"),
        f"{Toy.__module__}.Toy",
        task__scale="full",
        model__layers=1,
        **QUICK,
        optim__lr=1e-2,
        optim__warmup_steps=0,
        seed=4,
    )
    assert frame["model"].tolist() == ["HGRN", "RunningMean", "Transformer"]
    assert frame["accuracy"].between(0, 1).all()
    assert (frame["seed"] == 4).all()
    assert (frame["optim.lr"] == 1e-2).all()


def test_an_unfinished_run_and_a_broken_record(data):
    assert lra_hgrn.load_results(".").empty
    quick(RunningMean, output="a")
    Path("b").mkdir()
    Path("b/record.json").write_text("{")
    with pytest.warns(UserWarning, match=r"b/record.json is not a valid record: it is not JSON"):
        assert len(lra_hgrn.load_results(".")) == 1
    with pytest.raises(UserError, match="There is no folder 'nowhere'"):
        lra_hgrn.load_results("nowhere")


def test_overrides_are_nested():
    assert _nested({"optim__lr": 1, "model__kwargs": {"a": {"b": 2}}, "model__kwargs__c": 3, "seed": 4}) == {
        "optim": {"lr": 1},
        "model": {"kwargs": {"a": {"b": 2}, "c": 3}},
        "seed": 4,
    }
    assert _nested({"train": {"epochs": 1}, "train__threads": 2}) == {"train": {"epochs": 1, "threads": 2}}
    assert _nested({"train__threads": 2, "train": {"epochs": 1}}) == {"train": {"epochs": 1, "threads": 2}}
    with pytest.raises(UserError, match="'optim__lr' contradicts another one"):
        _nested({"optim": 3, "optim__lr": 1})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: lra_hgrn.train(nn.Linear(2, 2), "listops"), "Give a name or a class of Module, not Linear"),
        (lambda: lra_hgrn.train("hgrn", dict), "Give a name or a class of LRATask"),
        (lambda: lra_hgrn.train("hgrm", "listops"), "Did you mean 'hgrn'"),
        (lambda: lra_hgrn.train("hgrn", "listops", optim__lrr=1), "Did you mean 'optim.lr'"),
        (lambda: lra_hgrn.train(type("Local", (nn.Module,), {}), "listops"), "define the class at the top level"),
    ],
)
def test_wrong_calls_are_sentences(call, words, data):
    with pytest.raises(UserError, match=words):
        call()
    assert os.listdir() == []


def test_a_class_is_what_its_dotted_path_is():
    path = f"{RunningMean.__module__}.RunningMean"
    assert compose(path, "listops").config.model.target == "lra_hgrn.examples.own_mixer.RunningMean"


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, lra_hgrn; print(lra_hgrn.UserError, sorted({'torch', 'pandas'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.endswith("[]\n")
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = lra_hgrn.trian
