"""Files of somebody who means harm: one sentence each, nothing run, nothing told, nothing written elsewhere."""

import json
import re
from html.parser import HTMLParser

import pytest
from hostile import ESCAPE, SCRIPT, SUITE, change, count, lra, refusal
from small_runs import make_run

from lra_hgrn.config import compose, from_plain, plain
from lra_hgrn.config.yaml_files import LARGEST, read_yaml
from lra_hgrn.errors import UserError
from lra_hgrn.gate.baseline import load_baseline
from lra_hgrn.inspection.record import load_inspection
from lra_hgrn.planning import estimates
from lra_hgrn.results.archive import import_runs
from lra_hgrn.results.check import verify_run
from lra_hgrn.results.decode import load
from lra_hgrn.results.record import find_records, load_record
from lra_hgrn.suite import load_suite
from lra_tasks.errors import TaskError, cleaned, one_line, shown

# -- YAML


def laughs(levels: int) -> str:
    """A list of ten lists of ten lists ..., each written once."""
    lines = ["a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    lines += [f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]" for i in range(levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (laughs(9), "expan"),
        ("a: &a [*a]", "recursive"),
        ("a: " + "[" * 900, "deeper than 32 levels"),
        ("a: " + "[" * 100_000, ""),  # libyaml would end the process, or refuses by itself as of PyYAML 6.0.4
        ("- " * 100_000, "deeper than 32 levels"),
        ("? " * 100_000, "deeper than 32 levels"),
        (f"# {'x' * LARGEST}", "more than the 262,144 bytes"),
        ("model: {name: '${oc.env:SECRET}'}", "is an interpolation"),
        ("model: {kwargs: {a: [{b: '${oc.env:SECRET}'}]}}", "is an interpolation"),
        ("model: {name: '${optim.lr}'}", "is an interpolation"),
        ("model: {name: '${oc.decode:x}${'}", ""),
        ("model: {layers: 0x" + "f" * 900 + "}", "more than 64 bits"),
        ("model: {layers: 1" + ":1" * 5_000 + "}", "more than 1,000 characters"),
        ("optim: {lr: .inf}", "not finite"),
        ('model: {name: "\\e]0;owned\\a"}', "control character"),
        ('model: {"a\\nb": 1}', "no name of an option"),
        ("a: !!python/object/apply:os.system ['touch owned']", "cannot be read as YAML"),
        ("a: !!python/name:os.system", "cannot be read as YAML"),
        ("a: 1\na: 2", "duplicate"),
        ("a: \0", "control characters are not allowed"),
        ("a: !!set {b, c}", "not a supported"),
    ],
    ids=count(),
)
def test_yaml_is_refused_before_anything_is_built_of_it(tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", "s3cret")
    path = tmp_path / "x.yaml"
    path.write_text(text)
    said = refusal(read_yaml, path, "x.yaml")
    assert said.startswith("x.yaml cannot be read as YAML: ")
    assert words in said
    assert "s3cret" not in said
    for load_it in (
        lambda: load_suite("x.yaml"),
        lambda: compose("x.yaml", "listops"),
        lambda: compose("hgrn", "x.yaml"),
    ):
        refusal(load_it)
    assert [found.name for found in tmp_path.iterdir()] == ["x.yaml"]


def test_anchors_that_people_use_are_read(tmp_path):
    (tmp_path / "x.yaml").write_text("a: &a {lr: 1e-3}\nb: {<<: *a, wd: 0.1}\nc: [*a, *a]\n")
    assert read_yaml(tmp_path / "x.yaml", "x.yaml") == {
        "a": {"lr": 0.001},
        "b": {"lr": 0.001, "wd": 0.1},
        "c": [{"lr": 0.001}] * 2,
    }


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("model.name=${oc.env:SECRET}", "takes str"),
        ("model.kwargs.a=${oc.env:SECRET}", "is an interpolation"),
        ('model.kwargs.a=[{"b": "${oc.env:SECRET}"}]', "is an interpolation"),
        (f"model.name={ESCAPE}", "takes str"),
        ("seed=" + "9" * 4_000, "takes int"),
        ("seed=99999999999999999999", "takes int"),
        ("model.kwargs.a=1e999", "not finite"),
        ("model.kwargs.a[=1", ""),
        ("model.kwargs..a=1", ""),
        ("x" * 10_000, "is not an override"),
        ("x" * 10_000 + "=1", "Unknown option"),
        ("\ud800=1", "Unknown option"),
    ],
    ids=count(),
)
def test_overrides_tell_no_secret_and_no_novel(monkeypatch, word, words):
    """Suites, records and checkpoints are composed by the same rules."""
    monkeypatch.setenv("SECRET", "s3cret")
    try:
        config = compose("hgrn", "listops", [word]).config
    except UserError:
        said = refusal(compose, "hgrn", "listops", [word])
        assert words in said
        assert "s3cret" not in said
    else:
        assert not words
        assert from_plain(plain(config), "again") == config


# -- JSON


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1" * 100_000, "more than 64 bits"),
        ("-9223372036854775809", "more than 64 bits"),
        ("1e999", "not a JSON number below 1e39"),
        ("1e39", "not a JSON number below 1e39"),
        ("NaN", "NaN is not a JSON number"),
        ("-Infinity", "-Infinity is not a JSON number"),
        ('{"a": 1, "a": 2}', "'a' stands twice"),
        ("[" * 100_000, "nested too deep"),
        ('{"a":' * 100_000, "nested too deep"),
        ("{", "not JSON"),
        ('"\x01"', "not JSON"),
        ("\ufeff{}", "not JSON"),
    ],
    ids=count(),
)
def test_json_is_refused(tmp_path, text, words):
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        load(tmp_path / "x.json")
    assert len(str(caught.value)) < 200


def test_json_has_no_control_characters_and_no_halves_of_characters(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({f"k{ESCAPE}": [f"{ESCAPE}é\n\t", {"a": "\ud800"}], "n": 2**63 - 1, "f": 1.5}))
    read = load(path)
    assert read == {"k�]0;owned��[2J": ["�]0;owned��[2Jé\n\t", {"a": "�"}], "n": 2**63 - 1, "f": 1.5}
    path.write_bytes(b'"\xff"')
    with pytest.raises(ValueError):
        load(path)


@pytest.mark.parametrize(
    "text", ["[]", "3", '{"a": {}}', '{"schema": "' + "x" * 9_999 + '"}', '{"x' + "x" * 9_999 + '": 1}'], ids=count()
)
def test_every_reader_of_json_answers_in_a_sentence(tmp_path, text):
    (tmp_path / "inspection").mkdir()
    for name in ("record.json", "baseline.json", "estimates.json", "inspection/inspection.json"):
        (tmp_path / name).write_text(text)
    assert "record.json is not a valid record" in refusal(load_record, tmp_path / "record.json")
    assert "baseline.json is no baseline" in refusal(load_baseline, tmp_path / "baseline.json")
    assert "is no inspection" in refusal(load_inspection, tmp_path)
    assert "holds no estimates" in refusal(estimates.load, tmp_path)


def test_a_baseline_of_no_samples_is_none(request, tmp_path):
    stored = request.path.parents[2] / "results/baselines/regression.json"
    path = tmp_path / "x.json"
    path.write_bytes(stored.read_bytes())
    load_baseline(path)
    change(path, lambda data: data["cells"][0].update(samples=0, answers=[""] * len(data["cells"][0]["seeds"])))
    assert "0 samples are no test split" in refusal(load_baseline, path)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda r: r.update(run="../../other"), "leads out of the folder"),
        (lambda r: r.update(run="/etc"), "leads out of the folder"),
        (lambda r: r["throughput"].update(tokens_per_second=0), "throughput is not positive"),
        (lambda r: r["throughput"].update(median_step_seconds=-1), "throughput is not positive"),
        (lambda r: r["config"].update(stands_for=["hgrn"]), "config.stands_for is ['hgrn']"),
        (lambda r: r["config"].update(tuning=[1]), "config.tuning is [1]"),
        (lambda r: r.update(wall_seconds=1e300), "below 1e39"),
        (lambda r: r.update(parameters=2**70), "more than 64 bits"),
        (lambda r: r.update(status="x" * 9_999), "status is"),
        (lambda r: r.update(seed={"a": ["x" * 9_999]}), "seed is"),
    ],
    ids=count(),
)
def test_a_record_with_wild_values_is_refused(tmp_path, edit, words):
    folder = make_run(tmp_path)
    change(folder / "record.json", edit)
    assert words in refusal(load_record, folder / "record.json")


class Page(HTMLParser):
    """The tags of a page, and the attributes that run a script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.active: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.active += [name for name, value in attrs if name.startswith("on") or "javascript:" in (value or "")]


FREE = ("message", "protocol", "source", "model", "target", "git_commit", "scale", "data_fingerprint", "config_hash")


def wild(folder, text):
    """Put a text into every free string of a run's files."""

    def edit(record):
        record.update(dict.fromkeys(FREE, text), departures=[text], versions={text: text}, track="open")
        record["device"].update(name=text, backend=text, precision=text)
        record["config"].update({"stands_for": text, text: text})
        record["incidents"] = [{"kind": "plateau", "step": 1, "message": text}]

    change(folder / "record.json", edit)
    quantiles = dict.fromkeys(("q10", "q25", "q50", "q75", "q90"), 1.0)
    layer = {"layer": 1, "mixer": text, "channels": 1, "positions": 1, "mean": 0.5, "untrained_memory": None}
    layer |= dict.fromkeys(("gate", "gate_memory", "channel_memory"), quantiles)
    layer |= {name: [0.5] for name in ("memory_of_channels", "histogram", "memory_histogram")}
    found = {"schema": 1, "run": text, "task": text, "model": text, "checkpoint": "best", "step": 7, "split": "test"}
    found |= {"samples": 1, "lower_bounds": None, "gates": [layer], "attributions": [], "remarks": [text]}
    found |= {"pictures": [{"file": "gates.png", "caption": text}]}
    (folder / "inspection").mkdir()
    (folder / "inspection/inspection.json").write_text(json.dumps(found))
    (folder / "inspection/gates.png").write_bytes(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize(
    "text", [ESCAPE + SCRIPT, f'"><img src=x onerror=alert(1)>{SCRIPT}', "\u202egpj.exe \ud800"], ids=count()
)
def test_nothing_that_a_run_says_reaches_terminal_or_page_as_it_is(capsys, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.yaml").write_text(SUITE)
    folder = make_run(tmp_path / "runs")
    wild(folder, text)
    change(folder / "record.json", lambda record: record.update(model="HGRN", scale="tiny"))  # or it is no cell's
    for words in (
        ("results", "list"),
        ("results", "list", "--format", "terminal"),
        ("results", "show", folder.name),
        ("results", "verify"),
        *(("table", "one.yaml", "--format", kind) for kind in ("terminal", "markdown", "latex", "csv", "html")),
        ("report", "one.yaml", "--output", tmp_path / "page.html"),
    ):
        code, out, err = lra(capsys, *words, "--runs", tmp_path / "runs")
        assert code in (0, 1), err
        shown_text = (out + err).replace("\n", "").replace("\t", "")
        assert cleaned(shown_text) == shown_text, words
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert cleaned(page) == page
    assert Page(page).tags.count("script") == 1
    assert not Page(page).active
    assert "alert(1)" in page or "alert" not in text  # shown, as text


def test_a_run_that_does_not_agree_is_not_imported_whatever_it_says(tmp_path):
    for text in (ESCAPE, SCRIPT, "${oc.env:HOME}"):
        folder = make_run(tmp_path / "runs")
        wild(folder, text)
        assert "fails the check" in refusal(import_runs, tmp_path / "runs", tmp_path / "new")
        assert not (tmp_path / "new").exists()
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


def test_a_record_tells_no_variable_of_the_reader(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "s3cret")
    folder = make_run(tmp_path)
    change(
        folder / "record.json",
        lambda r: r["config"]["model"].update(name="${oc.env:SECRET}", kwargs={"a": "${oc.env:SECRET}"}),
    )
    _, out, err = lra(capsys, "results", "show", folder)
    assert "is an interpolation" in out or "takes str" in out
    assert "s3cret" not in out + err
    assert not any("s3cret" in finding.message for finding in verify_run(folder))


def test_a_folder_of_wild_records_is_still_listed(capsys, tmp_path):
    make_run(tmp_path, seed=1)
    folder = make_run(tmp_path, seed=2)
    (folder / "record.json").write_text('{"seed": ' + "1" * 10_000 + "}")
    found, problems = find_records(tmp_path)
    assert len(found) == len(problems) == 1
    code, out, err = lra(capsys, "results", "list", "--runs", tmp_path)
    assert (code, err.count("\n")) == (1, 1)
    assert "listops" in out


# -- messages


@pytest.mark.parametrize(
    "value",
    ["a\nb", ESCAPE, "x" * 10**6, "\ud800", "\u2028\u202e", 10**5_000, {"a": [ESCAPE] * 1_000}, ["é–“×”γ"]],
    ids=count(),
)
def test_whatever_a_message_quotes_is_one_line(value):
    for said in (one_line(value), shown(value), str(TaskError(f"{shown(value)} is wrong."))):
        assert said.isprintable()
        assert len(said) < 1_100
        said.encode("utf-8")
    assert one_line("γ · “é” × 2 – 3 …\n and\ton") == "γ · “é” × 2 – 3 … and on"
