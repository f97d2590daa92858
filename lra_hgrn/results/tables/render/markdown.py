"""A table as Markdown."""

import re
from collections.abc import Callable

from lra_hgrn.results.tables.table import Entry, Table

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~])")


def to_markdown(table: Table, link: Callable[[str], str] | None = None) -> str:
    """Render as a Markdown table (GitHub's dialect), with notes and remarks below.

    Markdown has no rules between rows: a group is set apart by an empty row, or by one that holds its heading.

    Args:
        table: what to render.
        link: what makes a link to the record of a run of the text before it, ``(address)`` or ``[reference]``, by the
            run's name: a number that comes from a run leads there; of several seeds, to the first.
    """
    heads = [escape(column.head) + _superscript(column.marks) for column in table.columns]
    rows = []
    for number, group in enumerate(table.groups):
        if number or group.heading:
            heading = f"**{escape(group.heading)}**" if group.heading else ""
            rows.append([heading] + [""] * (len(heads) - 1))
        rows += [[_entry(entry, link) for entry in row] for row in group.rows]
    widths = [max(3, *(len(row[i]) for row in [heads, *rows])) for i in range(len(heads))]
    rule = [f"{'-' * (w - 1)}:" if c.numeric else "-" * w for w, c in zip(widths, table.columns, strict=True)]
    lines = [f"**{escape(table.caption)}**", ""] if table.caption else []
    for row in [heads, rule, *rows]:
        aligned = (
            text.rjust(width) if column.numeric else text.ljust(width)
            for text, width, column in zip(row, widths, table.columns, strict=True)
        )
        lines.append("| " + " | ".join(aligned) + " |")
    lines.append("")
    lines += [f"<sup>{number}</sup> {escape(note)}  " for number, note in enumerate(table.notes, 1)]
    lines += [f"{escape(remark)}  " for remark in table.remarks]
    return "\n".join(lines).rstrip() + "\n"


def _entry(entry: Entry, link: Callable[[str], str] | None) -> str:
    text = escape(entry.text)
    if link is not None and entry.runs:
        text = f"[{text}]{link(entry.runs[0])}"
    if entry.rank is not None:
        text = f"**{text}**" if entry.rank == "best" else f"<u>{text}</u>"
    return text + _superscript(entry.marks)


def _superscript(marks: tuple[int, ...]) -> str:
    return f"<sup>{','.join(map(str, marks))}</sup>" if marks else ""


def escape(text: str) -> str:
    """Return text that Markdown shows as it is, in one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split())).replace("&", "&amp;")
