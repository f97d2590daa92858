"""The tables of `lra bench model`: models on a task, and their growth with the length of the input."""

import statistics
from collections.abc import Sequence

from lra_hgrn.bench.model import ATTENTION, KINDS, Row, crossing, ratios
from lra_hgrn.results.figures.scaling import exponent
from lra_hgrn.results.tables.table import MISSING, Column, Entry, Table, binary, count, si

_NONE = Entry(MISSING, (None,))


def rows_table(rows: Sequence[Row], device: str) -> Table:
    """Make one row for each model on a task, grouped by length; the speed of a model is set over attention's."""
    columns = [
        Column("Model", ("model",), numeric=False),
        Column("Parameters", ("parameters",)),
        Column("Width", ("d_model",)),
        Column("Training, samples/s", ("training_samples",)),
        Column("tokens/s", ("training_tokens",)),
        Column("× attention", ("training_ratio", "training_low", "training_high")),
        Column("Peak", ("training_peak",)),
        Column("First step, s", ("training_first",)),
        Column("Inference, samples/s", ("inference_samples",)),
        Column("tokens/s", ("inference_tokens",)),
        Column("× attention", ("inference_ratio", "inference_low", "inference_high")),
        Column("Peak", ("inference_peak",)),
    ]
    several = rows[0].length != rows[-1].length
    steps = "" if several else f" × {rows[0].length:,} steps"
    table = Table(f"{rows[0].task}: batches of {count(rows[0].samples, 'sample')}{steps}, on {device}", columns)
    length = 0
    for row in rows:
        if several and row.length != length:
            length = row.length
            table.begin(f"L = {length:,}")  # no longer than a model's name: headings are cut to their column
        attention = next(one for one in rows if one.length == row.length and one.word == ATTENTION)
        model = Entry(row.model, (row.model,), marks=table.marks(_problems(row)))
        size = [Entry(f"{n:,}", (n,)) for n in (row.parameters, row.d_model)]
        table.rows.append([model, *size, *_pass(row, attention, "training"), *_pass(row, attention, "inference")])
    return table


def remarks(said: Sequence[str]) -> list[str]:
    """Return what is to be known of every table, and ``said`` of its models."""
    return [
        "Random samples, all of the full length and none padded. × attention: how many times as fast as softmax "
        "attention with torch's kernel, median and quartiles over turns in one run.",
        "Peak: allocated on a GPU; on a CPU what the steps took above what the process held before it had a network, "
        "to a few MiB, torch.compile included where it is asked for.",
        *said,
    ]


def growth_table(rows: Sequence[Row], models: Sequence[str], device: str) -> Table:
    """Make one row for each model and kind of step: the exponent of its cost, and where it overtakes attention."""
    columns = [
        Column("Model", ("model",), numeric=False),
        Column("Steps of", ("kind",), numeric=False),
        Column("Time ∝ L^", ("time_exponent",)),
        Column("Memory ∝ L^", ("memory_exponent",)),
        Column("Faster than attention from L =", ("overtakes",)),
    ]
    table = Table(f"Growth with the length L on {device}", columns)
    for kind in reversed(KINDS):
        table.begin()
        for model in models:
            lengths, times, peaks = series(rows, model, kind)
            found = [_number(fit(lengths, times)), _number(fit(lengths, peaks)), _overtakes(rows, model, kind)]
            table.rows.append([Entry(model, (model,)), Entry(kind, (kind,)), *found])
    return table


def series(rows: Sequence[Row], model: str, kind: str) -> tuple[list[int], list[float], list[int]]:
    """Return lengths, seconds of a step and peaks of memory in bytes, where a model was measured."""
    found = [(row.length, row.passes[kind]) for row in rows if row.model == model]
    measured = [(length, one.median, one.peak or 0) for length, one in found if one.median is not None]
    return [each[0] for each in measured], [each[1] for each in measured], [each[2] for each in measured]


def fit(lengths: Sequence[int], costs: Sequence[float]) -> float | None:
    """Return the exponent of the costs' growth; None of fewer than two lengths, or where a cost is not positive."""
    return exponent(lengths, costs) if len(lengths) > 1 and min(costs) > 0 else None


def overtaking(rows: Sequence[Row], model: str, kind: str) -> float | None:
    """Return `crossing` of a model and attention, over the lengths at which both were measured; None without any."""
    attention = next(row.model for row in rows if row.word == ATTENTION)
    own, others = (dict(zip(*series(rows, name, kind)[:2], strict=True)) for name in (model, attention))
    both = sorted(own.keys() & others.keys())
    if model == attention or not both:
        return None
    return crossing(both, [own[each] for each in both], [others[each] for each in both])


def _overtakes(rows: Sequence[Row], model: str, kind: str) -> Entry:
    attention = next(row.model for row in rows if row.word == ATTENTION)
    both = set(series(rows, model, kind)[0]) & set(series(rows, attention, kind)[0])
    if model == attention or not both:
        return _NONE
    length = overtaking(rows, model, kind)
    if length is None:  # attention may have run out of memory at longer ones
        return Entry(f"not up to {max(both):,}", (None,))
    return Entry("the shortest on" if length == 0 else f"about {length:,.0f}", (length,))


def _pass(row: Row, attention: Row, kind: str) -> list[Entry]:
    found, compared = row.passes[kind], ratios(row, attention, kind)
    rate, tokens = row.rate(kind), row.tokens(kind)
    entries = [_NONE if value is None else Entry(si(value), (value,)) for value in (rate, tokens)]
    if compared:
        low, middle, high = statistics.quantiles(compared, method="inclusive") if len(compared) > 1 else compared * 3
        entries.append(Entry(f"{middle:.2f} [{low:.2f}, {high:.2f}]", (middle, low, high)))
    else:
        entries.append(Entry(MISSING, (None, None, None)))
    entries.append(_NONE if found.peak is None else Entry(binary(found.peak), (found.peak,)))
    if kind == "training":
        entries.append(_NONE if found.first is None else Entry(f"{found.first:.2f}", (found.first,)))
    return entries


def _problems(row: Row) -> list[str]:
    return [f"{kind}: {one.problem}" for kind, one in row.passes.items() if one.problem]


def _number(value: float | None) -> Entry:
    return _NONE if value is None else Entry(f"{value:.2f}", (value,))
