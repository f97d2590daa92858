"""Which differences between the models of a suite are more than noise, and which model of a task is best."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lra_hgrn.errors import UserError
from lra_hgrn.results.cells import Cell
from lra_hgrn.results.paired import MCNEMAR, WELCH, PairedTest, compare, holm
from lra_hgrn.results.predictions import Predictions
from lra_hgrn.results.record import Record
from lra_hgrn.results.stats import LEVEL
from lra_hgrn.results.tables.table import Column, Entry, Rank, Table, points

_SMALLEST = 0.0001  # p values below it are printed as such

_METHODS = {
    MCNEMAR: f"{MCNEMAR}: one seed of each model, so that the noise of training is not in the test.",
    WELCH: f"{WELCH}: t test in which seeds and test samples vary; a model with one seed is taken to be as noisy as "
    "the other one.",
}


@dataclass(frozen=True, eq=False)
class Answers:
    """What the seeds of one cell that count got right on the test split."""

    task: str  # as the cell has it
    model: str
    correct: NDArray[np.bool_]  # (seeds, samples), of the checkpoints best on validation
    data: tuple[str, bytes]  # fingerprint and labels: equal where two cells were tested on the same samples


@dataclass(frozen=True, kw_only=True)
class Comparison(PairedTest):
    """The test between two models of one task: accuracy of the first minus that of the second."""

    task: str
    first: str
    second: str
    seeds_first: int
    seeds_second: int
    adjusted: float  # p, by Holm's correction over all comparisons made together


def load_answers(
    cells: Iterable[Cell], predictions_of: Callable[[Record], Predictions]
) -> tuple[list[Answers], list[str]]:
    """Read the test predictions of cells.

    Args:
        cells: of a suite; those without a score are passed over.
        predictions_of: reads the predictions of a run, and raises `UserError` where it cannot.

    Returns:
        The answers, and one sentence for each run whose predictions cannot be used. Its cell is then not compared:
        without one of its seeds it would be another cell than the tables show.
    """
    found, problems = [], []
    for cell in cells:
        if not cell.counted:
            continue
        read = []
        for record in cell.counted:
            try:
                read.append(_checked(record, predictions_of(record)))
            except UserError as error:
                problems.append(str(error))
        data = {(one.fingerprint, one.labels.astype(np.uint16).tobytes()) for one in read}
        if len(data) > 1:
            problems.append(f"The seeds of {cell.task} × {cell.model} were tested on different data: run them again.")
        elif len(read) == len(cell.counted):
            correct = np.stack([one.best == one.labels for one in read])
            found.append(Answers(cell.task, cell.model, correct, data.pop()))
    return found, problems


def _checked(record: Record, predictions: Predictions) -> Predictions:
    right, total = int((predictions.best == predictions.labels).sum()), len(predictions.labels)
    if record.scores is None or (right, total) != (record.scores.best.correct, record.scores.best.total):
        raise UserError(
            f"The predictions of {record.run} are right on {right} of {total} samples, which is not the score in its "
            "record: evaluate the run again."
        )
    return predictions


def apart(answers: Sequence[Answers]) -> list[str]:
    """Return one sentence for each task whose models were not all tested on the same samples."""
    said = []
    for task in dict.fromkeys(one.task for one in answers):
        alike: dict[tuple[str, bytes], list[str]] = {}
        for one in answers:
            if one.task == task:
                alike.setdefault(one.data, []).append(one.model)
        if len(alike) > 1:
            groups = "; ".join(", ".join(models) for models in alike.values())
            said.append(f"Models of {task} are compared only where they saw the same data: {groups}.")
    return said


def compare_answers(answers: Sequence[Answers], only: str | None = None) -> list[Comparison]:
    """Compare the models of each task that were tested on the same samples, in the order given.

    Args:
        answers: of the cells.
        only: the one model that each other one is compared with; None: all pairs.
    """
    made = []
    for first, second in combinations(answers, 2):
        wanted = only is None or only in (first.model, second.model)
        if wanted and first.task == second.task and first.data == second.data:
            test = dataclasses.asdict(compare(first.correct, second.correct))
            made.append(
                Comparison(
                    **test,
                    task=first.task,
                    first=first.model,
                    second=second.model,
                    seeds_first=len(first.correct),
                    seeds_second=len(second.correct),
                    adjusted=test["p"],
                )
            )
    adjusted = holm([comparison.p for comparison in made])
    return [dataclasses.replace(one, adjusted=p) for one, p in zip(made, adjusted, strict=True)]


def marks(cells: Iterable[Cell], comparisons: Iterable[Comparison]) -> dict[tuple[str, str], Rank]:
    """Return which (task, model) is best and which second, as far as the comparisons show it.

    The best model beats every other measured model of its task at an adjusted p below 5 %; the second beats all but
    the best likewise. Where a comparison is missing, or shows nothing, there is no such model; without a best model
    there is no second, and without a third one neither.
    """
    wins: dict[str, set[tuple[str, str]]] = {}
    for one in comparisons:
        if one.adjusted < 1 - LEVEL and one.difference != 0:
            pair = (one.first, one.second) if one.difference > 0 else (one.second, one.first)
            wins.setdefault(one.task, set()).add(pair)
    measured: dict[str, list[str]] = {}
    for cell in cells:
        if cell.counted:
            measured.setdefault(cell.task, []).append(cell.model)
    found: dict[tuple[str, str], Rank] = {}
    for task, models in measured.items():
        ranks: tuple[Rank, Rank] = ("best", "second")
        for rank in ranks:
            winner = _winner(models, wins.get(task, set()))
            if winner is None:
                break
            found[task, winner] = rank
            models.remove(winner)
    return found


def _winner(models: Sequence[str], wins: set[tuple[str, str]]) -> str | None:
    """The model that beats all others, of which there must be some."""
    if len(models) < 2:
        return None
    beats_all = (one for one in models if all((one, other) in wins for other in models if other != one))
    return next(beats_all, None)


def comparison_table(comparisons: Sequence[Comparison], caption: str = "", said: Sequence[str] = ()) -> Table:
    """Make a table with one row for each comparison; ``said`` are further remarks, such as those of `apart`."""
    columns = [
        Column("Task", ("task",), numeric=False),
        Column("First", ("first",), numeric=False),
        Column("Second", ("second",), numeric=False),
        Column("Difference, points", ("difference",)),
        Column("95 % interval", ("low", "high")),
        Column("p", ("p",)),
        Column("Adjusted p", ("adjusted",)),
        Column("Seeds", ("seeds_first", "seeds_second")),
        Column("Test", ("method",), numeric=False, wraps=True),
    ]
    table = Table(caption, columns)
    for one in comparisons:
        row = [Entry(word, (word,)) for word in (one.task, one.first, one.second)]
        row += [
            Entry(points(one.difference), (one.difference,)),
            Entry(f"{points(one.low)} to {points(one.high)}", (one.low, one.high)),
            Entry(_p(one.p), (one.p,)),
            Entry(_p(one.adjusted), (one.adjusted,)),
            Entry(f"{one.seeds_first}, {one.seeds_second}", (one.seeds_first, one.seeds_second)),
            Entry(one.method, (one.method,)),
        ]
        table.rows.append(row)
    table.remarks = [*_remarks(comparisons), *said]
    return table


def _remarks(comparisons: Sequence[Comparison]) -> list[str]:
    if not comparisons:
        return ["No two models of a task could be compared: they need predictions on the same test samples."]
    return [
        "Difference: test accuracy of the first model minus that of the second, on the same samples, checkpoints best "
        "on validation, mean over seeds.",
        f"Adjusted p: Holm’s correction over the {len(comparisons)} comparisons made. Intervals are not adjusted.",
        *(_METHODS[method] for method in dict.fromkeys(one.method for one in comparisons)),
    ]


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= _SMALLEST else f"<{_SMALLEST}"
