"""Where a model of ListOps fails: accuracy by the depth of the tree and by the length of the expression."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lra_hgrn.results.figures.style import PERCENT, STYLE, WIDTH, legend, look_of
from lra_hgrn.results.stats import wilson

if TYPE_CHECKING:
    from lra_tasks import LRATask

BINS = 8  # of the lengths, equally filled
_FEWEST = 10  # samples of a depth that is drawn by itself
_SPREAD = 0.3  # of a bin, over which the models are spread


@dataclass(frozen=True)
class Expressions:
    """The test split of ListOps: depth of each tree, a digit counting as one level, and symbols without end mark."""

    depths: np.ndarray  # (n,) int64
    lengths: np.ndarray  # (n,) int64


def measure(task: "LRATask") -> Expressions:
    """Measure the expressions of the test split of a ListOps task that has been set up."""
    split = task.split("test")
    both = [_measure(task.symbols(split[index][0][0])) for index in range(len(split))]
    depths, lengths = np.array(both, np.int64).reshape(-1, 2).T
    return Expressions(depths, lengths)


def _measure(symbols: Sequence[str]) -> tuple[int, int]:
    # A tree is one level deeper than its brackets are nested.
    steps = [1 if symbol[0] == "[" else -(symbol == "]") for symbol in symbols if symbol != "<eos>"]
    return 1 + max(itertools.accumulate(steps), default=0), len(steps)


def accuracy_by_depth_and_length(
    expressions: Expressions, correct: Mapping[str, np.ndarray], models: Sequence[str]
) -> Figure:
    """Draw accuracy with its 95 % interval (Wilson) against depth and against length, and the samples in each bin.

    Args:
        expressions: the test split.
        correct: by model, (seeds, n) bool, whether each sample was classified rightly; seeds are averaged.
        models: all models of the suite in order.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
        grid = figure.subplots(2, 2, height_ratios=(3, 1), sharex="col", sharey="row")
        for column, (name, values, edges) in enumerate(
            (
                ("depth of the tree", expressions.depths, depth_edges(expressions.depths)),
                ("length, symbols", expressions.lengths, length_edges(expressions.lengths)),
            )
        ):
            index = np.searchsorted(edges, values, side="right") - 1
            _draw(grid[0, column], grid[1, column], index, edges, correct, models)
            grid[1, column].set_xlabel(name)
        grid[0, 0].set_ylabel("test accuracy")
        grid[1, 0].set_ylabel("samples")
        legend(figure, grid[0, 0])
        return figure


def depth_edges(depths: np.ndarray) -> np.ndarray:
    """Return the first depth of every bin and, last, one more than the greatest: one bin a depth.

    The shallowest and the deepest trees are taken together until there are ten of them.
    """
    found, counts = np.unique(depths, return_counts=True)
    first = int(np.searchsorted(np.cumsum(counts), min(_FEWEST, len(depths))))
    last = len(found) - int(np.searchsorted(np.cumsum(counts[::-1]), min(_FEWEST, len(depths)))) - 1
    inner = found[first + 1 : last + 1] if last > first else found[:0]
    return np.array([found[0], *inner, found[-1] + 1])


def length_edges(lengths: np.ndarray) -> np.ndarray:
    """Return the first length of every bin and, last, one more than the greatest: bins with as many samples each."""
    inner = np.quantile(lengths, np.linspace(0, 1, BINS + 1)[1:-1], method="nearest")
    return np.unique([lengths.min(), *inner, lengths.max() + 1])


def _draw(
    axes: Axes,
    below: Axes,
    index: np.ndarray,
    edges: np.ndarray,
    correct: Mapping[str, np.ndarray],
    models: Sequence[str],
) -> None:
    bins = np.arange(len(edges) - 1)  # drawn side by side: they are not equally wide
    counts = np.bincount(index, minlength=len(bins))
    filled = bins[counts > 0]
    sizes = counts[filled].tolist()
    for number, (model, right) in enumerate(correct.items()):
        shares = np.array([right[:, index == place].mean() for place in filled])
        # The seeds share the samples: averaging over them does not narrow the interval.
        ends = [wilson(round(share * size), size) for share, size in zip(shares, sizes, strict=True)]
        places = filled + _SPREAD * ((number + 0.5) / len(correct) - 0.5)
        errors = np.abs(np.array(ends).T - shares)
        style = look_of(model, models).line
        axes.errorbar(places, shares, yerr=errors, elinewidth=0.8, capsize=2, label=model, **style)
    axes.yaxis.set_major_formatter(PERCENT)
    below.bar(bins, counts, 0.9, color="#bbbbbb")
    below.grid(axis="x", visible=False)
    labels = [str(low) if low + 1 == high else f"{low}–{high - 1}" for low, high in itertools.pairwise(edges)]
    below.set_xticks(bins, labels, fontsize=7)
