"""The renderers of tables."""

import csv
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from small_results import make_record, make_results

from lra_hgrn.results.tables.cells_table import cells_table
from lra_hgrn.results.tables.models_table import models_table
from lra_hgrn.results.tables.render import RENDERERS, to_csv, to_html, to_latex, to_markdown, to_terminal
from lra_hgrn.results.tables.table import Column, Entry, Table

NASTY = r"a|b_c*<b>x</b> & 50% $1 #2 {z} ~^ \end{table}"
ALL = ("listops", "text", "retrieval", "image", "pathfinder", "pathx")


def nasty_table() -> Table:
    records = [make_record(model=NASTY, track="open", departures=[NASTY]), make_record()]
    return cells_table(make_results(records, models=(NASTY, "HGRN"), baseline="HGRN", title=NASTY))


def wide_table() -> Table:
    """Six tasks with averages and several seeds, beside published rows."""
    records = [
        make_record(task, model, seed, correct=1000 + seed, total=1500, scale="full")
        for task in ALL
        for model in ("HGRN", "Transformer")
        for seed in (1, 2)
    ]
    against = ("transformer", "s4", "hgrn", "lru")
    return models_table(make_results(records, ALL, baseline="HGRN", against=against, title="Six tasks"))


def small_table() -> Table:
    columns = [Column("Name", ("name",), numeric=False), Column("Share", ("share",), marks=(1,))]
    table = Table("", columns, notes=["In per cent."])
    table.rows.append([Entry("one", ("one",)), Entry("12.34 ± 0.50", (0.1234,), (1,), ("run one", "two"), "best")])
    table.rows.append([Entry("two", ("two",)), Entry("11.00", (0.11,), rank="second")])
    table.begin("Others")
    table.rows.append([Entry("three", ("three",)), Entry("–", (None,))])
    return table


def test_rows_fall_into_groups_and_a_group_without_rows_is_none():
    table = small_table()
    table.begin("Nobody")
    assert [(group.heading, [row[0].text for row in group.rows]) for group in table.groups] == [
        ("", ["one", "two"]),
        ("Others", ["three"]),
    ]
    assert Table("", []).groups == []


def test_markdown_rows_are_whole():
    lines = to_markdown(nasty_table()).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + 2 + 1 + 2  # head and rule, two tasks of two models, an empty row between them
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {12}
    assert len({len(row) for row in rows}) == 1
    assert "<b>" not in "\n".join(lines)
    assert "<sup>1</sup> Open track." in "\n".join(lines)


def test_markdown_shows_ranks_marks_and_groups():
    lines = [re.sub(" +", " ", line) for line in to_markdown(small_table()).splitlines()]
    assert lines[0] == "| Name | Share<sup>1</sup> |"
    assert lines[2:6] == [
        "| one | **12.34 ± 0.50**<sup>1</sup> |",
        "| two | <u>11.00</u> |",
        "| **Others** | |",
        "| three | – |",
    ]


def test_csv_numbers_are_exact_and_names_whole():
    result = make_results([make_record(correct=1, total=3)], baseline="HGRN")
    (row, *_) = csv.DictReader(io.StringIO(to_csv(cells_table(result))))
    assert float(row["accuracy"]) == 1 / 3
    assert (int(row["parameters"]), int(row["peak_bytes"])) == (86432, 3 * 2**29)
    assert (float(row["tokens_per_second"]), float(row["samples_per_second"])) == (1000.0, 10.0)
    assert float(row["speed_ratio"]) == 1.0
    assert (row["sd"], row["seeds"], row["scale"], row["peak_counts"]) == ("", "1", "tiny", "resident set")
    assert next(csv.DictReader(io.StringIO(to_csv(nasty_table()))))["model"] == NASTY


def test_latex_is_balanced_and_escaped():
    text = to_latex(nasty_table())
    begun = re.findall(r"(?<!backslash\{\})\\begin\{(\w+)\}", text)
    ended = re.findall(r"\\end\{(\w+)\}", text)
    assert begun == ["table", "tabular", "minipage"]
    assert ended == ["tabular", "minipage", "table"]
    bare = re.sub(r"\\[\\{}$&#_%]", "", text)
    assert bare.count("{") == bare.count("}")
    rows = [line for line in bare.splitlines() if line.endswith(r"\tabularnewline")]
    assert [row.count("&") for row in rows] == [10] * 5
    assert not re.search(r"[#~^_]", re.sub(r"\}~|\{table\}.*", "", bare))
    assert [rule for rule in ("top", "mid", "bottom") if text.count(rf"\{rule}rule") == 1] == ["top", "mid", "bottom"]


def test_latex_shows_ranks_spreads_and_groups():
    text = to_latex(small_table())
    assert r"one & \textbf{12.34}\,{\tiny$\pm$\,0.50}\textsuperscript{1} \tabularnewline" in text
    assert r"two & \underline{11.00} \tabularnewline" in text
    assert "    \\midrule\n    \\multicolumn{2}{@{}l@{}}{\\emph{Others}} \\\\\n    three & --" in text


def test_latex_lays_a_wide_table_on_its_side():
    assert r"\begin{sidewaystable}" in to_latex(wide_table())
    assert r"\begin{table}" in to_latex(small_table())


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.parametrize("make", [nasty_table, wide_table, small_table])
def test_latex_compiles_and_fits_the_page(make, tmp_path):
    packages = r"\documentclass{article}\usepackage{booktabs,graphicx,rotating}"
    document = packages + "\\begin{document}\n" + to_latex(make()) + "\\end{document}\n"
    (tmp_path / "t.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert "Float too large" not in done.stdout


class Page(HTMLParser):
    """Collect the text of every table row's cells, every tag, and the attributes of each cell and link."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.cells: list[dict[str, str | None]] = []
        self.links: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.cells.append(dict(attrs))
        elif tag == "a":
            self.links.append(dict(attrs))

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def test_html_is_escaped():
    page = Page(to_html(nasty_table()))
    assert "b" not in page.tags
    assert page.rows[1][1] == NASTY + "1,2"  # with the marks of its notes
    assert [len(row) for row in page.rows] == [11] * 5


def test_html_has_what_a_sorting_script_and_links_need():
    page = Page(to_html(small_table()))
    assert page.tags.count("tbody") == 2
    assert [text.strip() for text in page.rows[3]] == ["Others"]
    assert ["data-numeric" in cell for cell in page.cells[:2]] == [False, True]
    assert [cell["data-sort"] for cell in page.cells if "data-sort" in cell] == ["0.1234", "0.11", ""]
    assert page.links == [{"href": "#run-run%20one", "title": "run one, two"}]
    assert {"b", "u"} <= set(page.tags)
    assert Page(RENDERERS["html"](small_table())).links == []  # a table by itself has no page to lead to


@pytest.mark.parametrize("columns", ["30", "300"])
def test_a_terminal_never_cuts_names_or_numbers(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    table = wide_table()
    text = to_terminal(table)
    assert "…" not in text
    rows = [line for line in text.splitlines() if line.startswith("HGRN")]
    for entry in table.rows[0]:
        assert entry.text in rows[0]
    assert "Published" in text.splitlines()
    assert text.count("Long Range Arena") == 0


def test_every_renderer_takes_an_empty_suite():
    for name, renderer in RENDERERS.items():
        for table in (cells_table(make_results([], tasks=())), models_table(make_results([], tasks=()))):
            assert "Average" in renderer(table) or "Accuracy" in renderer(table) or name == "csv"
