"""Callback that writes metrics.csv and tells the tracker and `Health`, and measures training speed."""

import csv
import io
import os
import time
from pathlib import Path
from statistics import median
from typing import Any

import lightning as L
import torch

from lra_hgrn.results.files import COLUMNS, METRICS, write_whole
from lra_hgrn.results.record import Throughput
from lra_hgrn.training import processes
from lra_hgrn.training.health import Health
from lra_hgrn.training.module import Classification
from lra_hgrn.training.trackers import Tracker


class Journal(L.Callback):
    """Log a row every ``log_every`` steps and one a validation, in the first process; time each window of steps.

    A window ends where a row is written, which is where the host waits for the device: between two rows nothing
    synchronises. Validation, the checkpoints after it and the first window after a start are outside the measurement.
    """

    def __init__(self, directory: Path, log_every: int, tracker: Tracker, health: Health, writes: bool = True) -> None:
        self.path = directory / METRICS
        self.log_every = log_every
        self.tracker = tracker
        self.health = health
        self.writes = writes
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
        if self.writes:
            rows = self._rows(trainer.global_step) if trainer.global_step else []
            text = io.StringIO(newline="")
            csv.writer(text).writerows([COLUMNS, *rows])
            write_whole(self.path, text.getvalue())
        self._warm = False
        self._open_window()

    def _rows(self, step: int) -> list[list[str]]:
        """Return the rows up to a step; what cannot be read is behind it, since `sync` comes before a checkpoint."""
        if not self.path.is_file():
            return []
        with self.path.open(newline="") as file:
            rows = [row for row in csv.reader(file) if len(row) == len(COLUMNS) and row[0].isdecimal()]
        return [row for row in rows if int(row[0]) <= step]

    def sync(self) -> None:
        """Wait until the rows so far are on the disk."""
        if self.writes:
            with self.path.open("ab") as file:
                os.fsync(file.fileno())

    # -- windows

    def _open_window(self) -> None:
        self._steps, self._samples, self._tokens = 0, 0, torch.zeros((), dtype=torch.int64)
        self._busy, self._since = 0.0, time.perf_counter()

    def _close_window(self) -> None:
        if self._steps:
            samples, tokens = processes.total([self._samples, int(self._tokens)])  # waits for the device
            seconds = self._busy + time.perf_counter() - self._since
            if self._warm:
                self.windows.append([self._steps, seconds, samples, tokens])
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
            seen, gradient = pl_module.train_metrics.pop(), pl_module.pop_gradient()
            self._write(trainer, "train", seen.loss, seen.accuracy)
            self.health.see(trainer.global_step, seen.loss, seen.samples, gradient)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._busy += time.perf_counter() - self._since

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._since = time.perf_counter()

    def log_validation(self, trainer: L.Trainer, loss: float, accuracy: float) -> None:
        """Write the row of a validation."""
        self._write(trainer, "val", loss, accuracy)

    def _write(self, trainer: L.Trainer, split: str, loss: float, accuracy: float) -> None:
        if not self.writes:
            return
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
