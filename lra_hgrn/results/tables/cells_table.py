"""The table of a suite, cell by cell: the models of a task side by side, every shortcoming in sight."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lra_hgrn.results.cells import Cell, comparable_speed
from lra_hgrn.results.gather import Results
from lra_hgrn.results.published import Figure, Method
from lra_hgrn.results.stats import Summary
from lra_hgrn.results.tables import notes, published_rows, standing
from lra_hgrn.results.tables.table import MISSING, Column, Entry, Rank, Table, describe, peak, percent, points, si


@dataclass(frozen=True)
class _Context:
    """What a row needs beside its cell."""

    table: Table
    peers: Sequence[Cell]  # of the same task
    base: Cell | None  # of the same task
    summaries: Mapping[str, Summary | None]  # by model
    ranks: Mapping[tuple[str, str], Rank]


def cells_table(results: Results) -> Table:
    """Make the table of a suite with one row for each task × model, published rows apart below each task's.

    Accuracies are of the test split, by the checkpoint that is best on validation, averaged over seeds. Columns of the
    published figure and the deviation from it are there if a cell's recipe stands for one
    (`lra_hgrn.results.deviation`), the speed relative to the baseline if the suite has one.
    """
    compared = any(standing.published_figure(cell) is not None for cell in results.cells)
    table = Table(results.title, _columns(results.baseline, compared))
    ranks = standing.ranks(results)
    for task in results.tasks:
        peers = [cell for cell in results.cells if cell.task == task]
        base = next((peer for peer in peers if peer.model == results.baseline), None)
        context = _Context(table, peers, base, {peer.model: results.summary(peer) for peer in peers}, ranks)
        table.begin()
        table.rows += [_line(table, _measured(cell, context)) for cell in peers]
        name = peers[0].key.task
        figures = [(method, method.figures[name]) for method in results.methods if name in method.figures]
        if figures:
            table.begin("Published")
            table.rows += [_line(table, _published(task, *pair, table)) for pair in figures]
    table.remarks = [
        notes.ACCURACY,
        "Interval: Wilson for the test sample; with several seeds joined with the t interval over seeds.",
        *([_DEVIATION] if compared else []),
        notes.ranking(results, bool(ranks)),
        *notes.remarks(results),
    ]
    return table


_DEVIATION = (
    "Deviation: measured minus published, in points, ± the half-width of the joint 95 % interval; "
    "“reproduced” is inside it."
)


def _columns(baseline: str | None, compared: bool) -> list[Column]:
    columns = [
        Column("Task", ("task", "scale", "protocol", "source", "data_fingerprint"), numeric=False),
        Column("Model", ("model", "kind", "track", "departures", "id", "paper"), numeric=False),
        Column("Accuracy %", ("accuracy", "rank")),
        Column("± (seeds)", ("sd", "seeds")),
        Column("95 % interval", ("low", "high", "bootstrap_low", "bootstrap_high")),
        Column("Chance %", ("chance",)),
    ]
    if compared:
        columns += [
            Column("Published %", ("published",)),
            Column("Deviation", ("deviation", "deviation_half_width")),
            Column("Verdict", ("verdict", "verdict_reason"), numeric=False),
        ]
    columns += [
        Column("Parameters", ("parameters",)),
        Column("Tokens/s", ("tokens_per_second", "samples_per_second", "device")),
    ]
    if baseline is not None:
        columns.append(Column(f"Speed vs {baseline}", ("speed_ratio",)))
    return [
        *columns,
        Column("Peak memory", ("peak_bytes", "peak_counts")),
        Column("Runs", ("status", "seeds_run", "seeds_failed", "seeds_at_chance"), numeric=False, wraps=True),
    ]


def _line(table: Table, entries: Mapping[str, Entry]) -> list[Entry]:
    """Put entries, each known by its column's first field, in the order of the columns; nothing where there is none."""
    return [entries.get(c.fields[0], Entry("", (None,) * len(c.fields))) for c in table.columns]


def _measured(cell: Cell, context: _Context) -> dict[str, Entry]:
    return {
        "task": _task(cell, context),
        "model": _model(cell, context.table),
        **_accuracy(cell, context.summaries[cell.model], context.ranks.get((cell.task, cell.model))),
        **_deviation(cell, context.table),
        "parameters": _parameters(cell),
        "tokens_per_second": _throughput(cell, context.table),
        "speed_ratio": _ratio(cell, context.base, context.table),
        "peak_bytes": peak(cell.records),
        "status": _status(cell),
    }


def _published(task: str, method: Method, figure: Figure, table: Table) -> dict[str, Entry]:
    name = published_rows.name(method, notes.of_figure(figure), table)
    departures = "; ".join(sorted(figure.departures)) or None
    accuracy = "fails" if figure.value is None else percent(figure.value)
    spread = MISSING if figure.sd is None else percent(figure.sd)
    return {
        "task": Entry(task, (task, None, None, None, None)),
        "model": replace(name, values=(method.label, "published", None, departures, method.id, method.paper or None)),
        "accuracy": Entry(accuracy, (figure.value, None)),
        "sd": Entry(spread, (figure.sd, None)),
    }


def _task(cell: Cell, context: _Context) -> Entry:
    if not cell.records:
        return Entry(cell.task, (cell.task, None, None, None, None))
    first = cell.records[0]
    text = f"{cell.task} ({first.scale}, {first.protocol}, {first.source})"
    values = (cell.task, first.scale, first.protocol, first.source, notes.fingerprint(cell))
    said = filter(None, (notes.different_data(context.peers), notes.budgets(context.peers)))
    return Entry(text, values, context.table.marks(said))


def _model(cell: Cell, table: Table) -> Entry:
    track = cell.records[0].track if cell.records else None
    departures = "; ".join(notes.departures(cell)) or None
    values = (cell.model, "measured", track, departures, standing.stands_for(cell), None)
    return Entry(cell.model, values, table.marks(notes.of_cell(cell)))


def _accuracy(cell: Cell, summary: Summary | None, rank: Rank | None) -> dict[str, Entry]:
    """Accuracy, spread, interval and chance."""
    chances = [record.chance for record in cell.records if record.chance is not None]
    chance = Entry(percent(chances[0]), (chances[0],)) if chances else Entry(MISSING, (None,))
    if summary is None:
        nothing = Entry(MISSING, (None, None))
        return {"accuracy": nothing, "sd": nothing, "low": Entry(MISSING, (None,) * 4), "chance": chance}
    spread = MISSING if summary.sd is None else f"{percent(summary.sd)} ({summary.seeds})"
    runs = tuple(record.run for record in cell.counted)
    return {
        "accuracy": Entry(percent(summary.mean), (summary.mean, rank), runs=runs, rank=rank),
        "sd": Entry(spread, (summary.sd, summary.seeds)),
        "low": Entry(
            f"{percent(summary.low)}–{percent(summary.high)}",
            (summary.low, summary.high, summary.bootstrap_low, summary.bootstrap_high),
        ),
        "chance": chance,
    }


def _deviation(cell: Cell, table: Table) -> dict[str, Entry]:
    """The published figure that the cell stands for, the deviation from it, and what that means."""
    figure, deviation = standing.published_figure(cell), standing.deviation_of(cell)
    nothing = Entry(MISSING, (None, None))
    if figure is None:
        return {"published": Entry(MISSING, (None,)), "deviation": nothing, "verdict": nothing}
    published = Entry("fails" if figure.value is None else percent(figure.value), (figure.value,))
    if deviation is None:
        return {"published": published, "deviation": nothing, "verdict": nothing}
    number = nothing
    if deviation.difference is not None and deviation.half_width is not None:
        text = f"{points(deviation.difference)} ± {percent(deviation.half_width)}"
        number = Entry(text, (deviation.difference, deviation.half_width))
    mark = (table.mark(deviation.reason),) if deviation.reason else ()
    verdict = Entry(deviation.verdict, (deviation.verdict, deviation.reason or None), mark)
    return {"published": published, "deviation": number, "verdict": verdict}


def _parameters(cell: Cell) -> Entry:
    counts = [record.parameters for record in cell.records if record.parameters is not None]
    return Entry(si(counts[0]), (counts[0],)) if counts else Entry(MISSING, (None,))


def _throughput(cell: Cell, table: Table) -> Entry:
    speed = cell.speed
    if speed is not None:
        values = (speed.tokens_per_second, speed.samples_per_second, describe(speed.device))
        return Entry(si(speed.tokens_per_second), values)
    mark: tuple[int, ...] = ()
    if len(cell.devices) > 1:
        devices = "; ".join(describe(device) for device in cell.devices)
        mark = (table.mark(f"No speed: the seeds ran on different devices ({devices})."),)
    return Entry(MISSING, (None, None, None), mark)


def _ratio(cell: Cell, base: Cell | None, table: Table) -> Entry:
    speed = cell.speed
    base_speed = base.speed if base is not None else None
    if speed is None or base_speed is None:
        return Entry(MISSING, (None,))
    if not comparable_speed(speed.device, base_speed.device):
        note = f"No ratio: measured on {describe(speed.device)}, the baseline on {describe(base_speed.device)}."
        return Entry(MISSING, (None,), (table.mark(note),))
    ratio = speed.tokens_per_second / base_speed.tokens_per_second
    return Entry(f"{ratio:.2f}×", (ratio,))


def _status(cell: Cell) -> Entry:
    if not cell.records:
        return Entry(MISSING, (None, None, None, None))
    return Entry(cell.status, (cell.status, *notes.counts(cell)))
