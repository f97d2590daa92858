"""Cost against the length of the input, from a suite that has one model at several lengths."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lra_hgrn.results.cells import Cell
from lra_hgrn.results.figures.speed import peak_memory
from lra_hgrn.results.figures.style import STYLE, WIDTH, legend, log_axis, look_of

_SAME_INPUTS = {"pathx": "pathfinder"}  # tasks that differ in their length only


@dataclass(frozen=True)
class Cost:
    """What one cell costs at its length."""

    length: float  # steps of a sample, padding left out
    seconds: float  # of training on one sample
    memory: int | None  # peak, in bytes


def cost_against_length(cells: Sequence[Cell]) -> Figure | None:
    """Draw training speed and peak memory against the length of the input, one line a model, both axes logarithmic.

    A line joins cells that differ in nothing but the length: one kind of input, one model with the same options, one
    batch size, one device and arithmetic. The legend has the exponents a of the fits "time of a sample ∝ L^a" and
    "peak memory ∝ L^a" over its points.

    Returns:
        None if no model was measured at two lengths.
    """
    lines = _lines(cells)
    if not lines:
        return None
    models = list(dict.fromkeys(cell.model for cell in cells))
    several = len({device for _, device in lines}) > 1
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        for (model, device), costs in lines.items():
            look = look_of(model, models)
            lengths = [cost.length for cost in costs]
            known = [(cost.length, cost.memory) for cost in costs if cost.memory is not None]
            label = f"{model}, {device}" if several else model
            label += f": time ∝ L^{exponent(lengths, [cost.seconds for cost in costs]):.2f}"
            if len(known) > 1:
                label += f", memory ∝ L^{exponent(*zip(*known, strict=True)):.2f}"
            left.plot(lengths, [cost.length / cost.seconds for cost in costs], label=label, **look.line)
            if known:
                right.plot(*zip(*known, strict=True), **look.line)
        _label(left, "Training speed, tokens/s", [cost.length for costs in lines.values() for cost in costs])
        _label(right, "Peak memory, bytes", [cost.length for costs in lines.values() for cost in costs])
        legend(figure, left, columns=2)
        return figure


def exponent(lengths: Sequence[float], costs: Sequence[float]) -> float:
    """Return a of the least-squares fit cost ∝ length^a on logarithmic axes."""
    return float(np.polyfit(np.log(lengths), np.log(costs), 1)[0])


def _lines(cells: Sequence[Cell]) -> dict[tuple[str, str], list[Cost]]:
    """Return costs in order of length by model and device, of those with two lengths or more."""
    groups: dict[str, tuple[tuple[str, str], list[Cost]]] = {}
    for cell in cells:
        speed = cell.speed
        if speed is None:
            continue
        config = cell.records[0].config
        inputs = _SAME_INPUTS.get(cell.key.task, cell.key.task)
        device = speed.device
        alike = [cell.model, inputs, config.get("model"), config.get("train", {}).get("batch_size")]
        key = json.dumps([*alike, device.name, device.precision, device.threads], sort_keys=True)
        cost = Cost(speed.tokens_per_second / speed.samples_per_second, 1 / speed.samples_per_second, peak_memory(cell))
        groups.setdefault(key, ((cell.model, device.name), []))[1].append(cost)
    lines: dict[tuple[str, str], list[Cost]] = {}
    for name, costs in groups.values():
        costs.sort(key=lambda cost: cost.length)
        # Of a model with two sets of options the line with more lengths is drawn.
        if costs[-1].length > 1.01 * costs[0].length and len(costs) > len(lines.get(name, ())):
            lines[name] = costs
    return lines


def _label(axes: Axes, title: str, lengths: Sequence[float]) -> None:
    axes.set_title(title)
    axes.set_xlabel("length of the input L, steps")
    log_axis(axes, "x")
    log_axis(axes, "y")
    places = sorted({round(length) for length in lengths})
    if len(places) <= 6:  # the lengths themselves say more than powers of ten
        axes.set_xticks(places, [f"{place:,}" for place in places])
