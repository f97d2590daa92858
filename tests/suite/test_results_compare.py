"""Comparisons of the models of a suite, which of them is best, and `lra compare`."""

import csv
import dataclasses
import io

import numpy as np
import pytest
from small_results import make_record, make_results

from lra_hgrn.cli.main import dispatch
from lra_hgrn.errors import UserError
from lra_hgrn.results.compare import (
    Comparison,
    apart,
    compare_answers,
    comparison_table,
    load_answers,
    marks,
)
from lra_hgrn.results.paired import MCNEMAR, WELCH, holm
from lra_hgrn.results.predictions import FILE, Predictions, make_predictions
from lra_hgrn.results.record import Score, Scores
from lra_hgrn.results.tables.cells_table import cells_table
from lra_hgrn.results.tables.render import to_csv, to_markdown
from lra_hgrn.suite import load_suite

SAMPLES = 1000
LABELS = np.arange(SAMPLES) % 10


def answers_of(right: int, labels=LABELS, fingerprint: str = "3f2a") -> Predictions:
    """Predictions of which the best checkpoint's first ones are right, and none of the last one's."""
    wrong = (labels + 1) % 10
    best = np.where(np.arange(len(labels)) < right, labels, wrong)
    return make_predictions(best, wrong, labels, fingerprint=fingerprint, n_classes=10)


class Runs:
    """Records and predictions of runs that never were."""

    def __init__(self, **models: list[int]) -> None:
        """Give each model what its seeds got right on ListOps, the same samples first."""
        self.models = list(models)
        self.records = [
            make_record(model=model, seed=seed, correct=right, total=SAMPLES)
            for model, rights in models.items()
            for seed, right in enumerate(rights, 1)
        ]
        self.predictions = {record.run: answers_of(record.scores.best.correct) for record in self.records}

    @property
    def cells(self):
        return make_results(self.records, ("listops",), self.models).cells

    def __call__(self, record) -> Predictions:
        if record.run not in self.predictions:
            raise UserError(f"{record.run} has no predictions.")
        return self.predictions[record.run]

    @property
    def comparisons(self) -> list[Comparison]:
        return compare_answers(load_answers(self.cells, self)[0])


def test_all_pairs_of_a_task_are_compared_in_order():
    runs = Runs(a=[800], b=[780], c=[700, 710, 705])
    found = runs.comparisons
    assert [(one.first, one.second) for one in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [(one.seeds_first, one.seeds_second, one.method) for one in found] == [
        (1, 1, MCNEMAR),
        (1, 3, WELCH),
        (1, 3, WELCH),
    ]
    assert [one.difference for one in found] == pytest.approx([0.02, 0.095, 0.075])
    assert found[0].p == pytest.approx(2 * 0.5**20)  # 20 samples that only one run got right, all the same one
    assert [one.adjusted for one in found] == holm([one.p for one in found])
    assert all(one.low < one.difference < one.high for one in found)


def test_models_are_compared_with_one_alone_where_that_is_asked_for():
    runs = Runs(a=[800], b=[700], c=[600], d=[500])
    answers, _ = load_answers(runs.cells, runs)
    found = compare_answers(answers, "b")
    assert [(one.first, one.second) for one in found] == [("a", "b"), ("b", "c"), ("b", "d")]
    assert [one.adjusted for one in found] == holm([one.p for one in found])  # over three tests and not over six
    results = make_results(runs.records, ("listops",), ("a", "b", "c", "d"), compared_with="b")
    assert "No model is marked as best: each is compared with b alone." in to_markdown(cells_table(results))


def test_models_of_different_tasks_and_scales_are_not_compared():
    runs = Runs(a=[800], b=[700])
    text = [dataclasses.replace(record, task="text", run=f"text {record.run}") for record in runs.records]
    full = [dataclasses.replace(record, scale="full", run=f"full {record.run}") for record in runs.records]
    everything = [*runs.records, *text, *full]
    runs.predictions = {record.run: answers_of(record.scores.best.correct) for record in everything}
    cells = [make_results(group, ("listops", "text"), ("a", "b")).cells for group in (runs.records + text, full)]
    renamed = [dataclasses.replace(cell, task=f"{cell.task} full") for cell in cells[1]]  # as one suite has them
    found = compare_answers(load_answers([*cells[0], *renamed], runs)[0])
    assert [one.task for one in found] == ["listops", "text", "listops full"]


def test_only_seeds_that_count_are_compared():
    runs = Runs(a=[800, 810, 790], b=[700, 100])
    runs.records[1] = dataclasses.replace(runs.records[1], status="diverged")
    runs.records[4] = dataclasses.replace(runs.records[4], status="chance")
    (one,) = runs.comparisons
    assert (one.seeds_first, one.seeds_second) == (2, 2)
    assert one.difference == pytest.approx(0.795 - 0.4)


def test_predictions_that_cannot_be_used_take_their_cell_out_with_a_sentence():
    runs = Runs(a=[800], b=[700, 710], c=[600], d=[500])
    del runs.predictions["listops-b-2"]
    runs.predictions["listops-c-1"] = answers_of(601)
    answers, problems = load_answers(runs.cells, runs)
    assert [one.model for one in answers] == ["a", "d"]
    assert problems[0] == "listops-b-2 has no predictions."
    assert "listops-c-1 are right on 601 of 1000 samples" in problems[1]
    assert len(problems) == 2
    assert len(runs.comparisons) == 1


@pytest.mark.parametrize("other", [answers_of(700, fingerprint="9c1b"), answers_of(700, LABELS[::-1].copy())])
def test_models_that_saw_different_data_are_not_compared(other):
    runs = Runs(a=[800], b=[700], c=[600])
    runs.predictions["listops-b-1"] = other
    answers, problems = load_answers(runs.cells, runs)
    assert problems == []
    assert [(one.first, one.second) for one in compare_answers(answers)] == [("a", "c")]
    assert apart(answers) == ["Models of listops are compared only where they saw the same data: a, c; b."]


def test_seeds_that_saw_different_data_are_no_cell():
    runs = Runs(a=[800], b=[700, 710])
    runs.predictions["listops-b-2"] = answers_of(710, fingerprint="9c1b")
    answers, problems = load_answers(runs.cells, runs)
    assert [one.model for one in answers] == ["a"]
    assert problems == ["The seeds of listops × b were tested on different data: run them again."]


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ({"a": [700], "b": [800], "c": [600]}, {"b": "best", "a": "second"}),
        ({"a": [700], "b": [800]}, {"b": "best"}),
        ({"a": [798], "b": [800], "c": [600]}, {}),  # no best, therefore no second
        ({"a": [600], "b": [800], "c": [602]}, {"b": "best"}),
        ({"a": [800]}, {}),
        ({"a": [700], "b": [800], "c": [600], "d": [400]}, {"b": "best", "a": "second"}),
    ],
)
def test_best_and_second_beat_all_below_them(models, expected):
    runs = Runs(**models)
    assert marks(runs.cells, runs.comparisons) == {("listops", model): rank for model, rank in expected.items()}


def test_a_model_without_a_comparison_leaves_no_best_one():
    runs = Runs(a=[700], b=[800], c=[600])
    del runs.predictions["listops-c-1"]
    assert marks(runs.cells, runs.comparisons) == {}
    assert marks(runs.cells, []) == {}


def test_best_is_decided_by_the_adjusted_p():
    runs = Runs(a=[700], b=[708])
    (one,) = runs.comparisons
    assert one.p < 0.05
    assert marks(runs.cells, [one]) == {("listops", "b"): "best"}
    assert marks(runs.cells, [dataclasses.replace(one, adjusted=0.051)]) == {}


def test_the_table_shows_points_and_keeps_exact_shares():
    runs = Runs(a=[700], b=[720], c=[710, 690])
    found = runs.comparisons
    table = comparison_table(found, "A <suite>", ["One more remark."])
    markdown = to_markdown(table)
    assert "A \\<suite\\>" in markdown
    assert "2.00" in markdown
    assert "\\<0.0001" in markdown
    assert "Holm’s correction over the 3 comparisons made" in markdown
    assert "noise of training is not in the test" in markdown
    assert "One more remark." in markdown
    (first, *_) = rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert len(rows) == 3
    assert (first["task"], first["first"], first["second"], first["method"]) == ("listops", "a", "b", MCNEMAR)
    for name in ("difference", "low", "high", "p", "adjusted"):
        assert float(first[name]) == getattr(found[0], name)
    assert "could be compared" in to_markdown(comparison_table([]))


SUITE = """
title: Two models
models: [hgrn, transformer]
tasks: [listops]
set: {task: {scale: tiny}}
"""


def test_the_command_prints_the_table_and_tells_of_what_it_cannot_read(tmp_path, capsys):
    (tmp_path / "two.yaml").write_text(SUITE)
    words = ["compare", str(tmp_path / "two.yaml"), "--runs", str(tmp_path / "runs"), "--format", "csv"]
    for job, right in zip(load_suite(words[1]).jobs, (800, 700), strict=True):
        directory = job.directory(tmp_path / "runs")
        score = Score.of(right, SAMPLES, val_accuracy=0.7, epoch=2, step=40)
        scores = Scores(best=score, last=score)
        make_record(model=job.config.model.name, run=directory.name, scores=scores).save(directory)
        answers_of(right).save(directory)
    assert dispatch(words) == 0
    out, err = capsys.readouterr()
    (row,) = csv.DictReader(io.StringIO(out))
    assert (row["first"], row["second"], float(row["difference"])) == ("HGRN", "Transformer", pytest.approx(0.1))
    assert err == ""
    (directory / FILE).write_bytes(b"no archive")
    assert dispatch(words) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert f"{FILE} is not an npz file" in err
    assert len(err.splitlines()) == 1
