"""One model on one shape of input, for a `Runner`: each order is "inference SECONDS" or "training SECONDS".

The answer has the seconds of each step after an unmeasured one, the bytes that the steps took at most, and the seconds
of the very first step, in which a network is compiled; or the problem that ended them.
"""

import ctypes
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from lra_hgrn.bench.runner import turns
from lra_hgrn.cell import compose_cell
from lra_hgrn.training import environment
from lra_hgrn.training.data import build_task
from lra_hgrn.training.steps import Steps, synthetic_batch
from lra_tasks import TaskSpec

OUT_OF_MEMORY = "out of memory"
_LACKING = ("allocate memory", "not enough memory")  # what torch's allocator for CPUs says


@dataclass(frozen=True)
class Work:
    """What a worker is to measure."""

    model: str
    task: str
    words: list[str]  # options
    samples: int  # in a batch
    length: int | None  # steps of a sample; None: the task's


class Worker:
    """The steps of one model; built at the first order, so that what goes wrong is answered."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.steps: Steps | None = None
        self.first: dict[str, float] = {}

    def turn(self, kind: str, seconds: float) -> dict[str, Any]:
        """Take steps of a kind for some seconds, one at least, after one that is not counted."""
        if self.steps is None:
            self._build()
        assert self.steps is not None
        step: Callable[..., float] = self.steps.train if kind == "training" else self.steps.evaluate
        warm = step(self.batch)
        first = self.first.setdefault(kind, warm)
        environment.reset_peak_memory(self.device)  # compilation tries kernels out with tensors of its own
        times = [step(self.batch)]
        while sum(times) < seconds:
            times.append(step(self.batch))
        peak = max(0, environment.peak_memory(self.device) - self.held)
        return {"seconds": times, "warm": warm, "peak": peak, "first": first}

    def _build(self) -> None:
        work = self.work
        config = compose_cell(work.model, work.task, work.words).config
        torch.set_num_threads(environment.thread_count(config.train.threads))
        self.device = environment.compute_device(config.train.accelerator)
        if self.device.type == "cpu":
            environment.keep_freed_memory()
        torch.manual_seed(config.seed)
        spec = replace(build_task(config).spec, variable=False)  # no padding, so no mask: attention's fastest kernel
        if work.length is not None:
            spec = of_length(spec, work.length)
        self.batch = synthetic_batch(spec, work.samples, self.device)
        self.held = 0
        if self.device.type == "cpu":
            _load_libraries(spec)
            environment.reset_peak_memory(self.device)
            self.held = environment.peak_memory(self.device)
        self.steps = Steps(config, spec, self.device)


def main() -> None:
    worker = Worker(Work(**json.loads(sys.argv[1])))
    orders, answers = turns()
    for order in orders:
        kind, seconds = order.decode().split()
        try:
            answer = worker.turn(kind, float(seconds))
        except Exception as error:
            answer = {"problem": problem(error)}
        if torch.cuda.is_initialized():  # the others have their turns on the same GPU, after a failure too
            torch.cuda.empty_cache()
        answers.write(json.dumps(answer).encode() + b"\n")


def of_length(spec: TaskSpec, length: int) -> TaskSpec:
    """Return the shape of inputs of another length; they are an image only if that is the image's number of pixels."""
    return replace(spec, max_length=length, side=spec.side if spec.side**2 == length else 0)


def _load_libraries(spec: TaskSpec) -> None:
    """Take the steps of a very small HGRN, which load the compiler of the kernels: 100 MiB that are no model's."""
    config = compose_cell("hgrn", "listops", ["model.d_model=8", "model.layers=1"]).config
    steps = Steps(config, of_length(spec, 4), torch.device("cpu"))
    batch = synthetic_batch(of_length(spec, 4), 1, torch.device("cpu"))
    steps.evaluate(batch)
    steps.train(batch)
    del steps, batch
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)  # or the model would begin with what the small one freed, uncounted


def problem(error: Exception) -> str:
    """Say in a line why a step failed."""
    text = " ".join(str(error).split()) or type(error).__name__
    lacking = isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in text for words in _LACKING)
    return OUT_OF_MEMORY if lacking else text[:200]


if __name__ == "__main__":
    main()
