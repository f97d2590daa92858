"""The plan of a suite: what is done, what is missing, and what the rest will take."""

import csv
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lra_hgrn.errors import UserError
from lra_hgrn.planning.estimates import Estimate, Kept, Refusal, estimate
from lra_hgrn.results.files import CONFIG, METRICS
from lra_hgrn.results.record import FINAL, Record
from lra_hgrn.results.tables.table import MISSING, Column, Entry, Table, binary
from lra_hgrn.suite import Job, Suite
from lra_hgrn.training import environment
from lra_hgrn.training.data import build_task
from lra_tasks import LRATask

_HOUR = 3600.0


@dataclass(frozen=True)
class Work:
    """One run of a suite: how far it is, and what a whole one takes; None where that is not known."""

    job: Job
    state: str  # "done", "to resume", "missing", "failed", or "unreadable record"
    share: float  # of the training that is done already
    whole: Estimate | Refusal | None

    @property
    def seconds(self) -> float | None:
        """What is still to be spent."""
        if self.state == "done":
            return 0.0
        return self.whole.seconds * (1 - self.share) if isinstance(self.whole, Estimate) else None


def plan(suite: Suite, runs: Path, kept: Kept) -> list[Work]:
    """Look at every run of a suite."""
    states = [(job, *_state(job, runs)) for job in suite.jobs]
    records = [record for _, record, _ in states if record is not None]
    return [
        Work(job, state, _share(job, runs) if state == "to resume" else 0.0, _estimate(job, kept, records))
        for job, record, state in states
    ]


def _estimate(job: Job, kept: Kept, records: list[Record]) -> Estimate | Refusal | None:
    same = [record for record in records if (record.config_hash == job.identity)]
    try:
        return estimate(job.config, kept, same)
    except UserError as error:  # such as a GPU that is not there
        return Refusal(str(error))


def _state(job: Job, runs: Path) -> tuple[Record | None, str]:
    try:
        record = job.record(runs)
    except UserError:
        return None, "unreadable record"
    if record is not None and record.status in FINAL:
        return record, "done"
    if record is not None and record.status == "failed":
        return record, "failed"
    return record, "to resume" if (job.directory(runs) / CONFIG).is_file() else "missing"


def _share(job: Job, runs: Path) -> float:
    """Return the share of the epochs that a run which was interrupted has behind it, from its metrics."""
    try:
        with (job.directory(runs) / METRICS).open(newline="") as file:
            done = max((int(row["epoch"]) for row in csv.DictReader(file)), default=0)
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return 0.0
    return min(done, job.config.train.epochs) / job.config.train.epochs


def plan_table(suite: Suite, works: list[Work], runs: Path) -> Table:
    """Return the plan as a table: one row a cell, and what it comes to below."""
    heads = (
        Column("Task", ("task",), numeric=False),
        Column("Model", ("model",), numeric=False),
        Column("Runs", ("done", "runs", "state"), numeric=False),
        Column("Hours left", ("hours_left",)),
        Column("Memory", ("peak_bytes",)),
        Column("Disk", ("disk_bytes",)),
        Column("Known from", ("source",), numeric=False),
    )
    table = Table(suite.title, list(heads))
    for key in suite.keys:
        of_cell = [work for work in works if work.job.key == key]
        table.rows.append(_row(key.task, key.scale, key.model, of_cell, table))
    table.remarks += [*_totals(works), *_disk(works, runs), *_data(works)]
    return table


def _row(task: str, scale: str, model: str, works: list[Work], table: Table) -> list[Entry]:
    counts = Counter(work.state for work in works)
    state = ", ".join(f"{count} {name}" for name, count in counts.items())
    seconds = [work.seconds for work in works]
    hours = None if None in seconds else sum(filter(None, seconds)) / _HOUR
    whole = next((work.whole for work in works if work.whole is not None), None)
    shown = [
        Entry(f"{task} ({scale})", (task,)),
        Entry(model, (model,)),
        Entry(state, (counts["done"], len(works), state)),
        Entry(MISSING if hours is None else _hours(hours), (hours,)),
    ]
    if not isinstance(whole, Estimate):
        marks = (table.mark(whole.reason),) if whole is not None else ()
        return [*shown, Entry(MISSING, (None,)), Entry(MISSING, (None,)), Entry(MISSING, (None,), marks)]
    marks = (table.mark(_UPPER),) if whole.upper else ()
    return [
        *shown,
        Entry(binary(whole.peak_bytes), (whole.peak_bytes,)),
        Entry(binary(whole.disk_bytes), (whole.disk_bytes,)),
        Entry(whole.source, (whole.source,), marks),
    ]


_UPPER = "At most: the task is not prepared, and the probe took every input to be of the greatest length."


def _hours(hours: float) -> str:
    return f"{hours:.0f}" if hours >= 100 else f"{hours:.2g}" if hours >= 0.01 or hours == 0 else "< 0.01"


def _totals(works: list[Work]) -> list[str]:
    done = sum(work.state == "done" for work in works)
    known = [work.seconds for work in works if work.seconds is not None]
    unknown = len(works) - len(known)
    said = [f"{done} of {len(works)} runs are done"]
    if len(known) > done:
        said[0] += f"; {len(known) - done} more take {_hours(sum(known) / _HOUR)} hours on this machine"
    if unknown:
        said[0] += f"; what {unknown} take is not known: `lra estimate` measures it"
    estimates = [work.whole for work in works if isinstance(work.whole, Estimate) and work.state != "done"]
    peak, there = max((found.peak_bytes for found in estimates), default=0), environment.memory_size()
    if there is not None and peak > there:
        said.append(f"The largest cell needs {binary(peak)} of memory, and this machine has {binary(there)}")
    return [f"{sentence}." for sentence in said]


def _disk(works: list[Work], runs: Path) -> list[str]:
    needed = sum(work.whole.disk_bytes for work in works if isinstance(work.whole, Estimate) and work.state != "done")
    free = _free(runs)
    if not needed:
        return []
    short = " That is not enough." if needed > free else ""
    return [f"Checkpoints take {binary(needed)}; {binary(free)} are free there.{short}"]


def _data(works: list[Work]) -> list[str]:
    """Say which tasks are not prepared, and how large they may become."""
    tasks: dict[Path, LRATask] = {}
    for work in works:
        if work.state != "done":
            task = build_task(work.job.config)
            tasks.setdefault(task.folder, task)
    absent = {folder: task for folder, task in tasks.items() if not folder.exists()}
    if not absent:
        return []
    sizes = {folder: _stored(task) for folder, task in absent.items()}
    listed = ", ".join(f"{task.name} ({task.scale}, {binary(sizes[folder])})" for folder, task in absent.items())
    free = min(_free(folder) for folder in absent)
    short = " That is not enough." if sum(sizes.values()) > free else ""
    return [f"To be prepared, with the most that each may take on disk: {listed}; {binary(free)} are free.{short}"]


def _stored(task: LRATask) -> int:
    steps = sum(task.sizes.values()) * task.spec.documents * task.spec.max_length * task.spec.channels
    return steps * task.dtype.itemsize


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
