"""Run one cell of a suite to its record, and time it in turns with what it is compared with."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hgrn_kernels import available_backends
from lra_hgrn.bench.runner import Runner
from lra_hgrn.errors import UserError
from lra_hgrn.gate import paced, yardstick
from lra_hgrn.gate.trees import Tree
from lra_hgrn.models.registry import resolve_mixer
from lra_hgrn.results.predictions import FILE, load_predictions
from lra_hgrn.results.record import Record
from lra_hgrn.suite import Job
from lra_hgrn.training.data import build_task
from lra_tasks import TaskError

GOLDEN = 10  # first steps whose losses are kept
TURNS = 10
SECONDS = 0.4  # of one turn

Opponent = Callable[[Job, Path], Runner]  # of a cell, with a folder for its log


@dataclass(frozen=True)
class Race:
    """A cell and its opponent in turns."""

    ratios: list[float]  # of each turn: seconds of a step of the cell over those of the opponent's
    peak: int | None  # bytes that training took, as `paced` counts them
    other_peak: int | None  # likewise of the opponent; None: it counts none
    problem: str = ""  # why there are no ratios


@dataclass(frozen=True)
class Measured:
    """What a cell did."""

    job: Job
    record: Record | None
    correct: NDArray[np.bool_] | None  # (samples,) which test samples it got right
    losses: dict[str, list[float]] = field(default_factory=dict)  # of the first steps, by backend
    race: Race | None = None
    failure: str = ""  # why there is no record


def measure(job: Job, runs: Path, tree: Tree, opponent: Opponent, backends: Sequence[str]) -> Measured:
    """Train a cell to its end; on the way it takes turns with the opponent.

    Args:
        job: the cell with its seed.
        runs: folder of the runs' folders, and of ``logs``; what they hold of this run is deleted first.
        tree: whose packages train it.
        opponent: starts what it is compared with.
        backends: of hgrn_kernels, besides the one that is used by itself, under which the first steps are run as well.
    """
    run = job.directory(runs)
    logs = runs / "logs" / run.name
    for folder in (run, logs):
        shutil.rmtree(folder, ignore_errors=True)
    try:
        logs.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"Cannot write to {logs}: {error.strerror}; choose another --output.") from None
    with pace(job, run, logs / "run.log", tree) as own, opponent(job, logs) as other:
        first = own.turn(str(GOLDEN))
        if first is None or len(first["losses"]) < GOLDEN:
            ended = f"training ended before {GOLDEN} steps" if first is not None else own.last_line()
            other.kill()
            return Measured(job, None, None, failure=ended)
        found = _race(own, other, first)
        other.kill()
        status = own.finish()
        record = job.record(runs)
        if record is None or record.scores is None:
            failure = record.message or record.status if record is not None else f"exit {status}: {own.last_line()}"
            return Measured(job, record, None, {}, found, failure)
        predictions = load_predictions(run / FILE)
    # Not earlier: two processes that compute at once hold each other up, on small tensors a hundredfold.
    losses = {name: kept for name in backends if (kept := _first_losses(job, logs, tree, name))}
    losses[record.device.backend] = first["losses"]
    return Measured(job, record, predictions.best == predictions.labels, losses, found)


def prepare_data(job: Job, tree: Tree) -> None:
    """Prepare a cell's data in a process of its own, unless they are there.

    A run that prepared them itself would keep memory from it, and seem to take less in training than one that did not.
    What goes wrong here is said by the cell, which tries it again.
    """
    with contextlib.suppress(TaskError):
        if build_task(job.config).folder.is_dir():
            return
    words = [word for word in job.words if word.startswith("task.")]
    command = [sys.executable, "-P", "-m", "lra_hgrn", "data", "prepare", job.task, *words]
    subprocess.run(command, cwd=tree.folder, env={**os.environ, **tree.variables}, capture_output=True)


def pace(job: Job, run: Path, log: Path, tree: Tree, **variables: str) -> Runner:
    """Start the training of a cell in turns, by the packages of a checkout, into the folder ``run``."""
    words = ["train", job.model, job.task, *job.words, "--output", str(run.resolve())]
    return Runner(["-P", str(paced.__file__), *words], log, {**tree.variables, **variables}, tree.folder)


def measure_yardstick(job: Job, logs: Path) -> Runner:
    """Start the calibrating workload on as many threads as the cell has."""
    return Runner(["-P", str(yardstick.__file__), str(job.config.train.threads)], logs / "yardstick.log")


def other_backends(job: Job, own: str) -> list[str]:
    """Return the backends of hgrn_kernels, besides the cell's own, that are ready and that its mixer would use."""
    module = sys.modules[resolve_mixer(job.config.model.target).__module__]
    uses = any(getattr(value, "__module__", "").startswith("hgrn_kernels") for value in vars(module).values())
    ready = [name for name, state in available_backends().items() if state == "ready"]
    # A GPU's kernels do not take the tensors of a CPU, nor the CPU's those of a GPU.
    fitting = [name for name in ready if name == "reference" or (name == "triton") == (own == "triton")]
    return [name for name in fitting if uses and name != own]


def _race(own: Runner, other: Runner, first: dict) -> Race:
    begun = other.turn(str(GOLDEN))
    if begun is None or not begun["seconds"]:
        return Race([], first["bytes"], None, other.last_line())
    left = (first["total"] - GOLDEN) // TURNS
    orders = [str(max(1, min(left, round(SECONDS / one["seconds"])))) for one in (first, begun)]
    if left < 1:
        return Race([], first["bytes"], None, f"training has {first['total']} steps, too few for {TURNS} turns")
    ratios: list[float] = []
    peaks = [first["bytes"], begun.get("bytes")]
    for turn in range(TURNS):
        pair = [(own, orders[0]), (other, orders[1])]
        answers = [runner.turn(order) for runner, order in (pair if turn % 2 else pair[::-1])]
        mine, theirs = answers if turn % 2 else answers[::-1]
        if mine is None or theirs is None or not (mine["seconds"] and theirs["seconds"]):
            return Race(ratios, peaks[0], peaks[1], (own if mine is None else other).last_line())
        ratios.append(mine["seconds"] / theirs["seconds"])
        peaks = [mine["bytes"], theirs.get("bytes")]
    return Race(ratios, peaks[0], peaks[1])


def _first_losses(job: Job, logs: Path, tree: Tree, backend: str) -> list[float]:
    with pace(job, logs / backend, logs / f"{backend}.log", tree, HGRN_BACKEND=backend) as runner:
        first = runner.turn(str(GOLDEN))
        runner.kill()
    return [] if first is None else first["losses"]
