"""Figures of a suite, in one style that survives a black-and-white printer.

Every function returns a matplotlib ``Figure`` made without pyplot, so nothing global is kept or changed.
"""

from lra_hgrn.results.figures.style import PERCENT, SI, STYLE, WIDTH, to_pdf, to_png, to_svg

__all__ = ["PERCENT", "SI", "STYLE", "WIDTH", "to_pdf", "to_png", "to_svg"]
