"""`lra table` on runs that were never trained."""

import csv
import io

import pytest
from small_runs import make_run

from lra_hgrn.cli.main import main
from lra_hgrn.cli.table import FORMATS
from lra_hgrn.config import compose
from lra_hgrn.results.tables.render import RENDERERS

SUITE = """
title: Two tasks
baseline: LSTM
set: {task: {scale: tiny}}
models: [hgrn, lstm]
tasks: [TASKS]
against: [transformer]
"""


@pytest.fixture
def lra(tmp_path, capsys):
    """Run `lra table` on a suite of these tasks, of which HGRN has run on ListOps; return code, output and errors."""
    make_run(tmp_path / "runs", config=compose("hgrn", "listops", ["task.scale=tiny"]).config)

    def table(*words, tasks="listops, text"):
        (tmp_path / "mine.yaml").write_text(SUITE.replace("TASKS", tasks))
        with pytest.raises(SystemExit) as stop:
            main(["table", str(tmp_path / "mine.yaml"), "--runs", str(tmp_path / "runs"), *words])
        return stop.value.code, *capsys.readouterr()

    return table


def models_of(out: str) -> list[str]:
    return [row["model"] for row in csv.DictReader(io.StringIO(out))]


def test_the_layout_follows_the_number_of_tasks(lra):
    code, out, err = lra("--format", "csv")
    assert (code, err) == (0, "")
    assert models_of(out) == ["HGRN", "LSTM", "Transformer"]  # the last one is published
    _, out, _ = lra("--format", "csv", "--layout", "cells")
    assert models_of(out) == ["HGRN", "LSTM", "Transformer"] * 2
    _, out, _ = lra("--format", "csv", tasks="listops")
    assert out.startswith("task,")
    _, out, _ = lra("--format", "csv", "--task", "listops", "--model", "hgrn")
    assert (out.startswith("task,"), models_of(out)) == (True, ["HGRN", "Transformer"])


@pytest.mark.parametrize("words", ["published:s4,hgrn", "s4, hgrn"])
def test_published_rows_replace_those_of_the_suite(words, lra):
    _, out, _ = lra("--format", "csv", "--against", words)
    assert models_of(out) == ["HGRN", "LSTM", "S4 (S4-LegS)", "HGRN"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--against", "published:transfomer"), "Did you mean 'transformer'?"),
        (("--layout", "cells", "--partial"), "--partial is about averages, which only --layout models has."),
        (("--output", "."), ". is a folder: give --output the name of a file."),
        (("--output", "/dev/null/t.md"), "Cannot write /dev/null/t.md: File exists; choose another --output."),
        (("--task", "image"), "has no task 'image'"),
    ],
)
def test_bad_words_get_one_sentence_and_nothing_is_written(words, said, lra, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    code, out, err = lra(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert list(tmp_path.glob("here/*")) == list(tmp_path.glob("*.tmp")) == []


@pytest.mark.parametrize(
    ("name", "words", "starts"),
    [
        ("t.tex", (), "% \\usepackage"),
        ("t.csv", (), "model,"),
        ("t.html", (), '<figure class="table">'),
        ("new/t.md", (), "**Two tasks**"),
        ("t.txt", ("--format", "latex"), "% \\usepackage"),
    ],
)
def test_a_file_has_the_format_of_its_suffix(name, words, starts, lra, tmp_path):
    path = tmp_path / name
    code, out, _ = lra("--output", str(path), *words)
    assert (code, out) == (0, f"{path}\n")
    assert path.read_text().startswith(starts)


def test_partial_averages(lra):
    assert "Average over 1 of 2 tasks." not in lra()[1]
    assert "Average over 1 of 2 tasks." in lra("--partial")[1]


def test_a_record_that_cannot_be_read_ends_with_1(lra, tmp_path):
    (record,) = (tmp_path / "runs").glob("*/record.json")
    record.write_text("{")
    code, out, err = lra()
    assert code == 1
    assert "is not JSON" in err
    assert "| HGRN" in out


def test_every_format_has_a_renderer():
    assert set(FORMATS) == set(RENDERERS)
