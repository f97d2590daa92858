"""The parts of the gate: what is a regression and what is not, baselines that are damaged, wrong words."""

import dataclasses
import json
import shlex
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import yaml

from lra_hgrn.cli.main import dispatch, parser_for
from lra_hgrn.errors import UserError
from lra_hgrn.gate import judge, output, trees, yardstick
from lra_hgrn.gate.baseline import SCHEMA, Baseline, CellBaseline, load_baseline, packed
from lra_hgrn.gate.gate import Outcome
from lra_hgrn.gate.measure import Measured, Race, other_backends, prepare_data
from lra_hgrn.gate.trees import this_tree
from lra_hgrn.results.record import load_record
from lra_hgrn.suite import load_suite

SAMPLES = 1001  # no multiple of 8
(JOB,) = load_suite("regression", ["seed=1"], ["listops"], ["hgrn"]).jobs
(OTHER,) = load_suite("regression", ["seed=1"], ["text"], ["hgrn"]).jobs
LOSSES = [2.0 - 0.1 * step for step in range(10)]


def answers(share, seed=0):
    return np.random.default_rng(seed).random(SAMPLES) < share


def cell(job=JOB, share=0.7, **changes):
    correct = [answers(share, seed) for seed in (1, 2, 3)]
    values = {
        **job.key._asdict(),
        "identity": job.identity,
        "fingerprint": "f",
        "samples": SAMPLES,
        "seeds": [1, 2, 3],
        "answers": [packed(one) for one in correct],
        "losses": {"cpu": LOSSES},
        "yardsticks": [1.9, 2.0, 2.4],
        "peaks": [100 << 20, 110 << 20],
    }
    return CellBaseline(**{**values, **changes})


def baseline(*cells, **changes):
    values = {
        "schema": SCHEMA,
        "suite": "regression",
        "reason": "x",
        "date": "2026-01-01T00:00:00+00:00",
        "commit": None,
        "device": "Quick CPU",
        "threads": 2,
        "versions": {},
        "yardstick": yardstick.VERSION,
        "cells": list(cells),
    }
    return Baseline(**{**values, **changes})


@pytest.fixture
def measured(request):
    record = load_record(request.path.parent / "records" / "v2.json")
    device = dataclasses.replace(record.device, name="Quick CPU", threads=2)
    record = dataclasses.replace(record, device=device, data_fingerprint="f")

    def make(job=JOB, share=0.7, ratios=(2.0,) * 8, peak=110 << 20, other_peak=None, losses=None, problem=""):
        race = Race(list(ratios), peak, other_peak, problem)
        return Measured(job, record, answers(share, 1), losses or {"cpu": LOSSES}, race)

    return make


def test_accuracy_drops_beyond_noise_are_regressions(measured):
    same, worse = judge.judge_accuracy([(measured(), cell()), (measured(OTHER, share=0.5), cell(OTHER))])
    assert (same.verdict, worse.verdict) == ("passed", "regression")
    assert same.values["equal"] == "sample by sample"  # the baseline's seed 1
    assert worse.values["difference"] == pytest.approx(-0.2, abs=0.05)
    assert 0 < worse.values["p"] < judge.ALPHA
    (better,) = judge.judge_accuracy([(measured(share=0.9), cell())])
    assert better.verdict == "passed"
    assert better.values["p"] > 0.99  # one-sided: what is better is no evidence of a drop


def test_the_noise_of_seeds_is_no_regression(measured):
    """One seed that is 5 points below the mean of seeds which differ by as much: nothing; of equal ones: a drop."""
    noisy = cell(answers=[packed(answers(share, 1)) for share in (0.65, 0.75, 0.70)])
    (found,) = judge.judge_accuracy([(measured(share=0.64), noisy)])
    assert found.verdict == "passed"
    calm = cell(answers=[packed(answers(0.7, 1))] * 3)
    (found,) = judge.judge_accuracy([(measured(share=0.64), calm)])
    assert found.verdict == "regression"


def test_first_losses(measured):
    (found,) = judge.judge_losses(measured(), cell())
    assert (found.verdict, found.values["off"]) == ("passed", 0)
    moved = [*LOSSES[:7], LOSSES[7] * (1 + 2e-5), *LOSSES[8:]]
    (found,) = judge.judge_losses(measured(losses={"cpu": moved}), cell())
    assert (found.verdict, found.values["step"]) == ("regression", 8)
    (found,) = judge.judge_losses(measured(losses={"cpu": [*LOSSES[:9], float("nan")]}), cell())
    assert found.verdict == "regression"
    found = judge.judge_losses(measured(), cell(losses={"cpu": LOSSES, "triton": LOSSES}))
    assert [(one.values["backend"], one.verdict) for one in found] == [("cpu", "passed"), ("triton", "not judged")]


def test_speed_beside_a_commit(measured):
    steady = [0.99, 1.0, 1.01, 1.0, 1.02, 0.98, 1.0, 1.0]
    races = [measured(ratios=steady), measured(OTHER, ratios=[1.2 * x for x in steady])]
    here, there, both = judge.judge_speed(races, "HEAD", 0.05)
    assert [one.verdict for one in (here, there, both)] == ["passed", "regression", "regression"]
    assert (both.task, both.model) == (judge.OVERALL, "HGRN")
    assert both.values["ratio"] == pytest.approx(1.2**0.5)
    assert [one.verdict for one in judge.judge_speed(races, "HEAD", 0.3)] == ["passed"] * 3
    # A slowdown that the turns do not show beyond their spread is none.
    (wide,) = judge.judge_speed([measured(ratios=[0.7, 1.6, 1.1, 0.9, 1.3, 0.8, 1.5, 1.2])], "HEAD", 0.05)
    assert wide.values["ratio"] > 1.05
    assert wide.verdict == "passed"
    (failed,) = judge.judge_speed([measured(ratios=[], problem="no such option")], "HEAD", 0.05)
    assert (failed.verdict, "no such option" in failed.text) == ("not judged", True)


def test_speed_over_the_yardstick(measured):
    def judged(ratio, **changes):
        return judge.judge_calibrated(measured(ratios=[ratio] * 8), cell(), baseline(**changes))

    assert judged(2.0 * 1.3).values["ratio"] == pytest.approx(1.3)  # over the median of the baseline's seeds
    assert judged(2.0 * 1.3).verdict == "passed"
    assert judged(2.0 * 1.4).verdict == "regression"
    assert judged(2.0 * 1.4, device="Another CPU").verdict == "passed"
    assert judged(2.0 * 2.1, threads=4).verdict == "regression"
    assert judged(2.0, yardstick=yardstick.VERSION + 1).verdict == "not judged"


def test_memory(measured):
    def judged(peak, **changes):
        return judge.judge_stored_memory(measured(peak=peak), cell(), baseline(**changes)).verdict

    allowed = round(1.1 * (110 << 20)) + judge.SLACK
    assert [judged(allowed - 1), judged(allowed + 1), judged(None)] == ["passed", "regression", "not judged"]
    assert judged(allowed + 1, device="Another CPU") == "passed"
    assert judge.judge_memory(measured(peak=200 << 20), 100 << 20, "HEAD").verdict == "regression"


def test_data_that_changed(measured):
    assert judge.judge_data(measured(), cell()) is None
    assert judge.judge_data(measured(), cell(fingerprint="g")).verdict == "regression"


def test_a_baseline_is_read_as_it_was_written(tmp_path):
    before = baseline(cell())
    path = tmp_path / "folder" / "b.json"
    before.save(path)
    assert load_baseline(path) == before
    correct = before.cells[0].correct
    assert correct.shape == (3, SAMPLES)
    assert (correct[2] == answers(0.7, 3)).all()
    assert [path.name for path in path.parent.iterdir()] == ["b.json"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data.pop("cells"), "cells is missing"),
        (lambda data: data.update(schema=9), "schema is 9"),
        (lambda data: data["cells"][0].update(answers=["AAAA"]), "3 bytes cannot be the answers to 1001 samples"),
        (lambda data: data["cells"][0].update(seeds=[1]), "has 3 answers"),
        (lambda data: data["cells"][0].update(answers=["?"]), "is no baseline"),
    ],
)
def test_a_damaged_baseline(change, words, tmp_path):
    path = tmp_path / "b.json"
    baseline(cell()).save(path)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match=words):
        load_baseline(path)


def test_outputs_say_what_is_worse(measured, tmp_path):
    findings = [
        *judge.judge_accuracy([(measured(share=0.4), cell())]),
        *judge.judge_losses(measured(), cell(losses={"cpu": LOSSES, "triton": LOSSES})),
        judge.judge_calibrated(measured(), cell(), baseline()),
        judge.judge_memory(measured(), 100 << 20, "the baseline"),
        judge.judge_run(dataclasses.replace(measured(OTHER), failure="<broken> & gone")),
    ]
    outcome = Outcome("mine", "the yardstick", findings)
    output.write(outcome, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(output.FILES)
    suite = ET.parse(tmp_path / "out" / "junit.xml").getroot().find("testsuite")
    assert {name: suite.get(name) for name in ("tests", "failures", "skipped")} == {
        "tests": "6",
        "failures": "2",
        "skipped": "1",
    }
    assert "the run failed: <broken> & gone" in suite.findall("testcase")[-1].find("failure").get("message")
    rows = [[entry.text for entry in row] for row in output.check_table(outcome).rows]
    assert [row[:2] + row[-1:] for row in rows] == [
        ["listops (tiny)", "HGRN", "worse: accuracy"],
        ["text (tiny)", "HGRN", "worse: run"],
    ]
    text = (tmp_path / "out" / "summary.md").read_text()
    assert text.startswith("### `lra check`: 2 regressions\n")
    assert "Not judged: HGRN on listops: the first losses of the triton backend" in text
    clean = output.summary(Outcome("mine", "the yardstick", findings[1:2]))
    assert clean.startswith("### `lra check`: nothing is worse\n")


def test_backends_of_the_recurrence_are_those_that_the_mixer_uses():
    (transformer,) = load_suite("regression", ["seed=1"], ["listops"], ["transformer"]).jobs
    assert other_backends(JOB, "cpu") == ["reference"]
    assert other_backends(transformer, "cpu") == []


def test_packages_of_a_checkout_come_first_unless_they_would_hide_pythons(tmp_path):
    (tmp_path / "src").mkdir()
    tree = trees.Tree("x", tmp_path, tmp_path)
    assert tree.variables["PYTHONPATH"].split(":")[:2] == [str(tmp_path), str(tmp_path / "src")]
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "__init__.py").touch()
    assert str(tmp_path) in tree.variables["PYTHONPATH"].split(":")
    (tmp_path / "queue.py").touch()
    assert tree.variables["PYTHONPATH"].split(":")[0] == str(tmp_path / "src")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "--update", " "], "takes the reason"),
        (["check", "--update", "x", "--against", "HEAD"], "leave --against, --task and --model out"),
        (["check", "--slower", "0.1"], "goes with --against"),
        (["check", "--slower", "-1", "--against", "HEAD"], "takes a share such as 0.05"),
        (["check", "--baseline", "none.json"], "There is no baseline none.json: make one with"),
        (["check", "regresion"], "Did you mean 'regression'"),
        (["check", "--task", "speech"], "has no task 'speech'"),
    ],
)
def test_wrong_words(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        dispatch(words)


def test_the_workflow_runs_commands_that_there_are(request):
    root = request.path.parents[2]
    jobs = yaml.safe_load((root / ".github" / "workflows" / "check.yml").read_text())["jobs"]
    commands = [shlex.split(step["run"]) for job in jobs.values() for step in job["steps"] if "run" in step]
    checks = [words[1:] for words in commands if words[0].endswith("/lra")]
    assert [vars(parser_for("check").parse_args(words))["against"] for words in checks] == ["$BASE"]
    files = [word for words in commands for word in words if word.startswith("results/")]
    assert files == ["results/check/summary.md"]
    assert Path(files[0]).name in output.FILES
    assert (root / ".ci" / "run").is_file()


def test_commits_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="is in no Git checkout"), trees.tree_of("HEAD"):
        pass
    subprocess.run(["git", "init", "--quiet"], check=True)
    with pytest.raises(UserError, match="there is no such commit"), trees.tree_of("--output=x"):
        pass
    (tmp_path / "queue.py").touch()
    subprocess.run(["git", "add", "."], check=True)
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "core.hooksPath=/dev/null"]
    subprocess.run(["git", *identity, "commit", "--quiet", "-m", "x"], check=True)
    with pytest.raises(UserError, match=r"whose queue.py it hides"), trees.tree_of("HEAD"):
        pass
    listed = subprocess.run(["git", "worktree", "list"], capture_output=True, text=True, check=True).stdout
    assert len(listed.splitlines()) == 1


def test_data_are_prepared_before_anything_is_measured(tmp_path, monkeypatch):
    (tmp_path / "gate.yaml").write_text("title: T\nset: {task: {scale: tiny}}\ncells: [{model: hgrn, task: listops}]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LRA_DATA", str(tmp_path / "data"))
    (job,) = load_suite("gate.yaml").jobs
    prepare_data(job, this_tree())
    (store,) = (tmp_path / "data" / "listops").glob("s4-tiny-*/meta.json")
    made = store.stat().st_mtime_ns
    prepare_data(job, this_tree())
    assert store.stat().st_mtime_ns == made
