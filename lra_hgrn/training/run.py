"""Train one cell from its configuration to its record."""

import logging
import time
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from omegaconf import OmegaConf

from lra_hgrn.config import Config, from_plain, identity, plain
from lra_hgrn.config.compose import read_yaml
from lra_hgrn.errors import UserError
from lra_hgrn.models import SequenceClassifier, build_classifier
from lra_hgrn.progress import Reporter
from lra_hgrn.results.files import CONFIG, write_whole
from lra_hgrn.results.predictions import make_predictions
from lra_hgrn.results.record import (
    FILE,
    FINAL,
    Device,
    Memory,
    Record,
    Score,
    Scores,
    Status,
    load_record,
    lower_bounds,
)
from lra_hgrn.results.stats import above_chance
from lra_hgrn.training import environment
from lra_hgrn.training.checkpoints import BEST, LAST, AtomicCheckpointIO, Checkpoints, Stopped, load_checkpoint
from lra_hgrn.training.compiling import compile_network
from lra_hgrn.training.data import build_task
from lra_hgrn.training.journal import Diverged, Journal
from lra_hgrn.training.module import Classification, Predicted, predict
from lra_hgrn.training.profile import Profile
from lra_hgrn.training.progress import TrainingProgress
from lra_hgrn.training.trackers import Tracker, check_installed
from lra_tasks import LRATask

PRECISIONS: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def train(config: Config, directory: Path, *, resume: bool = False) -> Record:
    """Train a cell, test it, and write its folder: config, metrics, checkpoints, predictions, record.

    Args:
        config: the cell.
        directory: the run's folder, made if missing.
        resume: go on from ``last.ckpt``; a finished run returns its record.

    Raises:
        UserError: the folder holds another run, or the configuration cannot be built.
    """
    check_installed(config.train.tracker)
    record = _open_directory(config, directory, resume)
    if record is not None:
        return record
    try:
        with Reporter(directory, f"{config.model.name} on {config.task.name}") as reporter:
            return _Run(config, directory, reporter).execute()
    except OSError as error:
        raise UserError(
            f"The run stopped: {error}. Its last checkpoint is whole: mend this and add --resume."
        ) from error


@dataclass(frozen=True)
class Validation:
    """How training ended, and the best validation of the run."""

    status: Status  # "finished", "stopped" or "diverged"
    message: str
    accuracy: float | None  # of the validation split; None if training never came to validate
    step: int | None  # of the checkpoint with that accuracy
    seconds: float  # wall time, over all sessions


def validate(config: Config, directory: Path, reporter: Reporter) -> Validation:
    """Train a cell and leave the test split alone.

    The folder gets what `train` writes but a record and predictions; if it holds a part of the same run, that goes on.

    Raises:
        UserError: as `train`.
        OSError: the disk is full, or whatever else the system refuses; the last checkpoint is whole.
    """
    check_installed(config.train.tracker)
    _open_directory(config, directory, resume=True)
    return _Run(config, directory, reporter).validate()


def _open_directory(config: Config, directory: Path, resume: bool) -> Record | None:
    """Make or check the run's folder; return the record if the run has ended already."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot write to {directory}: {error.strerror}; choose another --output.") from None
    if not (directory / CONFIG).is_file():
        return None
    if not resume:
        raise UserError(f"{directory} holds a run already: add --resume to go on, or choose another --output.")
    _check_same_cell(config, directory)
    record = load_record(directory / FILE) if (directory / FILE).is_file() else None
    return record if record is not None and record.status in FINAL else None


def _check_same_cell(config: Config, directory: Path) -> None:
    stored = from_plain(read_yaml(directory / CONFIG, str(directory / CONFIG)), str(directory / CONFIG))
    if (identity(stored), stored.seed) == (identity(config), config.seed):
        return
    old, new = (OmegaConf.create(plain(item)) for item in (stored, config))
    differing = [
        f"{section}.{key} was {old[section][key]!r}, now {value!r}"
        for section in ("task", "model", "optim", "train")
        for key, value in new[section].items()
        if old[section].get(key) != value
    ]
    reason = "; ".join(differing) or f"seed was {stored.seed}, now {config.seed}"
    raise UserError(f"{directory} was started with other options ({reason}); choose another --output.")


@dataclass
class _Outcome:
    status: Status
    message: str = ""


class _Run:
    """One session of one run: everything that `train` needs along the way."""

    def __init__(self, config: Config, directory: Path, reporter: Reporter) -> None:
        self.config, self.directory, self.reporter = config, directory, reporter
        self.started = time.time()
        torch.set_num_threads(environment.thread_count(config.train.threads))
        self.device = environment.compute_device(config.train.accelerator)
        self.backend = environment.kernel_backend(self.device)
        if self.device.type == "cpu":
            environment.keep_freed_memory()
        self.task = self._prepare_task()
        # Everything random from here on follows from the seed; the data has a seed of its own.
        L.seed_everything(config.seed, verbose=False)
        self.net = build_classifier(self.task.spec, config.model)
        compile_network(self.net, config.train, self.device, self.task.spec)
        self.total_steps = config.train.epochs * len(self.task.train_dataloader())
        self.module = Classification(self.net, self.task.spec.n_classes, config, self.total_steps)
        last = directory / LAST
        self.tracker = Tracker(config, directory, load_checkpoint(last)["global_step"] if last.is_file() else 0)
        self.journal = Journal(directory, config.train.log_every, self.tracker)
        self.checkpoints = Checkpoints(directory, config.train.checkpoint_minutes, self.journal)
        self.profile = [Profile(directory, self.total_steps)] if config.profile else []

    def _prepare_task(self) -> LRATask:
        task = build_task(self.config, self.device if self.device.type == "cuda" else None)
        task.prepare_data(self._data_progress)
        task.setup("fit")
        return task

    def _data_progress(self, phase: str, done: int, total: int | None) -> None:
        if phase == "download":
            self.reporter.update("download, MB", done // 1_000_000, (total or 0) // 1_000_000)
        else:
            self.reporter.update("data", done, total or 0)

    def execute(self) -> Record:
        """Train, test and write the record."""
        self._begin()
        status: Status = "failed"
        try:
            record = self._train_and_test()
            status = record.status
        finally:
            self.tracker.close(status)
        return record

    def validate(self) -> Validation:
        """Train and return the best validation."""
        self._begin()
        status: Status = "failed"
        try:
            outcome = self._fit()
            status = outcome.status
        finally:
            self.tracker.close(status)
        best = self.checkpoints.best or {}
        return Validation(
            status, outcome.message, best.get("accuracy"), best.get("step"), round(self.journal.seconds(), 2)
        )

    def _begin(self) -> None:
        # The folder counts as holding a run from here on: everything that a wrong option breaks has been built.
        write_whole(self.directory / CONFIG, OmegaConf.to_yaml(OmegaConf.create(plain(self.config))))

    def _train_and_test(self) -> Record:
        scores = None
        try:
            outcome = self._fit()
            scores = self._test() if outcome.status == "finished" else None
        except (UserError, OSError):
            raise
        except Exception as error:
            self._record(_Outcome("failed", f"{type(error).__name__}: {error}"), None).save(self.directory)
            raise
        if scores is not None and not above_chance(scores.best.correct, scores.best.total, self.chance):
            outcome = _Outcome("chance", "Test accuracy is not above the share of the most frequent class.")
        if scores is not None:
            self.tracker.log_scores(scores)
        record = self._record(outcome, scores)
        record.save(self.directory)
        return record

    def _fit(self) -> _Outcome:
        training = self.config.train
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        progress = TrainingProgress(self.reporter, self.total_steps, self.checkpoints.best_accuracy)
        trainer = L.Trainer(
            accelerator=self.device.type,
            devices=1,
            precision=PRECISIONS[training.precision],
            max_epochs=training.epochs,
            gradient_clip_val=self.config.optim.clip or None,
            deterministic=training.deterministic,
            callbacks=[self.journal, self.checkpoints, progress, *self.profile],
            plugins=[AtomicCheckpointIO()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=self.directory,
        )
        last = self.directory / LAST
        environment.reset_peak_memory(self.device)  # the peak counts training, not the preparation of the data
        try:
            with warnings.catch_warnings():
                # lightning 2.6 with torch 2.13, of lightning's own making
                warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec", category=FutureWarning)
                trainer.fit(
                    self.module, datamodule=self.task, ckpt_path=last if last.is_file() else None, weights_only=True
                )
        except Diverged as error:
            return _Outcome("diverged", str(error))
        except Stopped as error:
            return _Outcome("stopped", str(error))
        return _Outcome("finished")

    def _test(self) -> Scores:
        """Predict the test split once with the last and once with the best checkpoint."""
        self.module.to(self.device)
        loader = self.task.test_dataloader()
        same = self.checkpoints.best == self.checkpoints.last
        passes = 1 if same else 2
        predicted = {"last": self._predict(loader, 0, passes)}
        if same:
            predicted["best"] = predicted["last"]
        else:
            self.module.load_state_dict(load_checkpoint(self.directory / BEST)["state_dict"])
            predicted["best"] = self._predict(loader, 1, passes)
        labels = self.task.split("test").labels
        self.chance = float(np.bincount(labels).max() / len(labels))
        make_predictions(
            predicted["best"].classes,
            predicted["last"].classes,
            labels,
            fingerprint=self.task.fingerprint,
            n_classes=self.task.spec.n_classes,
            confidence=predicted["best"].confidence,
        ).save(self.directory)
        return Scores(best=self._score("best", predicted, labels), last=self._score("last", predicted, labels))

    def _score(self, name: str, predicted: dict[str, Predicted], labels: np.ndarray) -> Score:
        at = getattr(self.checkpoints, name)
        correct = int((predicted[name].classes.numpy() == labels).sum())
        return Score.of(correct, len(labels), val_accuracy=at["accuracy"], epoch=at["epoch"], step=at["step"])

    def _predict(self, loader: Any, nth: int, passes: int) -> Predicted:
        def progress(done: int, total: int) -> None:
            self.reporter.update("test", nth * total + done, passes * total)

        return predict(self.module, loader, self.config.train.precision, progress)

    def _record(self, outcome: _Outcome, scores: Scores | None) -> Record:
        config, net = self.config, self.net
        bounds = net.lower_bounds() if isinstance(net, SequenceClassifier) else None
        if bounds is not None and not bounds.isfinite().all():
            bounds = None  # diverged
        commit = environment.git_commit()
        return Record(
            run=self.directory.resolve().name,
            status=outcome.status,
            message=outcome.message,
            task=config.task.name,
            scale=config.task.scale,
            protocol=config.task.protocol,
            source=self.task.source,
            track="open" if self._rule_departures() else "strict",
            departures=[*self.task.departures, *self._rule_departures()],
            data_fingerprint=self.task.fingerprint,
            model=config.model.name,
            target=config.model.target,
            parameters=sum(parameter.numel() for parameter in net.parameters()),
            seed=config.seed,
            config=plain(config),
            config_hash=identity(config),
            scores=scores,
            chance=self.chance if scores is not None else None,
            throughput=self.journal.throughput(config.train.compile),
            memory=Memory(
                peak_bytes=environment.peak_memory(self.device),
                counts="cuda allocated" if self.device.type == "cuda" else "resident set",
            ),
            device=Device(
                name=environment.device_name(self.device),
                backend=self.backend,
                precision=config.train.precision,
                threads=torch.get_num_threads(),
            ),
            versions=environment.versions(),
            git_commit=commit,
            started=datetime.fromtimestamp(self.started, UTC).isoformat(timespec="seconds"),
            wall_seconds=self.journal.seconds(),
            lower_bounds=None if bounds is None else lower_bounds(bounds.detach().cpu().numpy()),
        )

    def _rule_departures(self) -> list[str]:
        """Return what takes this run out of the strict track, in words."""
        return [*self.task.rule_departures, *getattr(self.net, "departures", ())]
