"""The style of all figures, what tells models apart in them, and their file formats."""

import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lra_hgrn.results.tables.table import si

# Colours of Okabe and Ito in an order whose luminance differs too; lines and markers differ in any case.
_COLORS = ("#0072b2", "#d55e00", "#000000", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2, 1, 2, 1, 2)))
_MARKERS = "os^Dv<>PX*phd"

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
    "pdf.fonttype": 42,  # TrueType, embedded: what publishers ask for
}
WIDTH = 9.0  # inches: the measure of the page at its widest
PERCENT = FuncFormatter(lambda share, _: f"{100 * share:.4g} %")
SI = FuncFormatter(lambda value, _: si(value))


@dataclass(frozen=True)
class Look:
    """What a model is known by in every figure of a suite."""

    color: str
    dash: str | tuple[float, tuple[float, ...]]
    marker: str

    @property
    def line(self) -> dict[str, Any]:
        """Arguments of ``Axes.plot`` for a line with markers."""
        return {"color": self.color, "linestyle": self.dash, "marker": self.marker, "markersize": 3.5}


def look_of(model: str, models: Sequence[str]) -> Look:
    """Return the look of a model by its place among the models of the suite; 455 places differ."""
    place = models.index(model)
    return Look(_COLORS[place % len(_COLORS)], _DASHES[place % len(_DASHES)], _MARKERS[place % len(_MARKERS)])


def panels(count: int, height: float, *, columns: int = 3, **options: Any) -> tuple[Figure, list[Axes]]:
    """Make a figure of ``count`` panels in rows, each ``height`` inches high; call it within the style."""
    wide = min(columns, count)
    rows = -(-count // wide)
    figure = Figure(figsize=(WIDTH * (1 if wide > 1 else 0.6), height * rows), layout="constrained")
    grid = figure.subplots(rows, wide, squeeze=False, **options)
    for axes in grid.flat[count:]:
        axes.remove()
    return figure, list(grid.flat[:count])


def legend(figure: Figure, *axes: Axes, columns: int = 4, **options: Any) -> None:
    """Draw one legend above all panels, each model once; nothing where nothing has a name."""
    found = itertools.chain.from_iterable(zip(*one.get_legend_handles_labels(), strict=True) for one in axes)
    handles = {label: handle for handle, label in found}
    if handles:
        place: dict[str, Any] = {"loc": "outside upper right", "ncols": min(columns, len(handles)), **options}
        figure.legend(handles.values(), handles.keys(), **place)


def log_axis(axes: Axes, which: str) -> None:
    """Make the axis ``which`` ("x" or "y") logarithmic, with ticks at 1, 2 and 5 in words of `si`."""
    if which == "x":
        axes.set_xscale("log")
    else:
        axes.set_yscale("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(SI)
    axis.set_minor_formatter(NullFormatter())


def to_svg(figure: Figure, name: str) -> str:
    """Return a figure as an ``<svg>`` element, without prolog; ``name`` (a word) keeps its ids apart in one page."""
    svg = to_svg_file(figure).decode("utf-8")
    svg = svg[svg.index("<svg") :]
    return re.sub(r'(\bid="|"#|url\(#)', rf"\g<1>{name}-", svg)


def to_svg_file(figure: Figure) -> bytes:
    """Return a figure as an SVG file; the same figure gives the same bytes."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context(STYLE):
        FigureCanvasSVG(figure).print_svg(buffer, metadata=nothing)
    return buffer.getvalue().encode("utf-8")


def to_png(figure: Figure) -> bytes:
    """Return a figure as a PNG file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        FigureCanvasAgg(figure)
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def to_pdf(figure: Figure) -> bytes:
    """Return a figure as a PDF file with its fonts embedded; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        FigureCanvasPdf(figure).print_pdf(buffer, metadata={"Creator": None, "Producer": None, "CreationDate": None})
    return buffer.getvalue()


FORMATS = {"pdf": to_pdf, "png": to_png, "svg": to_svg_file}
