"""Checkpoints that are never half-written and continue a run exactly; stopping on a signal."""

import io
import os
import pickle
import signal
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import CheckpointIO

from lra_hgrn.errors import UserError
from lra_hgrn.training.journal import Journal
from lra_hgrn.training.module import Classification
from lra_tasks import BatchLoader

BEST, LAST = "best.ckpt", "last.ckpt"


class Stopped(Exception):
    """The run was asked to stop and has written its checkpoint."""


class AtomicCheckpointIO(CheckpointIO):
    """Write to a temporary name, sync, rename; read tensors and plain containers only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Through memory: on a full disk torch's own writer fails with an error that does not say so.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        temporary = path.with_suffix(".tmp")
        try:
            with temporary.open("wb") as file:
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        return load_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint into CPU memory without running code from it."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"The checkpoint {path} cannot be read ({reason}); delete it to start the run anew.") from None


def _loader(trainer: L.Trainer) -> BatchLoader:
    assert isinstance(trainer.train_dataloader, BatchLoader)
    return trainer.train_dataloader


class Checkpoints(L.Callback):
    """Keep ``last.ckpt`` (after each epoch, every ``minutes`` inside one, on a signal) and ``best.ckpt``.

    The best checkpoint has the highest validation accuracy, the earlier one among equals. The state of torch's
    random number generators is part of a checkpoint, so that dropout goes on where it was, and so is that of the
    batch order: Lightning keeps the loader's state too, but restores it only in the middle of an epoch.
    """

    def __init__(self, directory: Path, minutes: float, journal: Journal) -> None:
        self.directory = directory
        self.minutes = minutes
        self.journal = journal
        self.best: dict[str, Any] | None = None  # accuracy, epoch, step
        self.last: dict[str, Any] | None = None
        self._signal: int | None = None
        self._handlers: dict[int, Any] = {}
        self._resumed: dict[str, Any] | None = None
        self._saved = time.monotonic()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["lra_state"] = {
            "best": self.best,
            "last": self.last,
            "rng": {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()},
            "loader": _loader(trainer).state_dict(),
        }

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._resumed = checkpoint["lra_state"]
        self.best, self.last = self._resumed["best"], self._resumed["last"]

    def best_accuracy(self) -> float | None:
        """Return the highest validation accuracy so far."""
        return None if self.best is None else self.best["accuracy"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Here and not earlier: Lightning sets a SIGTERM handler of its own that stops without a checkpoint.
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._on_signal)
        if self._resumed is not None:
            _loader(trainer).load_state_dict(self._resumed["loader"])
            torch.set_rng_state(self._resumed["rng"]["cpu"])
            if len(self._resumed["rng"]["cuda"]) == torch.cuda.device_count():
                torch.cuda.set_rng_state_all(self._resumed["rng"]["cuda"])
        self._saved = time.monotonic()

    def _on_signal(self, number: int, frame: Any) -> None:
        self._signal = number
        self._restore_handlers()  # a second signal ends the process at once

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_last_batch:
            return  # the end of the epoch saves; a checkpoint here would count as validated
        if self._signal is not None:
            self._save_and_stop(trainer)
        elif time.monotonic() - self._saved >= 60 * self.minutes:
            self._save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Classification)
        loss, accuracy = pl_module.val_metrics.pop()
        self.journal.log_validation(trainer, loss, accuracy)
        self.last = {"accuracy": accuracy, "epoch": trainer.current_epoch, "step": trainer.global_step}
        if self.best is None or accuracy > self.best["accuracy"]:
            self.best = self.last
            trainer.save_checkpoint(self.directory / BEST, weights_only=True)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._signal is not None:
            self._save_and_stop(trainer)
        self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.directory / LAST)
        self._saved = time.monotonic()

    def _save_and_stop(self, trainer: L.Trainer) -> None:
        self._save(trainer)
        raise Stopped(f"Stopped after step {trainer.global_step}; the same command with --resume goes on.")

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._restore_handlers()
