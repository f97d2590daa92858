"""Records, predictions and statistics of runs."""

import dataclasses
import json
import math
import typing
from pathlib import Path

import numpy as np
import pytest

from lra_hgrn.config import from_plain, plain
from lra_hgrn.errors import UserError
from lra_hgrn.results import record as module
from lra_hgrn.results.frame import load_results
from lra_hgrn.results.predictions import load_predictions, make_predictions
from lra_hgrn.results.record import (
    Device,
    Memory,
    Record,
    Score,
    Scores,
    Throughput,
    find_records,
    load_record,
    lower_bounds,
)
from lra_hgrn.results.stats import above_chance, summarise, wilson

RECORDS = Path(__file__).parent / "records"
ADDED = {
    1: {"source": "generated", "incidents": []},
    2: {"incidents": []},
    3: {},
}  # fields that a version lacked, and what they are in its records


def make_record(**changes) -> Record:
    fields = {
        "run": "listops-hgrn-seed1",
        "status": "finished",
        "message": "",
        "task": "listops",
        "scale": "tiny",
        "protocol": "s4",
        "source": "generated",
        "track": "strict",
        "departures": [],
        "data_fingerprint": "3f2a9c1b77aa",
        "model": "HGRN",
        "target": "hgru",
        "parameters": 1234,
        "seed": 1,
        "config": {"task": {"name": "listops"}, "optim": {"betas": [0.9, 0.999]}, "none": None},
        "config_hash": "ab12cd34ef56",
        "scores": Scores(
            best=Score.of(30, 50, val_accuracy=0.7, epoch=2, step=40),
            last=Score.of(28, 50, val_accuracy=None, epoch=3, step=60),
        ),
        "chance": 0.1,
        "throughput": Throughput(
            samples_per_second=10.0,
            tokens_per_second=1000.0,
            median_step_seconds=0.1,
            steps_measured=60,
            compile_seconds=0.0,
        ),
        "memory": Memory(peak_bytes=2**30, counts="resident set"),
        "device": Device(name="a processor", backend="cpu", precision="32", threads=2),
        "versions": {"python": "3.11.9"},
        "git_commit": None,
        "started": "2026-01-02T10:00:00+00:00",
        "wall_seconds": 12.5,
        "incidents": [],
        "lower_bounds": lower_bounds(np.array([[0.0, 0.0], [0.25, 0.75]])),
    }
    return Record(**(fields | changes))


def broken(directory: Path, change) -> Path:
    """Save a record after ``change`` has been made to its JSON."""
    path = make_record().save(directory)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return path


def test_round_trip_keeps_every_field(tmp_path):
    record = make_record()
    path = record.save(tmp_path / "listops-hgrn-seed1")
    assert path.name == "record.json"
    assert load_record(path) == record
    assert [file.name for file in path.parent.iterdir()] == ["record.json"]


def test_failed_run_needs_no_scores(tmp_path):
    record = make_record(
        status="failed",
        message="no space left",
        scores=None,
        chance=None,
        parameters=None,
        data_fingerprint=None,
        throughput=None,
        memory=None,
        lower_bounds=None,
    )
    assert load_record(record.save(tmp_path)) == record


def test_a_failed_write_keeps_the_old_record(tmp_path):
    path = make_record().save(tmp_path)
    before = path.read_bytes()
    with pytest.raises(ValueError):
        make_record(wall_seconds=math.nan).save(tmp_path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_lower_bounds_summarise_channels():
    (bound,) = lower_bounds(np.arange(101.0)[None])
    assert dataclasses.asdict(bound) == {"mean": 50, "q05": 5, "q25": 25, "q50": 50, "q75": 75, "q95": 95}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.pop("seed"), "seed is missing"),
        (lambda d: d["scores"]["best"].pop("total"), "scores.best.total is missing"),
        (lambda d: d.update(seed="1"), "seed is '1', not an integer"),
        (lambda d: d.update(seed=True), "seed is True, not an integer"),
        (lambda d: d.update(seed=None), "seed is None, not an integer"),
        (lambda d: d.update(wall_seconds="12"), "wall_seconds is '12', not a number"),
        (lambda d: d.update(status="done"), "status is 'done', not one of 'finished'"),
        (lambda d: d.update(departures="none"), "departures is 'none', not a list"),
        (lambda d: d.update(departures=[1]), "departures[0] is 1, not a string"),
        (lambda d: d.update(versions={"torch": 2}), "versions.torch is 2, not a string"),
        (lambda d: d.update(config=[]), "config is [], not an object"),
        (lambda d: d.update(device=None), "device is None, not an object"),
        (lambda d: d.update(colour="red"), "colour is not a field"),
        (lambda d: d["scores"]["best"].update(correct=51), "scores.best: 51 correct of 50"),
        (lambda d: d.update(scores=None), "status 'finished' needs scores"),
        (lambda d: d.update(chance=None), "needs chance"),
        (lambda d: d.update(started="yesterday"), "started is 'yesterday'"),
        (lambda d: d.update(started="2026-01-02T10:00:00+02:00"), "in UTC"),
        (lambda d: d.update(wall_seconds=math.nan), "NaN is not a JSON number"),
        (lambda d: d.update(schema=99), "schema 99 is newer"),
        (lambda d: d.update(schema="1"), "schema is '1'"),
        (lambda d: d.pop("schema"), "schema is None"),
    ],
)
def test_bad_records_are_refused_in_one_sentence(tmp_path, change, words):
    path = broken(tmp_path, change)
    with pytest.raises(UserError) as error:
        load_record(path)
    assert str(path) in str(error.value)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema": 1'])
def test_files_that_hold_no_record_are_refused(tmp_path, text):
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"record\.json"):
        load_record(path)


def test_integers_are_read_as_numbers(tmp_path):
    record = load_record(broken(tmp_path, lambda d: d.update(wall_seconds=12)))
    assert isinstance(record.wall_seconds, float)


def test_every_older_version_has_an_upgrade():
    assert set(module.UPGRADES) == set(range(1, module.SCHEMA))


def test_older_versions_go_through_the_chain(tmp_path, monkeypatch):
    path = broken(tmp_path, lambda d: d.update(schema=1, speed=d.pop("wall_seconds")))
    monkeypatch.setattr(module, "SCHEMA", 3)
    steps = {1: lambda d: d | {"middle": d["speed"]}, 2: lambda d: drop(d, "speed", "middle", wall_seconds=d["middle"])}
    monkeypatch.setattr(module, "UPGRADES", steps)
    record = load_record(path)
    assert (record.schema, record.wall_seconds) == (3, 12.5)


def drop(data, *names, **more):
    return {key: value for key, value in data.items() if key not in names} | more


@pytest.mark.parametrize(("classes", "dtype"), [(10, np.uint8), (256, np.uint8), (257, np.uint16)])
def test_predictions_round_trip(tmp_path, classes, dtype):
    top = classes - 1
    made = make_predictions([0, top, 1], [top, 0, 0], [0, 1, top], fingerprint="3f2a", n_classes=classes)
    read = load_predictions(made.save(tmp_path))
    assert read.fingerprint == "3f2a"
    assert read.best.dtype == read.last.dtype == read.labels.dtype == dtype
    assert (read.best.tolist(), read.last.tolist(), read.labels.tolist()) == ([0, top, 1], [top, 0, 0], [0, 1, top])


@pytest.mark.parametrize("best", [[0, 1], [0, 1, 10], [0, 1, -1], [[0, 1, 2]]])
def test_predictions_refuse_what_does_not_fit(best):
    with pytest.raises(ValueError, match="best"):
        make_predictions(best, [0, 1, 2], [0, 1, 2], fingerprint="", n_classes=10)


def test_broken_prediction_files_are_refused(tmp_path):
    whole = make_predictions([0], [1], [2], fingerprint="", n_classes=3).save(tmp_path).read_bytes()
    path = tmp_path / "cut.npz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cut\.npz is not an npz file"):
        load_predictions(path)
    np.savez(path, best=np.zeros(2, np.uint8), last=np.zeros(2, np.uint8))
    with pytest.raises(UserError, match=r"cut\.npz does not hold predictions"):
        load_predictions(path)
    np.savez(path, best=np.zeros(2), last=np.zeros(2, np.uint8), labels=np.zeros(2, np.uint8), fingerprint="")
    with pytest.raises(UserError, match=r"cut\.npz has best of type float64"):
        load_predictions(path)
    with pytest.raises(UserError, match="does not exist"):
        load_predictions(tmp_path / "absent.npz")


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3 (score without continuity correction)
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_against_published_values(correct, total, low, high):
    assert wilson(correct, total) == pytest.approx((low, high), abs=5e-5)


def test_above_chance_is_the_exact_binomial_tail():
    total, chance = 40, 0.3
    for correct in range(total + 1):
        tail = sum(math.comb(total, k) * chance**k * (1 - chance) ** (total - k) for k in range(correct, total + 1))
        assert above_chance(correct, total, chance) == (tail < 0.025)
    assert not above_chance(1020, 2000, 0.5)
    assert above_chance(1060, 2000, 0.5)


def test_one_seed_has_wilsons_interval_and_no_spread():
    summary = summarise([(81, 263)])
    assert summary.sd is None
    assert (summary.mean, summary.seeds) == (81 / 263, 1)
    assert (summary.low, summary.high) == wilson(81, 263)


def test_interval_over_seeds_adds_both_kinds_of_noise():
    summary = summarise([(5000, 10000), (5200, 10000), (5400, 10000)])
    assert (summary.mean, summary.seeds) == (pytest.approx(0.52), 3)
    assert summary.sd == pytest.approx(0.02)
    over_seeds = 4.302653 * 0.02 / math.sqrt(3)  # t quantile of any printed table, 2 degrees of freedom
    low, high = wilson(5200, 10000)
    assert summary.high == pytest.approx(0.52 + math.sqrt(over_seeds**2 + (high - 0.52) ** 2))
    assert summary.low == pytest.approx(0.52 - math.sqrt(over_seeds**2 + (0.52 - low) ** 2))


def test_interval_of_agreeing_seeds_is_the_test_samples():
    summary = summarise([(900, 1000)] * 3)
    assert summary.sd == 0
    assert (summary.low, summary.high) == pytest.approx(wilson(900, 1000))


def test_interval_stays_a_share_and_seeds_share_a_test_split():
    summary = summarise([(100, 100), (20, 100)])
    assert 0 <= summary.low < summary.high <= 1
    with pytest.raises(ValueError, match="one test split"):
        summarise([(1, 2), (1, 3)])


@pytest.mark.parametrize("version", range(1, module.SCHEMA + 1))
def test_a_record_of_every_version_loads_for_good(version):
    """Files as the versions wrote them, of runs on ListOps at scale tiny; none of them may ever change."""
    path = RECORDS / f"v{version}.json"
    written, record = json.loads(path.read_text()), load_record(path)
    assert written["schema"] == version
    kept = dataclasses.asdict(record) | {"schema": version}
    if version < 3:
        assert kept["device"].pop("processes") == 1
    assert {key: kept[key] for key in written} == written
    assert {key: kept[key] for key in kept.keys() - written.keys()} == ADDED[version]
    # What an older record says of its options can still be understood.
    assert plain(from_plain(record.config, "record"))["optim"]["lr"] == written["config"]["optim"]["lr"]


def test_types_are_looked_up_once_for_all_records(tmp_path, monkeypatch):
    path = make_record().save(tmp_path)
    load_record(path)
    calls = []
    monkeypatch.setattr(typing, "get_type_hints", calls.append)
    for _ in range(3):
        load_record(path)
    assert not calls


def test_records_are_found_in_depth_and_what_is_broken_is_named(tmp_path):
    for place in ("b", "a/c", ".half-written.tmp/d"):
        make_record(run=place).save(tmp_path / place)
    broken(tmp_path / "e", lambda d: d.pop("seed"))
    found, problems = find_records(tmp_path)
    assert [(folder.relative_to(tmp_path).as_posix(), record.run) for folder, record in found] == [
        ("a/c", "a/c"),
        ("b", "b"),
    ]
    assert len(problems) == 1
    assert str(tmp_path / "e" / "record.json") in problems[0]
    with pytest.raises(UserError, match="There is no folder"):
        find_records(tmp_path / "nowhere")


def test_a_record_that_is_nested_too_deep_is_refused(tmp_path):
    path = tmp_path / "record.json"
    path.write_text('{"config": ' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(UserError, match="nested too deep"):
        load_record(path)


def test_the_frame_names_the_published_row_and_the_search(tmp_path):
    make_record(run="a", config={"stands_for": "hgrn", "seed": 1, "tuning": {"trials": 20}}).save(tmp_path / "a")
    make_record(run="b", seed=2, config={"optim": {"lr": 0.5}}).save(tmp_path / "b")  # as older records
    frame = load_results(tmp_path)
    assert frame["stands_for"][0] == "hgrn"
    assert frame["stands_for"].isna().tolist() == [False, True]
    assert frame["tuning.trials"][0] == 20
    assert frame["tuning.trials"].isna().tolist() == [False, True]
    assert frame["seed"].tolist() == [1, 2]
