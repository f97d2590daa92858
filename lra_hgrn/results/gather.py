"""All that the pages of a suite are made of: its cells, the published rows beside them, the tests between models."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lra_hgrn.results.cells import Cell, Key, collect
from lra_hgrn.results.compare import Answers, Comparison, compare_answers, load_answers
from lra_hgrn.results.predictions import FILE, Predictions, load_predictions
from lra_hgrn.results.published import Method, find_methods
from lra_hgrn.results.record import Record
from lra_hgrn.results.stats import Summary, summarise


@dataclass(frozen=True)
class Results:
    """A suite with what is known of it, as tables, figures and the report read it."""

    title: str
    cells: list[Cell]  # the models of a task side by side
    others: list[Record] = field(default_factory=list)  # records that belong to no cell
    methods: list[Method] = field(default_factory=list)  # published rows to set beside the measured ones
    baseline: str | None = None  # model whose speed the others' are compared with
    compared_with: str | None = None  # the only model that the others are tested against; None: every two are
    runs: Path | None = None  # folder of the runs' folders; None: there are records and nothing else
    problems: list[str] = field(default_factory=list)  # one sentence for each record that could not be read

    @property
    def records(self) -> list[Record]:
        """The records of all cells."""
        return [record for cell in self.cells for record in cell.records]

    @property
    def models(self) -> list[str]:
        """Names of the models, in the suite's order."""
        return list(dict.fromkeys(cell.model for cell in self.cells))

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks, in the suite's order."""
        return list(dict.fromkeys(cell.task for cell in self.cells))

    @cached_property
    def _answers(self) -> tuple[list[Answers], list[str]]:
        return load_answers(self.cells, self.predictions) if self.runs is not None else ([], [])

    @property
    def answers(self) -> list[Answers]:
        """What the seeds of each cell got right, of the cells whose predictions are all there."""
        return self._answers[0]

    @property
    def unread(self) -> list[str]:
        """One sentence for each run whose predictions cannot be used."""
        return self._answers[1]

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """The tests between the models of each task, from the predictions of the runs; none without them."""
        return compare_answers(self.answers, self.compared_with)

    def summary(self, cell: Cell) -> Summary | None:
        """Summarise a cell as `Cell.summary` does, with the bootstrap's interval where its predictions are there."""
        correct = next((one.correct for one in self.answers if (one.task, one.model) == (cell.task, cell.model)), None)
        if not cell.scores or correct is None:
            return cell.summary
        return summarise([(score.correct, score.total) for score in cell.scores], correct)

    def predictions(self, record: Record) -> Predictions:
        """Read what a run predicted.

        Raises:
            UserError: its file is missing or damaged.
        """
        return load_predictions((self.runs or Path()) / record.run / FILE)


def gather(
    keys: Sequence[Key],
    records: Iterable[Record],
    *,
    title: str = "",
    baseline: str | None = None,
    compared_with: str | None = None,
    against: Sequence[str] = (),
    runs: Path | None = None,
    problems: Sequence[str] = (),
) -> Results:
    """Sort the records of a suite into its cells.

    Args:
        keys: of the suite's cells, in order.
        records: of its runs.
        title: of the suite.
        baseline: name in tables of the model that speeds are compared with.
        compared_with: name of the only model that the others are tested against; None: every two models of a task are.
        against: ids of published rows (``results/published.csv``).
        runs: folder of the runs' folders.
        problems: sentences on records that could not be read.

    Raises:
        UserError: runs of one cell cannot be averaged, or there is no such published row.
    """
    cells, others = collect(keys, records)
    return Results(title, cells, others, find_methods(against), baseline, compared_with, runs, list(problems))
