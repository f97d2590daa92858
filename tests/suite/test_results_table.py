"""The table of a suite, cell by cell."""

import csv
import io

import pytest
from small_results import make_record, make_results

from lra_hgrn.errors import UserError
from lra_hgrn.results.cells import Key
from lra_hgrn.results.gather import gather
from lra_hgrn.results.record import Device, Memory
from lra_hgrn.results.tables.cells_table import cells_table
from lra_hgrn.results.tables.render import to_csv
from lra_hgrn.results.tables.table import binary, points, si


def make_table(records, **options):
    return cells_table(make_results(records, **options))


def lines_of(records, **options) -> list[dict[str, str]]:
    table = make_table(records, **options)
    return list(csv.DictReader(io.StringIO(to_csv(table))))


def texts_of(records, **options) -> list[dict[str, str]]:
    table = make_table(records, **options)
    heads = [column.head for column in table.columns]
    return [dict(zip(heads, [entry.text for entry in row], strict=True)) for row in table.rows]


def test_models_of_a_task_stand_side_by_side_in_the_suites_order():
    rows = lines_of([])
    assert [(row["task"], row["model"]) for row in rows] == [
        ("listops", "HGRN"),
        ("listops", "Transformer"),
        ("text", "HGRN"),
        ("text", "Transformer"),
    ]


def test_missing_cells_are_dashes_and_empty_fields_never_zero():
    rows = texts_of([], baseline="Transformer")
    for row in rows:
        assert set(list(row.values())[2:]) == {"–"}
    for row in lines_of([], baseline="Transformer"):
        assert {value for key, value in row.items() if key not in ("task", "model", "kind")} == {""}


def test_one_seed():
    (row, *_) = texts_of([make_record()])
    assert row["Task"] == "listops (tiny, s4, generated)"
    assert (row["Accuracy %"], row["± (seeds)"], row["Chance %"]) == ("60.00", "–", "10.00")
    assert row["95 % interval"] == "50.20–69.06"  # Wilson, by the closed formula
    assert (row["Parameters"], row["Tokens/s"], row["Peak memory"]) == ("86.4 k", "1 k", "1.50 GiB")
    assert row["Runs"] == "finished"
    assert "Speed vs Transformer" not in row


def test_several_seeds_are_averaged_and_the_speed_is_their_median():
    records = [
        make_record(seed=seed, correct=correct, speed=speed)
        for seed, correct, speed in [(3, 70, 900.0), (1, 60, 5000.0), (2, 50, 1000.0)]
    ]
    (row, *_) = lines_of(records)
    assert float(row["accuracy"]) == pytest.approx(0.6)
    assert float(row["sd"]) == pytest.approx(0.1)
    assert int(row["seeds"]) == 3
    assert float(row["tokens_per_second"]) == 1000.0
    assert float(row["low"]) < 0.6 - 4.302 * 0.1 / 3**0.5
    assert texts_of(records)[0]["± (seeds)"] == "10.00 (3)"


def test_diverged_and_failed_seeds_have_no_accuracy_and_are_never_hidden():
    records = [
        make_record(seed=1),
        make_record(seed=2, correct=1, status="diverged"),
        make_record(seed=3, status="failed", scores=None),
    ]
    (row, *_) = texts_of(records)
    assert row["Accuracy %"] == "60.00"
    assert row["Runs"] == "1 of 3 seeds diverged, 1 of 3 seeds failed"
    (row, *_) = texts_of(records[1:2])
    assert (row["Accuracy %"], row["95 % interval"], row["Runs"]) == ("–", "–", "diverged")


def test_seeds_at_chance_and_stopped_seeds_count_and_are_named():
    records = [
        make_record(seed=1, correct=60),
        make_record(seed=2, correct=10, status="chance"),
        make_record(seed=3, correct=50, status="stopped"),
    ]
    (row, *_) = texts_of(records)
    assert row["Accuracy %"] == "40.00"
    assert row["Runs"] == "1 of 3 seeds stopped early, 1 of 3 seeds at chance"


def test_ratio_is_taken_on_one_device_only():
    hgrn, slow = make_record(speed=3000.0), make_record(model="Transformer", speed=2000.0)
    rows = texts_of([hgrn, slow], baseline="Transformer")
    assert [row["Speed vs Transformer"] for row in rows] == ["1.50×", "1.00×", "–", "–"]
    other_backend = make_record(
        model="Transformer", speed=1000.0, device=Device(name="a processor", backend="x", precision="32", threads=2)
    )
    assert texts_of([hgrn, other_backend], baseline="Transformer")[0]["Speed vs Transformer"] == "3.00×"
    for changes in ({"name": "a GPU"}, {"precision": "bf16"}, {"threads": 4}):
        device = Device(**({"name": "a processor", "backend": "cpu", "precision": "32", "threads": 2} | changes))
        table = make_table([hgrn, make_record(model="Transformer", device=device)], baseline="Transformer")
        entry = table.rows[0][8]
        assert (entry.text, entry.values, entry.marks) == ("–", (None,), (1,))
        assert table.notes[0].startswith("No ratio: measured on a processor")


def test_machines_read_how_many_seeds_failed():
    records = [
        make_record(seed=1),
        make_record(seed=2, correct=10, status="chance"),
        make_record(seed=3, status="failed", scores=None),
        make_record(seed=4, status="diverged"),
    ]
    (row, *_) = lines_of(records)
    assert [row[f"seeds{what}"] for what in ("", "_run", "_failed", "_at_chance")] == ["2", "4", "2", "1"]


def test_numbers_lead_to_the_runs_that_they_are_the_mean_of():
    table = make_table([make_record(seed=2), make_record(seed=1), make_record(seed=3, status="diverged")])
    assert table.rows[0][2].runs == ("listops-HGRN-1", "listops-HGRN-2")


def test_seeds_on_different_devices_have_no_common_speed():
    gpu = Device(name="a GPU", backend="triton", precision="32", threads=2)
    table = make_table([make_record(seed=1), make_record(seed=2, device=gpu)])
    assert (table.rows[0][7].text, table.rows[0][7].marks) == ("–", (1,))
    assert "a processor" in table.notes[0]
    assert "a GPU" in table.notes[0]
    assert table.rows[0][2].text == "60.00"


def test_memory_counted_in_two_ways_has_no_common_peak():
    cuda = Memory(peak_bytes=5, counts="cuda allocated")
    (row, *_) = texts_of([make_record(seed=1), make_record(seed=2, memory=cuda)])
    assert row["Peak memory"] == "–"


def test_departures_and_stamps_stand_below_the_table():
    open_run = make_record(track="open", departures=["RGB input", "crop and flip"])
    table = make_table([open_run, make_record(model="Transformer", departures=["crop and flip"])])
    assert table.notes == ["Open track.", "RGB input.", "crop and flip."]
    assert [row[1].marks for row in table.rows] == [(1, 2, 3), (3,), (), ()]
    remarks = " ".join(table.remarks)
    for words in ("not comparable with published", "a processor", "listops 01234567"):
        assert words in remarks
    assert "012345678" not in remarks


def test_models_that_saw_different_data_are_marked():
    table = make_table([make_record(), make_record(model="Transformer", data_fingerprint="ffff")])
    assert [row[0].marks for row in table.rows] == [(1,), (1,), (), ()]
    assert "not comparable" in table.notes[0]


def test_records_outside_the_suite_are_named():
    keys = [Key("listops", "tiny", "HGRN")]
    table = cells_table(gather(keys, [make_record(), make_record(task="pathx"), make_record(seed=2, scale="small")]))
    assert len(table.rows) == 1
    assert table.remarks[-1].endswith("pathx-HGRN-1, listops-HGRN-2.")


def test_a_difference_in_the_search_for_hyper_parameters_is_said():
    searched = {"tuning": {"trials": 20, "epochs": 1}}
    records = [make_record(config=searched), make_record(model="Transformer"), make_record("text")]
    table = make_table(records)
    assert table.notes == ["Searches for hyper-parameters: HGRN 20 trials of 1 epoch, Transformer none."]
    assert [row[0].marks for row in table.rows] == [(1,), (1,), (), ()]
    assert make_table([make_record(config=searched)]).notes == []


def test_published_rows_stand_below_the_measured_ones_of_their_task():
    table = make_table([make_record()], against=["transformer", "hgrn"])
    groups = [(group.heading, [row[1].text for row in group.rows]) for group in table.groups]
    published = ("Published", ["Transformer, ICLR 2021", "HGRN, NeurIPS 2023"])
    assert groups == [("", ["HGRN", "Transformer"]), published] * 2
    rows = [row for row in lines_of([make_record()], against=["transformer", "hgrn"]) if row["kind"] == "published"]
    assert [(row["task"], row["id"], float(row["accuracy"])) for row in rows] == [
        ("listops", "transformer", 0.3637),
        ("listops", "hgrn", 0.5995),
        ("text", "transformer", 0.6427),
        ("text", "hgrn", 0.8814),
    ]
    assert "selected-on-test" in rows[3]["departures"]
    assert "The checkpoint is selected on the test split, as in the published code." in table.notes
    failed = make_table([make_record("pathx")], tasks=("pathx",), against=["transformer"]).rows[-1]
    assert (failed[2].text, failed[2].values) == ("fails", (None, None))


def test_a_cell_that_stands_for_a_published_figure_is_set_beside_it():
    config = {"stands_for": "hgrn"}
    chosen = ["The checkpoint is selected on the test split, as in the published code."]
    records = [
        make_record(correct=1170, total=2000, scale="full", config=config),  # 58.50, published 59.95
        make_record("text", correct=20000, total=25000, scale="full", config=config, departures=chosen),  # 88.14
        make_record(model="Transformer", correct=730, total=2000, scale="full"),
    ]
    rows = texts_of(records)
    # Half-widths: sqrt(1.96² · p(1 − p) / n of both samples), to which Wilson's intervals come close.
    half = 100 * 1.96 * (0.585 * 0.415 / 2000 + 0.5995 * 0.4005 / 2000) ** 0.5
    difference, sign, found = rows[0]["Deviation"].split()
    assert (rows[0]["Published %"], difference, sign, rows[0]["Verdict"]) == ("59.95", "−1.45", "±", "reproduced")
    assert float(found) == pytest.approx(half, abs=0.05)
    assert (rows[2]["Published %"], rows[2]["Verdict"]) == ("88.14", "below")
    assert (rows[1]["Published %"], rows[1]["Deviation"], rows[1]["Verdict"]) == ("–", "–", "–")
    line = lines_of(records)[0]
    assert float(line["published"]) == 0.5995
    assert float(line["deviation"]) == pytest.approx(0.585 - 0.5995)
    assert "Verdict" not in texts_of([make_record()])[0]


def test_a_cell_stands_for_a_figure_only_if_all_its_seeds_do():
    records = [make_record(seed=1, config={"stands_for": "hgrn"}), make_record(seed=2, config={"stands_for": None})]
    assert "Published %" in texts_of(records[:1])[0]
    assert "Published %" not in texts_of(records)[0]


def test_a_figure_that_cannot_be_compared_says_why_in_a_note():
    table = make_table([make_record(config={"stands_for": "hgrn"})])
    entry = table.rows[0][8]
    assert (entry.text, table.notes[entry.marks[0] - 1]) == (
        "not comparable",
        "Measured at scale tiny, published at full size.",
    )
    assert table.rows[0][7].text == "–"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 1}, "both have seed 1"),
        ({"protocol": "google"}, "differ in protocol"),
        ({"config_hash": "other"}, "differ in config_hash"),
        ({"data_fingerprint": "other"}, "saw different data"),
        ({"total": 200}, "saw different data"),
    ],
)
def test_runs_that_cannot_be_averaged_are_refused(changes, words):
    other = make_record(**({"seed": 2, "run": "other"} | changes))
    with pytest.raises(UserError) as error:
        make_table([make_record(), other])
    assert words in str(error.value)
    assert "other" in str(error.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5"), (12.0, "12"), (999.4, "999"), (999.6, "1 k"), (86432, "86.4 k"), (1.234e6, "1.23 M"), (2e9, "2 G")],
)
def test_numbers_for_people(value, text):
    assert si(value) == text


def test_differences_for_people_have_a_sign():
    assert [points(share) for share in (0.0031, -0.0145, 0.0)] == ["+0.31", "−1.45", "+0.00"]


def test_bytes_for_people():
    assert [binary(round(n * 2**20)) for n in (0.5, 1, 1023, 1024, 1536)] == [
        "512 KiB",
        "1 MiB",
        "1023 MiB",
        "1.00 GiB",
        "1.50 GiB",
    ]
