"""Trackers: what they are sent, that they change nothing, and what happens where they are missing or fail."""

import csv
import importlib.metadata
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from lra_hgrn.config import from_plain
from lra_hgrn.errors import UserError
from lra_hgrn.training import trackers
from lra_hgrn.training.checkpoints import LAST, load_checkpoint
from lra_hgrn.training.run import train

HERE = Path(__file__).parent


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(HERE)

    def make(tracker):
        return from_plain(
            {
                "task": {"name": "toy_task.Toy", "data_dir": str(tmp_path / "data")},
                "model": {"name": "HGRN", "d_model": 4, "layers": 1, "dropout": 0.2},
                "train": {"batch_size": 32, "log_every": 2, "accelerator": "cpu", "threads": 1, "tracker": tracker},
            },
            "test",
        )

    return make


def draw():
    """Move every global random number generator on."""
    random.random()
    np.random.seed(random.randrange(100))  # noqa: NPY002
    torch.rand(1)


class Fake:
    """A logger that keeps what it is sent, draws random numbers, and can fail."""

    def __init__(self, fails_at=None):
        self.sent, self.hyperparameters, self.ended, self.fails_at = [], None, [], fails_at

    def log_hyperparams(self, values):
        self.hyperparameters = values

    def log_metrics(self, metrics, step):
        draw()
        self.sent.append((step, metrics))
        if len(self.sent) == self.fails_at:
            raise RuntimeError("no network")


@pytest.fixture
def fake(monkeypatch):
    """Put a fake logger in the place of W&B's; return a function that makes it, and the ids it was opened with."""

    def put(**options):
        logger, ids = Fake(**options), []

        def opened(directory, run_id, step):
            draw()
            ids.append((run_id, step))
            return trackers.Opened(logger, "id-7", logger.ended.append)

        monkeypatch.setitem(trackers.OPEN, "wandb", opened)
        monkeypatch.setattr(trackers, "version", lambda name: "1")
        return logger, ids

    return put


def rows(directory):
    with (directory / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def weights(directory):
    return load_checkpoint(directory / LAST)["state_dict"]


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_extra_is_one_sentence_before_anything_is_written(config, tmp_path, monkeypatch, name):
    def version(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(trackers, "version", version)
    with pytest.raises(UserError, match=rf"^train.tracker={name} needs the extra: pip install 'lra-hgrn\[{name}\]'$"):
        train(config(name), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_tracker_is_sent_the_rows_and_the_scores_and_changes_nothing(config, tmp_path, fake):
    train(config("none"), tmp_path / "plain")
    logger, ids = fake()
    record = train(config("wandb"), tmp_path / "tracked")
    assert ids == [(None, 0)]
    assert logger.hyperparameters["optim"]["lr"] == 1e-3
    *sent, (step, scores) = logger.sent
    written = rows(tmp_path / "tracked")
    assert [step for step, _ in sent] == [int(row["step"]) for row in written] == [2, 4, 5, 5]
    for (_, metrics), row in zip(sent, written, strict=True):
        assert metrics.keys() == {f"{row['split']}/{name}" for name in ("loss", "accuracy", "lr", "seconds")}
        for name, value in metrics.items():
            assert value == pytest.approx(float(row[name.partition("/")[2]]), rel=1e-5, abs=0.01)
    assert step == 5
    best, last = record.scores.best.accuracy, record.scores.last.accuracy
    assert scores == {"test/best_accuracy": best, "test/last_accuracy": last}
    assert logger.ended == [record.status]
    plain, tracked = weights(tmp_path / "plain"), weights(tmp_path / "tracked")
    assert all(torch.equal(plain[key], tracked[key]) for key in plain)


def test_a_resumed_run_goes_on_in_the_same_tracked_run(config, tmp_path, fake):
    train(config("none"), tmp_path / "run")
    _, ids = fake()
    for _ in range(2):
        (tmp_path / "run" / "record.json").unlink()
        train(config("wandb"), tmp_path / "run", resume=True)
    assert ids == [(None, 5), ("id-7", 5)]


def test_a_tracker_that_fails_is_given_up_with_one_sentence(config, tmp_path, fake, capsys):
    train(config("none"), tmp_path / "plain")
    capsys.readouterr()
    logger, _ = fake(fails_at=2)
    record = train(config("wandb"), tmp_path / "tracked")
    assert record.scores is not None
    assert len(logger.sent) == 2
    assert capsys.readouterr().err.count("train.tracker=wandb failed (RuntimeError: no network); the run goes on") == 1
    assert len(rows(tmp_path / "tracked")) == 4
    plain, tracked = weights(tmp_path / "plain"), weights(tmp_path / "tracked")
    assert all(torch.equal(plain[key], tracked[key]) for key in plain)


def test_a_tracker_that_cannot_be_opened_is_one_sentence(config, tmp_path, fake, monkeypatch):
    fake()
    monkeypatch.setitem(trackers.OPEN, "wandb", lambda *arguments: 1 / 0)
    with pytest.raises(UserError, match=r"train.tracker=wandb cannot be opened \(ZeroDivisionError"):
        train(config("wandb"), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TensorBoard's own making
def test_tensorboard_reads_what_was_written(config, tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    record = train(config("tensorboard"), tmp_path / "run")
    events = reader.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    losses = [(str(event.step), event.value) for event in events.Scalars("train/loss")]
    wanted = [(row["step"], float(row["loss"])) for row in rows(tmp_path / "run") if row["split"] == "train"]
    assert [step for step, _ in losses] == [step for step, _ in wanted]
    assert [value for _, value in losses] == pytest.approx([value for _, value in wanted], rel=1e-5)
    (score,) = events.Scalars("test/best_accuracy")
    assert (score.step, score.value) == (5, pytest.approx(record.scores.best.accuracy))
    assert "lr: 0.001" in (tmp_path / "run" / "tensorboard" / "hparams.yaml").read_text()
