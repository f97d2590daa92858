"""The report's section of runs: a line for each, and its whole record behind another."""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from lra_hgrn.results.listing import description
from lra_hgrn.results.record import FILE, Record
from lra_hgrn.results.report import page
from lra_hgrn.results.tables.render import to_html
from lra_hgrn.results.tables.table import MISSING, Column, Entry, Table, percent

_COLUMNS = [
    Column("Task", ("task",), numeric=False),
    Column("Model", ("model",), numeric=False),
    Column("Seed", ("seed",)),
    Column("Best %", ("best",)),
    Column("Validation %", ("validation",)),
    Column("Epoch", ("epoch",)),
    Column("Last %", ("last",)),
    Column("Time", ("seconds",)),
    Column("Status", ("status",), numeric=False, wraps=True),
]
_SAID = (
    "Test accuracy of the checkpoint best on validation and of the last one, run by run. Each number leads to the "
    "record of its run, below."
)


def runs_section(records: Sequence[Record], runs: Path | None, report: Path) -> str:
    """Render every run by itself, and its record at the anchor that the numbers of the page lead to.

    Args:
        records: of the runs.
        runs: folder of the runs' folders; None: there are none.
        report: the page, which the links to files start from.
    """
    if not records:
        return ""
    written = (_record(record, runs, report) for record in records)
    return page.section("Runs", f"<p>{page.text(_SAID)}</p>", to_html(runs_table(records)), *written)


def runs_table(records: Sequence[Record]) -> Table:
    """Make a table with one row for each run."""
    return Table("", _COLUMNS, [_row(record) for record in records])


def _row(record: Record) -> list[Entry]:
    best, last = (record.scores.best, record.scores.last) if record.scores else (None, None)
    validation = best.val_accuracy if best is not None else None
    status = f"{record.status}: {record.message}" if record.message else record.status
    run = (record.run,)
    return [
        Entry(record.task, (record.task,)),
        Entry(record.model, (record.model,)),
        Entry(str(record.seed), (record.seed,), runs=run),
        _share(None if best is None else best.accuracy, run),
        _share(validation, run),
        Entry(MISSING, (None,)) if best is None else Entry(str(best.epoch), (best.epoch,)),
        _share(None if last is None else last.accuracy, run),
        Entry(_duration(record.wall_seconds), (record.wall_seconds,)),
        Entry(status, (status,)),
    ]


def _share(share: float | None, runs: tuple[str, ...]) -> Entry:
    return Entry(MISSING, (None,)) if share is None else Entry(percent(share), (share,), runs=runs)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _record(record: Record, runs: Path | None, report: Path) -> str:
    """Render one record: all that is known in words, the command that repeats the run, and the file as it is."""
    accuracy = f"{percent(record.scores.best.accuracy)} %" if record.scores else "no accuracy"
    known = description(record, (runs or Path()) / record.run)
    command = dict(known)["command"]
    content = json.dumps(dataclasses.asdict(record), indent=2, ensure_ascii=False)
    return page.details(
        f"{record.task} × {record.model}, seed {record.seed}: {accuracy}, {record.status}",
        page.terms((term, said) for term, said in known if said and term != "command")
        + f"<p>To repeat it:</p><pre>{page.text(command)}</pre>"
        + _file(record, runs, report)
        + page.details("The record, with the resolved configuration", f"<pre>{page.text(content)}</pre>"),
        f' class="record" id="{page.text(page.anchor(record.run))}"',
    )


def _file(record: Record, runs: Path | None, report: Path) -> str:
    """Return a link to the file where it lies; the page may be read where it does not, and holds all of it."""
    if runs is None or not (runs / record.run / FILE).is_file():
        return ""
    target = page.text(link(record.run, runs, report))
    return f'<p class="file"><a href="{target}">{target}</a></p>'


def link(run: str, runs: Path, report: Path) -> str:
    """Return the address of a run's record, seen from the page."""
    return quote(Path(os.path.relpath(runs / run / FILE, report.parent)).as_posix())
