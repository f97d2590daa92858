"""A suite's results as one HTML page that needs nothing else: no network, and no script but one that sorts tables."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from lra_hgrn.results.figures.gallery import Omission, Plate, plates
from lra_hgrn.results.figures.style import WIDTH, to_svg
from lra_hgrn.results.files import write_whole
from lra_hgrn.results.gather import Results
from lra_hgrn.results.report import content, page
from lra_hgrn.results.report.learnt import learnt
from lra_hgrn.results.report.runs import runs_section
from lra_hgrn.results.tables.render import to_html
from lra_hgrn.results.tables.table import Table, count


def write_report(results: Results, path: Path, *, commands: Sequence[str] = (), families: Sequence[str] = ()) -> Path:
    """Write the page of a suite, whole or not at all; return its path.

    Args:
        results: all that is known of the suite (`lra_hgrn.results.gather.gather`).
        path: the page, made or replaced.
        commands: command lines that repeat the suite.
        families: of figures (`lra_hgrn.results.figures.gallery.FAMILIES`), those that are wanted; none: all.

    Raises:
        OSError: the page cannot be written.
    """
    found, troubles = learnt(results.records, results.runs)
    body = [
        _head(results.title, content.summary(results)),
        _notices([*content.notices(results), *troubles]),
        page.section("Results", *map(to_html, content.tables(results))),
        page.section("Which differences are real", _differences(content.compared(results))),
        page.section("Figures", _figures(plates(results, families))),
        found,
        runs_section(results.records, results.runs, path),
        page.section("Environment", _environment(content.environment(results.records))),
        page.section("How to reproduce", _reproduction(commands)),
    ]
    return write_whole(path, page.page(results.title, "\n".join(filter(None, body))))


def _head(title: str, summary: str) -> str:
    return f'<header><h1>{page.text(title)}</h1><p class="summary">{page.text(summary)}</p></header>'


def _notices(found: Sequence[str]) -> str:
    if not found:
        return ""
    items = "".join(f"<li>{page.text(sentence)}</li>" for sentence in found)
    return f'<section class="notices"><h2>To know before reading</h2><ul>{items}</ul></section>'


def _differences(table: Table) -> str:
    if not table.rows:
        return ""
    text = to_html(table)
    if len(table.rows) <= content.LONG:
        return text
    return page.details(count(len(table.rows), "comparison"), text, ' class="long"')


def _figures(found: Iterable[Plate | Omission]) -> str:
    drawn, left_out = [], []
    for item in found:
        if isinstance(item, Plate):
            drawn.append(page.plot(to_svg(item.figure, item.name), item.caption, item.figure.get_figwidth() / WIDTH))
        else:
            left_out.append(f"<li>{page.text(f'{item.name}: {item.reason}')}</li>")
    if left_out:
        drawn.append(f'<div class="notes"><p>Left out:</p><ul>{"".join(left_out)}</ul></div>')
    return "".join(drawn)


def _environment(items: Sequence[tuple[str, str]]) -> str:
    return page.terms(items) if items else ""


def _reproduction(commands: Sequence[str]) -> str:
    return f"<pre>{page.text(chr(10).join(commands))}</pre>" if commands else ""
