"""Callback that saves checkpoints, and stops training when asked to."""

import os
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch

from lra_hgrn.errors import Stopped, UserError
from lra_hgrn.results.files import PENDING
from lra_hgrn.results.record import Incident
from lra_hgrn.training import processes
from lra_hgrn.training.checkpoints import BEST, LAST, load_checkpoint
from lra_hgrn.training.journal import Journal
from lra_hgrn.training.module import Classification
from lra_hgrn.training.stopping import Stopping
from lra_tasks import BatchLoader


def _loader(trainer: L.Trainer) -> BatchLoader:
    assert isinstance(trainer.train_dataloader, BatchLoader)
    return trainer.train_dataloader


class Checkpoints(L.Callback):
    """Keep ``last.ckpt`` (after each epoch, every ``minutes`` inside one, on a signal) and ``best.ckpt``.

    The best checkpoint has the highest validation accuracy, the earlier one among equals. It is written before the
    last one and takes its place after it, so that whenever the process is killed, the best is the one that the last
    one speaks of.

    The state of torch's random number generators is part of a checkpoint, so that dropout goes on where it was, and so
    is that of the batch order: Lightning keeps the loader's state too, but restores it only in the middle of an epoch.
    """

    def __init__(
        self,
        directory: Path,
        minutes: float,
        journal: Journal,
        stopping: Stopping,
        seed: int,
        fingerprint: str,
        incidents: list[Incident],
    ) -> None:
        self.directory = directory
        self.minutes = minutes
        self.journal = journal
        self.stopping = stopping
        self.seed = seed
        self.fingerprint = fingerprint  # of the data
        self.incidents = incidents
        self.best: dict[str, Any] | None = None  # accuracy, epoch, step
        self.last: dict[str, Any] | None = None
        self.restored = False  # whether what a checkpoint holds, if there is one, could be taken up
        self._resumed: dict[str, Any] | None = None
        self._saved = time.monotonic()

    def best_accuracy(self) -> float | None:
        """Return the highest validation accuracy so far."""
        return None if self.best is None else self.best["accuracy"]

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["lra_state"] = {
            "best": self.best,
            "last": self.last,
            "fingerprint": self.fingerprint,
            "rng": processes.gathered({"cpu": torch.get_rng_state(), "cuda": _cuda_state()}),
            "loader": _loader(trainer).state_dict(),
        }

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        state = checkpoint.get("lra_state")
        if not isinstance(state, dict) or not {"best", "last", "fingerprint", "rng", "loader"} <= state.keys():
            raise UserError(f"The checkpoints in {self.directory} are of another version: delete them to begin again.")
        if state["fingerprint"] != self.fingerprint:
            raise UserError(
                f"{self.directory} was started with other data (fingerprint {state['fingerprint'][:12]}, now "
                f"{self.fingerprint[:12]}): bring those back, or choose another --output."
            )
        self._resumed = state
        self.best, self.last = state["best"], state["last"]
        if trainer.is_global_zero:
            self._settle_best()

    def _settle_best(self) -> None:
        """Finish or take back what a killed process had begun: the best is what the loaded checkpoint says."""
        pending = self.directory / PENDING
        if pending.is_file():
            if self.best is not None and load_checkpoint(pending)["global_step"] == self.best["step"]:
                os.replace(pending, self.directory / BEST)
            else:
                pending.unlink()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Here and not earlier: Lightning sets a SIGTERM handler of its own that stops without a checkpoint.
        self.stopping.take()
        if self._resumed is not None:
            _loader(trainer).load_state_dict(self._resumed["loader"])
            if not trainer.is_global_zero:
                assert isinstance(pl_module, Classification)
                pl_module.train_metrics.reset()  # the first process has seen what all had
        self._draw(trainer, self._resumed["rng"] if self._resumed is not None else [])
        self.restored = True
        self._saved = time.monotonic()

    def _draw(self, trainer: L.Trainer, states: list[dict[str, Any]]) -> None:
        """Let the random number generators go on where they were; those of several processes begin each its own way."""
        step, now = trainer.global_step, trainer.world_size
        if len(states) == now:
            own = states[trainer.global_rank]
            torch.set_rng_state(own["cpu"])
            if own["cuda"] is not None and torch.cuda.is_available():
                torch.cuda.set_rng_state(own["cuda"])
        elif states or now > 1:
            torch.manual_seed((self.seed * 1_000_003 + step) * 1_009 + trainer.global_rank)
        if states and len(states) != now:
            message = f"From step {step} on, {now} processes share a batch and not {len(states)}: dropout is another."
            self.incidents.append(Incident(kind="processes", step=step, message=message))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_last_batch:
            return  # the end of the epoch saves; a checkpoint here would count as validated
        due = trainer.is_global_zero and time.monotonic() - self._saved >= 60 * self.minutes
        stop, save = processes.any_of(self.stopping.requested), processes.any_of(due)
        if stop or save:
            self._save(trainer)
        if stop:
            self._stop(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Classification)
        seen = pl_module.val_metrics.pop()
        self.journal.log_validation(trainer, seen.loss, seen.accuracy)
        self.last = {"accuracy": seen.accuracy, "epoch": trainer.current_epoch, "step": trainer.global_step}
        if self.best is None or seen.accuracy > self.best["accuracy"]:
            self.best = self.last
            trainer.save_checkpoint(self.directory / PENDING, weights_only=True)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._save(trainer)
        if trainer.is_global_zero and self.best == self.last:
            os.replace(self.directory / PENDING, self.directory / BEST)
        if processes.any_of(self.stopping.requested):
            self._stop(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        assert isinstance(trainer.lightning_module, Classification)
        trainer.lightning_module.train_metrics.gather()
        self.journal.sync()  # or its rows up to here might not outlive the machine
        trainer.save_checkpoint(self.directory / LAST)
        self._saved = time.monotonic()

    def _stop(self, trainer: L.Trainer) -> None:
        raise Stopped(f"Stopped after step {trainer.global_step}; the same command with --resume goes on.")


def _cuda_state() -> torch.Tensor | None:
    return torch.cuda.get_rng_state() if torch.cuda.is_available() else None
