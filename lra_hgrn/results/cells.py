"""Cells of a suite: the runs of one model on one task at one scale, one for each seed."""

import dataclasses
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from lra_hgrn.errors import UserError
from lra_hgrn.results.record import Device, Record, Score, Status
from lra_hgrn.results.stats import Summary, summarise

_WORDS: dict[Status, str] = {
    "stopped": "stopped early",
    "diverged": "diverged",
    "exploded": "exploded",
    "plateau": "stayed on a plateau",
    "chance": "at chance",
    "failed": "failed",
}


class Key(NamedTuple):
    """What a cell is known by: the name of its task, the task's scale, the model's name in tables."""

    task: str
    scale: str
    model: str


@dataclass(frozen=True)
class Speed:
    """Median over the seeds of a cell, all of them on one device."""

    samples_per_second: float
    tokens_per_second: float
    device: Device


@dataclass(frozen=True)
class Cell:
    """The runs of one model on one task, in order of seed; empty where nothing has been run."""

    task: str  # its name, with the scale where the suite has the task at several scales
    model: str
    records: tuple[Record, ...]
    key: Key

    @property
    def counted(self) -> list[Record]:
        """Records of the seeds that count, all of them with scores.

        Seeds at chance and seeds stopped early count; seeds that were spoilt or failed have no accuracy.
        """
        counted = [r for r in self.records if r.status in ("finished", "chance", "stopped")]
        return [record for record in counted if record.scores is not None]

    @property
    def scores(self) -> list[Score]:
        """Test scores of the checkpoints best on validation, of the seeds that count."""
        return [record.scores.best for record in self.counted if record.scores is not None]

    @property
    def summary(self) -> Summary | None:
        scores = self.scores
        return summarise([(score.correct, score.total) for score in scores]) if scores else None

    @property
    def devices(self) -> list[Device]:
        """Distinct devices of the seeds whose speed was measured."""
        return list(dict.fromkeys(record.device for record in self.records if record.throughput is not None))

    @property
    def speed(self) -> Speed | None:
        """Median training speed, or None where it was not measured or the seeds ran on different devices."""
        measured = [record.throughput for record in self.records if record.throughput is not None]
        if len(self.devices) != 1:
            return None
        return Speed(
            statistics.median(throughput.samples_per_second for throughput in measured),
            statistics.median(throughput.tokens_per_second for throughput in measured),
            self.devices[0],
        )

    @property
    def status(self) -> str:
        """``finished``, or what else happened, as in ``1 of 3 seeds diverged``; nothing where there is no run."""
        counts = Counter(record.status for record in self.records)
        seeds = len(self.records)
        if seeds == 1:
            return _WORDS.get(self.records[0].status, "finished")
        odd = [f"{counts[status]} of {seeds} seeds {word}" for status, word in _WORDS.items() if counts[status]]
        return ", ".join(odd) if odd else ("finished" if self.records else "")


def comparable_speed(one: Device, other: Device) -> bool:
    """Whether speeds on two devices may be divided: equal but for the scan's backend."""
    return dataclasses.replace(one, backend=other.backend) == other


def collect(keys: Sequence[Key], records: Iterable[Record]) -> tuple[list[Cell], list[Record]]:
    """Sort records into the cells of a suite, the models of a task side by side.

    Returns the cells in the suite's order and the records that belong to none of them.

    Raises:
        UserError: runs of one cell differ in more than the seed, or share a seed.
    """
    found: dict[Key, list[Record]] = {key: [] for key in keys}
    others: list[Record] = []
    for record in records:
        found.get(Key(record.task, record.scale, record.model), others).append(record)
    for runs in found.values():
        runs.sort(key=lambda record: record.seed)
        _check_alike(runs)
    names = labels(found)
    tasks = list(dict.fromkeys(names.values()))
    ordered = sorted(found, key=lambda key: tasks.index(names[key]))
    return [Cell(names[key], key.model, tuple(found[key]), key) for key in ordered], others


def labels(keys: Iterable[Key]) -> dict[Key, str]:
    """Return what the task of each cell is called beside the others: its name, with the scale if it has several."""
    keys = list(keys)
    scales = {(key.task, key.scale) for key in keys}
    several = {task for task, count in Counter(task for task, _ in scales).items() if count > 1}
    return {key: f"{key.task} {key.scale}" if key.task in several else key.task for key in keys}


def _check_alike(runs: Sequence[Record]) -> None:
    """Averaging over seeds is meaningful only for one recipe on one test split."""
    for one, other in pairwise(runs):
        cell = f"{one.task} × {one.model}"
        if one.seed == other.seed:
            raise UserError(f"Runs {one.run} and {other.run} of {cell} both have seed {one.seed}: remove one of them.")
        for what in ("protocol", "source", "track", "config_hash"):
            if getattr(one, what) != getattr(other, what):
                raise UserError(
                    f"Runs {one.run} and {other.run} of {cell} differ in {what} ({getattr(one, what)}, "
                    f"{getattr(other, what)}) and cannot be averaged: keep the runs of one suite."
                )
    known = {record.data_fingerprint: record.run for record in runs if record.data_fingerprint is not None}
    sizes = {record.scores.best.total: record.run for record in runs if record.scores is not None}
    if len(known) > 1 or len(sizes) > 1:
        names = " and ".join((known if len(known) > 1 else sizes).values())
        raise UserError(f"Runs {names} of {runs[0].task} × {runs[0].model} saw different data: keep one data set.")
