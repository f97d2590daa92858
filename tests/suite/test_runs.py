"""Runs: exact resumption, what stops one, what a folder that holds one refuses."""

import math
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from outcomes import assert_same, outcome

from lra_hgrn.config import from_plain
from lra_hgrn.errors import Busy, UserError
from lra_hgrn.results.record import load_record
from lra_hgrn.training.checkpoints import BEST, LAST, PREVIOUS, load_checkpoint
from lra_hgrn.training.health import guessing_loss
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


def flip(path):
    """Change bits in the middle of a file, where the weights are."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 500] = bytes(byte ^ 1 for byte in content[middle : middle + 500])
    path.write_bytes(content)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(config, tmp_path, monkeypatch, capsys):
    train(config(), tmp_path / "whole")
    interrupt_at(monkeypatch, {17})
    assert train(config(), tmp_path / "parts").status == "stopped"
    flip(tmp_path / "parts" / LAST)
    record = train(config(), tmp_path / "parts", resume=True)
    assert re.search(
        r"last\.ckpt cannot be read .*: the run goes on from the one before, of step 10", capsys.readouterr()[1]
    )
    assert [(incident.kind, incident.step) for incident in record.incidents] == [("checkpoint", 10)]
    whole, parts = outcome(tmp_path / "whole"), outcome(tmp_path / "parts")
    parts[2]["incidents"] = []
    assert_same(whole, parts)


def test_a_damaged_first_checkpoint_begins_the_run_again(config, tmp_path, monkeypatch, capsys):
    train(config(), tmp_path / "whole")
    interrupt_at(monkeypatch, {3})
    train(config(), tmp_path / "parts")
    last = tmp_path / "parts" / LAST
    last.write_bytes(last.read_bytes()[:1000])
    train(config(), tmp_path / "parts", resume=True)
    assert "cannot be read (File is not a zip file): the run begins again" in capsys.readouterr()[1]
    assert outcome(tmp_path / "whole")[:2] == outcome(tmp_path / "parts")[:2]


@pytest.mark.parametrize("damaged", [(LAST, PREVIOUS), (BEST,)])
def test_what_no_other_checkpoint_holds_is_one_sentence(config, tmp_path, damaged):
    train(config(), tmp_path / "run")
    (tmp_path / "run" / "record.json").unlink()
    for name in damaged:
        flip(tmp_path / "run" / name)
    with pytest.raises(UserError, match=rf"{damaged[-1]} cannot be read .*; delete it"):
        train(config(), tmp_path / "run", resume=True)


def test_a_stop_during_validation_or_the_test_loses_nothing(config, tmp_path, monkeypatch):
    train(config(), tmp_path / "whole")
    originals = {"validation_step": Classification.validation_step, "eval": Classification.eval}
    left = {"validation_step": 1, "eval": 1}

    def interrupted(name):
        def method(self, *arguments):
            tests = name == "validation_step" or (self.trainer.state.finished and not left["validation_step"])
            if tests and left[name]:
                left[name] -= 1
                os.kill(os.getpid(), signal.SIGTERM)
            return originals[name](self, *arguments)

        return method

    for name in originals:
        monkeypatch.setattr(Classification, name, interrupted(name))
    records = [train(config(), tmp_path / "parts", resume=True) for _ in range(3)]
    assert [record.status for record in records] == ["stopped", "stopped", records[2].status]
    assert "Stopped after step 10" in records[0].message
    assert "Stopped in the test" in records[1].message
    assert_same(outcome(tmp_path / "whole"), outcome(tmp_path / "parts"))


def test_a_folder_at_work_is_left_to_its_process(config, tmp_path):
    train(config(), tmp_path / "run")
    before = sorted((path.name, path.read_bytes()) for path in (tmp_path / "run").iterdir())
    with FileLock(tmp_path / "run" / ".lock"), pytest.raises(Busy, match="Another process is at work"):
        train(config(), tmp_path / "run", resume=True)
    assert sorted((path.name, path.read_bytes()) for path in (tmp_path / "run").iterdir()) == before


def test_other_data_are_not_gone_on_with(config, tmp_path, monkeypatch):
    interrupt_at(monkeypatch, {17})
    assert train(config(), tmp_path / "run").status == "stopped"
    monkeypatch.setattr("toy_task.Toy.build", lambda self, out: build_otherwise(self, out))
    with pytest.raises(UserError, match=r"was started with other data \(fingerprint"):
        train(config(task={"data_dir": str(tmp_path / "other")}), tmp_path / "run", resume=True)


def build_otherwise(task, out):
    for split, size in task.parameters.sizes.items():
        for number in range(size):
            out[split].append(np.full(3, 1 + number % 7, np.uint8), number % 2)


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {}}, {"global_step": "3"}])
def test_a_checkpoint_of_something_else_is_refused(tmp_path, content):
    torch.save(content, tmp_path / LAST)
    with pytest.raises(UserError, match=r"cannot be read \(it holds no state of a run\)"):
        load_checkpoint(tmp_path / LAST)


def test_a_checkpoint_of_another_version_is_one_sentence(config, tmp_path, monkeypatch):
    interrupt_at(monkeypatch, {3})
    train(config(), tmp_path / "run")
    content = load_checkpoint(tmp_path / "run" / LAST)
    del content["lra_state"]["rng"]
    torch.save(content, tmp_path / "run" / LAST)
    with pytest.raises(UserError, match="are of another version"):
        train(config(), tmp_path / "run", resume=True)


@pytest.mark.parametrize("part", ["state_dict", "optimizer_states", "loops"])
def test_a_checkpoint_of_something_like_it_is_one_sentence(config, tmp_path, monkeypatch, part):
    interrupt_at(monkeypatch, {3})
    train(config(), tmp_path / "run")
    content = load_checkpoint(tmp_path / "run" / LAST)
    content[part] = {"a": torch.zeros(2)} if part != "optimizer_states" else [{"state": 3}]
    torch.save(content, tmp_path / "run" / LAST)
    with pytest.raises(UserError, match=r"last\.ckpt does not fit this run \(.*\): delete it to begin again"):
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


def explode(monkeypatch, step):
    """Multiply the loss of one step."""
    original, count = Classification.training_step, [0]

    def training_step(self, batch, batch_idx):
        count[0] += 1
        return original(self, batch, batch_idx) * (1e6 if count[0] == step else 1)

    monkeypatch.setattr(Classification, "training_step", training_step)


@pytest.mark.parametrize("policy", ["note", "stop"])
def test_a_gradient_that_explodes(config, tmp_path, monkeypatch, policy):
    explode(monkeypatch, 25)
    options = {"log_every": 1, "on_explosion": policy}
    record = train(config(train=options, model={"norm": "layer"}), tmp_path / "run")
    assert record.status == "exploded" if policy == "stop" else record.scores is not None
    said = record.message if policy == "stop" else record.incidents[0].message
    assert re.fullmatch(r"The gradient's norm was .*e\+0\d up to step 25, and at the beginning .*\.", said)
    assert [incident.kind for incident in record.incidents] == ([] if policy == "stop" else ["gradient"])
    assert train(config(train=options, model={"norm": "layer"}), tmp_path / "run", resume=True) == record


@pytest.mark.parametrize("policy", ["note", "stop"])
def test_a_loss_that_stays_at_that_of_guessing(config, tmp_path, policy):
    options = {"epochs": 4, "on_plateau": policy, "plateau_epochs": 2}
    record = train(config(optim={"lr": 0.0}, train=options), tmp_path / "run")
    message = "The training loss was that of guessing (0.673) for 2 epochs, up to step 20."
    if policy == "stop":
        assert (record.status, record.message, record.scores) == ("plateau", message, None)
    else:
        assert [(incident.kind, incident.step) for incident in record.incidents] == [("plateau", 20)]
        assert record.incidents[0].message == message
        assert record.status == "chance"


def test_the_loss_of_guessing():
    assert guessing_loss(np.arange(10), 10) == pytest.approx(math.log(10))
    assert guessing_loss(np.array([0, 0, 0, 1]), 3) == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))


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


@pytest.mark.parametrize("deterministic", [False, True])
def test_the_same_seed_twice_and_another_seed(config, tmp_path, deterministic):
    options = {"epochs": 1, "deterministic": deterministic}
    try:
        for name in "ab":
            train(config(train=options), tmp_path / name)
        assert torch.are_deterministic_algorithms_enabled() == deterministic
        train(config(train=options, seed=2), tmp_path / "c")
    finally:
        torch.use_deterministic_algorithms(False)
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
