"""`lra bench model`: who takes part, in turns, what becomes of a failure, and the arithmetic. No time is asserted."""

import io
import json
import os
import signal
from pathlib import Path

import pytest
import torch

from lra_hgrn.bench import model as bench
from lra_hgrn.bench import model_worker
from lra_hgrn.bench.model import KINDS, Pass, Row, crossing, entries, measure, ratios
from lra_hgrn.bench.model_tables import growth_table, overtaking, rows_table
from lra_hgrn.bench.model_worker import of_length
from lra_hgrn.bench.runner import Runner
from lra_hgrn.cli.main import dispatch
from lra_hgrn.errors import UserError
from lra_tasks import get_task

SMALL = ["task.scale=tiny", "model.d_model=8", "model.layers=1", "train.accelerator=cpu"]
MIXERS = """
import os
import torch
from torch import nn


class Mixer(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.map = nn.Linear(d_model, d_model)

    def forward(self, x):
        if self.training:
            self.fail()
        return self.map(x)


class Hungry(Mixer):
    def fail(self):
        raise torch.OutOfMemoryError("tried to allocate 4 TiB")


class Large(Mixer):
    def fail(self):
        torch.empty(2**60)


class Broken(Mixer):
    def fail(self):
        raise RuntimeError("broken on purpose")


class Killed(Mixer):
    def fail(self):
        os.kill(os.getpid(), 9)


class Gone(Mixer):
    def fail(self):
        os._exit(3)
"""
WORKER = """
import sys
from lra_hgrn.bench.runner import turns
orders, answers = turns()
print("started")
for number, order in enumerate(orders):
    if order == b"break off\\n":
        answers.write(b'{"turn": 1')
        sys.exit("in its answer")
    if order == b"die\\n":
        sys.exit("on purpose")
    answers.write(b'{"turn": %d, "order": "%s"}\\n' % (number, order.strip()))
print("released", flush=True)
"""


@pytest.fixture
def mixers(tmp_path, monkeypatch):
    (tmp_path / "mixers.py").write_text(MIXERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


def row(model, times, word=None, length=8, task="text"):
    passes = {kind: Pass([[time] for time in times], peak=length * 1000, first=9.0) for kind in KINDS}
    return Row(task, model, word or model, 10, 8, True, samples=4, length=length, documents=2, passes=passes)


@pytest.mark.slow
def test_models_take_turns_and_failures_are_rows(mixers):
    models = [f"mixers.{name}" for name in ("Hungry", "Large", "Broken", "Killed", "Gone")]
    entered, said = entries(["hgrn", *models], "listops", SMALL)
    assert said == []
    done = list(measure(entered, turns=2, seconds=0.01))
    assert done == [1, 2]
    rows = {one.row.word.removeprefix("mixers."): one.row for one in entered}
    for name in ("hgrn", "transformer"):
        for kind in KINDS:
            found = rows[name].passes[kind]
            assert found.problem == ""
            assert len(found.seconds) == 2
            assert found.first > 0
            assert found.peak is not None
            assert rows[name].tokens(kind) == pytest.approx(rows[name].length / found.median)
    problems = {name: one.passes["training"].problem for name, one in rows.items()}
    assert problems["Hungry"] == problems["Large"] == problems["Killed"] == "out of memory"
    assert problems["Broken"] == "broken on purpose"
    assert problems["Gone"].startswith("died: ")
    for name in ("Hungry", "Large", "Broken"):  # they go on classifying
        assert len(rows[name].passes["inference"].seconds) == 2
    assert rows["Killed"].passes["inference"].problem == "out of memory"
    table = rows_table([one.row for one in entered], "Quick CPU")
    assert [entry.text for entry in table.rows[1]][3:8] == ["–"] * 5
    assert "training: broken on purpose" in table.notes


def test_models_have_the_size_of_hgrn():
    entered, said = entries(["hgrn", "lstm"], "text", ["task.scale=tiny"])
    sizes = [one.row.parameters for one in entered]
    assert [one.row.word for one in entered] == ["hgrn", "lstm", "transformer"]
    assert max(abs(size / sizes[0] - 1) for size in sizes) < 0.05
    assert said == []
    assert {one.row.samples for one in entered} == {1}
    (own, _), _ = entries(["linformer"], "text", ["task.scale=full", "train.batch_size=3"])
    assert own.row.samples == 3


def test_a_model_that_has_no_such_size_keeps_its_own(monkeypatch):
    fit = bench.fit_width

    def refusing(config, reference):
        if config.model.name == "LSTM":
            raise UserError("No width brings it there.")
        return fit(config, reference)

    monkeypatch.setattr(bench, "fit_width", refusing)
    entered, said = entries(["lstm"], "text", ["task.scale=tiny"])
    assert [one.row.matched for one in entered] == [False, True]
    assert said == ["LSTM keeps the size of its recipe on text: No width brings it there."]


def test_sizes_are_equal_under_an_override_too():
    """`model.match=hgrn` alone would fit the others to HGRN's recipe, which has six times as many layers."""
    entered, said = entries(["hgrn", "lstm"], "image", ["task.scale=tiny", "model.layers=1"])
    sizes = [one.row.parameters for one in entered]
    assert max(abs(size / sizes[0] - 1) for size in sizes) < 0.05
    assert [one.row.matched for one in entered] == [True] * 3
    assert said == []


def test_a_model_is_left_out_where_it_takes_no_such_input(monkeypatch):
    entered, (sentence,) = entries(["hgrn", "hgrn-2d"], "text", SMALL)
    assert [one.row.word for one in entered] == ["hgrn", "transformer"]
    assert sentence.startswith("HGRN-2D is left out on text: hgru2d scans images")
    entered, said = entries(["hgrn-2d"], "image", SMALL)
    assert ([one.row.word for one in entered], said) == (["hgrn-2d", "transformer"], [])
    monkeypatch.setattr(bench, "measure", None)
    with pytest.raises(UserError, match=r"Nothing that is to be measured takes hgrn-2d\. .*scans images"):
        dispatch(["bench", "model", "hgrn", "hgrn-2d", "--task", "text", *SMALL])


def test_two_models_of_one_name_stay_apart():
    path = str(Path(__file__).parents[2] / "configs" / "models" / "transformer.yaml")
    entered, _ = entries([path], "text", SMALL)
    assert [one.row.model for one in entered] == ["Transformer", "Transformer (transformer)"]


def test_values_of_any_length_and_an_image_only_where_it_is_one():
    spec = get_task("image")(scale="tiny").spec
    assert spec.side > 0
    assert of_length(spec, spec.max_length) == spec
    assert (of_length(spec, 50).side, of_length(spec, 50).max_length) == (0, 50)
    entered, _ = entries(["hgrn"], "image", SMALL, length=50)
    assert list(measure(entered, turns=1, seconds=0.01)) == [1]
    assert [one.row.passes["training"].problem for one in entered] == ["", ""]


def test_the_compiler_of_the_kernels_is_no_memory_of_a_model():
    """numba and LLVM are about 100 MiB; an HGRN of a thousand parameters on sixty steps needs a few."""
    entered, _ = entries(["hgrn"], "listops", SMALL)
    assert list(measure(entered, turns=1, seconds=0.01)) == [1]
    assert max(one.peak for one in entered[0].row.passes.values()) < 50 * 2**20


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak cannot be measured anew here")
def test_the_peak_holds_what_a_training_step_cannot_do_without():
    """Weights, gradients and AdamW's two means in float32; none of it in memory that the process held before."""
    entered, _ = entries(["hgrn"], "listops", ["task.scale=tiny", "train.accelerator=cpu"])
    assert list(measure(entered, turns=1, seconds=0.01)) == [1]
    for one in entered:
        assert one.row.passes["training"].peak >= 16 * one.row.parameters
        assert one.row.passes["inference"].peak >= 4 * one.row.parameters


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "out of memory"),
        (torch.OutOfMemoryError("tried to allocate 4 GiB"), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."), "out of memory"),
        (RuntimeError("shapes\n differ"), "shapes differ"),
        (KeyError(), "KeyError"),
    ],
)
def test_what_is_said_of_an_error(error, told):
    assert model_worker.problem(error) == told


def test_a_worker_gives_a_gpu_s_memory_back_after_a_failure(monkeypatch):
    def fail(*arguments):
        raise torch.OutOfMemoryError("tried to allocate 4 GiB")

    answers, emptied = io.BytesIO(), []
    work = {"model": "hgrn", "task": "text", "words": [], "samples": 1, "length": None}
    monkeypatch.setattr(model_worker.sys, "argv", ["worker", json.dumps(work)])
    monkeypatch.setattr(model_worker, "turns", lambda: ([b"training 0.1\n"], answers))
    monkeypatch.setattr(model_worker.Worker, "turn", fail)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(answers.getvalue()))
    model_worker.main()
    assert json.loads(answers.getvalue()) == {"problem": "out of memory"}
    assert emptied == [b""]  # before the answer: the next has its turn then


def test_a_turn_keeps_every_step_and_costs_its_unmeasured_one_too():
    class Told:
        def turn(self, order):
            return {"seconds": [1.0, 2.0, 4.0], "warm": 8.0, "peak": 5, "first": 9.0}

    one = row("A", [])
    assert bench._turn(Told(), one, "training", 0.5) == 15
    assert (one.passes["training"].seconds, one.passes["training"].steps) == ([2.0], [[1.0, 2.0, 4.0]])


def test_rates_and_ratios():
    fast, slow = row("A", [0.5, 0.25, 0.5]), row("Transformer", [1.0, 1.0, 2.0], "transformer")
    assert fast.rate("training") == 8
    assert fast.tokens("training") == 8 * 8 * 2
    assert ratios(fast, slow, "training") == [2, 4, 4]
    texts = [entry.text for entry in rows_table([fast, slow], "x").rows[0]]
    assert texts[3:8] == ["8", "128", "4.00 [3.00, 4.00]", "8 KiB", "9.00"]


def test_the_crossing_lies_between_measured_lengths():
    lengths = [100, 200, 400]
    # Ratios 4, 2 and 1/2: on logarithmic axes 1 is half way between 200 and 400.
    assert crossing(lengths, [4, 4, 4], [1, 2, 8]) == pytest.approx(200 * 2**0.5)
    assert crossing(lengths, [1, 1, 1], [2, 2, 2]) == 0
    assert crossing(lengths, [2, 2, 2], [1, 1, 1]) is None
    assert crossing([100], [1], [2]) == 0
    # What was faster for a while and is not at the end does not overtake.
    assert crossing(lengths, [1, 1, 3], [2, 2, 2]) is None


def test_growth_and_overtaking():
    lengths = (64, 128, 256)
    rows = [row("A", [length * 1e-3], "a", length, "listops") for length in lengths]
    rows += [row("Transformer", [length**2 * 1e-5], "transformer", length, "listops") for length in lengths]
    assert overtaking(rows, "A", "training") == pytest.approx(100)
    assert overtaking(rows, "Transformer", "training") is None
    texts = [[entry.text for entry in line] for line in growth_table(rows, ["A", "Transformer"], "x").rows]
    assert texts[0] == ["A", "training", "1.00", "1.00", "about 100"]
    assert texts[1] == ["Transformer", "training", "2.00", "1.00", "–"]


def test_overtaking_is_told_as_far_as_both_were_measured():
    """Attention runs out of memory at 256: what is slower up to 128 says nothing of 256."""
    rows = [row("A", [2.0], "a", length) for length in (64, 128, 256)]
    rows += [row("Transformer", [1.0], "transformer", length) for length in (64, 128)]
    rows += [row("Transformer", [], "transformer", 256)]
    assert growth_table(rows, ["A"], "x").rows[0][4].text == "not up to 128"
    nothing = [row("A", [], "a", 64), row("Transformer", [1.0], "transformer", 64)]
    assert growth_table(nothing, ["A"], "x").rows[0][4].text == "–"


@pytest.mark.parametrize(("backend", "message"), [("none", "HGRN_BACKEND"), ("triton", "interpreted on a CPU")])
def test_a_wrong_backend_is_told_before_anything_is_measured(monkeypatch, backend, message):
    monkeypatch.setattr(bench, "measure", None)
    monkeypatch.setenv("HGRN_BACKEND", backend)
    with pytest.raises(UserError, match=message):
        dispatch(["bench", "model", "--task", "text", *SMALL])


def test_lengths_as_a_user_types_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "TURNS", 1)
    monkeypatch.setattr(bench, "SECONDS", 0.01)
    words = ["--plot", "new/p.svg", "--json", "new/r.json", "--lengths", "64", "32", *SMALL]
    assert dispatch(["bench", "model", *words]) == 0
    out = capsys.readouterr().out
    assert "Faster than attention" in " ".join(out.split())
    found = json.loads(Path("new/r.json").read_text())
    assert [(one["model"], one["length"]) for one in found["rows"]] == [
        (model, length) for length in (32, 64) for model in ("HGRN", "Transformer")
    ]
    assert found["options"] == SMALL
    assert all(len(one["passes"][kind]["steps"]) == 1 for one in found["rows"] for kind in KINDS)
    assert "L = 32" in out
    assert "…" not in out  # nothing is cut off
    assert found["device"]
    assert "<svg" in Path("new/p.svg").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lengths", "0", "4"], "takes numbers of steps from 1 on, not 0"),
        (["--lengths", "4", "1k"], "takes numbers of steps from 1 on, not 1k"),
        (["--lengths", "4", "--task", "text", "--task", "image"], "give --task once"),
        (["--plot", "x.svg"], "give two --lengths or more"),
        (["--plot", "x.gif", "--lengths", "4", "8"], r"must end in .pdf, .png or .svg"),
        (["hgnr"], "Did you mean 'hgrn'"),
        (["--task", "speech"], "speech"),
        (["--json", "."], "it is a folder"),
    ],
)
def test_wrong_words(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        dispatch(["bench", "model", *words])


def test_a_runner_takes_turns_is_released_and_dies(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    with Runner([str(script)], tmp_path / "log") as runner:
        assert runner.turn() == {"turn": 0, "order": "go"}
        assert runner.turn("5") == {"turn": 1, "order": "5"}
        assert runner.finish() == 0
    assert runner.last_line() == "released"
    with Runner([str(script)], tmp_path / "log") as runner:
        assert runner.turn("die") is None
        assert runner.turn() is None
        assert runner.close() == 1
    assert runner.last_line() == "on purpose"
    with Runner([str(script)], tmp_path / "log") as runner:
        assert runner.turn("break off") is None
        assert runner.close() == 1
    runner = Runner([str(script)], tmp_path / "log")
    with pytest.raises(KeyError), runner:
        runner.turn()["no such answer"]
    assert runner.process.returncode == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(runner.process.pid, 0)
