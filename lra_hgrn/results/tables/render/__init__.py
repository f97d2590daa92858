"""A table for people and machines: on a terminal, as Markdown, LaTeX, CSV or HTML."""

from collections.abc import Callable
from functools import partial

from lra_hgrn.results.tables.render.csv import to_csv
from lra_hgrn.results.tables.render.html import to_html
from lra_hgrn.results.tables.render.latex import to_latex
from lra_hgrn.results.tables.render.markdown import to_markdown
from lra_hgrn.results.tables.render.terminal import to_terminal
from lra_hgrn.results.tables.table import Table

__all__ = ["RENDERERS", "to_csv", "to_html", "to_latex", "to_markdown", "to_terminal"]

RENDERERS: dict[str, Callable[[Table], str]] = {
    "terminal": to_terminal,
    "markdown": to_markdown,
    "latex": to_latex,
    "csv": to_csv,
    "html": partial(to_html, links=False),
}
