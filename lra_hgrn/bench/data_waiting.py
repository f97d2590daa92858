"""How much of a training step is spent waiting for its batch."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from lra_hgrn.config import Config
from lra_hgrn.training.steps import Steps
from lra_tasks import LRATask
from lra_tasks.loader import Batch

MOST = 0.02  # share of a step on a GPU beyond which the data path is too slow
_LONG_STEP = 1.0  # seconds: on a CPU batches are not made larger than a step of this length needs


@dataclass(frozen=True)
class Waiting:
    """What training steps and their batches took."""

    model: str
    batch_size: int  # samples in a step
    recipe_batch_size: int  # in one of the cell
    resident: bool  # batches were cut on the GPU
    steps: int
    step_seconds: float  # mean, waiting included
    share: float  # of it that passed until the batch was there


def measure_waiting(config: Config, task: LRATask, device: torch.device, seconds: float) -> Waiting:
    """Train for some seconds and compare the host's time inside the loader with that of the whole loop.

    The device is waited for once, at the end: on a GPU the share is what the host waits, while the device may still
    have work, so no less than what the device waits. On a CPU, where a step may take minutes, batches grow from one
    sample by doubling until they are whole or a step takes a second.

    Args:
        config: the cell; its recipe's batch size is the greatest that is used.
        task: its task, set up, built for ``device`` if that is a GPU.
        device: where to train.
        seconds: for which to go on after the first steps, which compile and allocate; at least two steps are taken.

    Raises:
        UserError: the model cannot be built for the task.
    """
    torch.manual_seed(config.seed)
    if config.train.compile:
        torch.compiler.reset()  # torch counts how often the same code was compiled, for another task as well
    steps = Steps(config, task.spec, device, waits=False)
    whole = config.train.batch_size
    size = whole if device.type == "cuda" else 1
    while True:
        batches = _batches(task, size, device)
        steps.train(next(batches))
        began = steps.now()
        steps.train(next(batches))
        if size == whole or steps.now() - began >= _LONG_STEP:
            break
        size = min(2 * size, whole)
    waited, elapsed, count = _loop(batches, steps, seconds)
    return Waiting(
        model=config.model.name,
        batch_size=size,
        recipe_batch_size=whole,
        resident=task.device is not None,
        steps=count,
        step_seconds=elapsed / count,
        share=waited / elapsed,
    )


def _loop(batches: Iterator[Batch], steps: Steps, seconds: float) -> tuple[float, float, int]:
    """Return the seconds spent in ``next(batches)``, those of the whole loop, and the number of its steps."""
    waited, count = 0.0, 0
    began = time.perf_counter()
    while count < 2 or time.perf_counter() - began < seconds:
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        steps.train(batch)
        count += 1
    return waited, steps.now() - began, count


def _batches(task: LRATask, size: int, device: torch.device) -> Iterator[Batch]:
    """Yield training batches of ``size`` samples on the device, one epoch after another."""
    whole, task.batch_size = task.batch_size, size
    loader = task.train_dataloader()
    task.batch_size = whole
    while True:
        for batch in loader:
            yield batch.to(device)
