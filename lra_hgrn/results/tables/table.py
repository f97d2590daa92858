"""What every table of results is: rows of entries with notes, and how its numbers are written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple

from lra_hgrn.results.record import Device, Record

MISSING = "–"

Value = str | int | float | None
Rank = Literal["best", "second"]


@dataclass(frozen=True)
class Column:
    """A column as read by people (``head``) and the fields it stands for in machine-readable output."""

    head: str
    fields: tuple[str, ...]
    numeric: bool = True
    wraps: bool = False  # words that may stand on several lines
    marks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Entry:
    """What stands in one row and column: text, one value for each field, and numbers of notes."""

    text: str
    values: tuple[Value, ...]
    marks: tuple[int, ...] = ()
    runs: tuple[str, ...] = ()  # names of the runs whose records the number comes from
    rank: Rank | None = None


class Group(NamedTuple):
    """Rows that stand together, under a heading or, where it is empty, only apart from the rows above."""

    heading: str
    rows: list[list[Entry]]


@dataclass
class Table:
    """Rows of entries in groups, with numbered notes (referred to by marks) and remarks on the whole table."""

    caption: str
    columns: list[Column]
    rows: list[list[Entry]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    starts: dict[int, str] = field(default_factory=dict)  # number of a group's first row -> the group's heading

    def begin(self, heading: str = "") -> None:
        """Let the rows that are added from here on be a group of their own."""
        self.starts[len(self.rows)] = heading

    @property
    def groups(self) -> list[Group]:
        """The rows, group by group; one group where none was begun."""
        ends = [*sorted({0, *self.starts}), len(self.rows)]
        return [Group(self.starts.get(a, ""), self.rows[a:b]) for a, b in pairwise(ends) if b > a]

    def marks(self, notes: Iterable[str]) -> tuple[int, ...]:
        """Return the numbers of notes in order, adding those that are new."""
        return tuple(sorted(map(self.mark, notes)))

    def mark(self, note: str) -> int:
        """Return the number of a note, adding it if it is new."""
        if note not in self.notes:
            self.notes.append(note)
        return self.notes.index(note) + 1


def describe(device: Device) -> str:
    """Put a device in words."""
    shared = f"{device.processes} processes, " if device.processes > 1 else ""
    return f"{device.name} ({shared}{device.backend} backend, precision {device.precision}, {device.threads} threads)"


def sentences(departures: Sequence[str]) -> str:
    """Join departures, phrases or sentences, into running text."""
    return " ".join(f"{departure.rstrip('.')}." for departure in departures) or "No departure named."


def percent(share: float) -> str:
    """``0.59951`` as ``59.95``."""
    return f"{100 * share:.2f}"


def points(share: float) -> str:
    """A difference of shares in percentage points, with its sign: ``0.0031`` as ``+0.31``."""
    return f"{100 * share:+.2f}".replace("-", "−")


def peak(records: Iterable[Record]) -> Entry:
    """The largest peak of memory in bytes, and what it counts; two ways of counting have none in common."""
    peaks = [record.memory for record in records if record.memory is not None]
    if not peaks or len({one.counts for one in peaks}) > 1:
        return Entry(MISSING, (None, None))
    top = max(peaks, key=lambda one: one.peak_bytes)
    return Entry(binary(top.peak_bytes), (top.peak_bytes, top.counts))


def count(number: int, word: str) -> str:
    """A number of things: ``1 run``, ``2 runs``."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def si(value: float) -> str:
    """Three digits with k, M or G: ``86432`` as ``86.4 k``."""
    rounded = float(f"{value:.3g}")
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if rounded >= factor:
            return f"{rounded / factor:.3g}{unit}"
    return f"{rounded:.3g}"


def binary(size: int) -> str:
    """Bytes as KiB, MiB or GiB."""
    mebi = size / 2**20
    if mebi < 1:
        return f"{size / 1024:.0f} KiB"
    return f"{mebi:.0f} MiB" if mebi < 1023.5 else f"{mebi / 1024:.2f} GiB"
