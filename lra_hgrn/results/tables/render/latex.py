"""A table as LaTeX, by the rules of booktabs: no vertical lines."""

import re
from collections.abc import Iterable

from lra_hgrn.results.tables.table import Column, Entry, Group, Table

_SPECIAL = {
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
    "’": "'",
    "…": r"\ldots{}",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "²": r"$^2$",
    "γ": r"$\gamma$",
    "θ": r"$\theta$",
    "λ": r"$\lambda$",
}
_COLUMNS, _ROWS = 11, 25  # how many columns stand upright, and how many rows lie on their side
_SPREAD = re.compile(r" ± ([\d.]+)$")


def to_latex(table: Table) -> str:
    r"""Render as a complete float; the document needs ``\usepackage{booktabs,graphicx,rotating}``.

    A table of many columns and not too many rows lies on its side (``sidewaystable``), where its numbers keep a size
    that can be read. What is wider than the text all the same is scaled down to its width.
    """
    sideways = len(table.columns) > _COLUMNS and len(table.rows) <= _ROWS
    environment = "sidewaystable" if sideways else "table"
    alignment = "".join("r" if column.numeric else "p{5.2em}" if column.wraps else "l" for column in table.columns)
    lines = [r"% \usepackage{booktabs,graphicx,rotating}", rf"\begin{{{environment}}}", r"  \centering"]
    if table.caption:
        lines.append(rf"  \caption{{{_escape(table.caption)}}}\smallskip")
    lines += [r"  \scriptsize", r"  \setlength{\tabcolsep}{2.5pt}"]
    lines += [r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"]
    lines += [rf"  \begin{{tabular}}{{@{{}}{alignment}@{{}}}}", r"    \toprule"]
    lines += [_row([(_head(column), False) for column in table.columns]), r"    \midrule"]
    for group, before in zip(table.groups, [None, *table.groups], strict=False):
        lines += _group(group, before, table.columns)
    lines += [r"    \bottomrule", r"  \end{tabular}}", "", r"  \vspace{0.5ex}", r"  \begin{minipage}{\linewidth}"]
    if table.notes:  # one after the other, since they are many and short
        notes = (rf"\textsuperscript{{{number}}}~{_escape(note)}" for number, note in enumerate(table.notes, 1))
        lines.append("    " + "\n    ".join(notes) + r"\par")
    lines += [rf"    {_escape(remark)}\par" for remark in table.remarks]
    return "\n".join([*lines, r"  \end{minipage}", rf"\end{{{environment}}}"]) + "\n"


def _group(group: Group, before: Group | None, columns: list[Column]) -> list[str]:
    """A group, apart from the one before it: by a rule where one of the two has a heading, else by space."""
    lines = []
    if before is not None:
        lines.append(r"    \midrule" if group.heading or before.heading else r"    \addlinespace")
    if group.heading:
        lines.append(rf"    \multicolumn{{{len(columns)}}}{{@{{}}l@{{}}}}{{\emph{{{_escape(group.heading)}}}}} \\")
    lines += [
        _row((_entry(entry), column.wraps) for entry, column in zip(row, columns, strict=True)) for row in group.rows
    ]
    return lines


def _entry(entry: Entry) -> str:
    text, spread = _SPREAD.sub("", entry.text), _SPREAD.search(entry.text)
    latex = _escape(text)
    if entry.rank is not None:
        latex = rf"\textbf{{{latex}}}" if entry.rank == "best" else rf"\underline{{{latex}}}"
    if spread is not None:
        latex += rf"\,{{\tiny$\pm$\,{spread[1]}}}"
    return latex + _marks(entry.marks)


def _head(column: Column) -> str:
    """Break a head of several words before its last one, to keep the table within the page."""
    first, _, last = column.head.rpartition(" ")
    position = "r" if column.numeric else "l"
    text = rf"\shortstack[{position}]{{{_escape(first)}\\{_escape(last)}}}" if first else _escape(last)
    return text + _marks(column.marks)


def _row(texts: Iterable[tuple[str, bool]]) -> str:
    entries = (rf"\raggedright {text}" if wraps else text for text, wraps in texts)
    return f"    {' & '.join(entries)} \\tabularnewline"


def _marks(marks: tuple[int, ...]) -> str:
    return rf"\textsuperscript{{{','.join(map(str, marks))}}}" if marks else ""


def _escape(text: str) -> str:
    return "".join(_SPECIAL.get(character, character) for character in " ".join(text.split()))
