"""Learnt lower bounds of forget gates (HGRN, arXiv 2311.04823, section 3.3)."""

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lra_hgrn.results.cells import Cell
from lra_hgrn.results.figures.style import STYLE, panels
from lra_hgrn.results.record import Record


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
    with mpl.rc_context(STYLE):
        figure, grid = panels(len(profiles), 2.6, sharey=True)
        for (cell, record), axes in zip(profiles, grid, strict=True):
            bounds = record.lower_bounds or []
            layers = range(1, len(bounds) + 1)
            for low, high, shade in (("q05", "q95", "#dddddd"), ("q25", "q75", "#aaaaaa")):
                lowest, highest = ([getattr(bound, end) for bound in bounds] for end in (low, high))
                axes.fill_between(layers, lowest, highest, color=shade, linewidth=0)
            axes.plot(layers, [bound.mean for bound in bounds], color="black", marker="o", markersize=3)
            axes.set_title(f"{cell.task}, {cell.model}")
            axes.set_xlabel("layer k")
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.set_ylim(-0.02, 1.0)
            if axes.get_subplotspec().is_first_col():  # type: ignore[union-attr]
                axes.set_ylabel("lower bound γᵏ")
        return figure
