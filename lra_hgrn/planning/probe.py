"""Short measurements of a cell on this machine: seconds of a step and of an evaluated sample, memory, disk."""

import itertools
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from lra_hgrn.config import Config
from lra_hgrn.training import environment
from lra_hgrn.training.data import build_task
from lra_hgrn.training.steps import Steps, synthetic_batch
from lra_tasks import LRATask
from lra_tasks.loader import Batch

LONG_STEP = 1.0  # seconds: batches are not made larger than a step of this length needs
STEPS = 3  # timed at the last batch size


@dataclass(frozen=True)
class Probe:
    """What was measured, at a part of the batch where a whole one takes long, and scaled to the whole."""

    step_seconds: float  # of one training step: forward, backward, update
    sample_seconds: float  # of one sample in evaluation
    peak_bytes: int  # resident set on a CPU, allocated on a GPU
    checkpoint_bytes: int  # of the last and the best checkpoint together
    samples: int  # in the largest batch that was measured
    real_data: bool  # False: the task is not prepared, and every sample had the greatest length


def probe(config: Config) -> Probe:
    """Train a few steps and measure them. The process that does this should do nothing else: it is its memory.

    Batches grow from one sample by doubling until they are whole or a step takes a second. Time is scaled to the whole
    batch in proportion, memory along the line through the last two sizes.

    Raises:
        UserError: the cell cannot be built.
    """
    torch.set_num_threads(environment.thread_count(config.train.threads))
    device = environment.compute_device(config.train.accelerator)
    if device.type == "cpu":
        environment.keep_freed_memory()
    torch.manual_seed(config.seed)
    task, prepared = _task(config)
    steps = Steps(config, task.spec, device)
    whole, measured = config.train.batch_size, []
    for size in _sizes(whole):
        batches = _batches(config, size, device, prepared)
        steps.train(next(batches))  # the first one allocates
        environment.reset_peak_memory(device)
        seconds = steps.train(next(batches))
        measured.append((size, environment.peak_memory(device)))
        if seconds >= LONG_STEP:
            break
    size = measured[-1][0]
    seconds = statistics.median([seconds, *(steps.train(next(batches)) for _ in range(STEPS - 1))])
    weights = sum(parameter.numel() for parameter in steps.net.parameters())
    return Probe(
        step_seconds=seconds * whole / size,
        sample_seconds=steps.evaluate(next(batches)) / size,
        peak_bytes=_at(whole, measured),
        checkpoint_bytes=checkpoint_bytes(weights),
        samples=size,
        real_data=prepared,
    )


def checkpoint_bytes(parameters: int) -> int:
    """Return what the last and the best checkpoint take: float32 weights in both, AdamW's two means in the last."""
    return 4 * 4 * parameters


def _sizes(whole: int) -> Iterator[int]:
    for power in itertools.count():
        yield min(2**power, whole)
        if 2**power >= whole:
            return


def _at(whole: int, measured: list[tuple[int, int]]) -> int:
    """Follow the line through the last two (samples, bytes) to the whole batch."""
    (size, top) = measured[-1]
    if len(measured) < 2 or size == whole:
        return top
    before, bottom = measured[-2]
    return round(top + max(0, top - bottom) / (size - before) * (whole - size))


def _task(config: Config) -> tuple[LRATask, bool]:
    task = build_task(config)
    return task, task.folder.exists()


def _batches(config: Config, size: int, device: torch.device, prepared: bool) -> Iterator[Batch]:
    """Yield training batches of ``size`` samples without end: of the task's data, or random ones of full length."""
    task = build_task(replace(config, train=replace(config.train, batch_size=size)))
    if prepared:
        task.setup()
        while True:
            for batch in task.train_dataloader():
                yield batch.to(device)
    while True:
        yield synthetic_batch(task.spec, size, device)
