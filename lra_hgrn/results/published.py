"""Published figures of LRA, read from ``results/published.csv``, which has one line for each figure.

``value`` and ``sd`` are per cent as printed, ``fail`` where the paper says so; a task that was not run has no line.
``seen`` says how far a figure can be trusted: "seen" where those published it who ran it, "secondary" where others
quote it, "doubtful" where the figures beside it contradict it or it cannot be interpreted, "remembered" where no source
was seen. The last two stand in the file as a warning and in no table. ``departures`` are codes of
`lra_hgrn.results.departures`, those of all its tasks for an average; where ``remark`` says that they were not checked,
there may be others.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal, cast, get_args

from lra_hgrn.errors import UserError, nearest
from lra_tasks.errors import is_clean, one_line, shown

Seen = Literal["seen", "secondary", "doubtful", "remembered"]

AVERAGE = "average"
_FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One published accuracy.

    Attributes:
        task: registered name of the task, or "average".
        printed: per cent as printed, or "fail".
        value: share in [0, 1]; None where the published run failed.
        sd: standard deviation over seeds as a share, where it is printed.
        departures: codes of `lra_hgrn.results.departures`.
        source: where the figure was read.
        seen: how far it can be trusted, see the module.
        remark: what else is to be known of it.
    """

    task: str
    printed: str
    value: float | None
    sd: float | None
    departures: frozenset[str]
    source: str
    seen: Seen
    remark: str

    @property
    def failed(self) -> bool:
        """Whether the published run did not learn the task."""
        return self.value is None

    @property
    def usable(self) -> bool:
        """Whether the figure may stand in a table."""
        return self.seen in ("seen", "secondary")


@dataclass(frozen=True)
class Method:
    """A row of the literature: one method as one paper reports it.

    Attributes:
        id: name that people type, such as ``transformer-mega`` for Mega's re-run of the Transformer.
        label: name in tables.
        paper: venue and year.
        arxiv: number of the paper, or empty.
        year: of the venue; None where there is none.
        figures: by task, in the order of LRA's table, without the average.
        average: the average as printed.
        convention: over what it was taken, in words; empty where that is not known.
    """

    id: str
    label: str
    paper: str
    arxiv: str
    year: int | None
    figures: dict[str, Figure] = field(default_factory=dict)
    average: Figure | None = None
    convention: str = ""


def published_file() -> Path:
    """Return the CSV file: inside the installed package, or in ``results/`` of a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "results" / "published.csv"
    return installed if installed.is_file() else package.parent / "results" / "published.csv"


@cache
def load_published() -> dict[str, Method]:
    """Return every published method by its id, those that stand in no table included.

    Raises:
        UserError: as `read_published`.
    """
    return read_published(published_file())


def read_published(path: Path) -> dict[str, Method]:
    """Read every published method of a file.

    Raises:
        UserError: naming the line that is no figure.
    """
    methods: dict[str, Method] = {}
    number = 1
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                number += 1
                _add(row, methods)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"Line {number} of {path} is no published figure: {one_line(error)}.") from None
    return methods


def _add(row: dict[str, str], methods: dict[str, Method]) -> None:
    if None in row.values() or not all(map(is_clean, row.values())):
        raise ValueError("it lacks a field, or holds a control character")
    if row["seen"] not in get_args(Seen):
        raise ValueError(f"seen is {shown(row['seen'])}")
    year = int(row["year"]) if row["year"] else None
    fresh = Method(row["id"], row["method"], row["paper"], row["arxiv"], year)
    method = methods.setdefault(row["id"], fresh)
    figure = _figure(row)
    if figure.task == AVERAGE:
        methods[row["id"]] = replace(method, average=figure, convention=row["average_convention"])
    else:
        method.figures[figure.task] = figure


def find_methods(words: Sequence[str]) -> list[Method]:
    """Return the published methods of these ids, in their order and once each, with the figures that can be trusted.

    Raises:
        UserError: an id is not known, or none of its figures can be trusted.
    """
    known = load_published()
    found = []
    for word in dict.fromkeys(words):
        if word not in known:
            guess = nearest(word.lower(), known)
            raise UserError(f"There is no published method {word!r}; results/published.csv has their ids.{guess}")
        method = known[word]
        figures = {task: figure for task, figure in method.figures.items() if figure.usable}
        average = method.average if method.average is not None and method.average.usable else None
        if not figures and average is None:
            raise UserError(f"The figures of {word!r} {_refusal(method)}: leave it out of the table.")
        found.append(replace(method, figures=figures, average=average))
    return found


def _refusal(method: Method) -> str:
    """Say why nothing of a method can be trusted."""
    figures = [*method.figures.values(), *([method.average] if method.average is not None else [])]
    if any(figure.seen == "remembered" for figure in figures):
        return "are from memory and their source was not seen"
    return "are doubtful (" + "; ".join(figure.remark for figure in figures) + ")"


def _figure(row: dict[str, str]) -> Figure:
    failed = row["value"] == _FAIL
    return Figure(
        task=row["task"],
        printed=row["value"],
        value=None if failed else float(row["value"] + "e-2"),
        sd=float(row["sd"] + "e-2") if row["sd"] else None,
        departures=frozenset(filter(None, row["departures"].split(";"))),
        source=row["source"],
        seen=cast(Seen, row["seen"]),
        remark=row["remark"],
    )
