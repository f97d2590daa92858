"""`lra bench model`: who takes part, in turns, what becomes of a failure, and the arithmetic. No time is asserted."""

import json
import os
import signal
from pathlib import Path

import pytest

from lra_hgrn.bench import model as bench
from lra_hgrn.bench.model import KINDS, Pass, Row, crossing, entries, measure, ratios
from lra_hgrn.bench.model_tables import growth_table, overtaking, rows_table
from lra_hgrn.bench.runner import Runner
from lra_hgrn.cli.main import dispatch
from lra_hgrn.errors import UserError

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
    passes = {kind: Pass(list(times), peak=length * 1000, first=9.0) for kind in KINDS}
    return Row(task, model, word or model, 10, 8, True, samples=4, length=length, documents=2, passes=passes)


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
    compose = bench.compose_cell

    def refusing(word, task, words=()):
        if word == "lstm" and "model.match=hgrn" in words:
            raise UserError("No width brings it there.")
        return compose(word, task, words)

    monkeypatch.setattr(bench, "compose_cell", refusing)
    entered, said = entries(["lstm"], "text", ["task.scale=tiny"])
    assert [one.row.matched for one in entered] == [False, True]
    assert said == ["LSTM keeps the size of its recipe on text: No width brings it there."]


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


def test_lengths_as_a_user_types_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "TURNS", 1)
    monkeypatch.setattr(bench, "SECONDS", 0.01)
    words = ["--lengths", "64", "32", "--plot", "new/p.svg", "--json", "new/r.json"]
    assert dispatch(["bench", "model", *SMALL, *words]) == 0
    out = capsys.readouterr().out
    assert "Faster than attention" in " ".join(out.split())
    found = json.loads(Path("new/r.json").read_text())
    assert [(one["model"], one["length"]) for one in found["rows"]] == [
        (model, length) for length in (32, 64) for model in ("HGRN", "Transformer")
    ]
    assert found["options"] == SMALL
    assert found["device"]
    assert "<svg" in Path("new/p.svg").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lengths", "0", "4"], "takes numbers of steps from 1 on, not 0"),
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
    runner = Runner([str(script)], tmp_path / "log")
    with pytest.raises(KeyError), runner:
        runner.turn()["no such answer"]
    assert runner.process.returncode == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(runner.process.pid, 0)
