"""A suite: the cells of one table, each a model on a task, times seeds."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lra_hgrn.cell import compose_cell
from lra_hgrn.config import Config, Layer
from lra_hgrn.config.compose import as_words, find, identity, names, parse_overrides, read_yaml, run_name
from lra_hgrn.errors import UserError, nearest
from lra_hgrn.results.cells import Key
from lra_hgrn.results.record import FILE, SPOILT, Record, load_record

FURTHER = 1_000_000  # between a seed and the one that is tried in its place
LARGEST_SEED = 2**32 - 1  # that every generator takes


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
    compare: Literal["all", "baseline"] = "all"  # every two models of a task, or each with the baseline alone
    against: list[str] = field(default_factory=list)  # published rows beside the measured ones, by id
    reproduces: str | None = None  # what `lra reproduce` calls this suite
    set: dict[str, Any] = field(default_factory=dict)  # options of every cell


@dataclass(frozen=True)
class Job:
    """One run of a suite: a cell with one seed."""

    model: str
    task: str
    words: tuple[str, ...]  # what follows `lra train MODEL TASK`
    config: Config
    tried: int = 0  # how many seeds were lost before this one was taken in their place

    @property
    def key(self) -> Key:
        return Key(self.config.task.name, self.config.task.scale, self.config.model.name)

    @property
    def identity(self) -> str:
        """Hash of what decides what is learnt, but the seed."""
        return identity(self.config)

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return run_name(self.config)

    def directory(self, runs: Path) -> Path:
        return runs / self.name

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
    against: tuple[str, ...] = ()
    compared_with: str | None = None  # the only model that the others are tested against; None: every two are

    @property
    def keys(self) -> list[Key]:
        """What the cells are known by, in order."""
        return list(dict.fromkeys(job.key for job in self.jobs))

    def again(self, job: Job) -> Job | None:
        """Return the job with the next seed to try in the place of its own; None where the suite has that one."""
        seed = job.config.seed + FURTHER
        if seed > LARGEST_SEED or any((one.key, one.config.seed) == (job.key, seed) for one in self.jobs):
            return None
        words = (*job.words[:-1], f"seed={seed}")
        return dataclasses.replace(
            job, words=words, config=dataclasses.replace(job.config, seed=seed), tried=job.tried + 1
        )

    def tries(self, job: Job, runs: Path) -> list[Job]:
        """Return a job of the suite and, if its seed was lost, the ones with further seeds that have been run.

        Raises:
            UserError: a record cannot be read.
        """
        return [one for one, _ in self._tried(job, runs)]

    def records(self, runs: Path) -> tuple[list[Record], list[str]]:
        """Return the records that exist, of further seeds too, and one sentence for each that cannot be read."""
        records: list[Record] = []
        problems = []
        for job in self.jobs:
            try:
                records.extend(record for _, record in self._tried(job, runs) if record is not None)
            except UserError as error:
                problems.append(str(error))
        return records, problems

    def _tried(self, job: Job, runs: Path) -> Iterator[tuple[Job, Record | None]]:
        record = job.record(runs)
        yield job, record
        while record is not None and is_lost(record):
            following = self.again(job)
            record = following.record(runs) if following is not None else None
            if following is not None and record is not None:
                job = following
                yield job, record


def is_lost(record: Record) -> bool:
    """Tell whether a run ended without an accuracy, so that another seed may be tried."""
    return record.status in (*SPOILT, "failed")


def load_suite(
    name: str, overrides: Sequence[str] = (), tasks: Sequence[str] = (), models: Sequence[str] = ()
) -> Suite:
    """Read a suite by name or file and compose its cells.

    Args:
        name: in ``configs/suites``, or a .yaml file.
        overrides: ``key=value`` words that go over every cell; ``seed``, one or a list, replaces the suite's seeds.
        tasks, models: the only ones that are wanted, by the words of the suite's cells; none: all.

    Raises:
        UserError: for a wrong name, key or value in the suite or in one of its cells.
    """
    path, origin = find("suites", name)
    return _compose(path.stem, _parse(read_yaml(path, origin), origin), origin, overrides, tasks, models)


def ad_hoc_suite(
    name: str,
    title: str,
    cells: Sequence[Cell],
    against: Sequence[str],
    overrides: Sequence[str] = (),
    tasks: Sequence[str] = (),
    models: Sequence[str] = (),
) -> Suite:
    """Compose cells that stand in no file; the rest as `load_suite`."""
    return _compose(name, SuiteFile(title, list(cells), against=list(against)), name, overrides, tasks, models)


def suites() -> dict[str, SuiteFile]:
    """Return what every file of ``configs/suites`` holds, by name."""
    return {name: _parse(read_yaml(*find("suites", name)), f"configs/suites/{name}.yaml") for name in names("suites")}


def _compose(
    name: str,
    suite: SuiteFile,
    origin: str,
    overrides: Sequence[str],
    tasks: Sequence[str] = (),
    models: Sequence[str] = (),
) -> Suite:
    tree = parse_overrides(overrides)
    seeds = _seeds(tree.pop("seed", suite.seeds))
    cells = _chosen(suite.cells, tasks, models, origin)
    jobs = [job for cell in cells for job in _jobs(cell, seeds, suite.set, tree, origin)]
    rows = Counter((job.key, job.config.seed) for job in jobs)
    for (key, seed), count in rows.items():
        if count > 1:
            raise UserError(
                f"{origin} has {key.model!r} on {key.task!r} with seed {seed} twice; "
                "give one of the cells another model.name in its `set`."
            )
    known = list(dict.fromkeys(key.model for key, _ in rows))
    baseline = suite.baseline
    if baseline is not None and baseline not in known:
        if not (tasks or models):
            raise UserError(f"{origin}: baseline {baseline!r} is none of the models {', '.join(known)}.")
        baseline = None
    if suite.compare == "baseline" and suite.baseline is None:
        raise UserError(f"{origin}: `compare: baseline` needs a `baseline`.")
    compared_with = baseline if suite.compare == "baseline" else None
    return Suite(name, suite.title, baseline, jobs, tuple(suite.against), compared_with)


def _chosen(cells: Sequence[Cell], tasks: Sequence[str], models: Sequence[str], origin: str) -> list[Cell]:
    for what, wanted, known in (
        ("task", tasks, list(dict.fromkeys(cell.task for cell in cells))),
        ("model", models, list(dict.fromkeys(cell.model for cell in cells))),
    ):
        for word in wanted:
            if word not in known:
                raise UserError(f"{origin} has no {what} {word!r}.{nearest(word, known)} It has {', '.join(known)}.")
    chosen = [cell for cell in cells if (not tasks or cell.task in tasks) and (not models or cell.model in models)]
    if not chosen:
        raise UserError(f"{origin} has no cell of {', '.join(models)} on {', '.join(tasks)}.")
    return chosen


def _seeds(given: Any) -> list[int]:
    seeds = given if isinstance(given, list) else [given]
    if not seeds or not all(type(seed) is int for seed in seeds):
        raise UserError(f"Option 'seed' takes a whole number or a list of them, such as seed=[1,2,3], not {given!r}.")
    return seeds


def _jobs(
    cell: Cell, seeds: Sequence[int], shared: Mapping[str, Any], tree: Mapping[str, Any], origin: str
) -> list[Job]:
    layers = [Layer(origin, shared), Layer(origin, cell.set), Layer("command line", tree)]
    config = compose_cell(cell.model, cell.task, extra=layers).config
    words = tuple(word for layer in layers for word in as_words(layer.values))
    again = compose_cell(cell.model, cell.task, words).config
    assert identity(again) == identity(config), words  # what `lra train` makes of the words
    return [
        Job(cell.model, cell.task, (*words, f"seed={seed}"), dataclasses.replace(config, seed=seed)) for seed in seeds
    ]


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
