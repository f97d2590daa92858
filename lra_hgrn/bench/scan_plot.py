"""Time of the scans against the length of the input, as a figure."""

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hgrn_kernels.bench import PASSES
from lra_hgrn.bench.scan_sweep import COPY, Growth
from lra_hgrn.results.figures.style import STYLE, WIDTH, log_axis, look_of

_HEIGHT = 5.0  # inches of one row of panels, legends included
_MOST_TICKS = 8  # lengths that have room below a panel


def time_against_length(grown: Sequence[Growth], title: str) -> Figure:
    """Draw time against length on logarithmic axes: a row of panels for each batch and width, a column for each pass.

    A line is a contender, with the exponent of its fit in the legend; the copy is dashed. Who was not measured has no
    line.

    Args:
        grown: of `lra_hgrn.bench.scan_sweep.growths`.
        title: what it was measured on.
    """
    names = [name for name in dict.fromkeys(one.name for one in grown) if name != COPY]
    settings = list(dict.fromkeys((one.batch, one.width) for one in grown))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, _HEIGHT * len(settings)), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
        rows = figure.subplots(len(settings), len(PASSES), squeeze=False, sharex="row", sharey="row")
        for (batch, width), row in zip(settings, rows, strict=True):
            for passes, axes in zip(PASSES, row, strict=True):
                shown = [one for one in grown if (one.batch, one.width, one.passes) == (batch, width, passes)]
                _draw(axes, [one for one in shown if one.lengths], names)
                axes.set_title(f"{passes}, batch {batch}, width {width}")
            row[0].set_ylabel("time, ms")
        return figure


def _draw(axes: Axes, grown: Sequence[Growth], names: Sequence[str]) -> None:
    for one in grown:
        look = {"color": "#888888", "linestyle": "--"} if one.name == COPY else look_of(one.name, names).line
        fit = "" if one.exponent is None else f": ∝ L^{one.exponent:.2f}"
        axes.plot(one.lengths, one.milliseconds, label=one.name + fit, **look)
    log_axis(axes, "x")
    log_axis(axes, "y")
    places = sorted({length for one in grown for length in one.lengths})
    if len(places) <= _MOST_TICKS:  # the lengths themselves say more than powers of ten
        axes.set_xticks(places, [f"{place:,}" for place in places])
    axes.set_xlabel("length L, steps")
    if grown:
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.13), fontsize=7.5)
