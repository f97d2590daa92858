"""The loaders of the tasks: which can be measured here, and how fast they and a model's training on them are."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lra_hgrn.bench.data_waiting import Waiting, measure_waiting
from lra_hgrn.cell import compose_cell
from lra_hgrn.config import Config
from lra_hgrn.config.compose import names
from lra_hgrn.errors import UserError
from lra_hgrn.models import build_classifier
from lra_hgrn.training import environment
from lra_hgrn.training.data import build_task
from lra_tasks import LRATask, TaskError, task_names
from lra_tasks.bench import BenchRow, bench_loader


@dataclass(frozen=True)
class Cell:
    """A task that can be measured, and the model that is trained on it."""

    name: str
    config: Config
    task: LRATask
    device: torch.device  # where it is trained


@dataclass(frozen=True)
class Loader:
    """The loader of one task."""

    task: str
    scale: str
    rate: BenchRow  # of real input, without any model
    waiting: Waiting  # with a model that trains


def named_cells(tasks: Sequence[str], model: str, overrides: Sequence[str]) -> list[Cell]:
    """Return the cells of tasks that a user named, whether they are prepared or not.

    Raises:
        UserError, TaskError: one of them cannot be composed or built.
    """
    return [_cell(name, model, overrides) for name in tasks]


def prepared_cells(model: str, overrides: Sequence[str]) -> tuple[list[Cell], dict[str, str]]:
    """Return the cells of all tasks that are prepared for the given options, and why the others are left out.

    Raises:
        UserError, TaskError: not one of them can be composed and built.
    """
    cells, left_out, errors = [], {}, []
    for name in [task for task in task_names() if task in names("tasks")]:
        try:
            cell = _cell(name, model, overrides)
        except (UserError, TaskError) as error:
            left_out[name] = str(error)
            errors.append(error)
            continue
        if cell.task.folder.exists():
            cells.append(cell)
        else:
            words = [word for word in overrides if word.startswith("task.")]
            left_out[name] = f"not prepared: {' '.join(['lra data prepare', name, *words])}"
    if len(errors) == len(left_out) and not cells:
        raise errors[0]
    return cells, left_out


def measure_loader(cell: Cell, seconds: float) -> Loader:
    """Measure the loader of a prepared task, and the training of a model on it, for some seconds each.

    Raises:
        UserError: the device's memory is too small for a step.
    """
    torch.set_num_threads(environment.thread_count(cell.config.train.threads))
    if cell.device.type == "cpu":
        environment.keep_freed_memory()
    cell.task.setup("fit")
    rate = bench_loader(cell.task, seconds)
    try:
        waiting = measure_waiting(cell.config, cell.task, cell.device, seconds)
    except torch.OutOfMemoryError:
        raise UserError(
            f"{cell.config.model.name} on {cell.name} runs out of memory: choose a smaller train.batch_size."
        ) from None
    return Loader(cell.name, cell.task.scale, rate, waiting)


def _cell(name: str, model: str, overrides: Sequence[str]) -> Cell:
    config = compose_cell(model, name, overrides).config
    device = environment.compute_device(config.train.accelerator)
    task = build_task(config, device if device.type == "cuda" else None)
    build_classifier(task.spec, config.model)  # what does not fit is told before anything is measured
    return Cell(name, config, task, device)
