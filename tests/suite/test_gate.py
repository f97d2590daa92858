"""The gate on a project of its own, a copy of this one in which faults are planted: it finds each, and nothing else."""

import json
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from lra_hgrn.cli.main import dispatch
from lra_hgrn.errors import UserError
from lra_hgrn.gate import gate, judge, measure
from lra_hgrn.gate.baseline import load_baseline
from lra_hgrn.suite import load_suite

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SUITE = """
title: Toy
seeds: [1, 2]
set:
  task: {scale: long}
  model: {d_model: 8, layers: 2, norm: layer, dropout: 0.0, position_dropout: 0.0, expansion: 1}
  optim: {lr: 1.0e-2, warmup_steps: 0, schedule_steps: null}
  train: {epochs: 2, batch_size: 16, accelerator: cpu}
cells:
  - {model: MODEL, task: toy.yaml}
"""
# file, what stands there, what is planted, the kinds of findings that must name it, those that may
FAULTS = {
    "a slowdown": (
        "lra_hgrn/models/block.py",
        "        mixed = mix(",
        "        import time\n\n        time.sleep(0.02)\n        mixed = mix(",
        {"speed"},
        set(),
    ),
    "a broken lower bound": (
        "lra_hgrn/models/hgrn_gates.py",
        "        self.uses_lower_bound = lower_bound",
        "        self.uses_lower_bound = False",
        {"first losses"},
        {"accuracy", "speed"},
    ),
    "a dropped gradient": (
        "lra_hgrn/models/hgrn_gates.py",
        "return candidate, output_gate, forget if",
        "return candidate, output_gate, forget.detach() if",
        {"first losses"},
        {"accuracy", "speed"},
    ),
    "shifted labels": (
        "tasks/lra_tasks/loader.py",
        "labels = self.split.labels[samples]",
        "labels = (self.split.labels[samples] + 1) % self.spec.n_classes",
        {"first losses", "accuracy"},
        {"speed"},
    ),
}


def git(folder, *words):
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "core.hooksPath=/dev/null"]
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


def suite(model):
    return load_suite(f"{model}.yaml")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Make the copy, with two suites and the baseline of each."""
    root = tmp_path_factory.mktemp("project")
    for name in ("lra_hgrn", "kernels", "tasks", "configs"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "toy_task.py", root)
    (root / "toy.yaml").write_text("task: {name: toy_task.Toy}\n")
    (root / ".gitignore").write_text("__pycache__/\n/results/\n/data/\n")
    for model in ("hgrn", "transformer"):
        (root / f"{model}.yaml").write_text(SUITE.replace("MODEL", model))
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "whole")
    with pytest.MonkeyPatch.context() as patch:
        prepare(root, patch)
        baselines = {}
        for model in ("hgrn", "transformer"):
            baselines[model] = gate.update(suite(model), "The first.", root / "results", lambda done, note: None)
            baselines[model].save(root / "results" / "baselines" / f"{model}.json")
    return root


def prepare(root, patch):
    patch.chdir(root)
    patch.syspath_prepend(root)
    patch.setenv("LRA_DATA", str(root / "data"))
    patch.setattr(measure, "SECONDS", 0.05)
    patch.setattr(measure, "TURNS", 5)
    # Other tests run beside this one: only what takes several times as long is slow here.
    for name in ("CALIBRATED", "ELSEWHERE"):
        patch.setattr(judge, name, 2.0)


@pytest.fixture
def project(copy, monkeypatch):
    prepare(copy, monkeypatch)
    yield copy
    git(copy, "checkout", "--quiet", ".")


def check(model, root, ref=None):
    baseline = load_baseline(root / "results" / "baselines" / f"{model}.json")
    return gate.check(suite(model), baseline, ref, root / "results" / "check", lambda done, note: None)


def plant(root, name):
    path, before, after, *_ = FAULTS[name]
    text = (root / path).read_text()
    assert text.count(before) == 1, name
    (root / path).write_text(text.replace(before, after))


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(project, fault):
    plant(project, fault)
    found = check("hgrn", project)
    kinds = {one.kind for one in found.regressions}
    *_, must, may = FAULTS[fault]
    assert must <= kinds <= must | may, [one.text for one in found.regressions]


@pytest.mark.slow
def test_ten_unchanged_runs_pass(project):
    for _ in range(10):
        found = check("transformer", project)
        assert found.regressions == [], [one.text for one in found.regressions]
        (accuracy,) = [one for one in found.findings if one.kind == "accuracy"]
        assert (accuracy.values["difference"], accuracy.values["equal"]) == (
            pytest.approx(accuracy.values["now"] - accuracy.values["before"]),
            "sample by sample",
        )


@pytest.mark.slow
def test_against_a_commit(project, capsys):
    """As a user types it: unchanged, then slower than the commit; the worktree is gone afterwards."""
    words = ["check", "hgrn.yaml", "--against", "HEAD", "--slower", "2"]
    assert dispatch(words) == 0
    table = capsys.readouterr().out
    assert "speed against HEAD (" in table
    assert "passed" in table
    plant(project, "a slowdown")
    assert dispatch(words) == 1
    out = capsys.readouterr().out
    assert "Regression: HGRN on toy_task.Toy: a step takes" in " ".join(out.split())
    folder = project / "results" / "check"
    report = json.loads((folder / "check.json").read_text())
    assert report["regressions"] == 1
    kinds = {one["kind"]: one["verdict"] for one in report["findings"]}
    assert kinds == {"accuracy": "passed", "first losses": "passed", "speed": "regression", "memory": "passed"}
    junit = ET.parse(folder / "junit.xml").getroot().find("testsuite")
    assert (junit.get("tests"), junit.get("failures")) == (str(len(report["findings"])), "1")
    assert [case.get("name") for case in junit if case.find("failure") is not None] == ["speed"]
    assert (folder / "summary.md").read_text().startswith("### `lra check`: 1 regression\n")
    listed = subprocess.run(["git", "worktree", "list"], cwd=project, capture_output=True, text=True, check=True)
    assert len(listed.stdout.splitlines()) == 1


@pytest.mark.slow
def test_a_cell_that_fails_is_a_regression_and_stops_an_update(project):
    path = project / "lra_hgrn" / "models" / "block.py"
    path.write_text(
        path.read_text().replace("        mixed = mix(", "        raise RuntimeError('broken')\n        mix(")
    )
    (found,) = check("transformer", project).findings
    assert (found.kind, found.verdict) == ("run", "regression")
    assert "RuntimeError: broken" in found.text
    with pytest.raises(UserError, match="no baseline was written: RuntimeError: broken"):
        gate.update(suite("transformer"), "x", project / "results" / "check", lambda done, note: None)


@pytest.mark.slow
def test_other_options_and_other_data_are_not_compared(project):
    baseline = load_baseline(project / "results" / "baselines" / "hgrn.json")
    with pytest.raises(UserError, match=r"HGRN on toy_task\.Toy has other options than in the baseline"):
        gate.check(
            load_suite("hgrn.yaml", ["optim.lr=0.02"]), baseline, None, project / "results", lambda done, note: None
        )
    other = suite("transformer")
    with pytest.raises(UserError, match="is not in the baseline"):
        gate.check(other, baseline, None, project / "results", lambda done, note: None)
    toy = project / "toy_task.py"
    toy.write_text(toy.read_text().replace("default_rng(self.seed)", "default_rng(self.seed + 1)"))
    shutil.rmtree(project / "data")
    found = check("transformer", project)
    assert [(one.kind, one.verdict) for one in found.findings] == [("data", "regression")]
    shutil.rmtree(project / "data")
