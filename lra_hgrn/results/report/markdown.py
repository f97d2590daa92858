"""A suite's results as a section of a Markdown page, with its figures as PNG files beside the page."""

import html
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lra_hgrn.results.figures.gallery import Omission, Plate, plates
from lra_hgrn.results.figures.style import to_png
from lra_hgrn.results.gather import Results
from lra_hgrn.results.report import content
from lra_hgrn.results.report.runs import link, runs_table
from lra_hgrn.results.tables.render import to_markdown
from lra_hgrn.results.tables.render.markdown import escape
from lra_hgrn.results.tables.table import Table, count


@dataclass(frozen=True)
class Section:
    """The text of a section, and the files that it shows, by their paths."""

    text: str
    files: dict[Path, bytes]


def section(
    results: Results, page: Path, name: str, *, commands: Sequence[str] = (), families: Sequence[str] = ()
) -> Section:
    """Render a suite for a page.

    Args:
        results: all that is known of the suite.
        page: the file that the section belongs to; links start from its folder.
        name: of the suite, the first word of its figures' names.
        commands: command lines that repeat the suite.
        families: of figures, as `plates` takes them.
    """
    runs, records = results.runs, results.records
    refer = _reference if runs is not None else None
    drawn, left_out = _figures(plates(results, families), page, name)
    compared = content.compared(results)
    first, *others = content.tables(results)
    parts = [
        content.summary(results),
        _folded("To know before reading", _list(content.notices(results))),
        to_markdown(first, refer),
        *(_folded_if_long(table, refer) for table in others),
        _folded(f"Which differences are real: {count(len(compared.rows), 'comparison')}", to_markdown(compared))
        if compared.rows
        else "",
        *(f"![{escape(caption)}]({quote(path)})\n\n{escape(caption)}" for path, caption, _ in drawn),
        _folded("Figures left out", _list(left_out)),
        _folded(f"{count(len(records), 'run')}, each with its record", to_markdown(runs_table(records), refer))
        if records
        else "",
        _folded("Environment", _list(f"{name}: {said}" for name, said in content.environment(records))),
        "```sh\n" + "\n".join(commands) + "\n```" if commands else "",
        "\n".join(f"{_reference(one.run)}: {link(one.run, runs, page)}" for one in records) if runs is not None else "",
    ]
    text = "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"
    return Section(text, {page.parent / path: png for path, _, png in drawn})


def _figures(
    found: Iterable[Plate | Omission], page: Path, name: str
) -> tuple[list[tuple[str, str, bytes]], list[str]]:
    """Draw; return path, caption and content of each figure, and the reasons of those that there are not."""
    drawn, left_out = [], []
    for item in found:
        if isinstance(item, Plate):
            drawn.append((f"{page.stem}-figures/{name}-{item.name}.png", item.caption, to_png(item.figure)))
        else:
            left_out.append(f"{item.name}: {item.reason}")
    return drawn, left_out


def _folded_if_long(table: Table, refer: Callable[[str], str] | None) -> str:
    text = to_markdown(table, refer)
    return text if len(table.rows) <= content.LONG else _folded(table.caption, text)


def _reference(run: str) -> str:
    """Return the label of a run's record, whose address stands once in the section, so that tables stay readable."""
    return f"[{escape(run)}]"


def _list(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {escape(sentence)}" for sentence in sentences)


def _folded(summary: str, text: str) -> str:
    """Return text behind a line to click on; nothing where there is none."""
    if not text.strip():
        return ""
    return f"<details><summary>{html.escape(summary)}</summary>\n\n{text.strip()}\n\n</details>"
