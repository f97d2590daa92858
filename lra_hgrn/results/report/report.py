"""A suite's results as one HTML page that needs nothing else: no network, and no script but one that sorts tables."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from lra_hgrn.results.cells import Cell
from lra_hgrn.results.compare import Comparison, apart, comparison_table
from lra_hgrn.results.figures.gallery import Omission, Plate, plates
from lra_hgrn.results.figures.style import WIDTH, to_svg
from lra_hgrn.results.files import write_whole
from lra_hgrn.results.gather import Results
from lra_hgrn.results.record import Record
from lra_hgrn.results.report import page
from lra_hgrn.results.report.learnt import learnt
from lra_hgrn.results.report.runs import runs_section
from lra_hgrn.results.tables.cells_table import cells_table
from lra_hgrn.results.tables.models_table import models_table
from lra_hgrn.results.tables.render import to_html
from lra_hgrn.results.tables.table import count, describe, sentences

_LONG = 15  # rows of a table that is still shown openly

_COMPARED = "Every pair of models of a task, on the same test samples"


def write_report(results: Results, path: Path, *, commands: Sequence[str] = ()) -> Path:
    """Write the page of a suite, whole or not at all; return its path.

    Args:
        results: all that is known of the suite (`lra_hgrn.results.gather.gather`).
        path: the page, made or replaced.
        commands: command lines that repeat the suite.

    Raises:
        OSError: the page cannot be written.
    """
    found, troubles = learnt(results.records, results.runs)
    body = [
        f"<header><h1>{page.text(results.title)}</h1>{_summary(results)}</header>",
        _notices([*results.problems, *_shortcomings(results.cells), *results.unread, *troubles]),
        page.section("Results", *_tables(results)),
        page.section("Which differences are real", _differences(results.comparisons, apart(results.answers))),
        page.section("Figures", _figures(plates(results))),
        found,
        runs_section(results.records, results.runs, path),
        page.section("Environment", _environment(results.records)),
        page.section("How to reproduce", _reproduction(commands)),
    ]
    return write_whole(path, page.page(results.title, "\n".join(filter(None, body))))


def _summary(results: Results) -> str:
    records = results.records
    done = sum(1 for cell in results.cells if cell.summary is not None)
    parts = [f"{count(len(records), 'run')}, {done} of {count(len(results.cells), 'cell')} with results"]
    if records:
        days = sorted(record.started[:10] for record in records)
        parts.append(days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}")
        parts.append(f"lra-hgrn {', '.join(_distinct(r.versions.get('lra-hgrn', 'unknown') for r in records))}")
    return f'<p class="summary">{page.text(" · ".join(parts))}</p>'


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _shortcomings(suite: Sequence[Cell]) -> list[str]:
    """Say everything that keeps the numbers from being read as a full, strict, complete table."""
    records = [record for cell in suite for record in cell.records]
    found = [f"{cell.task} × {cell.model}: no run yet." for cell in suite if not cell.records]
    found += [
        f"{record.task} × {record.model}, seed {record.seed}: {record.status}. {record.message}".strip()
        for record in records
        if record.status != "finished"
    ]
    found += [
        f"{record.task} × {record.model}, seed {record.seed}: {incident.message}"
        for record in records
        for incident in record.incidents
    ]
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


def _notices(found: Sequence[str]) -> str:
    if not found:
        return ""
    items = "".join(f"<li>{page.text(sentence)}</li>" for sentence in found)
    return f'<section class="notices"><h2>To know before reading</h2><ul>{items}</ul></section>'


def _tables(results: Results) -> list[str]:
    tables = {"Model by model: test accuracy in per cent": models_table(results)} if len(results.tasks) > 1 else {}
    tables["Cell by cell: accuracy, speed and size"] = cells_table(results)
    return [to_html(dataclasses.replace(table, caption=caption)) for caption, table in tables.items()]


def _differences(comparisons: Sequence[Comparison], said: Sequence[str]) -> str:
    if not comparisons:
        return ""
    table = to_html(comparison_table(comparisons, _COMPARED, said))
    if len(comparisons) <= _LONG:
        return table
    return page.details(f"{len(comparisons)} comparisons", table, ' class="long"')


def _figures(found: Iterable[Plate | Omission]) -> str:
    drawn, left_out = [], []
    for item in found:
        if isinstance(item, Plate):
            drawn.append(page.plot(to_svg(item.figure, item.name), item.caption, item.figure.get_figwidth() / WIDTH))
        else:
            left_out.append(f"<li>{page.text(f'{item.name}: {item.reason}')}</li>")
    if left_out:
        drawn.append(f'<div class="notes"><p>Left out:</p><ul>{"".join(left_out)}</ul></div>')
    return "".join(drawn)


def _environment(records: Sequence[Record]) -> str:
    if not records:
        return ""
    items = [("device", _distinct(describe(record.device) for record in records))]
    names = sorted({name for record in records for name in record.versions})
    items += [(name, _distinct(r.versions[name] for r in records if name in r.versions)) for name in names]
    items.append(("commit", _distinct(record.git_commit or "not from a checkout" for record in records)))
    return page.terms((name, ", ".join(values)) for name, values in items)


def _reproduction(commands: Sequence[str]) -> str:
    return f"<pre>{page.text(chr(10).join(commands))}</pre>" if commands else ""
