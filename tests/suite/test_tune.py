"""Search for hyper-parameters: what may be searched, the search, and the file it leaves."""

import json
import os
import signal
from pathlib import Path

import pytest

from lra_hgrn.cell import compose_cell
from lra_hgrn.config.compose import identity, plain
from lra_hgrn.errors import UserError
from lra_hgrn.tuning.outcome import best_table, write_model, write_study
from lra_hgrn.tuning.plan import make_plan
from lra_hgrn.tuning.space import options_of, parse_space
from lra_hgrn.tuning.study import Trial, best_first

HERE = Path(__file__).parent
SPACE = ("optim.lr=log:1e-3:1e-1", "model.layers=int:1:2", "model.norm=choice:layer,rms")
WORDS = ("model.d_model=4", "train.batch_size=32", "train.accelerator=cpu", "train.threads=1")


def plan_of(task="listops", words=(), space=SPACE, **budget):
    return make_plan("hgrn", task, words, space=space, **{"trials": 3, "epochs": 1, **budget})


def trial(number, accuracy, **options):
    if accuracy is None:
        return Trial(number, options, "failed", None, None, 1.0, "out of luck")
    return Trial(number, options, "finished", accuracy, 7, 1.0)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["optim.lr"], "is not KEY=SPEC"),
        (["optim.lr=lgo:1e-4:1e-2"], "Did you mean 'log'?"),
        (["optim.lr=log:0:1"], "the lower first and above 0"),
        (["optim.lr=log:1e-2:1e-4"], "the lower first"),
        (["optim.lr=log:1e-4"], "two numbers, as in log:1e-4:1e-2"),
        (["optim.lr=uniform:a:b"], "two numbers"),
        (["model.layers=int:1:2.5"], "two whole numbers"),
        (["model.dropout=choice:0"], "at least two values"),
        (["model.dropout=choice:0,0"], "each once"),
        (["optim.lr=log:1e-4:1e-2", "optim.lr=choice:1,2"], "names optim.lr twice"),
        (["task.scale=choice:tiny,small"], "cannot be searched"),
        (["train.epochs=int:1:9"], "cannot be searched"),
        (["train.threads=int:1:2"], "cannot be searched"),
        (["optim.lrr=log:1e-4:1e-2"], "Did you mean 'optim.lr'?"),
        (["lr=log:1e-4:1e-2"], "Did you mean 'optim.lr'?"),
        (["model.layers=uniform:1:4"], "takes int"),
        (["model.layers=int:0:4"], "must be at least 1"),
        (["model.norm=choice:layer,bath"], "Did you mean 'batch'?"),
        (["model.d_model=int:8:16"], "both searched and set"),
        ([], "nothing to search"),
    ],
)
def test_a_wrong_space_is_one_sentence(words, sentence):
    with pytest.raises(UserError) as error:
        plan_of(words=["model.d_model=4"], space=words)
    assert sentence in str(error.value)


@pytest.mark.parametrize("budget", [{"trials": 0}, {"epochs": 0}, {"seed": -1}])
def test_a_budget_of_nothing_is_refused(budget):
    with pytest.raises(UserError, match=f"--{next(iter(budget))} must be"):
        plan_of(**budget)


def test_values_are_read_as_on_the_command_line():
    (dimension,) = parse_space(["optim.recurrence_lr=choice:null,1e-3,2"])
    assert [options_of([dimension.word(value)])["optim.recurrence_lr"] for value in dimension.values] == [None, 1e-3, 2]
    (precision,) = parse_space(["train.precision=choice:32,bf16"])
    assert options_of([precision.word("32")]) == {"train.precision": "32"}
    (rate,) = parse_space(["optim.lr=uniform:0:1"])
    assert options_of([rate.word(0.1 + 0.2)]) == {"optim.lr": 0.1 + 0.2}
    assert options_of(["model.kwargs.causal=true"]) == {"model.kwargs.causal": True}


def test_a_search_is_known_by_all_that_decides_its_trials():
    names = [
        plan_of().name,
        plan_of(words=["optim.clip=1"]).name,
        plan_of(words=["seed=2"]).name,
        plan_of(epochs=2).name,
        plan_of(seed=2).name,
        plan_of(space=SPACE[:1]).name,
    ]
    assert len(set(names)) == len(names)
    assert plan_of(trials=9).name == plan_of(words=["train.threads=2"]).name == names[0]
    assert plan_of(words=["task.scale=tiny"]).directory.parts[:2] == ("results", "tune")


def test_the_best_trial_has_the_highest_accuracy_and_came_first():
    trials = [trial(1, 0.5), trial(2, None), trial(3, 0.75), trial(4, 0.75), trial(5, 0.25)]
    assert [item.number for item in best_first(trials)] == [3, 4, 1, 5]


def test_the_table_shows_five_trials_and_counts_the_failed():
    keys = {"optim.lr": 1e-3, "model.layers": 1, "model.norm": "rms"}
    table = best_table(plan_of(), [trial(n, None if n == 4 else n / 10, **keys) for n in range(1, 9)])
    assert [row[0].text for row in table.rows] == ["8", "7", "6", "5", "3"]
    assert [entry.text for entry in table.rows[0]] == ["8", "80.00", "7", "0.001", "1", "rms"]
    assert "8 trials with train.epochs=1, 1 of them failed" in table.remarks[0]


@pytest.mark.parametrize("model", ["hgrn", "lru", "local-attention"])
@pytest.mark.parametrize("words", [(), ("task.scale=tiny", "train.precision=16", "model.pooling=cls")])
def test_the_model_file_composes_to_the_cell_with_the_best_options(tmp_path, model, words):
    """Although recipes are merged over models: `lra train FILE TASK` learns what `lra train MODEL TASK ...` would."""
    space = ["optim.lr=log:1e-4:1e-2", "model.norm=choice:layer,rms"]
    plan = make_plan(model, "image", words, space=space, trials=2, epochs=3)
    trials = [trial(1, 0.5, **{"optim.lr": 0.00123, "model.norm": "rms"}), trial(2, None)]
    path = write_model(plan, tmp_path, trials)
    wanted = compose_cell(model, "image", [*words, "optim.lr=0.00123", "model.norm=rms"]).config
    composed = compose_cell(str(path), "image").config
    assert identity(composed) == identity(wanted)
    assert plain(composed) == plain(wanted) | {"tuning": {"trials": 2, "epochs": 3}}


def test_the_width_of_a_matched_model_stays_that_of_the_trial(tmp_path):
    words = ["task.scale=tiny", "model.match=hgrn"]
    plan = make_plan("transformer", "listops", words, space=["model.dropout=uniform:0:0.3"], trials=1)
    path = write_model(plan, tmp_path, [trial(1, 0.5, **{"model.dropout": 0.2})])
    wanted = compose_cell("transformer", "listops", [*words, "model.dropout=0.2"]).config
    assert plain(compose_cell(str(path), "listops").config)["model"] == plain(wanted)["model"]


def test_a_search_without_a_finished_trial_has_no_model(tmp_path):
    with pytest.raises(UserError, match=r"No trial .* finished: out of luck"):
        write_model(plan_of(), tmp_path, [trial(1, None)])
    assert not list(tmp_path.iterdir())


def test_the_study_is_strict_json(tmp_path):
    content = json.loads(write_study(plan_of(), tmp_path, [trial(1, 0.5), trial(2, None)]).read_text())
    assert content["budget"] == {"trials": 3, "epochs": 1}
    assert content["best"] == 1
    assert [item["state"] for item in content["trials"]] == ["finished", "failed"]


def test_without_optuna_the_extra_is_named(tmp_path, monkeypatch):
    from lra_hgrn.tuning.search import tune

    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(UserError, match=r"pip install 'lra-hgrn\[tune\]'"):
        tune(plan_of(), tmp_path / "search")
    assert not list(tmp_path.iterdir())


# -- with Optuna


@pytest.fixture
def search(tmp_path, monkeypatch):
    """Return a function that runs a search on a toy task, in a folder, and returns its trials."""
    pytest.importorskip("optuna")
    from lra_hgrn.tuning.search import tune

    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv("LRA_DATA", str(tmp_path / "data"))

    def run(name, words=(), **budget):
        return tune(plan_of("toy_task.Toy", [*WORDS, *words], **budget), tmp_path / name)

    return run


def told(trials):
    """All of the trials but their durations."""
    return [(item.number, item.options, item.state, item.val_accuracy, item.step, item.message) for item in trials]


def interrupt_at(monkeypatch, step):
    """Send SIGTERM to this process inside the training step with this number."""
    from lra_hgrn.training.module import Classification

    count, original = 0, Classification.training_step

    def training_step(self, batch, batch_idx):
        nonlocal count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Classification, "training_step", training_step)


def test_an_interrupted_search_ends_as_one_that_was_not(search, tmp_path, monkeypatch):
    """An epoch of 150 samples in batches of 32 has 5 steps: the third trial is stopped in its second one."""
    from lra_hgrn.errors import Stopped
    from lra_tasks import LRATask

    def test_dataloader(self):
        raise AssertionError("the test split was asked for")

    monkeypatch.setattr(LRATask, "test_dataloader", test_dataloader)
    whole = search("whole", trials=4)
    assert [item.number for item in whole] == [1, 2, 3, 4]
    assert all(item.state == "finished" and 1e-3 <= item.options["optim.lr"] <= 1e-1 for item in whole)
    assert len({item.options["optim.lr"] for item in whole}) == 4
    interrupt_at(monkeypatch, 12)
    with pytest.raises(Stopped, match="Stopped in trial 3"):
        search("parts", trials=4)
    assert len(json.loads((tmp_path / "parts" / "tuned.json").read_text())["trials"]) == 2
    assert not (tmp_path / "parts" / "tuned.yaml").exists()
    assert told(search("parts", trials=4)) == told(whole)
    assert told(search("parts", trials=4)) == told(whole)  # nothing is left to do
    assert told(search("parts", trials=5))[:4] == told(whole)
    assert not list(tmp_path.glob("*/trials/*/*.ckpt"))
    assert not list(tmp_path.glob("*/trials/*/record.json"))
    with pytest.raises(UserError, match="holds another search"):
        search("parts", trials=4, seed=2)


def test_trials_that_fail_are_recorded_and_the_search_goes_on(search, tmp_path, monkeypatch):
    from lra_hgrn.tuning import search as module

    original = module.validate

    def validate(config, directory, reporter):
        if directory.name == "001":
            raise RuntimeError("out of memory")
        return original(config, directory, reporter)

    monkeypatch.setattr(module, "validate", validate)
    space = ("model.kwargs.causal=choice:true,maybe", "model.layers=int:1:2")
    trials = search("search", trials=4, space=space)
    messages = {item.message for item in trials if item.state == "failed"}
    assert trials[0].message == "RuntimeError: out of memory"
    assert all("causal" in message for message in messages - {trials[0].message})
    assert (tmp_path / "search" / "tuned.yaml").is_file()


def test_a_diverging_trial_has_failed(search):
    with pytest.raises(UserError, match=r"No trial .* finished: The training loss was"):
        search("search", words=["optim.clip=0", "optim.warmup_steps=0"], space=["optim.lr=log:1e30:1e31"], trials=1)


def test_a_task_that_selects_on_test_is_refused(search, tmp_path):
    pytest.importorskip("optuna")
    from lra_hgrn.tuning.search import tune

    plan = plan_of("text", ["task.scale=tiny", "task.source=mini", "task.selection=published"])
    with pytest.raises(UserError, match="no validation split to search on"):
        tune(plan, tmp_path / "search")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_stops_the_search_and_it_goes_on(search, tmp_path, monkeypatch):
    original, failed = os.replace, []

    def replace(source, target):
        if Path(target).name == "last.ckpt" and not failed:
            failed.append(target)
            raise OSError(28, "No space left on device", str(target))
        original(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(UserError, match=r"No space left on device.*the same command goes on"):
        search("search", trials=1)
    (trial,) = search("search", trials=1)
    assert trial.state == "finished"
