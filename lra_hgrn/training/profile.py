"""Callback that traces some steps of training: where their time goes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.autograd.profiler import record_function
from torch.profiler import ProfilerActivity, profile, schedule

from lra_hgrn.errors import UserError
from lra_hgrn.results.files import write_whole

FOLDER, TRACE, TABLE = "profile", "trace.json.gz", "table.txt"
SKIPPED, WARM_UP, TRACED = 3, 1, 5  # steps: the first ones compile and allocate
PHASES = ("data", "forward", "backward", "update")
_ROWS = 40


class Profile(L.Callback):
    """Write ``profile/trace.json.gz``, for Perfetto or chrome://tracing, and ``profile/table.txt`` into a run's folder.

    Each step is cut into its phases: waiting for the batch, forward with the loss, backward, and the update with what
    the other callbacks do.

    Args:
        directory: folder of the run.
        steps: of the whole training.

    Raises:
        UserError: there are too few steps.
    """

    def __init__(self, directory: Path, steps: int) -> None:
        needed = SKIPPED + WARM_UP + TRACED
        if steps < needed:
            raise UserError(f"profile=true traces steps up to the {needed}th, and this training has {steps}.")
        self.folder = directory / FOLDER
        self._profile: profile | None = None
        self._phase: Any = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        activities = [ProfilerActivity.CPU]
        if pl_module.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        plan = schedule(skip_first=SKIPPED, wait=0, warmup=WARM_UP, active=TRACED, repeat=1)
        self._profile = profile(activities=activities, schedule=plan, on_trace_ready=self._write, acc_events=True)
        self._profile.start()
        self._enter("data")

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._enter("forward")

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: torch.Tensor) -> None:
        self._enter("backward")

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._enter("update")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._leave()
        if self._profile is not None:
            self._profile.step()
        self._enter("data")

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._leave()
        if self._profile is not None:  # training was stopped within the first steps
            self._profile.stop()
            self._profile = None

    def _enter(self, phase: str) -> None:
        self._leave()
        if self._profile is not None:
            self._phase = record_function(phase)
            self._phase.__enter__()

    def _leave(self) -> None:
        if self._phase is not None:
            self._phase.__exit__(None, None, None)
            self._phase = None

    def _write(self, traced: profile) -> None:
        self.folder.mkdir(exist_ok=True)
        temporary = self.folder / f".{TRACE}"
        traced.export_chrome_trace(str(temporary))
        temporary.replace(self.folder / TRACE)
        events = traced.key_averages()
        device = "cuda" if ProfilerActivity.CUDA in traced.activities else "cpu"
        operations = events.table(sort_by=f"self_{device}_time_total", row_limit=_ROWS)
        write_whole(self.folder / TABLE, f"{_phases(events)}\n\n{operations}\n")
        self._profile = None  # its end is torch's own


def _phases(events: Iterable[Any]) -> str:
    """Say how a step's time is spent: what the host does; a GPU works on behind it."""
    spent = {event.key: event.cpu_time_total / 1e3 / TRACED for event in events if event.key in PHASES}
    whole = sum(spent.values())
    lines = [f"{TRACED} steps of {whole:.2f} ms on the host, traced, which takes time as well:"]
    lines += [f"{phase:>10}  {spent[phase]:9.2f} ms  {spent[phase] / whole:6.1%}" for phase in PHASES if phase in spent]
    return "\n".join(lines)
