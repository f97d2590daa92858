"""Learning curves, from ``metrics.csv`` in the folder of each run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lra_hgrn.errors import UserError
from lra_hgrn.results.cells import Cell
from lra_hgrn.results.figures.style import PERCENT, SI, STYLE, WIDTH, legend, look_of
from lra_hgrn.results.files import COLUMNS
from lra_tasks.errors import one_line

POINTS = 200  # of a line; longer ones are averaged, which the eye does not see and the file does
_MARKED = 12


def load_metrics(path: Path) -> pd.DataFrame:
    """Read a run's ``metrics.csv``.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    try:
        frame = pd.read_csv(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: there is no learning curve of this run.") from None
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise UserError(f"{path} is not a CSV file: {one_line(error)}.") from error
    absent = [name for name in COLUMNS if name not in frame.columns]
    if absent:
        raise UserError(f"{path} lacks the columns {', '.join(absent)}.")
    for name in COLUMNS:
        if name != "split":
            try:
                frame[name] = pd.to_numeric(frame[name])
            except (ValueError, TypeError, OverflowError) as error:
                raise UserError(
                    f"{path} has something else among the numbers of column {name} ({one_line(error)})."
                ) from error
    return frame


def learning_curves(cells: Sequence[Cell], metrics: Mapping[str, pd.DataFrame], models: Sequence[str]) -> Figure | None:
    """Draw training loss and validation accuracy against steps for the models of one task.

    Lines of more than ``POINTS`` rows are drawn through the means of as many rows one after the other.

    Args:
        cells: the cells of one task; the seeds of a model are lines of one look.
        metrics: frames of ``load_metrics`` by name of run; runs without one are left out.
        models: all models of the suite in order, so that each keeps its look from figure to figure.

    Returns:
        None if no run has metrics.
    """
    if not any(record.run in metrics for cell in cells for record in cell.records):
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
        left, right = figure.subplots(1, 2)
        for cell in cells:
            look = look_of(cell.model, models)
            frames = [metrics[record.run] for record in cell.records if record.run in metrics]
            for seed, frame in enumerate(frames):
                label = cell.model if seed == 0 else None
                loss = _thinned(frame, "train", "loss")
                accuracy = _thinned(frame, "val", "accuracy")
                left.plot(*loss, color=look.color, linestyle=look.dash, label=label)
                right.plot(*accuracy, **look.line, markevery=max(1, len(accuracy[0]) // _MARKED))
        left.set_title("Training loss")
        right.set_title("Validation accuracy")
        right.yaxis.set_major_formatter(PERCENT)
        for axes in (left, right):
            axes.set_xlabel("step")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.xaxis.set_major_formatter(SI)
        legend(figure, left)
        return figure


def _thinned(frame: pd.DataFrame, split: str, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and values of one split, at most ``POINTS`` of them."""
    rows = frame[frame["split"] == split]
    steps, values = (rows[name].to_numpy(dtype=np.float64) for name in ("step", column))
    size = -(-len(rows) // POINTS) or 1
    starts = np.arange(0, len(rows), size)
    if size == 1:
        return steps, values
    counts = np.diff(np.append(starts, len(rows)))
    return np.add.reduceat(steps, starts) / counts, np.add.reduceat(values, starts) / counts
