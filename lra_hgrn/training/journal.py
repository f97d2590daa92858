"""Callback that writes metrics.csv and tells the tracker, measures training speed and notices divergence."""

import csv
import math
import os
import time
from pathlib import Path
from statistics import median
from typing import Any

import lightning as L
import torch

from lra_hgrn.results.files import COLUMNS, METRICS
from lra_hgrn.results.record import Throughput
from lra_hgrn.training.module import Classification
from lra_hgrn.training.trackers import Tracker


class Diverged(Exception):
    """The training loss is no longer a finite number."""


class Journal(L.Callback):
    """Log a row every ``log_every`` steps and one a validation; keep the duration of each window of steps.

    A window ends where a row is written, which is where the host waits for the device: between two rows nothing
    synchronises. Validation, the checkpoints after it and the first window after a start are outside the measurement.
    """

    def __init__(self, directory: Path, log_every: int, tracker: Tracker) -> None:
        self.path = directory / METRICS
        self.log_every = log_every
        self.tracker = tracker
        self.windows: list[list[float]] = []  # [steps, seconds, samples, tokens]
        self.first_step: float | None = None
        self.elapsed = 0.0  # of earlier sessions of this run
        self._started = time.perf_counter()
        self._warm = False
        self._open_window()

    # -- state that a resumed run goes on with

    def seconds(self) -> float:
        """Return the wall time of the run so far, over all its sessions."""
        return self.elapsed + time.perf_counter() - self._started

    def state_dict(self) -> dict[str, Any]:
        return {"windows": self.windows, "first_step": self.first_step, "elapsed": self.seconds()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.windows, self.first_step, self.elapsed = state["windows"], state["first_step"], state["elapsed"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Drop the rows that a killed session wrote after its last checkpoint, or start a new file."""
        rows: list[dict[str, str]] = []
        if trainer.global_step and self.path.is_file():
            with self.path.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= trainer.global_step]
        temporary = self.path.with_suffix(".tmp")
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        os.replace(temporary, self.path)
        self._warm = False
        self._open_window()

    # -- windows

    def _open_window(self) -> None:
        self._steps, self._samples, self._tokens = 0, 0, torch.zeros((), dtype=torch.int64)
        self._busy, self._since = 0.0, time.perf_counter()

    def _close_window(self) -> None:
        if self._steps:
            tokens = int(self._tokens)  # waits for the device
            seconds = self._busy + time.perf_counter() - self._since
            if self._warm:
                self.windows.append([self._steps, seconds, self._samples, tokens])
            self._warm = True
        self._open_window()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Classification)
        self._steps += 1
        self._samples += len(batch.labels)
        self._tokens = self._tokens.to(batch.lengths.device) + batch.lengths.sum()
        if self.first_step is None:
            int(self._tokens)  # waits for the device
            self.first_step = time.perf_counter() - self._since
        if trainer.global_step % self.log_every == 0 or trainer.is_last_batch:
            self._close_window()
            loss, accuracy = pl_module.train_metrics.pop()
            self._write(trainer, "train", loss, accuracy)
            if not math.isfinite(loss):
                raise Diverged(f"The training loss was {loss} at step {trainer.global_step}.")

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._busy += time.perf_counter() - self._since

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._since = time.perf_counter()

    def log_validation(self, trainer: L.Trainer, loss: float, accuracy: float) -> None:
        """Write the row of a validation."""
        self._write(trainer, "val", loss, accuracy)

    def _write(self, trainer: L.Trainer, split: str, loss: float, accuracy: float) -> None:
        lr, seconds = trainer.optimizers[0].param_groups[0]["lr"], self.seconds()
        row = (trainer.global_step, trainer.current_epoch, split, f"{loss:.6g}", f"{accuracy:.6g}", f"{lr:.6g}")
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow((*row, f"{seconds:.2f}"))
        metrics = {"loss": loss, "accuracy": accuracy, "lr": lr, "seconds": seconds}
        self.tracker.log({f"{split}/{name}": value for name, value in metrics.items()}, trainer.global_step)

    def throughput(self, compiled: bool) -> Throughput | None:
        """Return medians over the windows; None if training was too short for one."""
        if not self.windows:
            return None
        step = median(seconds / steps for steps, seconds, _, _ in self.windows)
        return Throughput(
            samples_per_second=median(samples / seconds for _, seconds, samples, _ in self.windows),
            tokens_per_second=median(tokens / seconds for _, seconds, _, tokens in self.windows),
            median_step_seconds=step,
            steps_measured=int(sum(window[0] for window in self.windows)),
            compile_seconds=max(0.0, (self.first_step or 0.0) - step) if compiled else 0.0,
        )
