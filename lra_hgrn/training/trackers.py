"""Trackers: the rows of metrics.csv and the test scores go to TensorBoard, Weights & Biases or MLflow as well.

A tracker only watches. It leaves the random number generators as it finds them, and where it fails the run goes on
without it.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities.seed import isolate_rng

from lra_hgrn.config import Config, plain
from lra_hgrn.errors import UserError
from lra_hgrn.results.files import write_whole
from lra_hgrn.results.record import Scores, Status

FILE = "tracker.json"  # ids that the trackers gave this run, by which a resumed one goes on
PROJECT = "lra-hgrn"  # unless the tracker's own environment variable names another


class Opened(NamedTuple):
    """A tracked run that rows can be sent to."""

    logger: Logger
    run_id: str
    end: Callable[[Status], object]


def _open_tensorboard(directory: Path, run_id: str | None, step: int) -> Opened:
    # Readers drop what a killed session logged after the checkpoint that this one goes on from.
    purge = step + 1 if step else None
    logger = TensorBoardLogger(directory, "tensorboard", "", default_hp_metric=False, purge_step=purge)
    return Opened(logger, logger.name, lambda status: logger.finalize("success"))


def _open_wandb(directory: Path, run_id: str | None, step: int) -> Opened:
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    settings = {"console": "off"}  # a progress bar is no log
    logger = WandbLogger(directory.resolve().name, directory, id=run_id, project=project, settings=settings)
    run = logger.experiment
    return Opened(logger, run.id, lambda status: run.finish(0 if status in ("finished", "chance") else 1))


def _open_mlflow(directory: Path, run_id: str | None, step: int) -> Opened:
    directory = directory.resolve()
    logger = MLFlowLogger(
        os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT),
        run_name=directory.name,
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{directory / 'mlflow.db'}",
        run_id=run_id,
    )
    client, opened = logger.experiment, logger.run_id
    if run_id is not None:
        client.update_run(run_id, status="RUNNING")
    statuses = {"finished": "FINISHED", "chance": "FINISHED", "stopped": "KILLED"}
    return Opened(logger, str(opened), lambda status: logger.finalize(statuses.get(status, "FAILED")))


# Each is named as its distribution, and as the extra of ours that installs it.
OPEN: dict[str, Callable[[Path, str | None, int], Opened]] = {
    "tensorboard": _open_tensorboard,
    "wandb": _open_wandb,
    "mlflow": _open_mlflow,
}


def check_installed(tracker: str) -> None:
    """Check that ``train.tracker`` can be used here.

    Raises:
        UserError: its extra is not installed.
    """
    if tracker == "none":
        return
    try:
        version(tracker)
    except PackageNotFoundError:
        raise UserError(f"train.tracker={tracker} needs the extra: pip install 'lra-hgrn[{tracker}]'") from None


class Tracker:
    """Where the rows of one run go; with ``train.tracker=none``, nowhere."""

    def __init__(self, config: Config, directory: Path, step: int = 0) -> None:
        """Open the tracked run of a run's folder, or begin one.

        Args:
            config: the cell, sent as hyper-parameters.
            directory: the run's folder.
            step: step of the checkpoint that training goes on from; 0: it begins.

        Raises:
            UserError: the tracker cannot be opened.
        """
        self.name = config.train.tracker
        self._config = plain(config)
        self._opened: Opened | None = None
        if self.name == "none":
            return
        ids = _read_ids(directory)
        with isolate_rng():
            try:
                self._opened = OPEN[self.name](directory, ids.get(self.name), step)
                if self.name not in ids:
                    self._opened.logger.log_hyperparams(self._config)
            except Exception as error:  # whatever these libraries raise
                raise UserError(
                    f"train.tracker={self.name} cannot be opened ({_reason(error)}): mend this or leave it out."
                ) from error
        write_whole(directory / FILE, json.dumps({**ids, self.name: self._opened.run_id}) + "\n")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Send numbers of one global step."""
        self._try(lambda opened: opened.logger.log_metrics(dict(metrics), step))

    def log_scores(self, scores: Scores) -> None:
        """Send the test accuracies of the best and of the last checkpoint, at the last step."""
        metrics = {"test/best_accuracy": scores.best.accuracy, "test/last_accuracy": scores.last.accuracy}

        def send(opened: Opened) -> None:
            if isinstance(opened.logger, TensorBoardLogger):  # its table of hyper-parameters wants them with a result
                opened.logger.log_hyperparams(self._config, metrics, scores.last.step)
            else:
                opened.logger.log_metrics(metrics, scores.last.step)

        self._try(send)

    def close(self, status: Status) -> None:
        """End the tracked run; a later session of the same run may open it again."""
        self._try(lambda opened: opened.end(status))
        self._opened = None

    def _try(self, act: Callable[[Opened], object]) -> None:
        if self._opened is None:
            return
        with isolate_rng(include_cuda=False):
            try:
                act(self._opened)
            except Exception as error:  # whatever these libraries raise: the run is worth more than its graph
                self._opened = None
                message = f"lra: train.tracker={self.name} failed ({_reason(error)}); the run goes on without it."
                print(message, file=sys.stderr, flush=True)


def _reason(error: Exception) -> str:
    words = str(error).strip().splitlines()
    return f"{type(error).__name__}: {words[0]}" if words else type(error).__name__


def _read_ids(directory: Path) -> dict[str, str]:
    try:
        return dict(json.loads((directory / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
