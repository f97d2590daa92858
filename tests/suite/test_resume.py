"""An interrupted run ends with the same weights, metrics and predictions as an undisturbed one, bit for bit."""

import csv
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from lra_hgrn.config import from_plain
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
