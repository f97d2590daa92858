"""Figures and the HTML page."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest

from lra_hgrn.errors import UserError
from lra_hgrn.results import figures
from lra_hgrn.results.cells import collect
from lra_hgrn.results.record import Device, Record, Score, Scores, Throughput, lower_bounds
from lra_hgrn.results.report import write_report

MODELS = ["HGRN", "Trans<script>alert(1)</script>$former"]
CELLS = [(task, model) for task in ("listops", "text") for model in MODELS]


def make_record(task="listops", model="HGRN", seed=1, **changes) -> Record:
    score = Score.of(60 + seed, 100, val_accuracy=0.7, epoch=2, step=40)
    fields = {
        "run": f"{task}-{MODELS.index(model)}-{seed}",
        "status": "finished",
        "message": "",
        "task": task,
        "scale": "tiny",
        "protocol": "s4",
        "source": "generated",
        "track": "strict",
        "departures": [],
        "data_fingerprint": "0123456789",
        "model": model,
        "target": "hgru",
        "parameters": 86432,
        "seed": seed,
        "config": {"optim": {"lr": 0.001}, "name": "</pre><b>"},
        "config_hash": "ab12cd34",
        "scores": Scores(best=score, last=score),
        "chance": 0.1,
        "throughput": Throughput(
            samples_per_second=10.0,
            tokens_per_second=1000.0,
            median_step_seconds=0.1,
            steps_measured=60,
            compile_seconds=0.0,
        ),
        "memory": None,
        "device": Device(name="a <processor>", backend="cpu", precision="32", threads=2),
        "versions": {"python": "3.11.9", "lra-hgrn": "0.1.0"},
        "git_commit": "0123abcd+dirty",
        "started": "2026-01-02T10:00:00+00:00",
        "wall_seconds": 3725.0,
        "lower_bounds": lower_bounds(np.linspace(0, 0.9, 12).reshape(3, 4)),
    }
    return Record(**(fields | changes))


def write_metrics(root, record, loss="2.0"):
    directory = root / record.run
    directory.mkdir()
    rows = [f"{step},{step // 10},train,{loss},0.3,0.001,{step}" for step in (5, 10, 15, 20)]
    rows += [f"{step},{step // 10},val,1.5,0.{step},0.001,{step}" for step in (10, 20)]
    text = "step,epoch,split,loss,accuracy,lr,seconds\n" + "\n".join(rows) + "\n"
    (directory / "metrics.csv").write_text(text)
    return directory / "metrics.csv"


@pytest.fixture
def suite(tmp_path):
    records = [make_record(model=model, seed=seed) for model in MODELS for seed in (1, 2)]
    for record in records:
        write_metrics(tmp_path, record)
    return tmp_path, records


class Page(HTMLParser):
    """Collect tags with attributes, and all text outside style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "path", "use"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in ("meta", "path", "use"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def write(suite, **options) -> str:
    root, records = suite
    arguments = {"cells": CELLS, "baseline": "HGRN", "runs": root, "commands": ["lra sweep <demo>"]} | options
    path = write_report(records, "Title & <i>more</i>", root / "report.html", **arguments)
    assert not list(root.glob(".*"))
    return path.read_text(encoding="utf-8")


def test_page_is_self_contained_and_well_nested(suite):
    text = write(suite)
    page = Page(text)
    assert page.open == []
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "base", "video", "audio"}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "action", "data", "srcset"):
            assert attributes.get(name, "#").startswith("#"), (tag, attributes)
    assert not re.search(r"@import|url\((?!#)", text)
    assert not [url for url in re.findall(r"https?://[^\s\"'<)]+", text) if not url.startswith("http://www.w3.org/")]


def test_page_escapes_every_text(suite):
    page = Page(write(suite, problems=["runs/x: <b>broken</b>"]))
    assert "b" not in {tag for tag, _ in page.tags}
    assert "i" not in {tag for tag, _ in page.tags}
    for words in ("Title & <i>more</i>", MODELS[1], "lra sweep <demo>", "a <processor>", "</pre><b>", "<b>broken</b>"):
        assert words in page.text


def test_page_says_what_to_know_before_reading(suite):
    root, records = suite
    diverged = make_record(task="text", status="diverged", message="The loss was nan at step 7.", scores=None)
    departed = make_record(task="text", model=MODELS[1], track="open", departures=["RGB input"], scale="full")
    text = Page(write((root, [*records, diverged, departed]))).text
    for words in (
        "text × HGRN, seed 1: diverged. The loss was nan at step 7.",
        "is on the open track: RGB input.",
        "not comparable with published figures: listops (tiny), text (tiny).",
        "uncommitted changes",
        f"{diverged.run}/metrics.csv does not exist",
        "1 h 02 min",
    ):
        assert words in text
    assert "text × HGRN: no run yet." in Page(write(suite)).text


def test_page_of_an_empty_suite(tmp_path):
    page = Page(write((tmp_path, [])))
    assert page.open == []
    assert "listops × HGRN: no run yet." in page.text
    assert "svg" not in {tag for tag, _ in page.tags}


def test_page_is_the_same_for_the_same_records(suite):
    assert write(suite) == write(suite)


def test_ids_of_all_figures_differ_and_references_resolve(suite):
    page = Page(write(suite))
    assert sum(tag == "svg" for tag, _ in page.tags) == 3
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [attributes["xlink:href"][1:] for _, attributes in page.tags if "xlink:href" in attributes]
    targets += re.findall(r"url\(#([^)]+)\)", " ".join(str(attributes) for _, attributes in page.tags))
    assert targets
    assert set(targets) <= set(ids)


def test_learning_curves_draw_every_seed(suite):
    root, records = suite
    cells, _ = collect(CELLS[:2], records)
    metrics = {record.run: figures.load_metrics(root / record.run / "metrics.csv") for record in records}
    figure = figures.learning_curves(cells, metrics, MODELS)
    loss, accuracy = figure.axes
    assert len(loss.lines) == len(accuracy.lines) == 4
    assert loss.lines[0].get_xydata().tolist() == [[5, 2], [10, 2], [15, 2], [20, 2]]
    assert accuracy.lines[0].get_xydata().tolist() == [[10, 0.10], [20, 0.20]]
    assert loss.lines[0].get_linestyle() != loss.lines[2].get_linestyle()  # told apart without colour
    assert [text.get_text() for text in figure.legends[0].get_texts()] == MODELS
    ElementTree.fromstring(figures.to_svg(figure, "curves"))


def test_speed_and_bounds_are_left_out_where_nothing_is_known():
    cells, _ = collect(CELLS, [make_record(throughput=None, lower_bounds=None)])
    assert figures.accuracy_against_throughput(cells) is None
    assert figures.lower_bound_profiles(cells) is None


def test_each_device_has_its_own_panel():
    gpu = Device(name="a GPU", backend="triton", precision="32", threads=2)
    cells, _ = collect(CELLS, [make_record(), make_record(model=MODELS[1], device=gpu)])
    figure = figures.accuracy_against_throughput(cells)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["a <processor>", "a GPU"]


def test_bounds_are_drawn_by_layer():
    cells, _ = collect(CELLS, [make_record()])
    (axes,) = figures.lower_bound_profiles(cells).axes
    expected = np.linspace(0, 0.9, 12).reshape(3, 4).mean(axis=1)
    np.testing.assert_allclose(axes.lines[0].get_xydata(), np.stack([[1, 2, 3], expected], axis=1))


def test_diverged_losses_can_be_drawn(tmp_path):
    record = make_record()
    metrics = {record.run: figures.load_metrics(write_metrics(tmp_path, record, loss="inf"))}
    cells, _ = collect(CELLS[:1], [record])
    assert figures.to_svg(figures.learning_curves(cells, metrics, MODELS), "x").startswith("<svg")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a CSV file"),
        ("step,epoch\n1,2\n", "lacks the columns split, loss, accuracy, lr, seconds"),
        ("step,epoch,split,loss,accuracy,lr,seconds\n1,0,train,high,0.1,0.1,1\n", "numbers of column loss"),
    ],
)
def test_broken_metrics_are_refused(tmp_path, text, words):
    path = tmp_path / "metrics.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=words) as error:
        figures.load_metrics(path)
    assert str(path) in str(error.value)


def settings():
    return {name: mpl.rcParams[name] for name in mpl.rcParams if name != "backend"}  # which reading it decides


def test_figures_leave_matplotlibs_settings_alone():
    before = settings()
    cells, _ = collect(CELLS, [make_record()])
    figures.to_svg(figures.accuracy_against_throughput(cells), "x")
    assert settings() == before
