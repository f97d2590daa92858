"""Measured minus published accuracy, task by task."""

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lra_hgrn.results.cells import Cell
from lra_hgrn.results.deviation import Deviation
from lra_hgrn.results.figures.style import STYLE, WIDTH, legend, look_of

_POINTS = FuncFormatter(lambda share, _: f"{100 * share:+.3g}".replace("-", "−") if share else "0")
_SPREAD = 0.7  # of the distance of two tasks, over which the models of a task are spread


def deviation_from_published(deviations: Sequence[tuple[Cell, Deviation]], models: Sequence[str]) -> Figure | None:
    """Draw measured minus published accuracy in points, one marker a model, over the joint 95 % interval around 0.

    A marker inside its grey bar is reproduced. Cells that are not comparable, and published failures, have no
    difference and are left out; None if none is left.
    """
    drawn = [
        (cell, deviation.difference, deviation.half_width)
        for cell, deviation in deviations
        if deviation.difference is not None and deviation.half_width is not None
    ]
    if not drawn:
        return None
    tasks = list(dict.fromkeys(cell.task for cell, _, _ in drawn))
    shown = [model for model in models if any(cell.model == model for cell, _, _ in drawn)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        axes = figure.subplots()
        axes.axhline(0, color="black", linewidth=0.7)
        for cell, difference, half_width in drawn:
            look = look_of(cell.model, models)
            place = tasks.index(cell.task) + _SPREAD * ((shown.index(cell.model) + 0.5) / len(shown) - 0.5)
            axes.plot([place] * 2, [-half_width, half_width], color="#cccccc", linewidth=7, solid_capstyle="butt")
            axes.plot(
                place, difference, color=look.color, marker=look.marker, linestyle="none", label=cell.model, zorder=3
            )
        axes.set_xticks(range(len(tasks)), tasks)
        axes.set_xlim(-0.5, len(tasks) - 0.5)
        axes.grid(axis="x", visible=False)
        axes.yaxis.set_major_formatter(_POINTS)
        axes.set_ylabel("measured − published, points")
        legend(figure, axes)
        return figure
