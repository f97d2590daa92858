"""A table as Markdown, LaTeX, CSV or HTML."""

import csv
import html
import io
import re
from collections.abc import Callable, Iterable

from lra_hgrn.results.table import Column, Entry, Table

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "“": "``",
    "”": "''",
    "±": r"$\pm$",
    "×": r"$\times$",
    "γ": r"$\gamma$",
}
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~])")


def to_markdown(table: Table) -> str:
    """Render as a Markdown table (GitHub's dialect), with notes and remarks below."""
    rows = [[column.head for column in table.columns]]
    rows += [[_markdown(entry.text) + _superscript(entry) for entry in row] for row in table.rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    rule = [f"{'-' * (w - 1)}:" if c.numeric else "-" * w for w, c in zip(widths, table.columns, strict=True)]
    lines = [f"**{_markdown(table.caption)}**", ""] if table.caption else []
    for row in [rows[0], rule, *rows[1:]]:
        aligned = (
            text.rjust(width) if column.numeric else text.ljust(width)
            for text, width, column in zip(row, widths, table.columns, strict=True)
        )
        lines.append("| " + " | ".join(aligned) + " |")
    lines.append("")
    lines += [f"<sup>{number}</sup> {_markdown(note)}  " for number, note in enumerate(table.notes, 1)]
    lines += [f"{_markdown(remark)}  " for remark in table.remarks]
    return "\n".join(lines).rstrip() + "\n"


def to_latex(table: Table) -> str:
    r"""Render as a complete ``table`` environment; the document needs ``\usepackage{booktabs}``."""
    # The last column says in words what happened to the seeds; it wraps, so that the table fits a page.
    alignment = "".join("r" if column.numeric else "l" for column in table.columns[:-1]) + "p{5.2em}"
    lines = [r"% \usepackage{booktabs}", r"\begin{table}", r"  \centering"]
    if table.caption:
        lines.append(rf"  \caption{{{_latex(table.caption)}}}\smallskip")
    lines += [r"  \scriptsize", r"  \setlength{\tabcolsep}{2pt}", rf"  \begin{{tabular}}{{@{{}}{alignment}@{{}}}}"]
    lines += [r"    \toprule", _latex_row(_latex_head(column) for column in table.columns), r"    \midrule"]
    for row, starts_task in zip(table.rows, _starts(table), strict=True):
        if starts_task and row is not table.rows[0]:
            lines.append(r"    \addlinespace")
        lines.append(_latex_row(_latex(entry.text) + _latex_marks(entry) for entry in row))
    lines += [r"    \bottomrule", r"  \end{tabular}", "", r"  \vspace{0.5ex}", r"  \begin{minipage}{\linewidth}"]
    lines += [rf"    \textsuperscript{{{number}}}~{_latex(note)}\par" for number, note in enumerate(table.notes, 1)]
    lines += [rf"    {_latex(remark)}\par" for remark in table.remarks]
    return "\n".join([*lines, r"  \end{minipage}", r"\end{table}"]) + "\n"


def to_csv(table: Table) -> str:
    """Render one line for each task × model with exact numbers: shares in [0, 1], bytes, seconds⁻¹.

    What is missing is an empty field, which every reader of CSV takes as missing.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([name for column in table.columns for name in column.fields])
    for row in table.rows:
        writer.writerow(["" if value is None else value for entry in row for value in entry.values])
    return buffer.getvalue()


def to_html(table: Table) -> str:
    """Render as a ``figure`` with a table, its notes and remarks; all text escaped."""
    heads = "".join(
        f'<th scope="col"{_numeric(column.numeric)}>{html.escape(column.head)}</th>' for column in table.columns
    )
    body = []
    for row, starts_task in zip(table.rows, _starts(table), strict=True):
        entries = "".join(
            f"<td{_numeric(column.numeric)}>{html.escape(entry.text)}{_superscript(entry)}</td>"
            for entry, column in zip(row, table.columns, strict=True)
        )
        start = ' class="start"' if starts_task else ""
        body.append(f"<tr{start}>{entries}</tr>")
    notes = [f"<p><sup>{number}</sup> {html.escape(note)}</p>" for number, note in enumerate(table.notes, 1)]
    notes += [f"<p>{html.escape(remark)}</p>" for remark in table.remarks]
    caption = f"<figcaption>{html.escape(table.caption)}</figcaption>" if table.caption else ""
    return (
        f'<figure class="table">{caption}<div class="scroll"><table><thead><tr>{heads}</tr></thead>\n'
        f'<tbody>{chr(10).join(body)}</tbody></table></div>\n<div class="notes">{"".join(notes)}</div></figure>'
    )


RENDERERS: dict[str, Callable[[Table], str]] = {"markdown": to_markdown, "latex": to_latex, "csv": to_csv}


def _starts(table: Table) -> list[bool]:
    """For each row, whether it is the first of its task."""
    tasks = [row[0].values[0] for row in table.rows]
    return [i == 0 or task != tasks[i - 1] for i, task in enumerate(tasks)]


def _superscript(entry: Entry) -> str:
    return f"<sup>{','.join(map(str, entry.marks))}</sup>" if entry.marks else ""


def _numeric(numeric: bool) -> str:
    return ' class="number"' if numeric else ""


def _markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split())).replace("&", "&amp;")


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def _latex_head(column: Column) -> str:
    """Break a head of several words before its last one, to keep the table within the page."""
    first, _, last = column.head.rpartition(" ")
    position = "r" if column.numeric else "l"
    return rf"\shortstack[{position}]{{{_latex(first)}\\{_latex(last)}}}" if first else _latex(last)


def _latex_marks(entry: Entry) -> str:
    return rf"\textsuperscript{{{','.join(map(str, entry.marks))}}}" if entry.marks else ""


def _latex_row(texts: Iterable[str]) -> str:
    *others, last = texts
    return "    " + " & ".join([*others, rf"\raggedright {last}"]) + r" \tabularnewline"
