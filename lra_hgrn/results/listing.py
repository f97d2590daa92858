"""Records for people: one line for each in a table, or all that is known of one."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from lra_hgrn.config import from_plain
from lra_hgrn.config.compose import STANDS_FOR, changed, option_keys, parse_value
from lra_hgrn.errors import UserError, nearest
from lra_hgrn.results.command import train_command
from lra_hgrn.results.record import Record, Score
from lra_hgrn.results.tables.table import MISSING, Column, Entry, Table, Value, binary, describe, percent, sentences, si

_FIELDS = ("run", "task", "scale", "protocol", "source", "track", "model", "target", "status", "seed")
_COLUMNS = [
    Column("Task", ("task",), numeric=False),
    Column("Scale", ("scale",), numeric=False),
    Column("Model", ("model",), numeric=False),
    Column("Seed", ("seed",)),
    Column("Status", ("status",), numeric=False),
    Column("Accuracy %", ("accuracy",)),
    Column("95 % interval", ("low", "high")),
    Column("Validation %", ("val_accuracy",)),
    Column("Tokens/s", ("tokens_per_second",)),
    Column("Device", ("device",), numeric=False),
    Column("Date", ("started",), numeric=False),
    Column("Run", ("run",), numeric=False, wraps=True),
]


def select(records: Sequence[Record], filters: Sequence[str]) -> list[Record]:
    """Return the records that agree with every ``key=value`` word.

    Args:
        records: to choose from.
        filters: keys are fields of a record (``task``, ``model``, ``status``, ...), compared without regard to case,
            or dotted options (``optim.lr``); a record of an older version lacks the options that came after it.

    Raises:
        UserError: for a word that is no filter.
    """
    tests = [_test(word) for word in filters]
    return [record for record in records if all(test(record) for test in tests)]


def _test(word: str) -> Callable[[Record], bool]:
    key, equals, text = word.partition("=")
    if not equals:
        raise UserError(f"{word!r} is not a filter; write key=value, for example task=listops.")
    if key in _FIELDS:
        return lambda record: str(getattr(record, key)).casefold() == text.casefold()
    known = [*_FIELDS, *option_keys()]
    if key not in known and not key.startswith("model.kwargs."):
        raise UserError(f"Unknown filter {key!r}.{nearest(key, known)} Known: {', '.join(_FIELDS)}, and options.")
    wanted = (text, parse_value(text))
    return lambda record: _option(record.config, key) in wanted


def _option(config: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(config, dict) or part not in config:
            return ...  # equal to no value, null included
        config = config[part]
    return config


def listing(records: Iterable[Record]) -> Table:
    """Return a table with one row for each record, in order of task, scale, model, seed and date."""
    table = Table("", _COLUMNS)
    order = sorted(records, key=lambda r: (r.task, r.scale, r.model, r.seed, r.started))
    table.rows = [_row(record) for record in order]
    for number, record in enumerate(order):
        if number and (record.task, record.scale) != (order[number - 1].task, order[number - 1].scale):
            table.starts[number] = ""
    return table


def _row(record: Record) -> list[Entry]:
    score = record.scores.best if record.scores else None
    speed = record.throughput.tokens_per_second if record.throughput else None
    return [
        *(_entry(getattr(record, name), str) for name in ("task", "scale", "model", "seed", "status")),
        _entry(score.accuracy if score else None, percent),
        Entry(_interval(score), (score.low, score.high)) if score else Entry(MISSING, (None, None)),
        _entry(score.val_accuracy if score else None, percent),
        _entry(speed, si),
        _entry(record.device.name, str),
        Entry(record.started[:10], (record.started,)),
        Entry(record.run, (record.run,), runs=(record.run,)),
    ]


def _entry(value: Value, write: Callable[[Any], str]) -> Entry:
    return Entry(MISSING if value is None else write(value), (value,))


def _interval(score: Score) -> str:
    return f"{percent(score.low)}–{percent(score.high)}"


def description(record: Record, folder: Path) -> list[tuple[str, str]]:
    """Return all that is known of one run: what, and in words; options of its own stand below one another."""
    scores, speed, memory = record.scores, record.throughput, record.memory
    figure = record.config.get(STANDS_FOR)
    rows = [
        ("run", record.run),
        ("status", record.status if not record.message else f"{record.status}: {record.message}"),
        ("task", f"{record.task} (scale {record.scale}, protocol {record.protocol}, {record.source} data)"),
        ("data", record.data_fingerprint or MISSING),
        ("model", f"{record.model} ({record.target}, {_count(record.parameters)} parameters), seed {record.seed}"),
        ("stands for", f"{figure} of results/published.csv" if figure else MISSING),
        ("track", f"{record.track}. {sentences(record.departures)}"),
        ("best on validation", _score(scores.best) if scores else MISSING),
        ("last", _score(scores.last) if scores else MISSING),
        ("chance", f"{percent(record.chance)} %" if record.chance is not None else MISSING),
        ("speed", _speed(record) if speed else MISSING),
        ("peak memory", f"{binary(memory.peak_bytes)} ({memory.counts})" if memory else MISSING),
        ("device", describe(record.device)),
        *(("noticed", f"{incident.kind}: {incident.message}") for incident in record.incidents),
        ("versions", ", ".join(f"{name} {version}" for name, version in record.versions.items())),
        ("commit", record.git_commit or MISSING),
        ("started", f"{record.started}, {record.wall_seconds:,.1f} s in all"),
        ("files", ", ".join(_files(folder))),
    ]
    rows += [("options not at default" if not number else "", word) for number, word in enumerate(_options(record))]
    try:
        return [*rows, ("command", train_command(record))]
    except UserError as error:
        return [*rows, ("command", f"{MISSING} ({error})")]


def _score(score: Score) -> str:
    validation = MISSING if score.val_accuracy is None else f"{percent(score.val_accuracy)} %"
    return (
        f"{percent(score.accuracy)} % [{percent(score.low)}, {percent(score.high)}], {score.correct:,} of "
        f"{score.total:,}; validation {validation}; step {score.step:,}, epoch {score.epoch}"
    )


def _speed(record: Record) -> str:
    speed = record.throughput
    assert speed is not None
    compiled = f"; compiled in {speed.compile_seconds:.1f} s" if speed.compile_seconds else ""
    return (
        f"{si(speed.tokens_per_second)} tokens/s, {si(speed.samples_per_second)} samples/s, "
        f"{1000 * speed.median_step_seconds:.3g} ms a step (median of {speed.steps_measured:,} steps{compiled})"
    )


def _count(number: int | None) -> str:
    return MISSING if number is None else f"{number:,}"


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _options(record: Record) -> list[str]:
    try:
        config = from_plain(record.config, f"the record of {record.run}")
    except UserError as error:
        return [f"{MISSING} ({error})"]
    return [f"{key} = {value}" for key, value in changed(config).items() if key != STANDS_FOR]
