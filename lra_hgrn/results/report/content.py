"""What a report says of a suite, in words: the same on the HTML page and in a Markdown page's section."""

import dataclasses
from collections.abc import Iterable, Sequence

from lra_hgrn.results.cells import Cell
from lra_hgrn.results.compare import apart, comparison_table
from lra_hgrn.results.gather import Results
from lra_hgrn.results.record import Record
from lra_hgrn.results.tables.cells_table import cells_table
from lra_hgrn.results.tables.models_table import models_table
from lra_hgrn.results.tables.table import Table, count, describe, sentences

LONG = 15  # rows of a table that is still shown openly


def summary(results: Results) -> str:
    """How much of the suite there is, from when, by which version."""
    records = results.records
    done = sum(1 for cell in results.cells if cell.summary is not None)
    parts = [f"{count(len(records), 'run')}, {done} of {count(len(results.cells), 'cell')} with results"]
    if records:
        days = sorted(record.started[:10] for record in records)
        parts.append(days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}")
        parts.append(f"lra-hgrn {', '.join(_distinct(r.versions.get('lra-hgrn', 'unknown') for r in records))}")
    return " · ".join(parts)


def tables(results: Results) -> list[Table]:
    """The results model by model, if there are several tasks, and cell by cell."""
    found = {"Model by model: test accuracy in per cent": models_table(results)} if len(results.tasks) > 1 else {}
    found["Cell by cell: accuracy, speed and size"] = cells_table(results)
    return [dataclasses.replace(table, caption=caption) for caption, table in found.items()]


def compared(results: Results) -> Table:
    """The tests between models."""
    only = results.compared_with
    which = "Every pair of models of a task" if only is None else f"Each model of a task and {only}"
    return comparison_table(results.comparisons, f"{which}, on the same test samples", apart(results.answers))


def notices(results: Results) -> list[str]:
    """Everything that keeps the numbers from being read as a full, strict, complete table, a sentence each."""
    return [*results.problems, *_shortcomings(results.cells), *results.unread]


def environment(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Devices, versions and commits of runs, by their names."""
    if not records:
        return []
    items = [("device", _distinct(describe(record.device) for record in records))]
    names = sorted({name for record in records for name in record.versions})
    items += [(name, _distinct(r.versions[name] for r in records if name in r.versions)) for name in names]
    items.append(("commit", _distinct(record.git_commit or "not from a checkout" for record in records)))
    return [(name, ", ".join(values)) for name, values in items]


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _shortcomings(suite: Sequence[Cell]) -> list[str]:
    records = [record for cell in suite for record in cell.records]
    without = [f"{cell.task} × {cell.model}" for cell in suite if not cell.records]
    found = [f"No run yet: {', '.join(without)}."] if without else []
    for cell in suite:
        said: dict[str, list[int]] = {}
        for record in cell.records:
            if record.status != "finished":
                said.setdefault(f"{record.status}. {record.message}".strip(), []).append(record.seed)
            for incident in record.incidents:
                said.setdefault(incident.message, []).append(record.seed)
        for sentence, seeds in said.items():
            which = f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"
            found.append(f"{cell.task} × {cell.model}, {which}: {sentence}")
    small = _distinct(f"{record.task} ({record.scale})" for record in records if record.scale != "full")
    if small:
        found.append(f"Below the published size and not comparable with published figures: {', '.join(small)}.")
    found += [
        f"{cell.task} × {cell.model} is on the open track: {sentences(departures)}"
        for cell in suite
        if any(record.track == "open" for record in cell.records)
        and (departures := _distinct(departure for record in cell.records for departure in record.departures))
    ]
    commits = _distinct(record.git_commit for record in records if record.git_commit is not None)
    if any(commit.endswith("+dirty") for commit in commits):
        found.append("Some runs used a checkout with uncommitted changes (+dirty).")
    if len(commits) > 1:
        found.append(f"The runs come from {len(commits)} different states of the code.")
    return found
