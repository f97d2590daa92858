"""A table as Markdown."""

import re

from lra_hgrn.results.tables.table import Entry, Table

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~])")


def to_markdown(table: Table) -> str:
    """Render as a Markdown table (GitHub's dialect), with notes and remarks below.

    Markdown has no rules between rows: a group is set apart by an empty row, or by one that holds its heading.
    """
    heads = [_escape(column.head) + _superscript(column.marks) for column in table.columns]
    rows = []
    for number, group in enumerate(table.groups):
        if number or group.heading:
            heading = f"**{_escape(group.heading)}**" if group.heading else ""
            rows.append([heading] + [""] * (len(heads) - 1))
        rows += [[_entry(entry) for entry in row] for row in group.rows]
    widths = [max(3, *(len(row[i]) for row in [heads, *rows])) for i in range(len(heads))]
    rule = [f"{'-' * (w - 1)}:" if c.numeric else "-" * w for w, c in zip(widths, table.columns, strict=True)]
    lines = [f"**{_escape(table.caption)}**", ""] if table.caption else []
    for row in [heads, rule, *rows]:
        aligned = (
            text.rjust(width) if column.numeric else text.ljust(width)
            for text, width, column in zip(row, widths, table.columns, strict=True)
        )
        lines.append("| " + " | ".join(aligned) + " |")
    lines.append("")
    lines += [f"<sup>{number}</sup> {_escape(note)}  " for number, note in enumerate(table.notes, 1)]
    lines += [f"{_escape(remark)}  " for remark in table.remarks]
    return "\n".join(lines).rstrip() + "\n"


def _entry(entry: Entry) -> str:
    text = _escape(entry.text)
    if entry.rank is not None:
        text = f"**{text}**" if entry.rank == "best" else f"<u>{text}</u>"
    return text + _superscript(entry.marks)


def _superscript(marks: tuple[int, ...]) -> str:
    return f"<sup>{','.join(map(str, marks))}</sup>" if marks else ""


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split())).replace("&", "&amp;")
