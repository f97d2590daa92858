"""Speed of the data path: generators on one core beside the published ones, and the loader."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lra_tasks.datamodule import LRATask

# Seconds that the original generator takes for an image on one core, by the image's side; measured elsewhere, the
# smaller of the figures where they differ (7 to 9.5 s at 128×128).
ORIGINAL_SECONDS = {32: 0.49, 128: 7.0}


@dataclass(frozen=True)
class BenchRow:
    """One measured rate."""

    what: str
    rate: float
    unit: str  # of the rate
    speedup: float | None = None  # over the original generator's published time


def bench_generators(seconds: float = 2.0) -> list[BenchRow]:
    """Measure the generators at their published settings on one core, about ``seconds`` each after compiling."""
    return [_expressions(seconds), _images(32, seconds), _images(128, seconds)]


def bench_loader(task: "LRATask", seconds: float = 2.0) -> BenchRow:
    """Measure the training loader of a task that has been set up, in steps of real input (padding not counted).

    It is one thread's work. Where batches are cut on a GPU, each is waited for.
    """
    loader = task.train_dataloader()
    next(iter(loader)).lengths.sum().item()  # the first one opens the files, or fills the GPU's memory
    steps = 0
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        for batch in loader:
            steps += int(batch.lengths.sum())
            if time.perf_counter() - begin > seconds:
                break
    rate = steps / (time.perf_counter() - begin)
    return BenchRow(f"{task.name} ({task.scale}) loader, batch {task.batch_size}", rate, "tokens/s")


def _expressions(seconds: float) -> BenchRow:
    from lra_tasks.listops import ListOps
    from lra_tasks.listops_generator import ATTEMPTS, attempts

    grammar = ListOps.scales["full"].grammar
    attempts(0, 0, ATTEMPTS, grammar)  # compiles
    made = first = 0
    begin = time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < seconds:
        made += len(attempts(0, first, ATTEMPTS, grammar).values)
        first += ATTEMPTS
    return BenchRow("ListOps expressions", made / elapsed, "expressions/s/core")


def _images(side: int, seconds: float) -> BenchRow:
    from lra_tasks.pathfinder_generator import benchmark
    from lra_tasks.pathfinder_parameters import PRESETS

    count = max(1, int(benchmark(PRESETS[side], 8) * seconds))  # a first guess of the rate sets the size of the run
    rate = benchmark(PRESETS[side], count)
    return BenchRow(f"Pathfinder images {side}×{side}", rate, "images/s/core", rate * ORIGINAL_SECONDS[side])
