"""Runs: exact resumption, what stops one, what a folder that holds one refuses."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lra_hgrn.config import from_plain, plain
from lra_hgrn.errors import UserError
from lra_hgrn.results.record import load_record
from lra_hgrn.training.checkpoints import BEST, LAST, load_checkpoint
from lra_hgrn.training.module import Classification
from lra_hgrn.training.run import train

HERE = Path(__file__).parent


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    values = {
        "task": {"name": "toy_task.Toy", "data_dir": str(tmp_path / "data")},
        "model": {"name": "HGRN", "d_model": 8, "dropout": 0.2, "norm": "batch", "positions": "learned"},
        "optim": {"lr": 0.01, "warmup_steps": 4, "clip": 1.0},
        "train": {"epochs": 3, "batch_size": 16, "log_every": 4, "accelerator": "cpu"},
    }

    def make(**sections):
        merged = {key: {**value, **sections.pop(key, {})} for key, value in values.items()}
        return from_plain({**merged, **sections}, "test")

    return make


def outcome(directory):
    """Everything a run leaves behind that must not depend on interruptions."""
    with (directory / "metrics.csv").open() as file:
        metrics = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
    with np.load(directory / "predictions.npz") as file:
        predictions = {key: file[key].tolist() for key in file}
    scores = load_record(directory / "record.json").scores
    weights = {name: load_checkpoint(directory / name)["state_dict"] for name in (BEST, LAST)}
    return metrics, predictions, scores, weights


def assert_same(one, other):
    assert one[:3] == other[:3]
    for name, state in one[3].items():
        assert state.keys() == other[3][name].keys()
        for key, tensor in state.items():
            torch.testing.assert_close(tensor, other[3][name][key], rtol=0, atol=0, equal_nan=True)


def interrupt_at(monkeypatch, steps):
    """Send SIGTERM to this process inside the training steps with these numbers, counted over all sessions."""
    count = 0
    original = Classification.training_step

    def training_step(self, batch, batch_idx):
        nonlocal count
        count += 1
        if count in steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Classification, "training_step", training_step)


# 150 samples in batches of 16: an epoch has 10 steps, the run 30.
@pytest.mark.parametrize("steps", [{1}, {3, 4}, {10}, {17}, {9, 20, 29}, {30}])
def test_resume_is_exact(config, tmp_path, monkeypatch, steps):
    train(config(), tmp_path / "whole")
    interrupt_at(monkeypatch, steps)
    statuses = [train(config(), tmp_path / "parts", resume=True).status for _ in range(len(steps) + 1)]
    assert statuses[:-1] == ["stopped"] * len(steps)
    assert_same(outcome(tmp_path / "whole"), outcome(tmp_path / "parts"))


def test_a_killed_run_resumes_exactly(config, tmp_path):
    """SIGKILL in the middle of an epoch: the run goes on from the checkpoint of the step before."""
    train(config(), tmp_path / "whole")
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from lra_hgrn.config import from_plain\n"
        "from lra_hgrn.training.module import Classification\n"
        "from lra_hgrn.training.run import train\n"
        "step, original = 0, Classification.training_step\n"
        "def training_step(self, batch, batch_idx):\n"
        "    global step\n"
        "    step += 1\n"
        "    if step == 17:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return original(self, batch, batch_idx)\n"
        "Classification.training_step = training_step\n"
        f"train(from_plain({plain(config(train={'checkpoint_minutes': 0}))!r}, 'test'), Path(sys.argv[1]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "parts")], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "parts" / "record.json").exists()
    assert load_checkpoint(tmp_path / "parts" / LAST)["global_step"] == 16
    assert train(config(), tmp_path / "parts", resume=True).scores is not None
    assert_same(outcome(tmp_path / "whole"), outcome(tmp_path / "parts"))


def test_a_folder_that_holds_a_run(config, tmp_path):
    record = train(config(), tmp_path / "run")
    before = (tmp_path / "run" / "record.json").read_bytes()
    with pytest.raises(UserError, match="holds a run already: add --resume"):
        train(config(), tmp_path / "run")
    with pytest.raises(UserError, match=r"other options \(optim.lr was 0.01, now 0.5\)"):
        train(config(optim={"lr": 0.5}), tmp_path / "run", resume=True)
    with pytest.raises(UserError, match="seed was 1, now 2"):
        train(config(seed=2), tmp_path / "run", resume=True)
    assert train(config(), tmp_path / "run", resume=True) == record
    assert (tmp_path / "run" / "record.json").read_bytes() == before
    assert record.parameters == sum(
        value.numel()
        for key, value in load_checkpoint(tmp_path / "run" / BEST)["state_dict"].items()
        if key.startswith("net.") and "running" not in key and "num_batches" not in key
    )
    assert record.scores.last.step == 30
    assert record.device.backend == "cpu"
    assert record.throughput.samples_per_second > 0
    assert len(record.lower_bounds) == 2
    assert not list((tmp_path / "run").glob("*.tmp"))
    assert not (tmp_path / "run" / "progress.json").exists()


def test_a_damaged_checkpoint_is_one_sentence(config, tmp_path, monkeypatch):
    interrupt_at(monkeypatch, {3})
    assert train(config(), tmp_path / "run").status == "stopped"
    last = tmp_path / "run" / LAST
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"last\.ckpt cannot be read .* delete it to start the run anew"):
        train(config(), tmp_path / "run", resume=True)


def test_a_checkpoint_with_code_is_refused(tmp_path):
    class Code:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"state_dict": Code()}, tmp_path / LAST)
    with pytest.raises(UserError, match="cannot be read"):
        load_checkpoint(tmp_path / LAST)
    assert not (tmp_path / "owned").exists()


def test_a_run_that_diverges_says_so(config, tmp_path):
    record = train(config(optim={"lr": 1e30, "clip": 0}, model={"norm": "layer"}), tmp_path / "run")
    assert record.status == "diverged"
    assert record.scores is None
    assert "training loss was nan" in record.message


def test_a_run_that_learns_nothing_is_at_chance(config, tmp_path):
    record = train(config(optim={"lr": 0.0}, train={"epochs": 1}), tmp_path / "run")
    assert record.status == "chance"
    assert record.scores is not None


def test_a_crash_is_recorded_as_failed(config, tmp_path, monkeypatch):
    def training_step(self, batch, batch_idx):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(Classification, "training_step", training_step)
    with pytest.raises(RuntimeError, match="out of luck"):
        train(config(), tmp_path / "run")
    record = load_record(tmp_path / "run" / "record.json")
    assert (record.status, record.message) == ("failed", "RuntimeError: out of luck")


def test_a_module_that_nobody_here_wrote(config, tmp_path):
    """`torch.nn.GRU` as the token mixer, named by its dotted path."""
    kwargs = {"hidden_size": 4, "bidirectional": True, "batch_first": True}
    model = {"name": "GRU", "target": "torch.nn.GRU", "kwargs": kwargs}
    record = train(config(model=model, train={"epochs": 8}, task={"scale": "long"}), tmp_path / "run")
    assert record.status == "finished"
    assert record.lower_bounds is None


def test_the_same_seed_twice_and_another_seed(config, tmp_path):
    for name in "ab":
        train(config(train={"epochs": 1}), tmp_path / name)
    train(config(train={"epochs": 1}, seed=2), tmp_path / "c")
    assert_same(outcome(tmp_path / "a"), outcome(tmp_path / "b"))
    assert outcome(tmp_path / "a")[0] != outcome(tmp_path / "c")[0]


@pytest.mark.parametrize("name", ["last.ckpt", "record.json", "predictions.npz", "best.ckpt"])
def test_a_full_disk_is_one_sentence_and_the_run_goes_on(config, tmp_path, monkeypatch, name):
    """The disk is full when a file is put in its place, once; then there is room again."""
    original, failed = os.replace, []

    def replace(source, target):
        if Path(target).name == name and Path(target).parent.name == "parts" and not failed:
            failed.append(target)
            raise OSError(28, "No space left on device", str(target))
        original(source, target)

    train(config(), tmp_path / "whole")
    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(UserError, match=r"No space left on device.*--resume"):
        train(config(), tmp_path / "parts", resume=True)
    assert not list((tmp_path / "parts").glob("*.tmp*"))
    train(config(), tmp_path / "parts", resume=True)
    assert_same(outcome(tmp_path / "whole"), outcome(tmp_path / "parts"))
