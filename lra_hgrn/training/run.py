"""Train one cell from its configuration to its record."""

import contextlib
import logging
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from inspect import signature
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from omegaconf import OmegaConf
from torch.nn.parallel import DistributedDataParallel

from lra_hgrn.config import Config, identity, plain
from lra_hgrn.errors import Stopped, UserError
from lra_hgrn.models import SequenceClassifier, build_classifier
from lra_hgrn.models.norm import synchronise_batch_norm
from lra_hgrn.progress import Reporter, Silent
from lra_hgrn.results.files import CONFIG, write_whole
from lra_hgrn.results.record import Device, Incident, Memory, Record, Status, lower_bounds
from lra_hgrn.results.stats import above_chance
from lra_hgrn.training import environment, processes
from lra_hgrn.training.checkpoints import AtomicCheckpointIO, newest_checkpoint
from lra_hgrn.training.compiling import compile_network
from lra_hgrn.training.data import build_task
from lra_hgrn.training.folder import ended, opened
from lra_hgrn.training.health import Health, Spoilt, guessing_loss
from lra_hgrn.training.journal import Journal
from lra_hgrn.training.module import Classification
from lra_hgrn.training.processes import Place
from lra_hgrn.training.profile import Profile
from lra_hgrn.training.progress import TrainingProgress
from lra_hgrn.training.ranks import Mode, Ranks
from lra_hgrn.training.saving import Checkpoints
from lra_hgrn.training.scoring import Tested, score
from lra_hgrn.training.stopping import Stopping
from lra_hgrn.training.trackers import Tracker, check_installed
from lra_tasks import LRATask
from lra_tasks.errors import one_line

PRECISIONS: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
# DDP copies no buffers at each step: those of batch norm agree, and in evaluation one process may have a batch less.
_BUFFERS = ("forward_sync_buffers", "broadcast_buffers")  # its name since torch 2.13, and before
_STILL: dict[str, Any] = {
    next(name for name in _BUFFERS if name in signature(DistributedDataParallel).parameters): False
}


def train(config: Config, directory: Path, *, resume: bool = False) -> Record:
    """Train a cell, test it, and write its folder: config, metrics, checkpoints, predictions, record.

    Args:
        config: the cell.
        directory: the run's folder, made if missing.
        resume: go on from the newest checkpoint; a finished run returns its record.

    Raises:
        Busy: another process is at work in the folder.
        UserError: the folder holds another run, or the configuration cannot be built.
        Stopped: SIGINT or SIGTERM came before training began; later ones end in a record that says so.
    """
    check_installed(config.train.tracker)
    given = processes.place_from_environment(config.train.devices)
    if given is not None and not given.first:
        return ended(config, directory) or join(config, directory, "execute")
    with opened(config, directory, resume) as record:
        if record is not None:
            return record
        with _sentences(directory), Reporter(directory, f"{config.model.name} on {config.task.name}") as reporter:
            return _first(config, directory, reporter, given, "execute")


@dataclass(frozen=True)
class Validation:
    """How training ended, and the best validation of the run."""

    status: Status  # "finished", "stopped", or what spoilt it
    message: str
    accuracy: float | None  # of the validation split; None if training never came to validate
    step: int | None  # of the checkpoint with that accuracy
    seconds: float  # wall time, over all sessions


def validate(config: Config, directory: Path, reporter: Reporter) -> Validation:
    """Train a cell and leave the test split alone.

    The folder gets what `train` writes but a record and predictions; if it holds a part of the same run, that goes on.

    Raises:
        Busy, UserError, Stopped: as `train`.
        OSError: the disk is full, or whatever else the system refuses; the last checkpoint is whole.
    """
    check_installed(config.train.tracker)
    with opened(config, directory, resume=True):
        return _first(config, directory, reporter, None, "validate")


def join(config: Config, directory: Path, mode: Mode) -> Any:
    """Be one of the processes that share the batches of a run, but not the first, which writes and tells.

    Returns:
        What the first one returns.
    """
    place = processes.place_from_environment(config.train.devices)
    assert place is not None
    config.train.tracker, config.profile = "none", False
    with Stopping() as stopping:
        result = getattr(_Run(config, directory, Silent(), stopping, place), mode)()
    processes.leave()
    return result


def _first(config: Config, directory: Path, reporter: Reporter, given: Place | None, mode: Mode) -> Any:
    size = config.train.devices
    place = given or Place(world_size=size, local_size=size)
    with Stopping() as stopping:
        run = _Run(config, directory, reporter, stopping, place)
        run.begin()
        with Ranks(config, directory, mode, 1 if given else size) as run.ranks:
            return getattr(run, mode)()


@contextlib.contextmanager
def _sentences(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not directory.is_dir():
            raise UserError(f"{directory} was removed during the run: the same command starts it anew.") from error
        raise UserError(
            f"The run stopped: {error}. Its last checkpoint is whole: mend this and add --resume."
        ) from error


@dataclass
class _Outcome:
    status: Status
    message: str = ""


class _Run:
    """One session of one run in one of its processes: everything that `train` needs along the way."""

    ranks: Ranks

    def __init__(self, config: Config, directory: Path, reporter: Reporter, stopping: Stopping, place: Place) -> None:
        self.config, self.directory, self.reporter = config, directory, reporter
        self.stopping, self.place = stopping, place
        self.started = time.time()
        torch.set_num_threads(environment.thread_count(config.train.threads, place.local_size))
        self.device = environment.compute_device(config.train.accelerator, place)
        self.backend = environment.kernel_backend(self.device)
        if self.device.type == "cpu":
            environment.keep_freed_memory()
        self.task = self._prepare_task()
        self.newest = newest_checkpoint(directory)
        self.incidents: list[Incident] = []
        if self.newest.damaged:
            self.incidents.append(Incident(kind="checkpoint", step=self.newest.step, message=self.newest.damaged))
            if place.first:
                print(f"lra: {self.newest.damaged}", file=sys.stderr, flush=True)
        # Everything random from here on follows from the seed; the data has a seed of its own.
        L.seed_everything(config.seed, verbose=False)
        self.net = build_classifier(self.task.spec, config.model)
        if place.world_size > 1:
            synchronise_batch_norm(self.net)
        compile_network(self.net, config.train, self.device, self.task.spec)
        self.total_steps = config.train.epochs * len(self.task.train_dataloader())
        self.module = Classification(self.net, self.task.spec.n_classes, config, self.total_steps)
        self.tracker = Tracker(config, directory, self.newest.step)
        guessing = guessing_loss(self.task.split("train").labels, self.task.spec.n_classes)
        self.health = Health(config.train, guessing, self.incidents)
        self.journal = Journal(directory, config.train.log_every, self.tracker, self.health, writes=place.first)
        self.checkpoints = Checkpoints(
            directory,
            config.train.checkpoint_minutes,
            self.journal,
            stopping,
            config.seed,
            self.task.fingerprint,
            self.incidents,
        )
        self.profile = [Profile(directory, self.total_steps)] if config.profile else []
        self.tested: Tested | None = None

    def _prepare_task(self) -> LRATask:
        task = build_task(self.config, self.device if self.device.type == "cuda" else None)
        for size in (task.batch_size, task.eval_batch_size or task.batch_size):
            if size < self.place.world_size:
                raise UserError(
                    f"A batch of {size} cannot be shared by {self.place.world_size} processes: raise train.batch_size "
                    "or train.eval_batch_size, or lower train.devices."
                )
        task.prepare_data(self._data_progress)
        task.setup("fit")
        return task

    def _data_progress(self, phase: str, done: int, total: int | None) -> None:
        if phase == "download":
            self.reporter.update("download, MB", done // 1_000_000, (total or 0) // 1_000_000)
        else:
            self.reporter.update("data", done, total or 0)

    def begin(self) -> None:
        """Let the folder hold a run from here on: everything that a wrong option breaks has been built."""
        write_whole(self.directory / CONFIG, OmegaConf.to_yaml(OmegaConf.create(plain(self.config))))

    def execute(self) -> Record:
        """Train, test and, in the first process, write the record."""
        with self._tracked() as ended:
            record = self._train_and_test()
            ended.append(record.status)
        return record

    def validate(self) -> Validation:
        """Train and return the best validation."""
        with self._tracked() as ended:
            outcome = self._fit()
            ended.append(outcome.status)
        best = self.checkpoints.best or {}
        return Validation(
            outcome.status, outcome.message, best.get("accuracy"), best.get("step"), round(self.journal.seconds(), 2)
        )

    @contextlib.contextmanager
    def _tracked(self) -> Iterator[list[Status]]:
        ended: list[Status] = []
        try:
            yield ended
        finally:
            self.tracker.close(ended[0] if ended else "failed")

    def _train_and_test(self) -> Record:
        try:
            outcome = self._fit()
            if outcome.status == "finished":
                outcome = self._test()
        except (UserError, OSError):
            raise
        except Stopped:
            outcome = _Outcome("stopped", "Stopped in the test; the same command with --resume goes on.")
        except Exception as error:
            if self.newest.path is not None and not self.checkpoints.restored:
                reason = f"{self.newest.path} does not fit this run ({one_line(error, 200)})"
                raise UserError(f"The checkpoint {reason}: delete it to begin again.") from error
            failure = self.ranks.failure() if self.place.first else None
            self._write(_Outcome("failed", failure or f"{type(error).__name__}: {error}"))
            if failure:
                raise UserError(f"{failure} (see {self.directory}).") from error
            raise
        if self.tested is not None:
            self.tracker.log_scores(self.tested.scores)
        return self._write(outcome)

    def _fit(self) -> _Outcome:
        training, place = self.config.train, self.place
        for name in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.WARNING)
        progress = TrainingProgress(self.reporter, self.total_steps, self.checkpoints.best_accuracy)
        trainer = L.Trainer(
            accelerator=self.device.type,
            devices=place.local_size,
            num_nodes=place.world_size // place.local_size,
            strategy=DDPStrategy(**_STILL) if place.world_size > 1 else "auto",
            use_distributed_sampler=False,
            precision=PRECISIONS[training.precision],
            max_epochs=training.epochs,
            gradient_clip_val=self.config.optim.clip or None,
            deterministic=training.deterministic,
            callbacks=[self.journal, self.health, self.checkpoints, progress, *self.profile],
            # Its environment by name, or Lightning would take a job of Slurm's for several processes.
            plugins=[AtomicCheckpointIO(), LightningEnvironment()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=self.directory,
        )
        environment.reset_peak_memory(self.device)  # the peak counts training, not the preparation of the data
        try:
            with warnings.catch_warnings(), self.stopping.after_a_step():
                # lightning 2.6 with torch 2.13, of lightning's own making
                warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec", category=FutureWarning)
                trainer.fit(self.module, datamodule=self.task, ckpt_path=self.newest.path, weights_only=True)
        except Spoilt as error:
            return _Outcome(error.status, str(error))
        except Stopped as error:
            return _Outcome("stopped", str(error))
        return _Outcome("finished")

    def _test(self) -> _Outcome:
        self.module.to(self.device)
        self.tested = score(
            self.module, self.task, self.checkpoints, self.directory, self.reporter, writes=self.place.first
        )
        best = self.tested.scores.best
        if above_chance(best.correct, best.total, self.tested.chance):
            return _Outcome("finished")
        return _Outcome("chance", "Test accuracy is not above the share of the most frequent class.")

    def _write(self, outcome: _Outcome) -> Record:
        record = self._record(outcome)
        if self.place.first:
            record.save(self.directory)
        return record

    def _record(self, outcome: _Outcome) -> Record:
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
            scores=self.tested.scores if self.tested is not None else None,
            chance=self.tested.chance if self.tested is not None else None,
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
                processes=self.place.world_size,
            ),
            versions=environment.versions(),
            git_commit=commit,
            started=datetime.fromtimestamp(self.started, UTC).isoformat(timespec="seconds"),
            wall_seconds=self.journal.seconds(),
            incidents=self.incidents,
            lower_bounds=None if bounds is None else lower_bounds(bounds.detach().cpu().numpy()),
        )

    def _rule_departures(self) -> list[str]:
        """Return what takes this run out of the strict track, in words."""
        return [*self.task.rule_departures, *getattr(self.net, "departures", ())]
