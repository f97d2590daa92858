"""Published rows as they stand in a table below the measured ones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lra_hgrn.results.cells import Key
from lra_hgrn.results.gather import Results
from lra_hgrn.results.published import Figure, Method
from lra_hgrn.results.record import Record
from lra_hgrn.results.tables.standing import stands_for
from lra_hgrn.results.tables.table import MISSING, Entry, Table, percent
from lra_tasks import get_card, task_names

_ROUNDING = 1.01e-4  # of the mean of figures that are printed with two decimals


def ordered(results: Results) -> list[Method]:
    """The published rows of a suite: first those that a model stands for on every task, then paper by paper."""
    claims: dict[str, set[str | None]] = {}
    for cell in results.cells:
        if cell.records:
            claims.setdefault(cell.model, set()).add(stands_for(cell))
    first = {next(iter(ids)) for ids in claims.values() if len(ids) == 1}
    papers = list(dict.fromkeys((method.paper, method.arxiv) for method in results.methods))

    def place(method: Method) -> tuple[bool, int]:
        return method.id not in first, papers.index((method.paper, method.arxiv))

    return sorted(results.methods, key=place)


def figures_of(method: Method, keys: Mapping[str, Key]) -> dict[str, Figure]:
    """The figures of a method by the names of tasks in a table; of a task at several scales, at full scale only."""
    return {
        name: method.figures[key.task]
        for name, key in keys.items()
        if key.task in method.figures and (name == key.task or key.scale == "full")
    }


def name(method: Method, said: Sequence[str], table: Table) -> Entry:
    """The entry of the column Model; ``said`` are the notes on all figures of the row."""
    text = f"{method.label}, {method.paper}" if method.paper else method.label
    departures = {code for figure in method.figures.values() for code in figure.departures}
    values = (method.label, "published", None, "; ".join(sorted(departures)) or None, method.id, method.paper or None)
    return Entry(text, values, table.marks(said))


def accuracy(figure: Figure | None, fields: int, marks: tuple[int, ...]) -> Entry:
    """A published accuracy with its standard deviation; "fails" where the published run failed.

    The first two fields are accuracy and standard deviation; the others, of ``fields`` in all, are of measured rows.
    """
    if figure is None:
        return Entry(MISSING, (None,) * fields)
    spread = "" if figure.sd is None else f" ± {percent(figure.sd)}"
    text = "fails" if figure.value is None else percent(figure.value) + spread
    return Entry(text, (figure.value, figure.sd, *[None] * (fields - 2)), marks)


def as_printed(averages: Sequence[Entry], method: Method, table: Table) -> list[Entry]:
    """Say beside the averages of a row which its paper prints; its figure and convention go into the first's fields."""
    first, *others = averages
    printed = method.average.value if method.average is not None else None
    if printed is None:
        return list(averages)
    entries = [replace(first, values=(first.values[0], printed, method.convention or None)), *others]
    convention = method.convention or "its convention is not known"
    for i, entry in enumerate(entries):
        value = entry.values[0]
        if isinstance(value, float) and abs(value - printed) < _ROUNDING:
            entries[i] = replace(entry, marks=(*entry.marks, table.mark(f"As printed: {convention}.")))
            return entries
    note = f"Printed as {percent(printed)}: {convention}."
    entries[0] = replace(entries[0], marks=(*entries[0].marks, table.mark(note)))
    return entries


def guess(task: str, records: Sequence[Record]) -> float | None:
    """The accuracy of guessing: the share of the most frequent class where it is known, or one over the classes."""
    known = [record.chance for record in records if record.chance is not None]
    if known:
        return known[0]
    return 1 / get_card(task).classes if task in task_names() else None
