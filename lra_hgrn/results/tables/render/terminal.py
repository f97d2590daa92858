"""A table on a terminal."""

from typing import Literal

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as Grid
from rich.text import Text

from lra_hgrn.results.tables.table import Column, Entry, Table

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_WORDS = 16  # characters that a column of words keeps
_STYLES = {"best": "bold", "second": "underline"}


def to_terminal(table: Table) -> str:
    """Render for the terminal of the standard output: its width, and bold, underlined and dim where it has them.

    Columns of words wrap to fit the terminal. Names and numbers never do, nor are they cut: a table that needs more
    than the terminal's width takes what it needs.
    """
    console = Console(highlight=False)
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for place, column in enumerate(table.columns):
        justify: Literal["left", "right"] = "right" if column.numeric else "left"
        shown = [*_head(column).split("\n"), *(_entry(row[place]) for row in table.rows)]
        least = _WORDS if column.wraps else max(text.cell_len for text in shown)
        grid.add_column(_head(column), justify=justify, no_wrap=not column.wraps, min_width=least)
    for number, group in enumerate(table.groups):
        if number:
            grid.add_section()
        if group.heading:
            grid.add_row(Text(group.heading, style="italic"))
        for row in group.rows:
            grid.add_row(*map(_entry, row))
    needed = Measurement.get(console, console.options.update(width=10_000), grid).minimum
    console.width = max(console.width, needed + 2)  # the measure leaves out the two edges, drawn or not
    with console.capture() as capture:
        if table.caption:
            console.print(Text(table.caption, style="bold"), end="\n\n")
        console.print(grid)
        for index, note in enumerate(table.notes, 1):
            console.print(Text(f"{_superscript((index,))} {note}"))
        for remark in table.remarks:
            console.print(Text(remark, style="dim"))
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _head(column: Column) -> Text:
    first, _, last = column.head.rpartition(" ")
    return Text((f"{first}\n{last}" if first else last) + _superscript(column.marks))


def _entry(entry: Entry) -> Text:
    text = Text(entry.text, style=_STYLES.get(entry.rank or "", ""))
    return text.append(_superscript(entry.marks), style="not bold not underline")


def _superscript(marks: tuple[int, ...]) -> str:
    return ",".join(map(str, marks)).translate(_SUPERSCRIPTS)
