"""Two processes that share each batch: the same samples, steps, metrics and, but for rounding, weights as one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from outcomes import assert_same, outcome

from lra_hgrn.config import from_plain
from lra_hgrn.errors import UserError
from lra_hgrn.results.record import load_record
from lra_hgrn.training.module import Classification
from lra_hgrn.training.run import train

HERE = Path(__file__).parent


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(HERE)

    def make(devices, **train):
        # 150 samples in batches of 13 and 7: neither these nor the 50 of the test split are shared evenly.
        options = {"epochs": 2, "batch_size": 13, "eval_batch_size": 7, "log_every": 4, "accelerator": "cpu"}
        model = {"name": "HGRN", "d_model": 8, "norm": "batch", "positions": "learned", "dropout": 0.0}
        values = {
            "task": {"name": "toy_task.Toy", "data_dir": str(tmp_path / "data")},
            "model": {**model, **train.pop("model", {})},
            "optim": {"lr": 0.01, "warmup_steps": 4, "clip": 1.0},
            "train": {**options, "threads": 1, "devices": devices, **train},
        }
        return from_plain(values, "test")

    return make


def assert_close(one, other):
    """Equal but for rounding, of which AdamW makes steps where a gradient is zero: the weights are not compared."""
    rows = [[[float(row[key]) for key in ("step", "epoch", "loss", "lr")] for row in each[0]] for each in (one, other)]
    np.testing.assert_allclose(*rows, rtol=1e-3)
    accuracies = [[float(row["accuracy"]) for row in each[0]] for each in (one, other)]
    np.testing.assert_allclose(*accuracies, atol=0.03)  # a sample of 40 may lie on the border
    assert one[1]["labels"] == other[1]["labels"]
    assert np.mean(np.equal(one[1]["last"], other[1]["last"])) > 0.95


def stop_at(monkeypatch, step):
    """Send SIGTERM to this process, the first one, inside a training step."""
    original, count = Classification.training_step, [0]

    def training_step(self, batch, batch_idx):
        count[0] += 1
        if count[0] == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Classification, "training_step", training_step)


def test_two_processes_learn_what_one_does(config, tmp_path):
    """With batch norms of ours and of torch, whose statistics are those of the whole batch."""
    model = {"name": "Mine", "target": "normed_mixer.Normed"}
    train(config(1, model=model), tmp_path / "one")
    record = train(config(2, model=model), tmp_path / "two")
    assert (record.device.processes, record.scores.best.total) == (2, 50)
    assert_close(outcome(tmp_path / "one"), outcome(tmp_path / "two"))
    assert not list((tmp_path / "two").glob("rank*.txt"))


def test_two_processes_resume_exactly(config, tmp_path, monkeypatch):
    model = {"dropout": 0.2}
    train(config(2, model=model), tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 17)
        assert train(config(2, model=model), tmp_path / "parts").status == "stopped"
    train(config(2, model=model), tmp_path / "parts", resume=True)
    assert_same(outcome(tmp_path / "whole"), outcome(tmp_path / "parts"))


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_run_goes_on_with_another_number_of_processes(config, tmp_path, monkeypatch, before, after):
    train(config(1), tmp_path / "one")
    with monkeypatch.context() as patch:
        stop_at(patch, 17)
        assert train(config(before), tmp_path / "parts").status == "stopped"
    record = train(config(after), tmp_path / "parts", resume=True)
    assert [incident.kind for incident in record.incidents] == ["processes"]
    assert_close(outcome(tmp_path / "one"), outcome(tmp_path / "parts"))


def test_a_process_that_fails_says_why(config, tmp_path):
    model = {"name": "Mine", "target": "normed_mixer.FailsElsewhere"}
    with pytest.raises(UserError, match=r"Process 1 failed: \[rank1\]: RuntimeError: out of luck"):
        train(config(2, model=model), tmp_path / "run")
    record = load_record(tmp_path / "run" / "record.json")
    assert (record.status, record.message) == ("failed", "Process 1 failed: [rank1]: RuntimeError: out of luck")
    assert "RANK" not in os.environ


def test_a_batch_too_small_for_the_processes(config, tmp_path):
    with pytest.raises(UserError, match=r"A batch of 1 cannot be shared by 2 processes"):
        train(config(2, eval_batch_size=1), tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_processes_that_torchrun_starts(tmp_path):
    (tmp_path / "toy.yaml").write_text("task: {name: toy_task.Toy}\n")
    options = ["model.d_model=8", "train.epochs=1", "train.accelerator=cpu", "train.threads=1"]
    command = [
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        "-m",
        "lra_hgrn",
        "train",
        "hgrn",
        "toy.yaml",
        *options,
    ]
    done = subprocess.run(
        [sys.executable, *command, "--output", "run"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(HERE), "LRA_DATA": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test accuracy") == 1
    assert load_record(tmp_path / "run" / "record.json").device.processes == 2
