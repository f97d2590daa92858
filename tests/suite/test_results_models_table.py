"""The table of a suite as papers print it: one row for each model, one column for each task."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from small_results import PROCESSOR, make_record, make_results

from lra_hgrn.results.cells import Key
from lra_hgrn.results.gather import gather
from lra_hgrn.results.predictions import make_predictions
from lra_hgrn.results.record import Device, Memory
from lra_hgrn.results.tables.models_table import models_table
from lra_hgrn.results.tables.render import to_csv

ALL = ("listops", "text", "retrieval", "image", "pathfinder", "pathx")
AVERAGES = (
    "Average, left\N{NO-BREAK SPACE}out",
    "Average, as\N{NO-BREAK SPACE}0",
    "Average, as\N{NO-BREAK SPACE}chance",
)


def row_of(table, name) -> dict[str, str]:
    """The texts of the first row whose model's name starts with ``name``, by the heads of the columns."""
    row = next(row for row in table.rows if row[0].text.startswith(name))
    return {column.head: entry.text for column, entry in zip(table.columns, row, strict=True)}


def notes_of(table, name, head) -> list[str]:
    place = [column.head for column in table.columns].index(head)
    row = next(row for row in table.rows if row[0].text.startswith(name))
    return [table.notes[mark - 1] for mark in row[place].marks]


def averages_of(table, name) -> tuple[str, ...]:
    row = row_of(table, name)
    return tuple(row[head] for head in AVERAGES)


def test_one_row_a_model_and_one_column_a_task():
    records = [
        make_record("listops", seed=1, correct=60),
        make_record("listops", seed=2, correct=70),
        make_record("text", seed=1, correct=80),
        make_record("listops", "Transformer", correct=30),
        make_record("text", "Transformer", correct=50),
    ]
    table = models_table(make_results(records))
    assert [column.head for column in table.columns] == [
        "Model",
        "listops",
        "text",
        *AVERAGES,
        "Parameters",
        "Peak memory",
    ]
    assert [list(row_of(table, name).values())[:4] for name in ("HGRN", "Transformer")] == [
        ["HGRN", "65.00 ± 7.07", "80.00", "72.50"],
        ["Transformer", "30.00", "50.00", "40.00"],
    ]
    assert len(table.groups) == 1
    assert table.rows[0][1].runs == ("listops-HGRN-1", "listops-HGRN-2")


def test_published_rows_hold_each_figure_under_its_task():
    table = models_table(make_results([make_record()], ALL, against=("transformer", "hgrn", "transformer-hgrn")))
    assert [group.heading for group in table.groups] == ["", "Published"]
    for name, figures in (  # as the papers print them
        ("Transformer, ICLR 2021", ("36.37", "64.27", "57.46", "42.44", "71.40", "fails")),
        ("HGRN, NeurIPS 2023", ("59.95", "88.14", "94.23", "88.69", "92.92", "97.50")),
    ):
        row = row_of(table, name)
        assert tuple(row[task] for task in ALL) == figures
        assert (row["Parameters"], row["Peak memory"]) == ("", "")
    # LRA's table leaves the failed Path-X out, S4's counts it as 50, HGRN's as 0.
    assert averages_of(table, "Transformer, ICLR") == ("54.39", "45.32", "53.66")
    assert averages_of(table, "Transformer (HGRN") == ("57.37", "47.81", "56.14")
    assert averages_of(table, "HGRN, NeurIPS") == ("86.91",) * 3
    assert notes_of(table, "Transformer, ICLR", AVERAGES[0]) == ["As printed: mean of 5, Path-X left out."]
    assert notes_of(table, "Transformer (HGRN", AVERAGES[1]) == ["As printed: sum/6, Path-X as 0."]
    assert "Images are in colour." in notes_of(table, "HGRN, NeurIPS", "image")
    assert "Images are in colour." not in notes_of(table, "HGRN, NeurIPS", "text")


def test_a_printed_average_over_other_tasks_is_not_quoted_and_one_task_has_no_average():
    table = models_table(make_results([make_record()], ("listops", "text"), against=("transformer",)))
    assert averages_of(table, "Transformer, ICLR") == ("50.32",) * 3
    assert notes_of(table, "Transformer, ICLR", AVERAGES[0]) == []
    table = models_table(make_results([make_record()], ("listops",), against=("transformer",)))
    assert not any(column.head.startswith("Average") for column in table.columns)
    assert "verages" not in " ".join(table.remarks)


def test_a_missing_cell_leaves_no_average_unless_part_of_it_is_asked_for():
    result = make_results([make_record(correct=60)])
    table = models_table(result)
    assert (row_of(table, "HGRN")["text"], averages_of(table, "HGRN")) == ("–", ("–",) * 3)
    assert averages_of(table, "Transformer") == ("–",) * 3
    table = models_table(result, partial=True)
    assert averages_of(table, "HGRN") == ("60.00",) * 3
    assert notes_of(table, "HGRN", AVERAGES[0]) == ["Average over 1 of 2 tasks."]
    assert averages_of(table, "Transformer") == ("–",) * 3


def test_failed_cells_keep_their_number_and_say_why():
    lost = "The loss is not a number at step 20."
    records = [
        make_record("listops", correct=12, status="chance"),
        make_record("text", correct=90),
        make_record("listops", "Transformer", status="diverged", message=lost),
        make_record("text", "Transformer", seed=1, correct=70),
        make_record("text", "Transformer", seed=2, correct=10, status="chance"),
        make_record("text", "Transformer", seed=3, status="failed", scores=None),
    ]
    table = models_table(make_results(records))
    assert (row_of(table, "HGRN")["listops"], notes_of(table, "HGRN", "listops")) == ("12.00", ["At chance."])
    assert averages_of(table, "HGRN") == ("90.00", "45.00", "50.00")  # guessing is right in 10 of 100
    assert (row_of(table, "Transformer")["listops"], notes_of(table, "Transformer", "listops")) == (
        "–",
        [f"Diverged. {lost}"],
    )
    assert row_of(table, "Transformer")["text"] == "40.00 ± 42.43"
    assert notes_of(table, "Transformer", "text") == ["1 of 3 seeds at chance, 1 of 3 seeds failed."]
    (_, row) = csv.DictReader(io.StringIO(to_csv(table)))
    assert [row[f"text_seeds{what}"] for what in ("", "_run", "_failed", "_at_chance")] == ["2", "3", "1", "1"]


def test_equal_notes_share_a_number_and_a_rows_common_notes_stand_at_its_name():
    padding, colour = "Padding is scanned and counted.", "Images are in colour."
    records = [
        make_record("listops", departures=[padding], scale="full"),
        make_record("image", departures=[padding, colour], track="open", scale="full"),
    ]
    table = models_table(make_results(records, ("listops", "image"), against=("hgrn",)))
    assert notes_of(table, "HGRN", "Model") == [padding]
    assert notes_of(table, "HGRN", "image") == ["Open track.", colour]
    assert notes_of(table, "HGRN", "listops") == []
    assert padding in notes_of(table, "HGRN, NeurIPS", "listops")  # the same note as the measured row's
    assert len(set(table.notes)) == len(table.notes)


def test_stamps_stand_at_the_heads_where_tasks_differ_and_below_where_they_do_not():
    same = models_table(make_results([make_record(), make_record("text")]))
    assert [column.marks for column in same.columns[1:3]] == [(), ()]
    assert "Scale tiny, protocol s4, source of the data generated." in same.remarks
    assert any("not comparable with published" in remark for remark in same.remarks)
    records = [make_record(scale="full"), make_record("text", scale="full", source="official")]
    other = models_table(make_results(records))
    assert [[other.notes[mark - 1] for mark in column.marks] for column in other.columns[1:3]] == [
        ["Scale full, protocol s4, source of the data generated."],
        ["Scale full, protocol s4, source of the data official."],
    ]
    assert not any("not comparable with published" in remark for remark in other.remarks)


def test_models_of_a_task_with_other_data_or_searches_are_named_at_its_head():
    records = [make_record(config={"tuning": {"trials": 5, "epochs": 2}}), make_record(model="Transformer")]
    records += [make_record("text"), make_record("text", "Transformer", protocol="google")]
    table = models_table(make_results(records))
    heads = [[table.notes[mark - 1] for mark in column.marks] for column in table.columns[1:3]]
    assert "Searches for hyper-parameters: HGRN 5 trials of 2 epochs, Transformer none." in heads[0]
    assert heads[1] == ["The models of text saw different data: their rows are not comparable."]
    assert notes_of(table, "Transformer", "text") == ["Scale tiny, protocol google, source of the data generated."]


def test_speed_is_a_geometric_mean_over_like_devices():
    gpu = Device(name="a GPU", backend="triton", precision="32", threads=2)
    speeds = {"listops": 4000.0, "text": 1000.0, "image": 9000.0}
    records = [make_record(task, speed=speed) for task, speed in speeds.items()]
    records += [make_record(task, "Transformer", speed=1000.0) for task in ("listops", "text")]
    records.append(make_record("image", "Transformer", speed=1000.0, device=gpu))
    table = models_table(make_results(records, tuple(speeds), baseline="Transformer"))
    assert row_of(table, "HGRN")["Speed vs Transformer"] == "2.00×"
    assert notes_of(table, "HGRN", "Speed vs Transformer") == ["Speed on listops, text only."]
    assert row_of(table, "Transformer")["Speed vs Transformer"] == "1.00×"
    assert PROCESSOR.name in " ".join(table.remarks)


def test_parameters_have_a_range_and_memory_is_the_largest():
    small = Memory(peak_bytes=2**20, counts="resident set")
    table = models_table(
        make_results([make_record(parameters=1000), make_record("text", parameters=2500, memory=small)])
    )
    assert (row_of(table, "HGRN")["Parameters"], row_of(table, "HGRN")["Peak memory"]) == ("1 k–2.5 k", "1.50 GiB")


def test_the_published_row_that_a_model_stands_for_comes_first_and_papers_stay_together():
    config = {"stands_for": "hgrn"}
    records = [make_record(config=config), make_record("text", config=config)]
    against = ("transformer", "s4", "bigbird", "hgrn")
    ids = [row[0].values[4] for row in models_table(make_results(records, against=against)).rows[2:]]
    assert ids == ["hgrn", "transformer", "bigbird", "s4"]
    records[1] = make_record("text")
    ids = [row[0].values[4] for row in models_table(make_results(records, against=against)).rows[2:]]
    assert ids == ["transformer", "bigbird", "s4", "hgrn"]


def test_deviations_are_fields_for_machines():
    record = make_record(correct=1170, total=2000, scale="full", config={"stands_for": "hgrn"})
    (row, *_) = csv.DictReader(io.StringIO(to_csv(models_table(make_results([record], against=("hgrn",))))))
    assert (row["kind"], row["id"], row["listops_verdict"]) == ("measured", "hgrn", "reproduced")
    assert float(row["listops_published"]) == 0.5995
    assert float(row["listops_deviation"]) == pytest.approx(0.585 - 0.5995)


def test_of_a_task_at_several_scales_published_figures_stand_at_full_scale():
    keys = [Key("pathfinder", scale, "HGRN") for scale in ("few-1k", "full")]
    table = models_table(gather(keys, [], against=("hgrn",)))
    row = row_of(table, "HGRN, NeurIPS")
    assert (row["pathfinder few-1k"], row["pathfinder full"]) == ("–", "92.92")


def with_predictions(runs, shares):
    """Records and predictions of models on 400 samples of ListOps, of which each model gets a share right."""
    labels = np.arange(400) % 10
    records = []
    for model, share in shares.items():
        right = np.arange(400) < 400 * share
        record = make_record(model=model, correct=int(right.sum()), total=400)
        predicted = np.where(right, labels, (labels + 1) % 10)
        made = make_predictions(predicted, predicted, labels, fingerprint=record.data_fingerprint, n_classes=10)
        made.save(runs / record.run)
        records.append(record)
    return records


@pytest.mark.parametrize(
    ("shares", "ranks"),
    [
        ({"A": 0.8, "B": 0.5, "C": 0.2}, ["best", "second", None]),
        ({"A": 0.801, "B": 0.8, "C": 0.2}, [None, None, None]),
        ({"A": 0.8, "B": 0.2, "C": 0.201}, ["best", None, None]),
    ],
)
def test_best_and_second_are_marked_only_where_a_test_supports_it(shares, ranks, tmp_path):
    records = with_predictions(tmp_path, shares)
    table = models_table(make_results(records, ("listops",), tuple(shares), runs=tmp_path, against=("s5",)))
    assert [row[1].rank for row in table.rows] == [*ranks, None]  # published rows are not ranked
    remark = next(remark for remark in table.remarks if "Holm" in remark)
    assert "McNemar" in remark
    assert "over 3 comparisons" in remark
    assert remark.startswith("Bold" if any(ranks) else "No model is marked as best: none above chance beats")


def test_a_model_at_chance_is_never_the_best(tmp_path):
    records = with_predictions(tmp_path, {"A": 0.8, "B": 0.2})
    for status, ranks in (("finished", ["best", None]), ("chance", [None, None])):
        made = [replace(record, status=status) for record in records]
        table = models_table(make_results(made, ("listops",), ("A", "B"), runs=tmp_path))
        assert [row[1].rank for row in table.rows] == ranks


def test_without_comparisons_that_is_said():
    remarks = models_table(make_results([make_record()])).remarks
    assert any("no two models of a task could be compared" in remark for remark in remarks)
