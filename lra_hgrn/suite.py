"""A suite: the cells of one table, each a model on a task, times seeds."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lra_hgrn.cell import compose_cell
from lra_hgrn.config import Config, Layer
from lra_hgrn.config.compose import as_words, find, identity, parse_overrides, read_yaml, run_name
from lra_hgrn.errors import UserError, nearest
from lra_hgrn.results.record import FILE, Record, load_record


@dataclass
class Cell:
    """One model on one task: names or files as on the command line, and options over their recipe."""

    model: str
    task: str
    set: dict[str, Any] = field(default_factory=dict)


@dataclass
class SuiteFile:
    """What a file in ``configs/suites`` holds."""

    title: str
    cells: list[Cell] = field(default_factory=list)
    models: list[str] = field(default_factory=list)  # each of them on each of ``tasks``: cells beside the others
    tasks: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [1])
    baseline: str | None = None  # name in tables of the model that speeds are compared with
    set: dict[str, Any] = field(default_factory=dict)  # options of every cell


@dataclass(frozen=True)
class Job:
    """One run of a suite: a cell with one seed."""

    model: str
    task: str
    words: tuple[str, ...]  # what follows `lra train MODEL TASK`
    config: Config

    def directory(self, runs: Path) -> Path:
        return runs / run_name(self.config)

    def record(self, runs: Path) -> Record | None:
        """Return the record of this run, or None if there is none yet."""
        path = self.directory(runs) / FILE
        return load_record(path) if path.is_file() else None


@dataclass(frozen=True)
class Suite:
    """A suite with every cell composed: what `lra sweep`, `lra table` and `lra report` work on."""

    name: str
    title: str
    baseline: str | None
    jobs: list[Job]

    @property
    def cells(self) -> list[tuple[str, str]]:
        """(task, model name) of each row, in order."""
        return list(dict.fromkeys((job.config.task.name, job.config.model.name) for job in self.jobs))

    def records(self, runs: Path) -> tuple[list[Record], list[str]]:
        """Return the records that exist, and one sentence for each that cannot be read."""
        records, problems = [], []
        for job in self.jobs:
            try:
                record = job.record(runs)
            except UserError as error:
                problems.append(str(error))
                continue
            if record is not None:
                records.append(record)
        return records, problems


def load_suite(name: str, overrides: Sequence[str] = ()) -> Suite:
    """Read a suite by name or file and compose its cells; ``overrides`` go over every cell.

    Raises:
        UserError: for a wrong name, key or value in the suite or in one of its cells.
    """
    path, origin = find("suites", name)
    suite = _parse(read_yaml(path, origin), origin)
    tree = parse_overrides(overrides)
    seeds = [tree.pop("seed")] if "seed" in tree else suite.seeds
    jobs = [_job(cell, seed, suite.set, tree, origin) for cell in suite.cells for seed in seeds]
    rows = [(job.config.task.name, job.config.model.name, job.config.seed) for job in jobs]
    for row in rows:
        if rows.count(row) > 1:
            raise UserError(
                f"{origin} has {row[1]!r} on {row[0]!r} with seed {row[2]} twice; "
                "give one of the cells another model.name in its `set`."
            )
    known = list(dict.fromkeys(row[1] for row in rows))
    if suite.baseline is not None and suite.baseline not in known:
        raise UserError(f"{origin}: baseline {suite.baseline!r} is none of the models {', '.join(known)}.")
    return Suite(path.stem, suite.title, suite.baseline, jobs)


def _job(cell: Cell, seed: int, shared: Mapping[str, Any], tree: Mapping[str, Any], origin: str) -> Job:
    extra = [Layer(origin, shared), Layer(origin, cell.set), Layer("command line", tree), Layer(origin, {"seed": seed})]
    config = compose_cell(cell.model, cell.task, extra=extra).config
    words = tuple(word for layer in extra for word in as_words(layer.values))
    again = compose_cell(cell.model, cell.task, words).config
    assert (identity(again), again.seed) == (identity(config), config.seed), words
    return Job(cell.model, cell.task, words, config)


def _parse(values: Mapping[str, Any], origin: str) -> SuiteFile:
    known = [item.name for item in dataclasses.fields(SuiteFile)]
    for key in values:
        if key not in known:
            raise UserError(f"{origin}: unknown key {key!r}.{nearest(key, known)} Known: {', '.join(known)}.")
    try:
        merged = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(SuiteFile), OmegaConf.create(dict(values))))
    except OmegaConfBaseException as error:
        raise UserError(f"{origin}: {str(error).splitlines()[0]}.") from None
    assert isinstance(merged, SuiteFile)
    merged.cells += [Cell(model, task) for task in merged.tasks for model in merged.models]
    if not merged.cells or not merged.seeds:
        raise UserError(f"{origin} names no cells or no seeds.")
    return merged
