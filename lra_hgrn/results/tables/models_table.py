"""The table of a suite as papers print it: one row for each model, one column for each task."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from lra_hgrn.results.averages import State, average
from lra_hgrn.results.cells import Cell, comparable_speed
from lra_hgrn.results.gather import Results
from lra_hgrn.results.published import Method
from lra_hgrn.results.tables import notes, published_rows, standing
from lra_hgrn.results.tables.table import MISSING, Column, Entry, Rank, Table, Value, peak, percent, si

_PER_TASK = (
    *("accuracy", "sd", "seeds", "seeds_run", "seeds_failed", "seeds_at_chance", "status", "rank"),
    *("published", "deviation", "deviation_half_width", "verdict"),
)
_AFTER_AVERAGES = ("parameters_low", "speed_ratio", "peak_bytes")  # first fields of columns of measured rows only


@dataclass(frozen=True)
class _Context:
    """What every row needs beside its own cells."""

    results: Results
    table: Table
    ranks: Mapping[tuple[str, str], Rank]
    partial: bool


def models_table(results: Results, *, partial: bool = False) -> Table:
    """Make the table of a suite with one row for each model, published rows apart below the measured ones.

    Accuracies are of the test split, by the checkpoint that is best on validation, averaged over seeds. Best and
    second best are marked among the measured models above chance only, and only where a test supports it
    (`lra_hgrn.results.compare.marks`).

    Args:
        results: the suite.
        partial: average over the cells that are there where some are missing; otherwise such an average is missing too.
    """
    table = Table(results.title, [])
    table.columns = _columns(results, table)
    context = _Context(results, table, standing.ranks(results), partial)
    table.rows += [_measured(model, context) for model in results.models]
    if results.methods:
        table.begin("Published")
        table.rows += [_published(method, context) for method in published_rows.ordered(results)]
    stamps = notes.stamps(results.cells)
    missing = f"{MISSING} where a cell is missing" if not partial else "a note says where cells are missing"
    table.remarks = [
        notes.ACCURACY,
        *([f"{_AVERAGES}; {missing}."] if len(results.tasks) > 1 else []),
        notes.ranking(results, bool(context.ranks)),
        *(stamps if len(stamps) == 1 else []),
        *notes.remarks(results),
    ]
    return table


_AVERAGES = (
    "Averages are over the tasks of this table, with a failed cell (no seed above chance) left out, counted as 0 or "
    "counted as chance"
)


def _columns(results: Results, table: Table) -> list[Column]:
    columns = [Column("Model", ("model", "kind", "track", "departures", "id", "paper"), numeric=False)]
    for task in results.tasks:
        peers = [cell for cell in results.cells if cell.task == task]
        said = [notes.different_data(peers), notes.budgets(peers)]
        stamps = notes.stamps(peers)
        if len(stamps) == 1 and stamps != notes.stamps(results.cells):
            said.append(stamps[0])
        fields = tuple(f"{task}_{name}".replace(" ", "_") for name in _PER_TASK)
        columns.append(Column(task, fields, marks=table.marks(filter(None, said))))
    if len(results.tasks) > 1:
        columns += [
            Column("Average, left\N{NO-BREAK SPACE}out", ("average_left_out", "average_printed", "average_convention")),
            Column("Average, as\N{NO-BREAK SPACE}0", ("average_as_0",)),
            Column("Average, as\N{NO-BREAK SPACE}chance", ("average_as_chance",)),
        ]
    columns.append(Column("Parameters", ("parameters_low", "parameters_high")))
    if results.baseline is not None:
        columns.append(Column(f"Speed vs {results.baseline}", ("speed_ratio", "speed_tasks")))
    return [*columns, Column("Peak memory", ("peak_bytes", "peak_counts"))]


def _measured(model: str, context: _Context) -> list[Entry]:
    results, table = context.results, context.table
    cells = {cell.task: cell for cell in results.cells if cell.model == model}
    said = {task: notes.of_cell(cell) for task, cell in cells.items() if cell.records}
    common = notes.in_common(said)
    name = Entry(model, _identity(model, cells.values()), table.marks(common))
    accuracies = []
    for task in results.tasks:
        own = [note for note in said.get(task, []) if note not in common]
        accuracies.append(_accuracy(cells.get(task), own, context))
    row = [name, *accuracies, *_averages({task: _state(cells.get(task)) for task in results.tasks}, context)]
    row.append(_parameters(cells.values()))
    if results.baseline is not None:
        row.append(_speed(cells, results, table))
    return [*row, peak(record for cell in cells.values() for record in cell.records)]


def _identity(model: str, cells: Iterable[Cell]) -> tuple[Value, ...]:
    """The values of the column Model: tracks, departures and published row of all its cells."""
    run = [cell for cell in cells if cell.records]
    tracks = dict.fromkeys(record.track for cell in run for record in cell.records)
    departures = dict.fromkeys(chain.from_iterable(map(notes.departures, run)))
    ids = {standing.stands_for(cell) for cell in run}
    return (
        *(model, "measured"),
        *("; ".join(words) or None for words in (tracks, departures)),
        *(ids.pop() if len(ids) == 1 else None, None),
    )


def _accuracy(cell: Cell | None, said: Sequence[str], context: _Context) -> Entry:
    """The accuracy of a cell, with what has to be known of it in notes."""
    if cell is None or not cell.records:
        return Entry(MISSING, (None,) * len(_PER_TASK))
    peers = [peer for peer in context.results.cells if peer.task == cell.task]
    differ = notes.stamps([cell]) if len(notes.stamps(peers)) > 1 else []
    mark = context.table.marks(filter(None, [*said, notes.shortfall(cell), *differ]))
    summary, rank = cell.summary, context.ranks.get((cell.task, cell.model))
    deviation, figure = standing.deviation_of(cell), standing.published_figure(cell)
    told = (deviation.difference, deviation.half_width, deviation.verdict) if deviation else (None, None, None)
    tail = (*notes.counts(cell), cell.status, rank, figure.value if figure else None, *told)
    if summary is None:
        return Entry(MISSING, (None, None, None, *tail), mark)
    spread = "" if summary.sd is None else f" ± {percent(summary.sd)}"
    values = (summary.mean, summary.sd, summary.seeds, *tail)
    return Entry(percent(summary.mean) + spread, values, mark, tuple(r.run for r in cell.counted), rank)


def _published(method: Method, context: _Context) -> list[Entry]:
    results, table = context.results, context.table
    keys = {task: next(cell.key for cell in results.cells if cell.task == task) for task in results.tasks}
    figures = published_rows.figures_of(method, keys)
    common = notes.in_common({task: notes.of_figure(figure) for task, figure in figures.items()})
    row = [published_rows.name(method, common, table)]
    states: dict[str, tuple[float | None, State]] = {}
    for task in keys:
        figure = figures.get(task)
        own = [note for note in notes.of_figure(figure) if note not in common] if figure else []
        row.append(published_rows.accuracy(figure, len(_PER_TASK), table.marks(own)))
        states[task] = (None, "missing") if figure is None else (figure.value, "failed" if figure.failed else "done")
    averages = _averages(states, context)
    whole = {key.task for key in keys.values()} >= method.figures.keys()  # else the paper's average is of other tasks
    row += published_rows.as_printed(averages, method, table) if averages and whole else averages
    row += [Entry("", (None,) * len(c.fields)) for c in table.columns if c.fields[0] in _AFTER_AVERAGES]
    return row


def _state(cell: Cell | None) -> tuple[float | None, State]:
    """The accuracy of a cell and what it counts as: failed where no seed came above chance."""
    if cell is None or not cell.records:
        return None, "missing"
    if standing.failed(cell):
        return None, "failed"
    summary = cell.summary
    return (None, "missing") if summary is None else (summary.mean, "done")


def _averages(states: Mapping[str, tuple[float | None, State]], context: _Context) -> list[Entry]:
    """The average by the three conventions; of a single task there is none."""
    if len(states) < 2:
        return []
    chances = {
        cell.task: published_rows.guess(cell.key.task, cell.records[:1]) for cell in reversed(context.results.cells)
    }
    mean = average(states, chances, partial=context.partial)
    over = mean.cells < len(states) and mean.as_zero is not None
    mark = context.table.marks([f"Average over {mean.cells} of {len(states)} tasks."] if over else [])
    first, *others = (
        Entry(MISSING if value is None else percent(value), (value,), mark)
        for value in (mean.left_out, mean.as_zero, mean.as_chance)
    )
    return [Entry(first.text, (*first.values, None, None), mark), *others]


def _parameters(cells: Iterable[Cell]) -> Entry:
    """The number of parameters, or its range over the tasks."""
    counts = [r.parameters for cell in cells for r in cell.records if r.parameters is not None]
    if not counts:
        return Entry(MISSING, (None, None))
    low, high = min(counts), max(counts)
    return Entry(si(low) if si(low) == si(high) else f"{si(low)}–{si(high)}", (low, high))


def _speed(cells: Mapping[str, Cell], results: Results, table: Table) -> Entry:
    """The geometric mean of the speed ratios over the tasks on which model and baseline ran on like devices."""
    ratios = {}
    for base in (cell for cell in results.cells if cell.model == results.baseline):
        cell = cells.get(base.task)
        here, there = cell.speed if cell is not None else None, base.speed
        if here is not None and there is not None and comparable_speed(here.device, there.device):
            ratios[base.task] = here.tokens_per_second / there.tokens_per_second
    if not ratios:
        return Entry(MISSING, (None, None))
    ratio = statistics.geometric_mean(ratios.values())
    said = [f"Speed on {', '.join(ratios)} only."] if len(ratios) < len(results.tasks) else []
    return Entry(f"{ratio:.2f}×", (ratio, len(ratios)), table.marks(said))
