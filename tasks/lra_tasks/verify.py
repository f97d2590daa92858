"""Is a prepared task what it should be? Its samples are counted again and compared with what is known of them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lra_tasks.card import Reference, TaskSpec
from lra_tasks.errors import TaskError
from lra_tasks.store import Split, fingerprint_of
from lra_tasks.tokens import SPECIALS
from lra_tasks.verify_measures import (
    Documents,
    Figure,
    flaw,
    label_figures,
    length_figures,
    pixel_figures,
    read_documents,
    sample_keys,
)

if TYPE_CHECKING:
    from lra_tasks.datamodule import LRATask

ERRORS = 4  # standard errors that a drawn figure may lie beside its reference
_LIKELY = 20  # samples a class, on average, from which on every class is expected

OVERLAP = "samples of train or val that are in test"
DUPLICATES = "samples that repeat another"


@dataclass(frozen=True)
class Row:
    """One thing that was looked at. ``ok`` is None where nothing is expected and the figure only informs."""

    what: str
    expected: str
    found: str
    ok: bool | None = None


@dataclass(frozen=True)
class Report:
    """What :func:`verify` has found; printed, it is a table."""

    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        """Whether everything is as expected."""
        return all(row.ok is not False for row in self.rows)

    def __str__(self) -> str:
        """Return the rows as columns, and a last line that counts those that are wrong."""
        marks = {True: "ok", False: "WRONG", None: ""}
        table = [("", "what", "expected", "found"), *((marks[r.ok], r.what, r.expected, r.found) for r in self.rows)]
        widths = [max(len(row[column]) for row in table) for column in range(3)]
        lines = ["  ".join([*map(str.ljust, row[:3], widths), row[3]]).rstrip() for row in table]
        checked = sum(row.ok is not None for row in self.rows)
        wrong = sum(row.ok is False for row in self.rows)
        return "\n".join([*lines, f"{wrong} of {checked} are wrong" if wrong else f"all {checked} as expected"])


def verify(task: "LRATask", progress: Callable[[int, int], None] | None = None) -> Report:
    """Count the samples of a task again, reading all its files twice, a few MiB at a time.

    Figures of the card's references are compared where the reference holds for the task's source and protocol: at
    scale full all of them, and at scales whose samples are drawn alike, only fewer, those that do not depend on how
    many there are. What was drawn may lie beside its reference by the reference's tolerance and four standard errors.

    Args:
        task: prepared and set up.
        progress: called with (documents read, documents in all).

    Raises:
        TaskError: the task is not set up.
    """
    return Report(tuple(_Count(task, progress).rows()))


class _Count:
    def __init__(self, task: "LRATask", progress: Callable[[int, int], None] | None) -> None:
        self.task = task
        self.spec: TaskSpec = task.spec
        self.splits = task.store.splits
        shared = any(split.pairs is not None for split in self.splits.values())
        # Documents by the name of their files; those of pairs are shared by all splits.
        self.parts: dict[str, Split] = {"documents": next(iter(self.splits.values()))} if shared else dict(self.splits)
        self.shared = shared
        self._progress = progress
        self._done = 0
        self._total = sum(max(0, len(part.offsets) - 1) for part in self.parts.values())

    def rows(self) -> Iterator[Row]:
        """Yield all rows; what cannot be counted because something before it is wrong is left out."""
        yield from self._files()
        counts: dict[str, np.ndarray] = {}
        whole = True  # so that figures can be drawn from all of it
        for name, split in self.splits.items():
            expected = self.task.sizes[name]
            yield Row(f"{name}: samples", f"{expected:,}", f"{len(split):,}", expected == len(split))
            if not len(split):
                continue
            known = (split.labels >= 0) & (split.labels < self.spec.n_classes)
            counts[name] = np.bincount(split.labels[known], minlength=self.spec.n_classes)
            whole = whole and bool(known.all())
            yield self._labels(name, counts[name], int((~known).sum()))
        documents: dict[str, Documents] = {}
        for name, part in self.parts.items():
            wrong = flaw(part.tokens, part.offsets, None if self.shared else len(part))
            rising = f"rising, to {len(part.tokens):,}"
            yield Row(f"{name}: offsets", rising, wrong or rising, wrong is None)
            whole = whole and wrong is None
            if wrong is None and len(part.offsets) > 1:
                documents[name] = read_documents(part, self.spec, self._advance)
                whole = whole and bool(np.isfinite([documents[name].lowest, documents[name].highest]).all())
                yield self._lengths(name, documents[name])
                yield self._steps(name, documents[name])
        for row in self._pairs():
            whole = whole and bool(row.ok)
            yield row
        yield from self._characters()
        if whole and documents:
            yield from self._figures(documents, counts)

    def _advance(self, documents: int) -> None:
        self._done += documents
        if self._progress is not None:
            self._progress(self._done, self._total)

    def _files(self) -> Iterator[Row]:
        store = self.task.store
        try:
            store.verify()
        except (TaskError, OSError, ValueError) as error:
            yield Row("files", "as written", str(error), False)
        else:
            yield Row("files", "as written", "as written", True)
        known = [
            (f"fingerprint of {start.rstrip('-')}", expected)
            for start, expected in self.task.card.fingerprints
            if self.task.folder.name.startswith(start)
        ]
        for what, expected in [("fingerprint", fingerprint_of(store.meta)), *known]:
            yield Row(what, f"{expected[:16]}…", f"{store.fingerprint[:16]}…", expected == store.fingerprint)

    def _labels(self, name: str, counts: np.ndarray, unknown: int) -> Row:
        classes, samples = len(counts), int(counts.sum())
        found = (
            ", ".join(f"{count:,}" for count in counts) if classes <= 10 else f"{counts.min():,}–{counts.max():,} each"
        )
        if unknown:
            return Row(f"{name}: labels", f"0 to {classes - 1}", f"{unknown:,} others", False)
        if samples < _LIKELY * classes:
            return Row(f"{name}: labels", "", found)  # so few that a class may be missing
        return Row(f"{name}: labels", f"all of 0 to {classes - 1}", found, bool(counts.min() > 0))

    def _lengths(self, name: str, documents: Documents) -> Row:
        lengths = documents.lengths
        least = self.task.card.lengths[0] if self.task.scale == "full" and self.task.source != "mini" else 1
        most = self.spec.max_length
        if not self.spec.variable:
            least = most
        fit = bool(least <= lengths.min() and lengths.max() <= most)
        expected = f"{least:,} to {most:,}" if self.spec.variable else f"{most:,}"
        found = (
            f"{lengths.min():,} to {lengths.max():,}, mean {lengths.mean():,.1f}"
            if self.spec.variable or not fit
            else expected
        )
        return Row(f"{name}: lengths", expected, found, fit)

    def _steps(self, name: str, documents: Documents) -> Row:
        low, high = documents.lowest, documents.highest
        if self.spec.inputs == "values":
            return Row(f"{name}: values", "finite", f"{low:g} to {high:g}", bool(np.isfinite([low, high]).all()))
        least, most = int(self.spec.variable), self.spec.vocab_size - 1
        found = f"{low:.0f} to {high:.0f}, {documents.ids} different"
        return Row(f"{name}: ids", f"{least} to {most}", found, least <= low and high <= most)

    def _characters(self) -> Iterator[Row]:
        characters = self.task.store.notes.get("characters")
        if characters is not None:
            most = self.spec.vocab_size - len(SPECIALS)
            fit = len(set(characters)) == len(characters) <= most
            yield Row(
                "characters",
                f"at most {most}, all different",
                f"{len(characters)}, {len(set(characters))} different",
                fit,
            )

    def _pairs(self) -> Iterator[Row]:
        if not self.shared:
            return
        there = len(self.parts["documents"].offsets) - 1
        for name, split in self.splits.items():
            if split.pairs is not None and len(split):
                low, high = int(split.pairs.min()), int(split.pairs.max())
                yield Row(
                    f"{name}: pairs",
                    f"of documents 0 to {there - 1:,}",
                    f"{low:,} to {high:,}",
                    low >= 0 and high < there,
                )

    def _figures(self, documents: Mapping[str, Documents], counts: Mapping[str, np.ndarray]) -> Iterator[Row]:
        """Yield the figures of the card's references with what is expected, and those that inform."""
        figures, informing = self._found(documents, counts)
        scales, scale = self.task.scales, self.task.scale
        alike = "full" in scales and _drawing(self.task.parameters) == _drawing(scales["full"])
        for reference in self.task.card.references:
            if self.task.source not in reference.sources or self.task.protocol not in reference.protocols:
                continue
            figure = figures.get(reference.quantity)
            if scale == "full" or (alike and figure is not None and figure.error is not None):
                informing.discard(reference.quantity)
                yield _compared(reference, figure)
        yield from (Row(name, "", _number(figures[name].value)) for name in figures if name in informing)

    def _found(
        self, documents: Mapping[str, Documents], counts: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, Figure], set[str]]:
        """Return all figures, and the names of those that are worth a row even where nothing is expected."""
        marks = int(all(part.marked for part in documents.values()))
        lengths = np.concatenate([part.lengths for part in documents.values()])
        figures = {**length_figures(lengths - marks), "steps in all": Figure(int(lengths.sum()))}
        informing = set(figures) if self.spec.variable else set()
        if self.spec.side:
            pixels = pixel_figures(np.concatenate([part.moments for part in documents.values()]))
            figures.update(pixels)
            informing.update(pixels)
        if "characters" in self.task.store.notes:
            figures["characters"] = Figure(len(self.task.store.notes["characters"]))
        samples = {name: split for name, split in self.splits.items() if len(split)}
        keys = sample_keys(samples, {name: documents["documents" if self.shared else name] for name in samples})
        everything, tested = np.concatenate(list(keys.values())), keys.get("test", np.empty(0, np.int64))
        fitted = np.concatenate([np.empty(0, np.int64), *(keys[name] for name in keys if name != "test")])
        figures[DUPLICATES] = Figure(len(everything) - len(np.unique(everything)))
        figures[OVERLAP] = Figure(len(np.intersect1d(fitted, tested)))
        return {**figures, **label_figures(counts)}, informing | {DUPLICATES, OVERLAP}


def _drawing(parameters: Any) -> dict[str, Any]:
    """Return the parameters of a scale but for its sizes."""
    return {key: value for key, value in asdict(parameters).items() if key not in ("train", "val", "test")}


def _compared(reference: Reference, figure: Figure | None) -> Row:
    slack = reference.tolerance + (ERRORS * figure.error if figure is not None and figure.error is not None else 0)
    expected = _number(reference.value) + (f" ± {_number(slack)}" if slack else "")
    if figure is None:
        return Row(reference.quantity, expected, "not there", False)
    found = figure.value
    return Row(reference.quantity, expected, _number(found), bool(abs(found - reference.value) <= slack))


def _number(value: float) -> str:
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}"
