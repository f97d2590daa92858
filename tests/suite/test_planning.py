"""What a suite will take: probes, estimates that are kept, the plan, and what can be reproduced."""

import dataclasses
import json
from types import SimpleNamespace

import pytest

from lra_hgrn.errors import UserError
from lra_hgrn.planning import estimates
from lra_hgrn.planning.estimates import Estimate, Refusal, estimate, load, measure, name_of, save
from lra_hgrn.planning.plan import plan, plan_table
from lra_hgrn.planning.probe import Probe, _at, _sizes, probe
from lra_hgrn.reproduce import reproduction
from lra_hgrn.suite import load_suite

SUITE = """
title: Toy
seeds: [1, 2]
set:
  model: {layers: 1, d_model: 8}
  optim: {warmup_steps: 0, schedule: constant}
  train: {epochs: 2, batch_size: 40, accelerator: cpu, threads: 1}
cells:
  - {model: hgrn, task: toy_task.Toy}
  - {model: lstm, task: toy_task.Toy}
"""
PROBE = Probe(
    step_seconds=10.0, sample_seconds=0.5, peak_bytes=3 << 30, checkpoint_bytes=1 << 20, samples=40, real_data=True
)


@pytest.fixture
def suite(tmp_path, monkeypatch):
    monkeypatch.setenv("LRA_DATA", str(tmp_path / "data"))
    path = tmp_path / "toy.yaml"
    path.write_text(SUITE)
    return load_suite(str(path))


def keep(suite, runs, **changes):
    kept = {name_of(suite.jobs[0].config): dataclasses.replace(PROBE, **changes)}
    save(kept, runs)
    return kept


def test_nothing_is_known_before_it_is_measured(suite, tmp_path):
    works = plan(suite, tmp_path, load(tmp_path))
    assert [(work.state, work.seconds, work.whole) for work in works] == [("missing", None, None)] * 4
    table = plan_table(suite, works, tmp_path)
    assert [[entry.text for entry in row] for row in table.rows] == [
        ["toy_task.Toy (full)", model, "2 missing", "–", "–", "–", "–"] for model in ("HGRN", "LSTM")
    ]
    assert table.remarks[0] == "0 of 4 runs are done; what 4 take is not known: `lra estimate` measures it."
    assert "toy (full, 3 KiB)" in table.remarks[-1]  # to be prepared


def test_hours_are_those_of_steps_and_evaluations(suite, tmp_path):
    """Toy has 150, 40 and 50 samples: 4 steps an epoch, and 2 × 40 + 2 × 50 samples to evaluate."""
    kept = keep(suite, tmp_path)
    assert load(tmp_path) == kept
    work, other, *_ = plan(suite, tmp_path, kept)
    assert work.whole == other.whole == Estimate(2 * 4 * 10.0 + 180 * 0.5, 3 << 30, 1 << 20, "probe")
    table = plan_table(suite, plan(suite, tmp_path, kept), tmp_path)
    assert [entry.text for entry in table.rows[0]][3:] == ["0.094", "3.00 GiB", "1 MiB", "probe"]
    assert table.rows[0][3].values == (pytest.approx(2 * 170 / 3600),)
    assert table.remarks[0].startswith("0 of 4 runs are done; 2 more take 0.094 hours on this machine; what 2 take is")
    assert "Checkpoints take 2 MiB" in " ".join(table.remarks)


def test_a_probe_without_data_is_an_upper_bound(suite, tmp_path):
    kept = keep(suite, tmp_path, real_data=False)
    table = plan_table(suite, plan(suite, tmp_path, kept), tmp_path)
    assert table.rows[0][6].marks == (1,)
    assert table.notes[0].startswith("At most: the task is not prepared")


def test_a_run_of_the_same_cell_is_the_better_witness(suite, tmp_path):
    kept, config = keep(suite, tmp_path), suite.jobs[0].config
    name, precision, threads = estimates._device(config)
    record = SimpleNamespace(
        status="chance",
        device=SimpleNamespace(name=name, precision=precision, threads=threads),
        memory=SimpleNamespace(peak_bytes=5),
        wall_seconds=77.0,
        parameters=10,
    )
    assert estimate(config, kept, [record]) == Estimate(77.0, 5, 160, "record")
    record.device.threads += 1
    assert estimate(config, kept, [record]).source == "probe"


def test_a_run_that_was_stopped_needs_its_last_part_only(suite, tmp_path):
    kept, job = keep(suite, tmp_path), suite.jobs[0]
    folder = job.directory(tmp_path)
    folder.mkdir()
    (folder / "config.yaml").touch()
    (folder / "metrics.csv").write_text("step,epoch,split\n4,0,val\n6,1,train\n")
    work, *_ = plan(suite, tmp_path, kept)
    assert (work.state, work.share, work.seconds) == ("to resume", 0.5, 85.0)
    (folder / "record.json").write_text("{")
    assert plan(suite, tmp_path, kept)[0].state == "unreadable record"


def test_memory_and_disk_that_do_not_suffice_are_said(suite, tmp_path, monkeypatch):
    kept = keep(suite, tmp_path, peak_bytes=1 << 60, checkpoint_bytes=1 << 60)
    said = " ".join(plan_table(suite, plan(suite, tmp_path, kept), tmp_path).remarks)
    assert "The largest cell needs 1073741824.00 GiB of memory, and this machine has" in said
    assert "That is not enough." in said


def test_damaged_estimates_are_one_sentence(tmp_path):
    for content in ("{", "[]", '{"a": 1}', json.dumps({"a": {"step_seconds": "x"}})):
        (tmp_path / "estimates.json").write_text(content)
        with pytest.raises(UserError, match=r"holds no estimates .*: delete it, and `lra estimate` makes it anew"):
            load(tmp_path)


def test_a_probe_measures_the_cell_with_and_without_its_data(suite):
    found = probe(suite.jobs[0].config)
    assert not found.real_data
    assert 0 < found.step_seconds < 60
    assert 0 < found.sample_seconds < 60
    assert found.peak_bytes > 1 << 24
    weights = 16 * 2 + 8 * 8  # two matrices that are certainly there
    assert found.checkpoint_bytes > 16 * weights


def test_memory_follows_the_line_through_the_last_two_sizes():
    assert list(_sizes(40)) == [1, 2, 4, 8, 16, 32, 40]
    assert list(_sizes(1)) == [1]
    assert _at(64, [(4, 100), (8, 140)]) == 140 + 10 * 56
    assert _at(8, [(4, 100), (8, 140)]) == 140
    assert _at(64, [(1, 100)]) == 100
    assert _at(64, [(1, 100), (2, 90)]) == 90


def test_cells_that_cannot_be_probed_do_not_stop_the_others(tmp_path, monkeypatch):
    """A wrong keyword argument, and a process that dies."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deadly_mixer.py").write_text(
        "import os\nfrom torch import nn\n\n\nclass Deadly(nn.Module):\n"
        "    def __init__(self, d_model):\n        super().__init__()\n"
        "    def forward(self, x):\n        os._exit(9)\n"
    )
    (tmp_path / "toy.yaml").write_text(
        SUITE.replace("model: lstm, task: toy_task.Toy", "model: deadly_mixer.Deadly, task: listops").replace(
            "model: hgrn, task: toy_task.Toy", "model: hgrn, task: listops, set: {model: {kwargs: {headz: 3}}}"
        )
    )
    suite = load_suite("toy.yaml", ["seed=1", "task.scale=tiny"])
    steps = []
    kept = measure([job.config for job in suite.jobs], tmp_path, lambda done, note: steps.append((done, note)))
    assert steps == [(0, "HGRN on listops"), (1, "Deadly on listops"), (2, "")]
    wrong, dead = kept[name_of(suite.jobs[0].config)], kept[name_of(suite.jobs[1].config)]
    assert isinstance(wrong, Refusal)
    assert "headz" in wrong.reason
    assert dead == Refusal("The probe was killed, most likely for want of memory.")
    assert load(tmp_path) == kept
    table = plan_table(suite, plan(suite, tmp_path, kept), tmp_path)
    assert dead.reason in table.notes


def test_a_paper_and_a_models_published_cells_can_be_reproduced():
    paper = reproduction("hgrn", tasks=["listops"])
    assert [job.config.model.name for job in paper.jobs][:2] == ["HGRN", "HGRN (released)"]
    assert "hgrn" in paper.against
    cells = reproduction("s5", ["seed=3"])
    assert [key.task for key in cells.keys] == ["listops", "text", "retrieval", "image", "pathfinder", "pathx"]
    assert (cells.against, cells.jobs[0].config.seed) == (("s5",), 3)
    with pytest.raises(UserError, match=r"Nothing published is known to reproduce as 'hgrm'. Did you mean 'hgrn'\?"):
        reproduction("hgrm")
    with pytest.raises(UserError, match="'convolution'"):
        reproduction("convolution")
