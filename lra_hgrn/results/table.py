"""The table of a suite: for each task its models side by side, every shortcoming in sight."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lra_hgrn.results.cells import Cell, Speed, collect, comparable_speed
from lra_hgrn.results.record import Device, Record

MISSING = "–"
_PREFIX = 8  # characters of a data fingerprint that are shown

Value = str | int | float | None


@dataclass(frozen=True)
class Column:
    """A column as read by people (``head``) and the fields it stands for in machine-readable output."""

    head: str
    fields: tuple[str, ...]
    numeric: bool = True


@dataclass(frozen=True)
class Entry:
    """What stands in one row and column: text, one value for each field, and numbers of notes."""

    text: str
    values: tuple[Value, ...]
    marks: tuple[int, ...] = ()


@dataclass
class Table:
    """Rows of entries with numbered notes (referred to by marks) and remarks on the whole table."""

    caption: str
    columns: list[Column]
    rows: list[list[Entry]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def mark(self, note: str) -> int:
        """Return the number of a note, adding it if it is new."""
        if note not in self.notes:
            self.notes.append(note)
        return self.notes.index(note) + 1


def make_table(
    cells: Sequence[tuple[str, str]], records: Iterable[Record], *, baseline: str | None = None, caption: str = ""
) -> Table:
    """Make the table of a suite from its (task, model) cells and the records of its runs.

    Accuracies are of the test split, by the checkpoint that is best on validation, averaged over seeds.
    ``baseline`` names the model whose throughput on the same task the others' are divided by.

    Raises:
        UserError: runs of one cell cannot be averaged (see ``collect``).
    """
    suite, others = collect(cells, records)
    table = Table(caption, _columns(baseline))
    for cell in suite:
        peers = [peer for peer in suite if peer.task == cell.task]
        base = next((peer for peer in peers if peer.model == baseline), None)
        row = [_task(cell, peers, table), _model(cell, table), *_accuracy(cell), _parameters(cell)]
        row.append(_throughput(cell, table))
        if baseline is not None:
            row.append(_ratio(cell, base, table))
        table.rows.append([*row, _memory(cell), _status(cell)])
    table.remarks = _remarks(suite, others)
    return table


def _columns(baseline: str | None) -> list[Column]:
    columns = [
        Column("Task", ("task", "scale", "protocol", "source", "data_fingerprint"), numeric=False),
        Column("Model", ("model", "track", "departures"), numeric=False),
        Column("Accuracy %", ("accuracy",)),
        Column("± (seeds)", ("sd", "seeds")),
        Column("95 % interval", ("low", "high")),
        Column("Chance %", ("chance",)),
        Column("Parameters", ("parameters",)),
        Column("Tokens/s", ("tokens_per_second", "samples_per_second", "device")),
    ]
    if baseline is not None:
        columns.append(Column(f"Speed vs {baseline}", ("speed_ratio",)))
    return [*columns, Column("Peak memory", ("peak_bytes", "peak_counts")), Column("Runs", ("status",), numeric=False)]


def _task(cell: Cell, peers: Sequence[Cell], table: Table) -> Entry:
    if not cell.records:
        return Entry(cell.task, (cell.task, None, None, None, None))
    first = cell.records[0]
    stamps = {(r.scale, r.protocol, r.source) for peer in peers for r in peer.records}
    prints = {r.data_fingerprint for peer in peers for r in peer.records} - {None}
    marks: tuple[int, ...] = ()
    if len(stamps) > 1 or len(prints) > 1:
        marks = (table.mark(f"The models of {cell.task} saw different data: their rows are not comparable."),)
    text = f"{cell.task} ({first.scale}, {first.protocol}, {first.source})"
    return Entry(text, (cell.task, first.scale, first.protocol, first.source, _fingerprint(cell)), marks)


def _model(cell: Cell, table: Table) -> Entry:
    if not cell.records:
        return Entry(cell.model, (cell.model, None, None))
    first = cell.records[0]
    departures = list(dict.fromkeys(departure for record in cell.records for departure in record.departures))
    marks: tuple[int, ...] = ()
    if first.track == "open" or departures:
        marks = (table.mark(f"{first.track.capitalize()} track: {sentences(departures)}"),)
    return Entry(cell.model, (cell.model, first.track, "; ".join(departures)), marks)


def _accuracy(cell: Cell) -> list[Entry]:
    """Accuracy, spread, interval and chance."""
    summary = cell.summary
    chances = [record.chance for record in cell.records if record.chance is not None]
    chance = Entry(percent(chances[0]), (chances[0],)) if chances else Entry(MISSING, (None,))
    if summary is None:
        return [Entry(MISSING, (None,)), Entry(MISSING, (None, None)), Entry(MISSING, (None, None)), chance]
    spread = MISSING if summary.sd is None else f"{percent(summary.sd)} ({summary.seeds})"
    return [
        Entry(percent(summary.mean), (summary.mean,)),
        Entry(spread, (summary.sd, summary.seeds)),
        Entry(f"{percent(summary.low)}–{percent(summary.high)}", (summary.low, summary.high)),
        chance,
    ]


def _parameters(cell: Cell) -> Entry:
    counts = [record.parameters for record in cell.records if record.parameters is not None]
    return Entry(si(counts[0]), (counts[0],)) if counts else Entry(MISSING, (None,))


def _throughput(cell: Cell, table: Table) -> Entry:
    speed = cell.speed
    if speed is not None:
        return Entry(
            si(speed.tokens_per_second), (speed.tokens_per_second, speed.samples_per_second, describe(speed.device))
        )
    marks: tuple[int, ...] = ()
    if len(cell.devices) > 1:
        devices = "; ".join(describe(device) for device in cell.devices)
        marks = (table.mark(f"No speed: the seeds ran on different devices ({devices})."),)
    return Entry(MISSING, (None, None, None), marks)


def _ratio(cell: Cell, base: Cell | None, table: Table) -> Entry:
    speed: Speed | None = cell.speed
    base_speed = base.speed if base is not None else None
    if speed is None or base_speed is None:
        return Entry(MISSING, (None,))
    if not comparable_speed(speed.device, base_speed.device):
        note = f"No ratio: measured on {describe(speed.device)}, the baseline on {describe(base_speed.device)}."
        return Entry(MISSING, (None,), (table.mark(note),))
    ratio = speed.tokens_per_second / base_speed.tokens_per_second
    return Entry(f"{ratio:.2f}×", (ratio,))


def _memory(cell: Cell) -> Entry:
    peaks = [record.memory for record in cell.records if record.memory is not None]
    if not peaks or len({peak.counts for peak in peaks}) > 1:  # two ways of counting have no common peak
        return Entry(MISSING, (None, None))
    top = max(peaks, key=lambda peak: peak.peak_bytes)
    return Entry(binary(top.peak_bytes), (top.peak_bytes, top.counts))


def _status(cell: Cell) -> Entry:
    return Entry(cell.status or MISSING, (cell.status or None,))


def _remarks(suite: Sequence[Cell], others: Sequence[Record]) -> list[str]:
    """Say once what holds for the whole table."""
    records = [record for cell in suite for record in cell.records]
    remarks = [
        "Accuracy: test split, checkpoint best on validation, mean over seeds; ± is the sample standard deviation. "
        "Seeds that diverged or failed have no accuracy and are not in the mean; seeds at chance are.",
        "Interval: Wilson for the test sample; with several seeds joined with the t interval over seeds.",
    ]
    if not records:
        return remarks
    scales, protocols, sources, tracks = (
        ", ".join(dict.fromkeys(getattr(record, what) for record in records))
        for what in ("scale", "protocol", "source", "track")
    )
    remarks.append(f"Scale: {scales}. Protocol: {protocols}. Source of the data: {sources}. Track: {tracks}.")
    devices = dict.fromkeys(describe(record.device) for record in records)
    remarks.append(f"Device{'s' if len(devices) > 1 else ''}: {'; '.join(devices)}.")
    counts = dict.fromkeys(record.memory.counts for record in records if record.memory is not None)
    if counts:
        remarks.append(f"Peak memory counts: {', '.join(counts)}.")
    prints = dict.fromkeys((cell.task, _fingerprint(cell)) for cell in suite if _fingerprint(cell))
    if prints:
        remarks.append("Data: " + ", ".join(f"{task} {fingerprint}" for task, fingerprint in prints) + ".")
    if others:
        runs = ", ".join(record.run for record in others)
        remarks.append(f"Runs that belong to no cell of this table: {runs}.")
    return remarks


def _fingerprint(cell: Cell) -> str | None:
    found = [record.data_fingerprint for record in cell.records if record.data_fingerprint is not None]
    return found[0][:_PREFIX] if found else None


def describe(device: Device) -> str:
    """Put a device in words."""
    return f"{device.name} ({device.backend} backend, precision {device.precision}, {device.threads} threads)"


def sentences(departures: Sequence[str]) -> str:
    """Join departures, phrases or sentences, into running text."""
    return " ".join(f"{departure.rstrip('.')}." for departure in departures) or "No departure named."


def percent(share: float) -> str:
    """``0.59951`` as ``59.95``."""
    return f"{100 * share:.2f}"


def si(value: float) -> str:
    """Three digits with k, M or G: ``86432`` as ``86.4 k``."""
    rounded = float(f"{value:.3g}")
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if rounded >= factor:
            return f"{rounded / factor:.3g}{unit}"
    return f"{rounded:.3g}"


def binary(size: int) -> str:
    """Bytes as MiB, or GiB from 1024 MiB."""
    mebi = size / 2**20
    return f"{mebi:.0f} MiB" if mebi < 1023.5 else f"{mebi / 1024:.2f} GiB"
