"""Figures of a suite, in one style that survives a black-and-white printer.

Every function returns a matplotlib ``Figure`` made without pyplot, so nothing global is kept or changed.
"""

import io
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from lra_hgrn.errors import UserError
from lra_hgrn.results.cells import Cell
from lra_hgrn.results.record import Record
from lra_hgrn.results.table import si

METRICS = "metrics.csv"
_COLUMNS = ("step", "epoch", "split", "loss", "accuracy", "lr", "seconds")

# Colours of Okabe and Ito in an order whose luminance differs too; lines and markers differ in any case.
_COLORS = ("#0072b2", "#d55e00", "#000000", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2, 1, 2, 1, 2)))
_MARKERS = "os^Dv<>PX"

STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # names come from users; a dollar is a dollar
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "lra-hgrn",  # the same figure gives the same file
}
WIDTH = 9.0  # inches: the measure of the page at its widest
PERCENT = FuncFormatter(lambda share, _: f"{100 * share:.4g} %")
SI = FuncFormatter(lambda value, _: si(value))


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
        raise UserError(f"{path} is not a CSV file: {error}.") from error
    absent = [name for name in _COLUMNS if name not in frame.columns]
    if absent:
        raise UserError(f"{path} lacks the columns {', '.join(absent)}.")
    for name in _COLUMNS:
        if name != "split":
            try:
                frame[name] = pd.to_numeric(frame[name])
            except (ValueError, TypeError) as error:
                raise UserError(f"{path} has a word among the numbers of column {name} ({error}).") from error
    return frame


def learning_curves(cells: Sequence[Cell], metrics: Mapping[str, pd.DataFrame], models: Sequence[str]) -> Figure:
    """Draw training loss and validation accuracy against steps for the models of one task.

    Args:
        cells: the cells of one task; the seeds of a model are lines of one look.
        metrics: frames of ``load_metrics`` by name of run; runs without one are left out.
        models: all models of the suite in order, so that each keeps its look from figure to figure.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
        left, right = figure.subplots(1, 2)
        for cell in cells:
            look = models.index(cell.model)
            frames = [metrics[record.run] for record in cell.records if record.run in metrics]
            for seed, frame in enumerate(frames):
                label = cell.model if seed == 0 else None
                train, val = frame[frame["split"] == "train"], frame[frame["split"] == "val"]
                left.plot(train["step"], train["loss"], color=_color(look), linestyle=_dash(look), label=label)
                right.plot(
                    val["step"],
                    val["accuracy"],
                    color=_color(look),
                    linestyle=_dash(look),
                    marker=_marker(look),
                    markersize=3,
                    label=label,
                )
        left.set_title("Training loss")
        right.set_title("Validation accuracy")
        right.yaxis.set_major_formatter(PERCENT)
        for axes in (left, right):
            axes.set_xlabel("step")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.xaxis.set_major_formatter(SI)
        _legend(figure, left)
        return figure


def accuracy_against_throughput(cells: Sequence[Cell]) -> Figure | None:
    """Draw test accuracy against training speed, one panel for each device, one line joining a task's models.

    Cells without accuracy or without one speed are left out; None if none is left.
    """
    points = [(cell, summary, speed) for cell in cells if (summary := cell.summary) and (speed := cell.speed)]
    if not points:
        return None
    devices = list(dict.fromkeys(speed.device.name for _, _, speed in points))
    models = list(dict.fromkeys(cell.model for cell in cells))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.0 * len(devices)), layout="constrained")
        panels = figure.subplots(len(devices), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
        lowest, highest = min(summary.low for _, summary, _ in points), max(summary.high for _, summary, _ in points)
        panels[0].set_ylim(max(0.0, lowest - 0.05), min(1.03, highest + 0.05))
        for device, axes in zip(devices, panels, strict=True):
            here = [point for point in points if point[2].device.name == device]
            for task in dict.fromkeys(cell.task for cell, _, _ in here):
                line = [(speed.tokens_per_second, summary.mean) for cell, summary, speed in here if cell.task == task]
                axes.plot(*zip(*line, strict=True), color="#bbbbbb", linewidth=0.8, zorder=1)
                axes.annotate(task, max(line), xytext=(7, -3), textcoords="offset points", color="#333333")
            for cell, summary, speed in here:
                look = models.index(cell.model)
                axes.errorbar(
                    speed.tokens_per_second,
                    summary.mean,
                    yerr=[[summary.mean - summary.low], [summary.high - summary.mean]],
                    color=_color(look),
                    marker=_marker(look),
                    markersize=5,
                    linestyle="none",
                    elinewidth=0.8,
                    capsize=2,
                    label=cell.model,
                )
            axes.set_title(device)
            axes.set_xscale("log")
            axes.margins(x=0.15)
            axes.xaxis.set_major_formatter(SI)
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.set_ylabel("test accuracy")
            axes.yaxis.set_major_formatter(PERCENT)
        panels[-1].set_xlabel("training speed, tokens/s")
        _legend(figure, *panels)
        return figure


def lower_bound_profiles(cells: Sequence[Cell]) -> Figure | None:
    """Draw the learnt forget-gate lower bounds γ^k against layer k: mean, and band from 5 % to 95 % of the channels.

    One panel for each cell that recorded them (the run of its lowest seed); None if no cell did.
    """
    profiles: list[tuple[Cell, Record]] = []
    for cell in cells:
        recorded = [record for record in cell.records if record.lower_bounds]
        if recorded:
            profiles.append((cell, recorded[0]))
    if not profiles:
        return None
    columns = min(3, len(profiles))
    rows = -(-len(profiles) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH if columns > 1 else WIDTH / 2, 2.6 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes in grid.flat[len(profiles) :]:
            axes.remove()
        for (cell, record), axes in zip(profiles, grid.flat, strict=False):
            bounds = record.lower_bounds or []
            layers = range(1, len(bounds) + 1)
            for low, high, shade in (("q05", "q95", "#dddddd"), ("q25", "q75", "#aaaaaa")):
                ends = [[getattr(bound, end) for bound in bounds] for end in (low, high)]
                axes.fill_between(layers, *ends, color=shade, linewidth=0)
            axes.plot(layers, [bound.mean for bound in bounds], color="black", marker="o", markersize=3)
            axes.set_title(f"{cell.task}, {cell.model}")
            axes.set_xlabel("layer k")
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.set_ylim(-0.02, 1.0)
        for axes in grid[:, 0]:
            axes.set_ylabel("lower bound γᵏ")
        return figure


def to_svg(figure: Figure, name: str) -> str:
    """Return a figure as an ``<svg>`` element, without prolog; ``name`` (a word) keeps its ids apart in one page."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context(STYLE):
        FigureCanvasSVG(figure).print_svg(buffer, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    return re.sub(r'(\bid="|"#|url\(#)', rf"\g<1>{name}-", svg)


def to_png(figure: Figure) -> bytes:
    """Return a figure as a PNG file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        FigureCanvasAgg(figure)
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def _color(look: int) -> str:
    return _COLORS[look % len(_COLORS)]


def _dash(look: int) -> str | tuple[float, tuple[float, ...]]:
    return _DASHES[look % len(_DASHES)]


def _marker(look: int) -> str:
    return _MARKERS[look % len(_MARKERS)]


def _legend(figure: Figure, *panels: Axes) -> None:
    """One legend above all panels, each model once."""
    found = itertools.chain.from_iterable(zip(*axes.get_legend_handles_labels(), strict=True) for axes in panels)
    handles = {label: handle for handle, label in found}
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside upper right", ncols=min(4, len(handles)))
