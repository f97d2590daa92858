"""`lra bench data`: which loaders are measured, and the share of a step that is spent waiting. No time is asserted.

Where a share is asserted, the clock is made up.
"""

import itertools
import json
from types import SimpleNamespace

import pytest
import torch

import lra_tasks.bench
from lra_hgrn.bench import data_loaders, data_waiting
from lra_hgrn.bench.data_waiting import Waiting, measure_waiting
from lra_hgrn.cell import compose_cell
from lra_hgrn.cli.main import main
from lra_hgrn.errors import UserError
from lra_hgrn.training.steps import Steps
from lra_tasks import get_task
from lra_tasks.bench import BenchRow, bench_loader

CPU = torch.device("cpu")
SMALL = ["model.d_model=4", "model.layers=1", "train.threads=1", "train.accelerator=cpu"]
TASKS = ["listops", "text", "retrieval", "image", "pathfinder", "pathx"]


def lra(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(words)
    out, err = capsys.readouterr()
    return stop.value.code or 0, out, err


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """A folder of data of one's own, one thread, and generators that are not run; what is printed of them is known."""
    rows = [BenchRow("ListOps expressions", 1234.4, "expressions/s/core"), BenchRow("images", 7.6, "images/s/core", 42)]
    monkeypatch.setattr(lra_tasks.bench, "bench_generators", lambda seconds: rows)
    monkeypatch.setenv("LRA_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def toy(tmp_path, *words):
    """The configuration of a small HGRN on the toy task, and the task, prepared."""
    config = compose_cell("hgrn", "toy_task.Toy", [*SMALL, f"task.data_dir={tmp_path}", *words]).config
    task = data_loaders.build_task(config)
    task.prepare_data()
    task.setup("fit")
    return config, task


class Clock:
    """Stands in for the module `time` while loader and steps move it on, each by what it is said to take."""

    def __init__(self, monkeypatch, load, step):
        self.now, self.load, self.step, self.sizes = 0.0, load, step, []
        monkeypatch.setattr(data_waiting, "time", SimpleNamespace(perf_counter=lambda: self.now))
        batches, made = data_waiting._batches, data_waiting.Steps

        def slow_batches(*arguments):
            for batch in batches(*arguments):
                self.now += self.load
                yield batch

        def take(steps, batch):
            made.train(steps, batch)
            self.sizes.append(len(batch.labels))
            self.now += self.step(len(batch.labels))

        monkeypatch.setattr(data_waiting, "_batches", slow_batches)
        monkeypatch.setattr(
            data_waiting, "Steps", type("SlowSteps", (made,), {"train": take, "now": lambda steps: self.now})
        )


def test_the_share_is_the_loader_s_part_of_the_loop(tmp_path, monkeypatch):
    """A batch takes 0.25 s and a step 0.75 s: whole batches of 4 are reached, and 10 s are ten of both."""
    config, task = toy(tmp_path, "train.batch_size=4")
    clock = Clock(monkeypatch, load=0.25, step=lambda size: 0.75 if size == 4 else 0.125)
    found = measure_waiting(config, task, CPU, seconds=10)
    assert found == Waiting("HGRN", 4, 4, False, steps=10, step_seconds=1.0, share=0.25)
    assert clock.sizes == [1, 1, 2, 2, *[4] * 12]
    assert task.batch_size == 4


def test_batches_stop_growing_where_a_step_is_long(tmp_path, monkeypatch):
    """A sample takes 0.5 s: two are a long step. At least two steps are taken, however few seconds are asked for."""
    config, task = toy(tmp_path, "train.batch_size=32")
    clock = Clock(monkeypatch, load=0.0, step=lambda size: size / 2)
    found = measure_waiting(config, task, CPU, seconds=0.1)
    assert (found.batch_size, found.recipe_batch_size, found.steps) == (2, 32, 2)
    assert (found.step_seconds, found.share) == (1.0, 0.0)
    assert clock.sizes == [1, 1, 2, 2, 2, 2]
    assert task.batch_size == 32


def test_batches_go_on_from_epoch_to_epoch(tmp_path):
    _, task = toy(tmp_path)
    batches = data_waiting._batches(task, 100, CPU)
    assert [len(next(batches).labels) for _ in range(5)] == [100, 50, 100, 50, 100]


def test_a_gpu_is_not_waited_for_after_each_step(tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *device: waits.append(device))
    config, task = toy(tmp_path)
    steps = Steps(config, task.spec, CPU, waits=False)
    steps.device = torch.device("cuda")
    monkeypatch.setattr(steps, "_logits", lambda batch: steps.net(batch.inputs, batch.lengths))  # on the CPU
    weights = [weight.detach().clone() for weight in steps.net.parameters()]
    steps.train(next(iter(task.train_dataloader())))
    assert waits == []
    assert any((a != b).any() for a, b in zip(steps.net.parameters(), weights, strict=True))
    steps.now()
    assert waits == [(steps.device,)]


def test_the_loader_s_rate_counts_real_steps_only(tmp_path, monkeypatch):
    """The clock moves on by a second whenever it is read: after the three batches of an epoch it stands at 6."""
    _, task = toy(tmp_path, "train.batch_size=50")
    ticks = itertools.count()
    monkeypatch.setattr(lra_tasks.bench, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    row = bench_loader(task, seconds=3.5)
    assert next(ticks) - 1 == 6
    assert row.rate == task.split("train").lengths().sum() / 6
    assert row.unit == "tokens/s"


def test_all_tasks_are_measured_as_far_as_they_are_prepared(capsys, quick):
    get_task("listops")(scale="tiny").prepare_data()
    words = ["task.scale=tiny", *SMALL, "--seconds", "0.05", "--json", "new/data.json"]
    code, out, err = lra(capsys, "bench", "data", *words)
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    for name in TASKS[1:]:
        assert f"left out: {name}, not prepared: lra data prepare {name} task.scale=tiny" in lines
    assert sum(line.startswith("left out: ") for line in lines) == 5
    assert "ListOps expressions 1,234 expressions/s/core –" in lines
    assert "images 8 images/s/core 42" in lines
    assert err.splitlines()[-1] == "measured: 2/2"
    written = json.loads((quick / "new" / "data.json").read_text())
    assert list(written["left_out"]) == TASKS[1:]
    assert [row["rate"] for row in written["generators"]] == [1234.4, 7.6]
    (loader,) = written["loaders"]
    waiting = loader["waiting"]
    assert 0 < waiting["share"] < 1
    assert (waiting["recipe_batch_size"], waiting["resident"]) == (128, False)
    part = "" if waiting["batch_size"] == 128 else f" of {128}"
    figures = f"{waiting['batch_size']}{part} {1e3 * waiting['step_seconds']:.2f} {waiting['share']:.2%}"
    assert f"listops tiny files HGRN {loader['rate']['rate']:,.0f} {figures}" in lines
    assert written["threads"] >= 1
    assert written["versions"]["torch"] == torch.__version__


def test_a_named_task_is_prepared(capsys, quick):
    words = ["bench", "data", "toy_task.Toy", *SMALL, "--seconds", "0.05", "--model", "transformer"]
    code, out, _ = lra(capsys, *words, "train.batch_size=8")
    assert code == 0
    (row,) = [line.split() for line in out.splitlines() if line.lstrip().startswith("toy_task.Toy ")]
    assert row[:4] == ["toy_task.Toy", "full", "files", "Transformer"]
    assert row[5] == "8"
    assert "left out" not in out
    assert [path.name for path in (quick / "data").iterdir()] == ["toy"]


@pytest.mark.parametrize(("share", "told"), [(0.02, False), (0.021, True)])
def test_over_two_per_cent_is_told(capsys, quick, monkeypatch, share, told):
    waiting = Waiting("HGRN", 4, 8, True, 3, 0.5, share)
    monkeypatch.setattr(data_loaders, "measure_waiting", lambda *arguments: waiting)
    code, out, _ = lra(capsys, "bench", "data", "toy_task.Toy", *SMALL, "--seconds", "0.05")
    assert code == 0
    assert ("toy_task.Toy: 2.1% of a step is waiting for data, over 2%." in out) == told
    (row,) = [line.split() for line in out.splitlines() if line.lstrip().startswith("toy_task.Toy ")]
    assert [*row[2:5], *row[6:]] == ["GPU", "memory", "HGRN", "4", "of", "8", "500.00", f"{share:.2%}"]


def test_a_task_without_room_is_left_out_or_a_mistake_where_it_was_named(capsys, quick, monkeypatch):
    def no_room(*arguments):
        raise torch.OutOfMemoryError("tried to allocate 4 GiB")

    get_task("listops")(scale="tiny").prepare_data()
    monkeypatch.setattr(data_loaders, "measure_waiting", no_room)
    sentence = "HGRN on listops runs out of memory: choose a smaller train.batch_size."
    words = [*SMALL, "task.scale=tiny", "--seconds", "0.05"]
    code, out, _ = lra(capsys, "bench", "data", *words)
    assert code == 0
    assert f"left out: listops, {sentence}" in out
    code, _, err = lra(capsys, "bench", "data", "listops", *words)
    assert (code, err.splitlines()[-1]) == (2, f"lra: {sentence}")


def test_a_model_that_fits_some_tasks_only_is_measured_on_these(quick):
    """`hgrn-2d` takes images: of the others the reason is told, and named they are a mistake."""
    cells, left_out = data_loaders.prepared_cells("hgrn-2d", ["task.scale=tiny", *SMALL])
    assert cells == []
    assert "hgru2d scans images" in left_out["text"]
    assert left_out["image"] == "not prepared: lra data prepare image task.scale=tiny"
    with pytest.raises(UserError, match="hgru2d scans images"):
        data_loaders.named_cells(["image", "text"], "hgrn-2d", SMALL)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--seconds", "0"], "--seconds takes a number above 0, not 0."),
        (["--seconds", "nan"], "--seconds takes a number above 0, not nan."),
        (["--model", "hgrm"], "Unknown model 'hgrm'. Did you mean 'hgrn'?"),
        (["lisptops"], "Unknown task 'lisptops'. Did you mean 'listops'?"),
        (["train.batchsize=3"], "Unknown option 'train.batchsize' (command line)."),
        (["task.scale=huge"], "listops has no scale 'huge'"),
        (["--json", "/proc/no/data.json"], "Cannot write /proc/no/data.json: No such file or directory; choose anoth"),
        (["text", "--model", "hgrn-2d"], "hgru2d scans images"),
    ],
)
def test_a_mistake_is_told_before_anything_is_measured(capsys, quick, monkeypatch, words, sentence):
    monkeypatch.setattr(lra_tasks.bench, "bench_generators", None)
    code, out, err = lra(capsys, "bench", "data", *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"lra: {sentence}")
    assert err.count("\n") == 1
    assert list(quick.iterdir()) == []
