"""A table as HTML, a part of a page."""

import html
from collections.abc import Sequence
from urllib.parse import quote

from lra_hgrn.results.tables.table import Column, Entry, Group, Table


def to_html(table: Table, *, links: bool = True) -> str:
    """Render as a ``figure`` with a table, its notes and remarks; all text escaped.

    Each group of rows is a ``tbody``. For a script that sorts, a head whose column holds numbers has the attribute
    ``data-numeric`` and each of its entries ``data-sort``, the exact number or nothing.

    Args:
        table: what to render.
        links: let a number that comes from a run lead to the anchor ``#run-<name of the run>`` of the page; of
            several seeds, to the first.
    """
    heads = "".join(
        f'<th scope="col"{_numeric_head(column)}>{html.escape(column.head)}{_superscript(column.marks)}</th>'
        for column in table.columns
    )
    bodies = "\n".join(_body(group, table.columns, links) for group in table.groups)
    notes = [f"<p><sup>{number}</sup> {html.escape(note)}</p>" for number, note in enumerate(table.notes, 1)]
    notes += [f"<p>{html.escape(remark)}</p>" for remark in table.remarks]
    caption = f"<figcaption>{html.escape(table.caption)}</figcaption>" if table.caption else ""
    return (
        f'<figure class="table">{caption}<div class="scroll"><table><thead><tr>{heads}</tr></thead>\n'
        f'{bodies or "<tbody></tbody>"}</table></div>\n<div class="notes">{"".join(notes)}</div></figure>'
    )


def _body(group: Group, columns: Sequence[Column], links: bool) -> str:
    lines = []
    if group.heading:
        span = f'<th scope="rowgroup" colspan="{len(columns)}">'
        lines.append(f'<tr class="heading">{span}{html.escape(group.heading)}</th></tr>')
    for row in group.rows:
        entries = (_entry(entry, column, links) for entry, column in zip(row, columns, strict=True))
        lines.append(f"<tr>{''.join(entries)}</tr>")
    return "<tbody>" + "\n".join(lines) + "</tbody>"


def _entry(entry: Entry, column: Column, links: bool) -> str:
    text = html.escape(entry.text)
    if links and entry.runs:
        text = f'<a href="#run-{quote(entry.runs[0], safe="")}" title="{html.escape(", ".join(entry.runs))}">{text}</a>'
    if entry.rank is not None:
        tag = "b" if entry.rank == "best" else "u"
        text = f"<{tag}>{text}</{tag}>"
    return f"<td{_numeric(entry, column)}>{text}{_superscript(entry.marks)}</td>"


def _numeric_head(column: Column) -> str:
    return ' class="number" data-numeric' if column.numeric else ""


def _numeric(entry: Entry, column: Column) -> str:
    if not column.numeric:
        return ' class="prose"' if column.wraps else ""
    value = entry.values[0] if entry.values else None
    sort = value if isinstance(value, int | float) else ""
    return f' class="number" data-sort="{sort}"'


def _superscript(marks: Sequence[int]) -> str:
    return f"<sup>{','.join(map(str, marks))}</sup>" if marks else ""
