"""The HTML page."""

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from small_results import make_record as make_small
from small_results import make_results

import lra_hgrn.results.report
from lra_hgrn.results.predictions import make_predictions
from lra_hgrn.results.record import Device, lower_bounds
from lra_hgrn.results.report.report import write_report

MODELS = ("HGRN", "Trans<script>alert(1)</script>$former")
SCRIPT = Path(lra_hgrn.results.report.__file__).with_name("report.js").read_text()


def make_record(task="listops", model="HGRN", seed=1, **changes):
    fields = {
        "run": f"{task}-{'ab'[MODELS.index(model)]}-{seed}",
        "correct": 60 + seed,
        "config": {"optim": {"lr": 0.001}, "name": "</pre></script><b>"},
        "device": Device(name="a <processor>", backend="cpu", precision="32", threads=2),
        "git_commit": "0123abcd+dirty",
        "wall_seconds": 3725.0,
        "lower_bounds": lower_bounds(np.linspace(0, 0.9, 12).reshape(3, 4)),
    }
    return make_small(task, model, seed, **(fields | changes))


def write_metrics(root, record):
    (root / record.run).mkdir()
    rows = [f"{step},{step // 10},train,2.0,0.3,0.001,{step}" for step in (5, 10, 15, 20)]
    rows += [f"{step},{step // 10},val,1.5,0.{step},0.001,{step}" for step in (10, 20)]
    text = "step,epoch,split,loss,accuracy,lr,seconds\n" + "\n".join(rows) + "\n"
    (root / record.run / "metrics.csv").write_text(text)


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    records = [make_record(model=model, seed=seed) for model in MODELS for seed in (1, 2)]
    for record in records:
        write_metrics(root, record)
    return root, records


@pytest.fixture(scope="module")
def text(suite):
    """The page of that suite."""
    return write(suite)


class Page(HTMLParser):
    """Collect tags with attributes, all text outside style and script, and each script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "path", "use", "img", "image"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in ("meta", "path", "use", "img", "image"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif "style" not in self.open:
            self.text += data


def write(suite, *, commands=("lra sweep <demo>",), **options) -> str:
    root, records = suite
    arguments = {"models": MODELS, "title": "Title & <i>more</i>", "baseline": "HGRN", "runs": root} | options
    path = write_report(make_results(records, **arguments), root / "report.html", commands=commands)
    assert not list(root.glob(".*"))
    return path.read_text(encoding="utf-8")


def write_predictions(root, record, right):
    """Save predictions of 100 samples of which the first ``right`` are right."""
    best = np.arange(100) >= right
    make_predictions(best, best, np.zeros(100, int), fingerprint=record.data_fingerprint, n_classes=2).save(
        root / record.run
    )


def test_page_is_self_contained_and_well_nested(text):
    page = Page(text)
    assert page.open == []
    names = {tag for tag, _ in page.tags}
    assert not names & {"link", "iframe", "object", "embed", "base", "video", "audio", "form"}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "action", "data", "srcset"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,")), (tag, attributes)
    assert not re.search(r"@import|url\((?!#)", text)
    assert not [url for url in re.findall(r"https?://[^\s\"'<)]+", text) if not url.startswith("http://www.w3.org/")]


def test_the_only_script_is_the_one_that_the_pages_policy_lets_run(text):
    page = Page(text)
    assert [script.strip() for script in page.scripts] == [SCRIPT.strip()]
    (policy,) = [a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a]
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"


def test_page_escapes_every_text(suite):
    page = Page(write(suite, problems=["runs/x: <b>broken</b>"], runs=None))
    assert "i" not in {tag for tag, _ in page.tags}
    assert "<b>broken" in page.text
    for words in ("Title & <i>more</i>", MODELS[1], "lra sweep <demo>", "a <processor>", "</pre></script><b>"):
        assert words in page.text


def test_page_says_what_to_know_before_reading(suite, text):
    without = ", ".join(f"text × {model}" for model in MODELS)
    assert f"No run yet: {without}." in Page(text).text
    root, records = suite
    diverged = make_record(task="text", status="diverged", message="The loss was nan at step 7.", scores=None)
    departed = make_record(task="text", model=MODELS[1], track="open", departures=["RGB input"])
    text = Page(write((root, [*records, diverged, departed]))).text
    for words in (
        "text × HGRN, seed 1: diverged. The loss was nan at step 7.",
        "is on the open track: RGB input.",
        "not comparable with published figures: listops (tiny), text (tiny).",
        "uncommitted changes",
        f"{diverged.run}/metrics.csv does not exist",
        "predictions.npz does not exist",
        "1 h 02 min",
    ):
        assert words in text


def test_page_of_an_empty_suite(tmp_path):
    page = Page(write((tmp_path, [])))
    assert page.open == []
    assert "No run yet: listops × HGRN, " in page.text
    assert "svg" not in {tag for tag, _ in page.tags}


def test_page_is_the_same_for_the_same_records(suite, text):
    assert write(suite) == text


def test_ids_differ_and_every_reference_resolves(suite, text):
    page = Page(text)
    assert sum(tag == "svg" for tag, _ in page.tags) == 3
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [unquote(attributes["href"][1:]) for tag, attributes in page.tags if tag == "a"]
    assert {f"run-{record.run}" for record in suite[1]} == set(links)
    drawn = [attributes["xlink:href"][1:] for _, attributes in page.tags if "xlink:href" in attributes]
    drawn += re.findall(r"url\(#([^)]+)\)", " ".join(str(attributes) for _, attributes in page.tags))
    assert drawn
    assert {*links, *drawn} <= set(ids)


def test_page_holds_the_whole_record_of_every_run(suite, text):
    for record in suite[1]:
        (part,) = re.findall(rf'<details class="record" id="run-{record.run}">(.*?)</details></details>', text, re.S)
        content = Page(part[part.rindex("<pre>") :]).text
        assert json.loads(content) == json.loads(json.dumps(dataclasses.asdict(record)))


def test_links_to_files_lead_to_files_from_where_the_page_lies(tmp_path):
    records = [make_record(seed=seed, run=f"a {seed}", throughput=None, lower_bounds=None) for seed in (1, 2)]
    records[0].save(tmp_path / "a 1")
    results = make_results(records, models=MODELS, runs=tmp_path)
    page = Page(write_report(results, tmp_path / "some" / "where.html").read_text())
    files = [a["href"] for tag, a in page.tags if tag == "a" and not a["href"].startswith("#")]
    assert files == ["../a%201/record.json"]


@pytest.mark.parametrize(("count", "comparisons", "folded"), [(3, 3, False), (7, 21, True)])
def test_a_long_list_of_comparisons_is_folded(tmp_path, count, comparisons, folded):
    models = [f"M{number}" for number in range(count)]
    records = [make_small(model=model, correct=30 + number, throughput=None) for number, model in enumerate(models)]
    for number, record in enumerate(records):
        write_predictions(tmp_path, record, 30 + number)
    results = make_results(records, tasks=("listops",), models=models, runs=tmp_path)
    text = write_report(results, tmp_path / "page.html").read_text()
    section = text[text.index("Which differences are real") : text.index("<h2>Figures")]
    assert section.count("<tr>") == comparisons + 1
    assert ("<details" in section) == folded
    assert (f"{comparisons} comparisons</summary>" in section) == folded
