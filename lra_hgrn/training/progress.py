"""Callback that tells a reporter how far training is."""

from collections.abc import Callable
from typing import Any

import lightning as L

from lra_hgrn.progress import Reporter


class TrainingProgress(L.Callback):
    """Feed a reporter with optimiser steps."""

    def __init__(self, reporter: Reporter, total_steps: int, best: Callable[[], float | None]) -> None:
        self.reporter = reporter
        self.total_steps = total_steps
        self.best = best  # accuracy of the best validation so far

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.reporter.update("train", trainer.global_step, self.total_steps)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        best = self.best()
        note = "" if best is None else f"best validation {100 * best:.1f} %"
        self.reporter.update("train", trainer.global_step, self.total_steps, note)
