"""Reliability diagrams (Guo et al. 2017, arXiv 1706.04599, figure 1)."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from lra_hgrn.results.calibration import Bin, expected_calibration_error
from lra_hgrn.results.figures.style import PERCENT, STYLE, WIDTH, legend, look_of

FEWEST = 10  # samples of a bin whose accuracy is drawn


def reliability_diagram(bins: Mapping[str, Sequence[Bin]], models: Sequence[str]) -> Figure | None:
    """Draw accuracy against confidence, and the share of samples in each bin below, for the models of one task.

    A bin of fewer than ``FEWEST`` samples has no accuracy worth a point; in the error it counts.

    Args:
        bins: of each model, from `lra_hgrn.results.calibration.reliability_of`.
        models: all models of the suite in order.

    Returns:
        None if there are no bins.
    """
    if not bins:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.62 * WIDTH, 4.6), layout="constrained")
        above, below = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
        above.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=(0, (2, 2)))
        for model, items in bins.items():
            look = look_of(model, models)
            filled = [item for item in items if item.count]
            shown = [item for item in filled if item.count >= FEWEST]
            total = sum(item.count for item in filled)
            error = expected_calibration_error(items)
            label = f"{model}, ECE {100 * error:.1f} %"
            above.plot([item.confidence for item in shown], [item.accuracy for item in shown], label=label, **look.line)
            edges = [*(item.low for item in items), items[-1].high]
            below.stairs([item.count / total for item in items], edges, color=look.color, linestyle=look.dash)
        above.set_ylim(-0.03, 1.03)
        above.set_ylabel("accuracy")
        below.set_ylabel("share of samples")
        below.set_xlabel("confidence")
        for axis in (above.yaxis, below.xaxis, below.yaxis):
            axis.set_major_formatter(PERCENT)
        legend(figure, above, columns=2)
        return figure
