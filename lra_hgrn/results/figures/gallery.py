"""Every figure that the records of a suite support, with its caption, and why each other one is left out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lra_hgrn.errors import UserError
from lra_hgrn.results.calibration import BINS, Bin, reliability_of
from lra_hgrn.results.cells import Cell
from lra_hgrn.results.figures import calibration, listops, mistakes
from lra_hgrn.results.figures.bounds import lower_bound_profiles
from lra_hgrn.results.figures.curves import learning_curves, load_metrics
from lra_hgrn.results.figures.deviations import deviation_from_published
from lra_hgrn.results.figures.samples import open_task
from lra_hgrn.results.figures.scaling import cost_against_length
from lra_hgrn.results.figures.speed import accuracy_against_throughput
from lra_hgrn.results.files import METRICS
from lra_hgrn.results.gather import Results
from lra_hgrn.results.predictions import Predictions
from lra_hgrn.results.record import Record
from lra_hgrn.results.tables.standing import deviation_of

_PATHS = ("two paths", "one path")  # what the classes 0 and 1 of the Pathfinders are


@dataclass(frozen=True)
class Plate:
    """A figure, the name of its file without ending, and its caption."""

    name: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Omission:
    """A figure that is left out, or a run that is missing in one, and why: a sentence."""

    name: str
    reason: str


Found = Iterator[Plate | Omission]


def plates(results: Results, families: Sequence[str] = ()) -> Found:
    """Draw one figure after the other; each that cannot be drawn is an `Omission` in its place.

    Args:
        results: the suite.
        families: names in `FAMILIES` of the figures that are wanted; none: all.
    """
    for name, family in FAMILIES.items():
        if name in families or not families:
            yield from family(results)


def _deviation(results: Results) -> Found:
    found = [(cell, deviation_of(cell)) for cell in results.cells]
    deviations = [(cell, deviation) for cell, deviation in found if deviation is not None]
    reason = (
        "No result that can be compared stands for a published figure."
        if deviations
        else "No cell with results repeats a published recipe."
    )
    caption = (
        "Measured minus published accuracy of the recipes that stand for a published figure, in points. Grey: joint "
        "95 % interval around 0, inside which a figure is reproduced."
    )
    yield from _drawn("deviation", caption, deviation_from_published(deviations, results.models), reason)


def _speed(results: Results) -> Found:
    caption = (
        "Test accuracy (95 % interval) against training speed; the area of a marker is the peak memory (hollow: not "
        "measured). A grey line joins the models of a task."
    )
    figure = accuracy_against_throughput(results.cells)
    yield from _drawn("accuracy-speed", caption, figure, "No cell has an accuracy and a speed.")


def _cost(results: Results) -> Found:
    caption = (
        "Training speed and peak memory against the length of the input L, for models with the same options and batch "
        "size at each length. In the legend: exponents of the fitted cost of one sample."
    )
    reason = "No model was measured at two lengths of one task, with the same options and batch size on one device."
    yield from _drawn("cost-length", caption, cost_against_length(results.cells), reason)


def _curves(results: Results) -> Found:
    for task, cells in _by_task(results):
        metrics: dict[str, pd.DataFrame] = {}
        problems = []
        for record in (record for cell in cells for record in cell.records if results.runs is not None):
            try:
                metrics[record.run] = load_metrics((results.runs or Path()) / record.run / METRICS)
            except UserError as error:
                problems.append(str(error))
        caption = f"Learning curves on {task}. Each seed is a line of its model’s look."
        figure = learning_curves(cells, metrics, results.models)
        reason = f"There are no runs of {task} to read {METRICS} of."
        yield from _drawn(f"curves-{_slug(task)}", caption, figure, reason, problems)


def _calibration(results: Results) -> Found:
    for task, cells in _by_task(results):
        bins: dict[str, list[Bin]] = {}
        problems: list[str] = []
        for cell, _, predictions in _predictions(cells, results, problems):
            found = reliability_of(predictions)
            if found is not None:
                bins[cell.model] = found
        caption = (
            f"Calibration on {task} (test split, lowest seed): accuracy against confidence in {BINS} bins, the share "
            "of the samples in each bin, and the expected calibration error (ECE). Bins of fewer than "
            f"{calibration.FEWEST} samples have no point. Dashed grey: as right as it is sure."
        )
        figure = calibration.reliability_diagram(bins, results.models)
        reason = f"There are no predictions of {task} with confidences."
        yield from _drawn(f"calibration-{_slug(task)}", caption, figure, reason, problems)


def _listops(results: Results) -> Found:
    for task, cells in _by_task(results, "listops"):
        right: dict[str, list[np.ndarray]] = {}
        tested: list[Record] = []
        problems: list[str] = []
        for cell, record, predictions in _predictions(cells, results, problems, every_seed=True):
            if tested and record.data_fingerprint != tested[0].data_fingerprint:
                problems.append(f"{record.run} was tested on other data than {tested[0].run}.")
                continue
            tested.append(record)
            right.setdefault(cell.model, []).append(predictions.best == predictions.labels)
        figure = None
        try:
            if tested:
                expressions = listops.measure(open_task(tested[0]))
                correct = {model: np.stack(seeds) for model, seeds in right.items()}
                figure = listops.accuracy_by_depth_and_length(expressions, correct, results.models)
        except UserError as error:
            problems.append(str(error))
        caption = (
            f"Test accuracy on {task} by the depth of the tree and by the length of the expression (95 % Wilson "
            "intervals, mean over seeds), and the samples in each bin."
        )
        reason = f"There are no predictions of {task}."
        yield from _drawn(f"{_slug(task)}-depth-length", caption, figure, reason, problems)


def _mistakes(results: Results) -> Found:
    for task, cells in _by_task(results, "pathfinder", "pathx"):
        rows, titles = {}, {}
        problems: list[str] = []
        for cell, record, predictions in _predictions(cells, results, problems):
            try:
                opened = open_task(record)
            except UserError as error:
                problems.append(str(error))
                continue
            split, side = opened.split("test"), opened.spec.side
            found = mistakes.mistakes_of(predictions)
            rows[cell.model] = [(item, split[item.index][0][0].reshape(side, side)) for item in found]
            wrong = int((predictions.best != predictions.labels).sum())
            titles[cell.model] = f"{cell.model}, seed {record.seed}: {wrong:,} of {len(split):,} wrong"
        caption = (
            f"Test images of {task} that the best checkpoint gets wrong (lowest seed): number of the sample, what the "
            "model says of it, and its confidence where that is known; the surest mistakes first."
        )
        figure = mistakes.contact_sheet(rows, titles, _PATHS)
        reason = f"There are no mistakes on {task} to show."
        yield from _drawn(f"mistakes-{_slug(task)}", caption, figure, reason, problems)


def _bounds(results: Results) -> Found:
    caption = (
        "Learnt lower bounds of the forget gate by layer: mean over channels, with bands from 25 % to 75 % and from "
        "5 % to 95 % of the channels. A higher bound means a longer memory."
    )
    yield from _drawn("lower-bounds", caption, lower_bound_profiles(results.cells), "No model here has lower bounds.")


FAMILIES: dict[str, Callable[[Results], Found]] = {
    "deviation": _deviation,
    "accuracy-speed": _speed,
    "cost-length": _cost,
    "curves": _curves,
    "calibration": _calibration,
    "depth-length": _listops,
    "mistakes": _mistakes,
    "lower-bounds": _bounds,
}


def _drawn(name: str, caption: str, figure: Figure | None, reason: str, problems: Sequence[str] = ()) -> Found:
    """Yield a figure and what is missing in it; without both, the reason why there is none."""
    for problem in dict.fromkeys(problems):
        yield Omission(name, problem)
    if figure is not None:
        yield Plate(name, caption, figure)
    elif not problems:
        yield Omission(name, reason)


def _by_task(results: Results, *names: str) -> Iterator[tuple[str, list[Cell]]]:
    """Yield each task of these names, or each of all, with its cells."""
    for task in results.tasks:
        cells = [cell for cell in results.cells if cell.task == task]
        if not names or cells[0].key.task in names:
            yield task, cells


def _predictions(
    cells: Sequence[Cell], results: Results, problems: list[str], every_seed: bool = False
) -> Iterator[tuple[Cell, Record, Predictions]]:
    """Yield what the best checkpoints of these cells predict: of each the lowest seed that counts, or every one.

    What cannot be read is added to ``problems``.
    """
    for cell in cells if results.runs is not None else ():
        for record in cell.counted if every_seed else cell.counted[:1]:
            try:
                predictions = results.predictions(record)
            except UserError as error:
                problems.append(str(error))
                continue
            yield cell, record, predictions


def _slug(task: str) -> str:
    """Return a task's label as a part of a file's name."""
    return "-".join("".join(letter if letter.isalnum() else " " for letter in task).split())
