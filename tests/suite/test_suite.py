"""Suites: composition of their cells, and what a wrong suite is told."""

import dataclasses
import inspect

import pytest

from lra_hgrn.cell import compose_cell
from lra_hgrn.config.compose import names
from lra_hgrn.errors import UserError
from lra_hgrn.models.match import count_parameters, task_spec
from lra_hgrn.models.mixers.hgru import HGRU
from lra_hgrn.results.cells import labels
from lra_hgrn.results.published import find_methods
from lra_hgrn.suite import load_suite

SUITE = """
title: Test
baseline: Transformer
seeds: [1, 2]
set: {task: {scale: tiny}, train: {epochs: 3}}
cells:
  - {model: hgrn, task: listops, set: {optim: {lr: 0.25}, model: {kwargs: {causal: true}}}}
  - {model: transformer, task: listops}
"""


def write(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_cells_times_seeds_with_shared_own_and_given_options(tmp_path):
    suite = load_suite(write(tmp_path, SUITE), ["optim.clip=2", "train.epochs=4"])
    assert (suite.name, suite.title, suite.baseline) == ("mine", "Test", "Transformer")
    assert suite.keys == [("listops", "tiny", "HGRN"), ("listops", "tiny", "Transformer")]
    assert [(job.config.model.name, job.config.seed) for job in suite.jobs] == [
        ("HGRN", 1),
        ("HGRN", 2),
        ("Transformer", 1),
        ("Transformer", 2),
    ]
    config = suite.jobs[0].config
    assert (config.optim.lr, config.optim.clip, config.train.epochs, config.task.scale) == (0.25, 2, 4, "tiny")
    assert config.model.kwargs == {"causal": True}
    assert len({job.directory(tmp_path) for job in suite.jobs}) == 4


def test_models_may_be_compared_with_the_baseline_alone(tmp_path):
    assert load_suite(write(tmp_path, SUITE)).compared_with is None
    text = SUITE + "compare: baseline\n"
    assert load_suite(write(tmp_path, text)).compared_with == "Transformer"
    assert load_suite(write(tmp_path, text), models=["hgrn"]).compared_with is None
    with pytest.raises(UserError, match="needs a `baseline`"):
        load_suite(write(tmp_path, text.replace("baseline: Transformer\n", "")))
    with pytest.raises(UserError, match=r"mine\.yaml"):
        load_suite(write(tmp_path, SUITE + "compare: some\n"))


def test_a_seed_on_the_command_line_replaces_the_seeds(tmp_path):
    suite = load_suite(write(tmp_path, SUITE), ["seed=7"])
    assert [job.config.seed for job in suite.jobs] == [7, 7]
    suite = load_suite(write(tmp_path, SUITE), ["seed=[4,5]"])
    assert [job.config.seed for job in suite.jobs] == [4, 5, 4, 5]
    for words in ("seed=[]", "seed=1.5", 'seed=[1,"x"]', "seed=true"):
        with pytest.raises(UserError, match="takes a whole number or a list of them"):
            load_suite(write(tmp_path, SUITE), [words])


def test_only_the_cells_that_are_asked_for(tmp_path):
    suite = load_suite(write(tmp_path, SUITE), models=["hgrn"], tasks=["listops"])
    assert suite.keys == [("listops", "tiny", "HGRN")]
    assert suite.baseline is None  # it is not among them
    with pytest.raises(UserError, match=r"has no model 'hgrm'. Did you mean 'hgrn'\? It has hgrn, transformer"):
        load_suite(write(tmp_path, SUITE), models=["hgrm"])
    text = "title: Two\ncells: [{model: hgrn, task: text}, {model: lstm, task: image}]\n"
    with pytest.raises(UserError, match="has no cell of lstm on text"):
        load_suite(write(tmp_path, text), tasks=["text"], models=["lstm"])


def test_one_task_at_several_scales_is_several_cells(tmp_path):
    cells = ", ".join(f"{{model: hgrn, task: listops, set: {{task: {{scale: {scale}}}}}}}" for scale in ("tiny", "4k"))
    suite = load_suite(write(tmp_path, f"title: Lengths\ncells: [{cells}, {{model: hgrn, task: text}}]\n"))
    assert list(labels(suite.keys).values()) == ["listops tiny", "listops 4k", "text"]


def test_no_run_no_record(tmp_path):
    suite = load_suite(write(tmp_path, SUITE))
    assert suite.records(tmp_path) == ([], [])


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("title:", "tittle:", "unknown key 'tittle'. Did you mean 'title'?"),
        ("baseline: Transformer", "baseline: transformer", "baseline 'transformer' is none of the models HGRN"),
        ("model: hgrn", "model: hgrm", "Unknown model 'hgrm'. Did you mean 'hgrn'?"),
        ("model: transformer", "model: hgrn", "'HGRN' on 'listops' with seed 1 twice"),
        ("lr: 0.25", "lrr: 0.25", "Unknown option 'optim.lrr'"),
        ("[1, 2]", "[one]", "mine.yaml"),
        ("[1, 2]", "[]", "names no cells or no seeds"),
        ("task: listops}", "taks: listops}", "mine.yaml"),
    ],
)
def test_a_wrong_suite_is_one_sentence(tmp_path, old, new, sentence):
    with pytest.raises(UserError) as raised:
        load_suite(write(tmp_path, SUITE.replace(old, new)))
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", [name for name in names("suites") if name != "equal"])  # which has its own test
def test_every_suite_of_the_project_composes(name):
    suite = load_suite(name)
    find_methods(suite.against)
    assert suite.jobs
    assert suite.baseline is not None


def test_models_times_tasks_are_cells(tmp_path):
    text = "title: Grid\nmodels: [hgrn, lstm]\ntasks: [text, listops]\ncells: [{model: hgrn, task: image}]\n"
    assert [(key.task, key.model) for key in load_suite(write(tmp_path, text)).keys] == [
        ("image", "HGRN"),
        ("text", "HGRN"),
        ("text", "LSTM"),
        ("listops", "HGRN"),
        ("listops", "LSTM"),
    ]
    with pytest.raises(UserError, match="names no cells"):
        load_suite(write(tmp_path, "title: Grid\nmodels: [hgrn]\n"))


def test_cells_of_equal_size():
    """The width is found once for the job, and again by the process that runs it."""
    suite = load_suite("equal")
    assert suite.baseline == "HGRN"
    sizes = {}
    for job in suite.jobs:
        sizes.setdefault(job.config.task.name, {})[job.model] = count_parameters(
            task_spec(job.config), job.config.model
        )
    for job in suite.jobs[::7]:
        assert compose_cell(job.model, job.task, job.words).config == job.config
    for of_task in sizes.values():
        assert all(abs(size - of_task["hgrn"]) <= 0.05 * of_task["hgrn"] for size in of_task.values())


def test_ablations_change_one_part_each():
    jobs = [job for job in load_suite("ablations").jobs if job.task == "text"]
    whole = jobs[0].config.model
    assert whole.kwargs == {}
    for job in jobs[1:]:
        model = job.config.model
        assert len(model.kwargs) == 1
        assert dataclasses.replace(model, name=whole.name, kwargs={}) == whole
        ((option, value),) = model.kwargs.items()
        assert inspect.signature(HGRU).parameters[option].default != value
