"""Accuracy against speed and memory, as figure 3 of the Long Range Arena (Tay et al. 2021, arXiv 2011.04006)."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lra_hgrn.results.cells import Cell, Speed
from lra_hgrn.results.figures.style import PERCENT, STYLE, WIDTH, log_axis, look_of
from lra_hgrn.results.stats import Summary
from lra_hgrn.results.tables.table import binary, peak

_LARGEST = 17.0  # points: width of the marker of the largest memory
_UNKNOWN = 5.0  # points: width of a marker without a memory
_HEIGHT = 150.0  # points: of a panel, roughly
_LINE = 9.0  # points: of a line of text

Point = tuple[Cell, Summary, Speed]


def accuracy_against_throughput(cells: Sequence[Cell]) -> Figure | None:
    """Draw test accuracy against training speed, one panel for each device, one line joining a task's models.

    The area of a marker is the peak memory; a hollow one has none measured. Cells without accuracy or without one
    speed are left out; None if none is left.
    """
    points = [(cell, summary, speed) for cell in cells if (summary := cell.summary) and (speed := cell.speed)]
    if not points:
        return None
    devices = list(dict.fromkeys(speed.device.name for _, _, speed in points))
    models = list(dict.fromkeys(cell.model for cell in cells))
    largest = max((memory for cell, _, _ in points if (memory := peak_memory(cell)) is not None), default=None)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.4 * len(devices)), layout="constrained")
        panels = figure.subplots(len(devices), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
        lowest, highest = min(summary.low for _, summary, _ in points), max(summary.high for _, summary, _ in points)
        panels[0].set_ylim(max(0.0, lowest - 0.07), min(1.05, highest + 0.07))
        for device, axes in zip(devices, panels, strict=True):
            _draw_device(axes, [point for point in points if point[2].device.name == device], models, largest)
            axes.set_title(device)
        panels[-1].set_xlabel("training speed, tokens/s")
        _legends(figure, [cell.model for cell, _, _ in points], models, largest)
        return figure


def peak_memory(cell: Cell) -> int | None:
    """Return the largest peak of a cell's seeds in bytes; None where it is unknown or was counted in two ways."""
    size = peak(cell.records).values[0]
    return size if isinstance(size, int) else None


def _draw_device(axes: Axes, points: Sequence[Point], models: Sequence[str], largest: int | None) -> None:
    ends: dict[str, tuple[float, float]] = {}
    for task in dict.fromkeys(cell.task for cell, _, _ in points):
        line = sorted((speed.tokens_per_second, summary.mean) for cell, summary, speed in points if cell.task == task)
        axes.plot(*zip(*line, strict=True), color="#bbbbbb", linewidth=0.8, zorder=1)
        ends[task] = line[-1]
    for cell, summary, speed in points:
        look = look_of(cell.model, models)
        memory = peak_memory(cell)
        axes.errorbar(
            speed.tokens_per_second,
            summary.mean,
            yerr=[[summary.mean - summary.low], [summary.high - summary.mean]],
            color=look.color,
            marker=look.marker,
            markersize=_width(memory, largest),
            markerfacecolor="none" if memory is None else look.color,
            markeredgecolor=look.color if memory is None else "white",
            markeredgewidth=0.9 if memory is None else 0.5,
            linestyle="none",
            elinewidth=0.8,
            capsize=2,
        )
    log_axis(axes, "x")
    axes.margins(x=0.15)
    _name_lines(axes, ends)
    axes.set_ylabel("test accuracy")
    axes.yaxis.set_major_formatter(PERCENT)


def _name_lines(axes: Axes, ends: Mapping[str, tuple[float, float]]) -> None:
    """Write each task's name beside the right end of its line; names that would lie on one another move up."""
    low, high = axes.get_ylim()
    placed: list[tuple[float, float]] = []  # speed, and height in points
    for task, (speed, accuracy) in sorted(ends.items(), key=lambda item: item[1][1]):
        height = own = _HEIGHT * (accuracy - low) / (high - low)
        for other, taken in placed:
            if 0.5 < speed / other < 2 and height < taken + _LINE:
                height = taken + _LINE
        placed.append((speed, height))
        shift = (11, height - own - 3)
        axes.annotate(task, (speed, accuracy), xytext=shift, textcoords="offset points", color="#333333")


def _width(memory: int | None, largest: int | None) -> float:
    """Return the width of a marker in points, its area proportional to the memory."""
    return _UNKNOWN if memory is None or not largest else _LARGEST * (memory / largest) ** 0.5


def _legends(figure: Figure, drawn: Sequence[str], models: Sequence[str], largest: int | None) -> None:
    """One legend of the models and, below it, one of three areas."""
    handles = [
        Line2D([], [], color=look.color, marker=look.marker, markersize=6, linestyle="none", label=model)
        for model in models
        if model in drawn
        for look in [look_of(model, models)]
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=min(5, len(handles)))
    if largest is None:
        return
    sizes = [largest, largest // 4, largest // 16]
    areas = [
        Line2D(
            [],
            [],
            color="#999999",
            marker="o",
            markersize=_width(size, largest),
            markeredgecolor="white",
            linestyle="none",
            label=binary(size),
        )
        for size in sizes
    ]
    figure.legend(
        handles=areas, loc="outside lower right", ncols=3, title="peak memory", title_fontsize=8, columnspacing=2.5
    )
