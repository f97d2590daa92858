"""Figures of lower bounds, forget gates and memory, layer by layer."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from lra_hgrn.inspection.record import Inspection, LayerGates
from lra_hgrn.results.figures import SI, STYLE, WIDTH
from lra_hgrn.results.record import LowerBound

ACCENT = "#d55e00"  # what speaks for; Okabe and Ito's vermilion and blue
OTHER = "#0072b2"  # what speaks against


def gates_caption(inspection: Inspection) -> str:
    """Say what `gates_figure` shows."""
    parts = []
    if inspection.lower_bounds:
        parts.append(
            "the learnt lower bounds of the forget gates (mean, bands from 25 % to 75 % and from 5 % to 95 % of the "
            "channels; dotted: before training)"
        )
    if inspection.gates:
        parts.append(
            "the forget gates themselves (widths: how many lie there, a bar at the median; dashes: mean lower bound)"
            if inspection.lower_bounds
            else "the forget gates (widths: how many lie there, a bar at the median)"
        )
        parts.append(
            "the memory of each channel in steps (a dot each; median, and bar from 10 % to 90 %; dotted: median before "
            "training)"
        )
    where = f", over {inspection.samples} samples of {inspection.split}" if inspection.gates else ""
    return f"{inspection.model} on {inspection.task}, layer by layer: {'; '.join(parts)}{where}."


def gates_figure(inspection: Inspection) -> Figure | None:
    """Draw lower bounds, gates and memory against the layer; None where the model has none of them."""
    bounds, gates = inspection.lower_bounds or [], inspection.gates or []
    panels = bool(bounds) + 2 * bool(gates)
    if not panels:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH * panels / 3, 3.0), layout="constrained")
        axes = list(figure.subplots(1, panels, squeeze=False)[0])
        layers = max([len(bounds), *(layer.layer for layer in gates)])
        for one in axes:
            one.set_xlabel("layer")
            one.set_xlim(0.4, layers + 0.6)
            one.xaxis.set_major_locator(MaxNLocator(min(layers, 8), integer=True))
            one.grid(axis="x", visible=False)
        if bounds:
            _draw_bounds(axes[0], bounds)
        if gates:
            _draw_gates(axes[-2], gates, bounds)
            _draw_memory(axes[-1], gates)
        return figure


def _draw_bounds(axes: Axes, bounds: Sequence[LowerBound]) -> None:
    layers = range(1, len(bounds) + 1)
    for low, high, shade in (("q05", "q95", "#dddddd"), ("q25", "q75", "#aaaaaa")):
        lowest, highest = ([getattr(bound, end) for bound in bounds] for end in (low, high))
        axes.fill_between(layers, lowest, highest, color=shade, linewidth=0)
    axes.plot(layers, [k / len(bounds) for k in range(len(bounds))], color="black", linestyle=":", linewidth=0.9)
    axes.plot(layers, [bound.mean for bound in bounds], color="black", marker="o", markersize=3)
    axes.set_ylim(-0.02, 1.02)
    axes.set_title("Lower bound γ")


def _draw_gates(axes: Axes, gates: Sequence[LayerGates], bounds: Sequence[LowerBound]) -> None:
    for layer in gates:
        shares = np.array(layer.histogram)
        # A histogram as an outline on both sides of the layer's place: the widest part of each layer is as wide.
        half = 0.42 * np.repeat(shares / shares.max(), 2)
        edges = np.repeat(np.linspace(0, 1, len(shares) + 1), 2)[1:-1]
        axes.fill_betweenx(edges, layer.layer - half, layer.layer + half, color=OTHER, alpha=0.45, linewidth=0)
        axes.plot(layer.layer, layer.gate.q50, color="black", marker="_", markersize=13, markeredgewidth=1.4)
    for k, bound in enumerate(bounds, 1):
        axes.plot([k - 0.45, k + 0.45], [bound.mean] * 2, color="black", linestyle=(0, (2, 2)), linewidth=0.9)
    axes.set_ylim(-0.02, 1.02)
    axes.set_title("Forget gate λ")


def _draw_memory(axes: Axes, gates: Sequence[LayerGates]) -> None:
    random = np.random.default_rng(0)
    for layer in gates:
        places = layer.layer + random.uniform(-0.25, 0.25, len(layer.memory_of_channels))
        axes.plot(places, layer.memory_of_channels, ".", color=OTHER, alpha=0.35, markersize=4, markeredgewidth=0)
    middle = np.array([layer.channel_memory.q50 for layer in gates])
    low = middle - [layer.channel_memory.q10 for layer in gates]
    high = np.array([layer.channel_memory.q90 for layer in gates]) - middle
    layers = [layer.layer for layer in gates]
    axes.errorbar(layers, middle, yerr=[low, high], color="black", marker="o", markersize=4, elinewidth=0.9, capsize=3)
    before = [layer.untrained_memory for layer in gates]
    axes.plot(layers, [np.nan if value is None else value for value in before], color="black", ls=":", linewidth=0.9)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(SI)
    axes.yaxis.set_minor_formatter(SI if axes.get_ylim()[1] < 30 * axes.get_ylim()[0] else NullFormatter())
    axes.set_title("Memory of the channels, steps")
