"""The table of a suite and its renderers."""

import csv
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from lra_hgrn.errors import UserError
from lra_hgrn.results.record import Device, Memory, Record, Score, Scores, Throughput
from lra_hgrn.results.render import RENDERERS, to_csv, to_html, to_latex, to_markdown
from lra_hgrn.results.table import binary, make_table, si

PROCESSOR = Device(name="a processor", backend="cpu", precision="32", threads=2)
CELLS = [("listops", "HGRN"), ("text", "HGRN"), ("listops", "Transformer"), ("text", "Transformer")]


def make_record(task="listops", model="HGRN", seed=1, correct=60, total=100, speed=1000.0, **changes) -> Record:
    score = Score.of(correct, total, val_accuracy=0.7, epoch=2, step=40)
    last = Score.of(0, total, val_accuracy=0.1, epoch=3, step=60)
    fields = {
        "run": f"{task}-{model}-{seed}",
        "status": "finished",
        "message": "",
        "task": task,
        "scale": "tiny",
        "protocol": "s4",
        "source": "generated",
        "track": "strict",
        "departures": [],
        "data_fingerprint": f"0123456789-{task}",
        "model": model,
        "target": "hgru",
        "parameters": 86432,
        "seed": seed,
        "config": {},
        "config_hash": f"hash-{task}-{model}",
        "scores": Scores(best=score, last=last),
        "chance": 0.1,
        "throughput": Throughput(
            samples_per_second=speed / 100,
            tokens_per_second=speed,
            median_step_seconds=0.1,
            steps_measured=60,
            compile_seconds=0.0,
        ),
        "memory": Memory(peak_bytes=3 * 2**29, counts="resident set"),
        "device": PROCESSOR,
        "versions": {},
        "git_commit": None,
        "started": "2026-01-02T10:00:00+00:00",
        "wall_seconds": 12.5,
        "lower_bounds": None,
    }
    return Record(**(fields | changes))


def lines_of(records, **options) -> list[dict[str, str]]:
    table = make_table(CELLS, records, **options)
    return list(csv.DictReader(io.StringIO(to_csv(table))))


def texts_of(records, **options) -> list[dict[str, str]]:
    table = make_table(CELLS, records, **options)
    heads = [column.head for column in table.columns]
    return [dict(zip(heads, [entry.text for entry in row], strict=True)) for row in table.rows]


def test_models_of_a_task_stand_side_by_side_in_the_suites_order():
    rows = lines_of([])
    assert [(row["task"], row["model"]) for row in rows] == [
        ("listops", "HGRN"),
        ("listops", "Transformer"),
        ("text", "HGRN"),
        ("text", "Transformer"),
    ]


def test_missing_cells_are_dashes_and_empty_fields_never_zero():
    rows = texts_of([], baseline="Transformer")
    for row in rows:
        assert set(list(row.values())[2:]) == {"–"}
    for row in lines_of([], baseline="Transformer"):
        assert {value for key, value in row.items() if key not in ("task", "model")} == {""}


def test_one_seed():
    (row, *_) = texts_of([make_record()])
    assert row["Task"] == "listops (tiny, s4, generated)"
    assert (row["Accuracy %"], row["± (seeds)"], row["Chance %"]) == ("60.00", "–", "10.00")
    assert row["95 % interval"] == "50.20–69.06"  # Wilson, by the closed formula
    assert (row["Parameters"], row["Tokens/s"], row["Peak memory"]) == ("86.4 k", "1 k", "1.50 GiB")
    assert row["Runs"] == "finished"
    assert "Speed vs Transformer" not in row


def test_several_seeds_are_averaged_and_the_speed_is_their_median():
    records = [
        make_record(seed=seed, correct=correct, speed=speed)
        for seed, correct, speed in [(3, 70, 900.0), (1, 60, 5000.0), (2, 50, 1000.0)]
    ]
    (row, *_) = lines_of(records)
    assert float(row["accuracy"]) == pytest.approx(0.6)
    assert float(row["sd"]) == pytest.approx(0.1)
    assert int(row["seeds"]) == 3
    assert float(row["tokens_per_second"]) == 1000.0
    assert float(row["low"]) < 0.6 - 4.302 * 0.1 / 3**0.5
    assert texts_of(records)[0]["± (seeds)"] == "10.00 (3)"


def test_diverged_and_failed_seeds_have_no_accuracy_and_are_never_hidden():
    records = [
        make_record(seed=1),
        make_record(seed=2, correct=1, status="diverged"),
        make_record(seed=3, status="failed", scores=None),
    ]
    (row, *_) = texts_of(records)
    assert row["Accuracy %"] == "60.00"
    assert row["Runs"] == "1 of 3 seeds diverged, 1 of 3 seeds failed"
    (row, *_) = texts_of(records[1:2])
    assert (row["Accuracy %"], row["95 % interval"], row["Runs"]) == ("–", "–", "diverged")


def test_seeds_at_chance_and_stopped_seeds_count_and_are_named():
    records = [
        make_record(seed=1, correct=60),
        make_record(seed=2, correct=10, status="chance"),
        make_record(seed=3, correct=50, status="stopped"),
    ]
    (row, *_) = texts_of(records)
    assert row["Accuracy %"] == "40.00"
    assert row["Runs"] == "1 of 3 seeds stopped early, 1 of 3 seeds at chance"


def test_ratio_is_taken_on_one_device_only():
    hgrn, slow = make_record(speed=3000.0), make_record(model="Transformer", speed=2000.0)
    rows = texts_of([hgrn, slow], baseline="Transformer")
    assert [row["Speed vs Transformer"] for row in rows] == ["1.50×", "1.00×", "–", "–"]
    other_backend = make_record(
        model="Transformer", speed=1000.0, device=Device(name="a processor", backend="x", precision="32", threads=2)
    )
    assert texts_of([hgrn, other_backend], baseline="Transformer")[0]["Speed vs Transformer"] == "3.00×"
    for changes in ({"name": "a GPU"}, {"precision": "bf16"}, {"threads": 4}):
        device = Device(**({"name": "a processor", "backend": "cpu", "precision": "32", "threads": 2} | changes))
        table = make_table(CELLS, [hgrn, make_record(model="Transformer", device=device)], baseline="Transformer")
        entry = table.rows[0][8]
        assert (entry.text, entry.values, entry.marks) == ("–", (None,), (1,))
        assert table.notes[0].startswith("No ratio: measured on a processor")


def test_seeds_on_different_devices_have_no_common_speed():
    gpu = Device(name="a GPU", backend="triton", precision="32", threads=2)
    table = make_table(CELLS, [make_record(seed=1), make_record(seed=2, device=gpu)])
    assert (table.rows[0][7].text, table.rows[0][7].marks) == ("–", (1,))
    assert "a processor" in table.notes[0]
    assert "a GPU" in table.notes[0]
    assert table.rows[0][2].text == "60.00"


def test_memory_counted_in_two_ways_has_no_common_peak():
    cuda = Memory(peak_bytes=5, counts="cuda allocated")
    (row, *_) = texts_of([make_record(seed=1), make_record(seed=2, memory=cuda)])
    assert row["Peak memory"] == "–"


def test_departures_and_stamps_stand_below_the_table():
    open_run = make_record(track="open", departures=["RGB input", "crop and flip"])
    table = make_table(CELLS, [open_run, make_record(model="Transformer")])
    assert table.notes == ["Open track: RGB input. crop and flip."]
    assert [row[1].marks for row in table.rows] == [(1,), (), (), ()]
    remarks = " ".join(table.remarks)
    for words in ("Scale: tiny.", "Protocol: s4.", "Track: open, strict.", "a processor", "listops 01234567"):
        assert words in remarks
    assert "012345678" not in remarks


def test_models_that_saw_different_data_are_marked():
    table = make_table(CELLS, [make_record(), make_record(model="Transformer", data_fingerprint="ffff")])
    assert [row[0].marks for row in table.rows] == [(1,), (1,), (), ()]
    assert "not comparable" in table.notes[0]


def test_records_outside_the_suite_are_named():
    table = make_table(CELLS, [make_record(task="pathx")])
    assert all(row[2].text == "–" for row in table.rows)
    assert make_table(CELLS, [make_record(), make_record(task="pathx")]).remarks[-1].endswith("pathx-HGRN-1.")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 1}, "both have seed 1"),
        ({"scale": "full"}, "differ in scale (tiny, full)"),
        ({"protocol": "google"}, "differ in protocol"),
        ({"config_hash": "other"}, "differ in config_hash"),
        ({"data_fingerprint": "other"}, "saw different data"),
        ({"total": 200}, "saw different data"),
    ],
)
def test_runs_that_cannot_be_averaged_are_refused(changes, words):
    other = make_record(**({"seed": 2, "run": "other"} | changes))
    with pytest.raises(UserError) as error:
        make_table(CELLS, [make_record(), other])
    assert words in str(error.value)
    assert "other" in str(error.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5"), (12.0, "12"), (999.4, "999"), (999.6, "1 k"), (86432, "86.4 k"), (1.234e6, "1.23 M"), (2e9, "2 G")],
)
def test_numbers_for_people(value, text):
    assert si(value) == text


def test_bytes_for_people():
    assert [binary(n * 2**20) for n in (1, 1023, 1024, 1536)] == ["1 MiB", "1023 MiB", "1.00 GiB", "1.50 GiB"]


NASTY = r"a|b_c*<b>x</b> & 50% $1 #2 {z} ~^ \end{table}"


def nasty_table():
    cells = [("listops", NASTY), ("listops", "HGRN"), ("text", "HGRN")]
    records = [make_record(model=NASTY, track="open", departures=[NASTY]), make_record()]
    return make_table(cells, records, baseline="HGRN", caption=NASTY)


def test_markdown_rows_are_whole():
    lines = to_markdown(nasty_table()).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + 3
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {12}
    assert len({len(row) for row in rows}) == 1
    assert "<b>" not in "\n".join(lines)
    assert "<sup>1</sup> Open track" in "\n".join(lines)


def test_csv_numbers_are_exact():
    (row, *_) = lines_of([make_record(correct=1, total=3)], baseline="HGRN")
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
    assert [row.count("&") for row in rows] == [10] * 4
    assert not re.search(r"[#~^_]", re.sub(r"\}~|\{table\}.*", "", bare))
    assert [rule for rule in ("top", "mid", "bottom") if text.count(rf"\{rule}rule") == 1] == ["top", "mid", "bottom"]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(tmp_path):
    table = to_latex(nasty_table())
    document = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n" + table + "\\end{document}\n"
    (tmp_path / "t.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]


class Cells(HTMLParser):
    """Collect the text of every table row's cells, and every tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def test_html_is_escaped():
    page = Cells(to_html(nasty_table()))
    assert "b" not in page.tags
    assert page.rows[1][1] == NASTY + "1"  # with the mark of its note
    assert [len(row) for row in page.rows] == [11] * 4


def test_every_renderer_takes_an_empty_suite():
    for name, renderer in RENDERERS.items():
        assert "Accuracy" in renderer(make_table([], [])) or name == "csv"
