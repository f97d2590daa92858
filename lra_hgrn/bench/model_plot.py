"""Time and memory of training steps and of inference against the length of the input, as a figure."""

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from lra_hgrn.bench.model import KINDS, Row
from lra_hgrn.bench.model_tables import fit, overtaking, series
from lra_hgrn.results.figures.style import STYLE, WIDTH, log_axis, look_of


def cost_of_models(rows: Sequence[Row], models: Sequence[str], title: str) -> Figure:
    """Draw time above and memory below, training left and inference right, all axes logarithmic.

    The legends have the exponents of the fits; a dotted line stands where a model overtakes softmax attention.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 7.6), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
        panels = figure.subplots(2, 2, sharex=True, sharey="row")
        for column, kind in enumerate(reversed(KINDS)):
            for model in models:
                lengths, times, peaks = series(rows, model, kind)
                look = look_of(model, models)
                for axes, costs in ((panels[0, column], times), (panels[1, column], [float(peak) for peak in peaks])):
                    slope = fit(lengths, costs)
                    axes.plot(
                        lengths, costs, label=model + ("" if slope is None else f": ∝ L^{slope:.2f}"), **look.line
                    )
                where = overtaking(rows, model, kind)
                if where:
                    panels[0, column].axvline(
                        where,
                        color=look.line["color"],
                        linestyle=":",
                        linewidth=1,
                        label=f"{model} overtakes at L ≈ {where:,.0f}",
                    )
            panels[0, column].set_title(f"{kind}, time of a step, s")
            panels[1, column].set_title(f"{kind}, peak memory, bytes")
        places = sorted({row.length for row in rows})
        for axes in panels.flat:
            log_axis(axes, "x")
            log_axis(axes, "y")
            axes.set_xticks(places, [f"{place:,}" for place in places])
            axes.legend(fontsize=7.5)
        for axes in panels[1]:
            axes.set_xlabel("length of the input L, steps")
        return figure
