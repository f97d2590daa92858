"""The command line as a user types it: suites from data to report, stopped, failed, gone on with."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent

SUITE = """
title: Toy
baseline: GRU
set:
  model: {d_model: 8, dropout: 0.1}
  train: {epochs: EPOCHS, batch_size: 16, log_every: 5, accelerator: cpu, checkpoint_minutes: 0.01}
cells:
  - {model: hgrn, task: toy.yaml}
  - model: hgrn
    task: toy.yaml
    set: {model: {name: GRU, target: torch.nn.GRU, kwargs: {hidden_size: 8, batch_first: true}}}
"""

BROKEN_MIXER = """
from torch import nn
class Broken(nn.Module):
    def __init__(self, d_model):
        super().__init__()
    def forward(self, x):
        raise RuntimeError("broken on purpose")
"""


@pytest.fixture(autouse=True)
def interruptible():
    """Let the commands started here be interrupted also where this process runs in the background of a shell.

    There SIGINT is ignored, which children inherit; a handler in this process becomes the default in theirs.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def home(tmp_path):
    (tmp_path / "toy.yaml").write_text("task: {name: toy_task.Toy, scale: long}\n")
    (tmp_path / "mine.yaml").write_text(SUITE.replace("EPOCHS", "2"))
    (tmp_path / "broken_mixer.py").write_text(BROKEN_MIXER)
    return tmp_path


def start(home, *words):
    environment = {**os.environ, "PYTHONPATH": str(HERE), "LRA_DATA": str(home / "data")}
    return subprocess.Popen(
        [sys.executable, "-m", "lra_hgrn", *words],
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lra(home, *words):
    """Run a command in a user's folder; return its exit code, standard output and standard error."""
    process = start(home, *words)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


def metrics(run):
    with (run / "metrics.csv").open() as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def test_sweep_table_report(home):
    code, out, err = lra(home, "sweep", "mine.yaml")
    assert (code, out) == (0, ""), err
    assert err.count("test accuracy") == 2
    code, out, _ = lra(home, "sweep", "mine.yaml")
    assert code == 0
    code, out, _ = lra(home, "table", "mine.yaml")
    assert code == 0
    assert re.findall(r"^\|[^|]*toy[^|]*\| (\w+)", out, flags=re.MULTILINE) == ["HGRN", "GRU"]
    code, out, _ = lra(home, "table", "mine.yaml", "--format", "csv")
    rows = list(csv.DictReader(line for line in out.splitlines() if not line.startswith("#")))
    assert [row["model"] for row in rows] == ["HGRN", "GRU"]
    assert all(0.5 < float(row["accuracy"]) <= 1 for row in rows)
    assert lra(home, "table", "mine.yaml", "--format", "latex")[1].count("\\begin{tabular}") == 1
    code, out, _ = lra(home, "report", "mine.yaml")
    assert code == 0
    page = (home / "results" / "report.html").read_text()
    assert "<svg" in page
    assert not re.search(r"""(src|href)=["']?http""", page)


def test_a_stopped_sweep_goes_on_where_it_was(home):
    (home / "long.yaml").write_text(SUITE.replace("EPOCHS", "8").split("  - model")[0].replace("GRU", "HGRN"))
    process = start(home, "sweep", "long.yaml")
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline and not any(home.glob("results/runs/*/best.ckpt")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "the same command goes on" in err
    assert "Traceback" not in err
    (record,) = home.glob("results/runs/*/record.json")
    run = record.parent
    assert '"status": "stopped"' in record.read_text()
    assert "–" in lra(home, "table", "long.yaml")[1]
    code, _, err = lra(home, "sweep", "long.yaml")
    assert code == 0, err
    code, _, err = lra(home, "sweep", "long.yaml", "--runs", "undisturbed")
    assert code == 0, err
    assert metrics(run) == metrics(home / "undisturbed" / run.name)
    assert (run / "predictions.npz").read_bytes() == (home / "undisturbed" / run.name / "predictions.npz").read_bytes()


def test_a_failed_cell_does_not_stop_the_others(home):
    broken = SUITE.replace("EPOCHS", "1").replace(
        "name: GRU, target: torch.nn.GRU, kwargs: {hidden_size: 8, batch_first: true}",
        "name: Broken, target: broken_mixer.Broken",
    )
    first, second = broken.replace("baseline: GRU", "baseline: HGRN").split("cells:\n")[1].split("  - model", 1)
    head = broken.replace("baseline: GRU", "baseline: HGRN").split("cells:\n")[0]
    (home / "broken.yaml").write_text(f"{head}cells:\n  - model{second}{first}")
    code, _, err = lra(home, "sweep", "broken.yaml")
    assert code == 1
    assert "HGRN on toy_task.Toy (long), seed 1: test accuracy" in err
    assert "RuntimeError: broken on purpose" in err.splitlines()[-1]
    code, out, _ = lra(home, "table", "broken.yaml")
    assert code == 0
    assert "failed" in next(line for line in out.splitlines() if "Broken" in line)


def test_train_by_hand_and_a_mistake_in_a_mixer_option(home):
    words = ["train", "hgrn", "toy.yaml", "task.scale=full", "train.accelerator=cpu", "model.d_model=8"]
    code, _, err = lra(home, *words, "model.kwargs.casual=true", "--output", "run")
    assert code == 2
    assert "Did you mean 'causal'?" in err.splitlines()[-1]
    code, out, err = lra(home, *words, "--output", "run")
    assert code == 0, err
    assert "test accuracy" in out
    code, _, err = lra(home, *words, "--output", "run")
    assert code == 2
    assert "add --resume" in err.splitlines()[-1]
    assert lra(home, *words, "--output", "run", "--resume")[1] == out


@pytest.mark.slow
def test_the_demo_shortened(home):
    """`make demo` on two tasks, one pass over the data: both models learn ListOps, table and report are whole."""
    tasks = ("listops", "retrieval")  # the others come in their first steps in `test_recipes.py`
    words = ("demo", "train.epochs=1", "optim.warmup_steps=50", *(word for task in tasks for word in ("--task", task)))
    code, _, err = lra(home, "sweep", *words)
    assert code == 0, err
    _, out, _ = lra(home, "table", *words, "--layout", "cells", "--format", "csv")
    rows = list(csv.DictReader(line for line in out.splitlines() if not line.startswith("#")))
    assert [(row["task"], row["model"]) for row in rows] == [
        (task, model) for task in tasks for model in ("HGRN", "Transformer")
    ]
    assert [row["source"] for row in rows[::2]] == ["generated", "mini"]
    for row in rows[:2]:
        assert float(row["accuracy"]) > float(row["chance"]) + 0.1, row
    assert all(float(row["tokens_per_second"]) > 0 for row in rows)
    code, out, err = lra(home, "report", *words)
    assert code == 0, err
    assert (home / "results" / "report.html").read_text().count("<svg") >= 2
