"""Suites: composition of their cells, and what a wrong suite is told."""

import pytest

from lra_hgrn.config.compose import names
from lra_hgrn.errors import UserError
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
    assert suite.cells == [("listops", "HGRN"), ("listops", "Transformer")]
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


def test_a_seed_on_the_command_line_replaces_the_seeds(tmp_path):
    suite = load_suite(write(tmp_path, SUITE), ["seed=7"])
    assert [job.config.seed for job in suite.jobs] == [7, 7]


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


@pytest.mark.parametrize("name", names("suites"))
def test_every_suite_of_the_project_composes(name):
    suite = load_suite(name)
    assert suite.jobs
    assert suite.baseline is not None
