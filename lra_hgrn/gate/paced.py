"""Run `lra train ...` in turns, for a `Runner`.

A file of its own, run by its path with the words of `lra train` behind it: so it also runs the packages of another
commit, of which it needs no more than the command line. Each order is a number of steps. At the end of the file it
trains on without a pause.
"""

import json
import os
import runpy
import statistics
import time
from pathlib import Path
from typing import Any

import lightning as L


class Turns(L.Callback):
    """Wait for an order before the first step and after as many steps as were ordered; answer what they took."""

    def __init__(self, told: int, answer: int) -> None:
        self.told, self.answer = os.fdopen(told, "rb"), os.fdopen(answer, "wb", buffering=0)
        self.left = 0  # steps of this turn
        self.free = False
        self.times: list[float] = []
        self.losses: list[float] = []
        self.held: int | None = None  # bytes, before the first step
        self.since = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.held = _resident("VmRSS") if pl_module.device.type == "cpu" else 0
        self._listen()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.since = time.perf_counter()  # a validation lies behind

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.free:
            return
        self.losses.append(float(outputs["loss"]))  # waits for a GPU
        now = time.perf_counter()
        self.times.append(now - self.since)
        self.since = now
        self.left -= 1
        if not self.left:
            self._answer(trainer)
            self._listen()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.free:  # there were fewer steps than orders
            self._answer(trainer)
            self.free = True

    def _listen(self) -> None:
        order = self.told.readline()
        self.free = not order
        self.left = int(order or 0)
        self.times, self.losses = [], []
        self.since = time.perf_counter()

    def _answer(self, trainer: L.Trainer) -> None:
        line = {
            "total": trainer.num_training_batches * (trainer.max_epochs or 1),  # steps of the whole training
            "steps": len(self.times),
            "seconds": statistics.median(self.times) if self.times else None,
            "losses": self.losses,
            "bytes": _memory(trainer.lightning_module, self.held),
        }
        self.answer.write(json.dumps(line).encode() + b"\n")


def _memory(module: L.LightningModule, held: int | None) -> int | None:
    """Return what training has taken at most: allocated on a GPU, on a CPU above what the process held before it."""
    if module.device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(module.device)
    peak = _resident("VmHWM")
    return None if peak is None or held is None else max(0, peak - held)


def _resident(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # not Linux
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), None)


def main() -> None:
    turns = Turns(*map(int, os.environ["LRA_TURNS"].split(",")))
    trainer = L.Trainer

    class Paced(trainer):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, callbacks: Any = (), **options: Any) -> None:
            super().__init__(*args, callbacks=[*callbacks, turns], **options)

    L.Trainer = Paced  # type: ignore[misc]
    runpy.run_module("lra_hgrn", run_name="__main__")


if __name__ == "__main__":
    main()
