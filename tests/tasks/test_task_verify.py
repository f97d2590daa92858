"""Counting a prepared task again: figures worked by hand or by resampling, and every kind of damage has its row."""

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from lra_tasks import LRATask, Protocol, Scale, TaskCard, TaskSpec, task_cards, verify_measures
from lra_tasks.card import Reference
from lra_tasks.listops import ListOps, ListOpsScale
from lra_tasks.pathfinder import Pathfinder, PathfinderScale
from lra_tasks.pathfinder_parameters import PRESETS
from lra_tasks.verify import DUPLICATES, OVERLAP, Report, Row, verify
from lra_tasks.verify_measures import label_figures, length_figures, pixel_figures

CARD = TaskCard(
    "Toy", "What", "here", "none", "none", 5, 2, 3, 2, (1, 4), (Protocol("s4", "ids", 10, 4),), sources=("generated",)
)
SAMPLES = {
    "train": ([[5, 2], [6, 7, 8, 2], [5, 2], [9, 2], [6, 5, 2]], [0, 1, 0, 1, 1]),
    "val": ([[8, 2], [9, 2]], [0, 1]),
    "test": ([[5, 2], [8, 8, 2], [8, 2]], [1, 0, 0]),
}


class Toy(LRATask):
    name = "toy"
    card = CARD
    scales = {"full": Scale(5, 2, 3), "few": Scale(2, 1, 1)}

    @property
    def spec(self):
        return TaskSpec("toy", "tokens", 10, 2, 4)

    def build(self, out):
        for split, (rows, labels) in SAMPLES.items():
            for row, label in list(zip(rows, labels, strict=True))[: self.sizes[split]]:
                out[split].append(np.array(row, np.uint8), label)


class Pairs(Toy):
    """The same documents, each with the next."""

    @property
    def spec(self):
        return TaskSpec("toy", "tokens", 10, 2, 4, documents=2)

    def build(self, out):
        for split, (rows, labels) in SAMPLES.items():
            first = [out.documents.append(np.array(row, np.uint8)) for row in rows]
            out[split].extend_pairs(np.stack([first, np.roll(first, -1)], 1), np.array(labels))


class Values(Toy):
    """Images of 2 × 2 float32 pixels."""

    card = replace(CARD, lengths=(4, 4), protocols=(Protocol("s4", "pixels", 0, 4),))
    pixels = np.random.default_rng(0).exponential(size=(10, 4)).astype(np.float32)
    pixels[::3, 1] = 0

    @property
    def spec(self):
        return TaskSpec("toy", "values", 0, 2, 4, variable=False, side=2)

    @property
    def dtype(self):
        return np.dtype(np.float32)

    def build(self, out):
        ends = np.cumsum([0, *self.sizes.values()])
        for number, (split, (_, labels)) in enumerate(SAMPLES.items()):
            out[split].extend(self.pixels[ends[number] : ends[number + 1]], np.array(labels))


def ready(cls, folder, **options):
    task = cls(data_dir=folder, **options)
    task.prepare_data()
    task.setup()
    return task


def found(report: Report) -> dict[str, str]:
    return {row.what: row.found for row in report.rows}


def wrong(report: Report) -> set[str]:
    return {row.what for row in report.rows if row.ok is False}


@pytest.mark.parametrize("chunk", [1, 5, 1 << 22])
def test_what_is_counted(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(verify_measures, "_CHUNK_STEPS", chunk)
    calls = []
    report = verify(ready(Toy, tmp_path), lambda done, total: calls.append((done, total)))
    assert report.ok
    rows = found(report)
    assert rows["train: samples"] == "5"
    assert rows["train: labels"] == "2, 3"
    assert rows["train: lengths"] == "2 to 4, mean 2.6"
    assert rows["train: ids"] == "2 to 9, 6 different"
    assert rows["test: lengths"] == "2 to 3, mean 2.3"
    assert rows["steps in all"] == "24"
    assert rows["mean length"] == "1.4"  # without the end marks
    assert rows["shortest length"] == "1"
    assert rows[DUPLICATES] == "4"  # [5, 2] twice more, [9, 2] and [8, 2] once
    assert rows[OVERLAP] == "2"  # [5, 2] and [8, 2]
    assert calls == sorted(calls)
    assert calls[-1] == (10, 10)


def test_pairs_are_the_samples_that_may_repeat(tmp_path):
    report = verify(ready(Pairs, tmp_path))
    assert report.ok
    rows = found(report)
    assert rows["documents: offsets"] == "rising, to 24"
    assert rows["train: pairs"] == "0 to 4"
    assert rows["test: pairs"] == "7 to 9"
    # train: 52 6782, 6782 52, 52 92, 92 652, 652 52; val: 82 92, 92 82; test: 52 882, 882 82, 82 52
    assert (rows[DUPLICATES], rows[OVERLAP]) == ("0", "0")

    class Same(Pairs):
        def build(self, out):
            numbers = [out.documents.append(np.array(row, np.uint8)) for row in ([5, 2], [6, 2], [5, 2])]
            a, b, again = numbers
            for split, pairs in (("train", [(a, b), (b, a), (again, b), (a, a), (b, b)]), ("val", [(a, again)] * 2)):
                out[split].extend_pairs(np.array(pairs), np.array(SAMPLES[split][1]))
            out["test"].extend_pairs(np.array([(b, again), (again, again), (b, a)]), np.array(SAMPLES["test"][1]))

    rows = found(verify(ready(Same, tmp_path / "same")))
    assert rows[DUPLICATES] == "6"  # of ten samples, all but one each of ab, ba, aa and bb
    assert rows[OVERLAP] == "2"  # ba and aa


def test_values_and_pixels(tmp_path):
    task = ready(Values, tmp_path)
    report = verify(task)
    assert report.ok
    rows = found(report)
    assert rows["train: lengths"] == "4"
    assert rows["pixel mean"] == f"{Values.pixels.mean():.4g}"
    assert rows["pixel sd"] == f"{Values.pixels.std():.4g}"
    assert rows["share of zeros"] == "0.1"
    assert "mean length" not in rows


def test_errors_are_those_of_resampling():
    rng = np.random.default_rng(0)
    lengths = rng.gamma(2.0, 200.0, 4_000).astype(int)
    images = rng.exponential(rng.gamma(5.0, 4.0, (1_000, 1)), (1_000, 16)) * (rng.random((1_000, 16)) < 0.4)
    moments = np.stack([images.mean(1), (images**2).mean(1), (images == 0).mean(1)], 1)
    statistics = {
        "mean length": np.mean,
        "sd of length": np.std,
        "lower quartile of length": lambda x: np.quantile(x, 0.25),
        "median length": np.median,
        "upper quartile of length": lambda x: np.quantile(x, 0.75),
        "pixel mean": np.mean,
        "pixel sd": np.std,
        "share of zeros": lambda x: (x == 0).mean(),
    }
    figures = {**length_figures(lengths), **pixel_figures(moments[:, None])}
    for name, statistic in statistics.items():
        data = lengths if "length" in name else images
        assert figures[name].value == pytest.approx(statistic(data), rel=1e-9)
        again = [statistic(data[rng.integers(0, len(data), len(data))]) for _ in range(300)]
        assert figures[name].error == pytest.approx(np.std(again), rel=0.25), name
    shares = label_figures({"train": np.array([30, 70]), "test": np.array([20, 80])})
    assert shares["share of label 0"].value == 0.25
    assert shares["share of label 0"].error == pytest.approx((0.25 * 0.75 / 200) ** 0.5)
    assert shares["samples of label 1 in test"].value == 80
    assert shares["samples of label 1 in train and val"].value == 70
    assert label_figures({"train": np.array([30, 70])})["samples of label 1 in test"].value == 0


def test_a_report_is_a_table():
    report = Report((Row("files", "as written", "as written", True), Row("mean", "", "3"), Row("a", "1", "2", False)))
    assert str(report) == (
        "       what   expected    found\n"
        "ok     files  as written  as written\n"
        "       mean               3\n"
        "WRONG  a      1           2\n"
        "1 of 2 are wrong"
    )
    assert not report.ok
    assert str(Report(report.rows[:2])).endswith("all 1 as expected")


def change(task, name: str, place: int, value) -> None:
    """Write a value in an array of the store, and open it again."""
    path = task.folder / f"{name}.npy"
    array = np.load(path)
    array[place] = value
    np.save(path, array)
    task._store = None
    task.setup()


DAMAGES = [
    (Toy, "train-tokens", 0, 6, {"files"}),
    (Toy, "train-tokens", 0, 10, {"files", "train: ids"}),
    (Toy, "test-tokens", 0, 0, {"files", "test: ids"}),
    (Toy, "val-labels", 0, 2, {"files", "val: labels"}),
    (Toy, "test-labels", 1, -1, {"files", "test: labels"}),
    (Toy, "train-labels", slice(None), 5, {"files", "train: labels"}),
    (Toy, "train-offsets", 1, 6, {"files", "train: offsets"}),
    (Toy, "train-offsets", 0, 1, {"files", "train: offsets"}),
    (Toy, "train-offsets", 5, 12, {"files", "train: offsets"}),
    (Toy, "val-offsets", 0, 1, {"files", "val: offsets"}),
    (Pairs, "test-pairs", 0, 10, {"files", "test: pairs"}),
    (Pairs, "test-pairs", 0, -1, {"files", "test: pairs"}),
    (Values, "val-tokens", 3, np.nan, {"files", "val: values"}),
    (Values, "val-tokens", 3, np.inf, {"files", "val: values"}),
]


@pytest.mark.parametrize(("cls", "array", "place", "value", "rows"), DAMAGES)
def test_damage_is_found(tmp_path, cls, array, place, value, rows):
    task = ready(cls, tmp_path)
    assert verify(task).ok
    change(task, array, place, value)
    report = verify(task)
    assert wrong(report) == rows
    assert array in found(report)["files"]


def test_every_class_is_expected_where_there_are_enough_samples(tmp_path, monkeypatch):
    task = ready(Toy, tmp_path)
    change(task, "test-labels", slice(None), 1)
    assert wrong(verify(task)) == {"files"}
    monkeypatch.setattr("lra_tasks.verify._LIKELY", 1.5)
    assert wrong(verify(task)) == {"files", "test: labels"}


def test_a_label_too_many(tmp_path):
    task = ready(Toy, tmp_path)
    np.save(task.folder / "val-labels.npy", np.array([0, 1, 1]))
    meta = json.loads((task.folder / "meta.json").read_text())
    meta["arrays"]["val"]["labels"]["size"] = 3
    (task.folder / "meta.json").write_text(json.dumps(meta))
    task = Toy(data_dir=tmp_path)
    task.setup()
    report = verify(task)
    assert wrong(report) == {"files", "fingerprint", "val: samples", "val: offsets"}
    assert found(report)["val: offsets"] == "of 2 documents for 3 samples"


def test_wrong_sizes_and_lengths(tmp_path, monkeypatch):
    task = ready(Toy, tmp_path)
    monkeypatch.setattr(Toy, "sizes", {"train": 5, "val": 3, "test": 3})
    report = verify(task)
    assert wrong(report) == {"val: samples"}
    assert found(report)["val: samples"] == "2"
    monkeypatch.setattr(Toy, "spec", TaskSpec("toy", "tokens", 10, 2, 3))
    assert wrong(verify(task)) == {"val: samples", "train: lengths"}
    monkeypatch.setattr(Toy, "card", replace(CARD, lengths=(3, 4)))
    assert wrong(verify(task)) == {"val: samples", *(f"{split}: lengths" for split in ("train", "val", "test"))}


def test_fingerprints(tmp_path, monkeypatch):
    task = ready(Toy, tmp_path)
    known = (("s4-full-generated-seed0-", task.fingerprint), ("s4-full-generated-seed1", "0" * 64))
    monkeypatch.setattr(Toy, "card", replace(CARD, fingerprints=known))
    assert verify(task).ok
    assert "fingerprint of s4-full-generated-seed0" in found(verify(task))
    monkeypatch.setattr(Toy, "card", replace(CARD, fingerprints=(("s4-full", "0" * 64),)))
    assert wrong(verify(task)) == {"fingerprint of s4-full"}
    monkeypatch.setattr(Toy, "card", CARD)
    meta = json.loads((task.folder / "meta.json").read_text())
    for altered in ({"protocol": "google"}, {"fingerprint": "0" * 64}):
        (task.folder / "meta.json").write_text(json.dumps({**meta, **altered}))
        other = Toy(data_dir=tmp_path)
        other.setup()
        assert wrong(verify(other)) == {"fingerprint"}


def test_characters_are_few_and_different(tmp_path):
    class Lettered(Toy):
        letters = "abc"

        def build(self, out):
            out.notes["characters"] = self.letters
            super().build(out)

    for number, (letters, rows) in enumerate(
        (("abcdefg", set()), ("aab", {"characters"}), ("abcdefgh", {"characters"}))
    ):
        Lettered.letters = letters
        report = verify(ready(Lettered, tmp_path / str(number)))
        assert wrong(report) == rows
        assert found(report)["characters"].startswith(str(len(letters)))


def compared(tmp_path, monkeypatch, *references: Reference, **options) -> Report:
    monkeypatch.setattr(Toy, "card", replace(CARD, references=references))
    return verify(ready(Toy, tmp_path, **options))


def test_references(tmp_path, monkeypatch):
    error = 4 * np.std([1, 3, 1, 1, 2, 1, 1, 1, 2, 1]) / 10**0.5
    for value, tolerance, rows in (
        (1.4 + error - 0.001, 0.0, set()),
        (1.4 + error + 0.001, 0.0, {"mean length"}),
        (1.4 - error - 0.1, 0.101, set()),
        (1.4 - error - 0.1, 0.099, {"mean length"}),
    ):
        assert wrong(compared(tmp_path, monkeypatch, Reference("mean length", value, tolerance))) == rows
    for quantity, value, tolerance, rows in (
        (DUPLICATES, 4, 0, set()),
        (DUPLICATES, 5, 0, {DUPLICATES}),
        (DUPLICATES, 5, 1, set()),
        ("characters", 131, 0, {"characters"}),  # this task notes none
    ):
        report = compared(tmp_path, monkeypatch, Reference(quantity, value, tolerance))
        assert wrong(report) == rows
        assert [row.what for row in report.rows].count(quantity) == 1
    for elsewhere in ({"sources": ("official",)}, {"protocols": ("google",)}):
        report = compared(tmp_path, monkeypatch, Reference(DUPLICATES, 5, **elsewhere))
        assert report.ok
        assert next(row for row in report.rows if row.what == DUPLICATES).expected == ""


def test_references_at_other_scales(tmp_path, monkeypatch):
    references = (Reference("mean length", 9), Reference(DUPLICATES, 9))
    few = compared(tmp_path, monkeypatch, *references, scale="few")
    assert wrong(few) == {"mean length"}  # as many duplicates as at full scale are not expected

    monkeypatch.setattr(Toy, "scales", {"full": Scale(5, 2, 3), "few": ListOpsScale(2, 1, 1)})  # drawn otherwise
    assert compared(tmp_path, monkeypatch, *references, scale="few").ok


def test_a_large_store_is_never_in_memory_as_a_whole(tmp_path, monkeypatch):
    class Large(Values):
        card = replace(Values.card, lengths=(4_096, 4_096), protocols=(Protocol("s4", "pixels", 0, 4_096),))

        @property
        def spec(self):
            return TaskSpec("toy", "values", 0, 2, 4_096, variable=False, side=64)

        def build(self, out):
            for split, size in self.sizes.items():
                for _ in range(size):
                    out[split].append(np.random.default_rng(size).random(4_096), size % 2)

        scales = {"full": Scale(1_000, 100, 100)}

    task = ready(Large, tmp_path)
    monkeypatch.setattr(verify_measures, "_CHUNK_STEPS", 1 << 16)
    tracemalloc.start()
    verify(task)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert task.split("train").tokens.nbytes > 16e6
    assert peak < 4e6


@pytest.mark.parametrize("name", task_cards())
def test_cards_name_figures_that_are_counted(name):
    card = task_cards()[name]
    counts = np.ones(card.classes, int)
    known = {
        *length_figures(np.ones(3, int)),
        *label_figures({"train": counts, "test": counts}),
        *pixel_figures(np.ones((3, 1, 3))),
        *pixel_figures(np.ones((3, 3, 3))),
        *("steps in all", "characters", DUPLICATES, OVERLAP),
    }
    assert {reference.quantity for reference in card.references} <= known
    assert card.references


class FewExpressions(ListOps):
    card = replace(ListOps.card, fingerprints=())
    scales = {"full": ListOpsScale(1_000, 300, 300)}


class FewImages(Pathfinder):
    card = replace(Pathfinder.card, fingerprints=())
    scales = {"full": PathfinderScale(200, 30, 30, PRESETS[32])}


class Foreign(FewImages):
    scales = {"full": PathfinderScale(200, 30, 30, replace(PRESETS[32], distractors=0))}


@pytest.mark.parametrize("protocol", ["s4", "google"])
def test_our_generators_are_within_the_references(tmp_path, protocol):
    for cls in (FewExpressions, FewImages):
        report = verify(ready(cls, tmp_path, protocol=protocol))
        assert report.ok, str(report)
        assert {reference.quantity for reference in cls.card.references} <= set(found(report))
    # Three standard errors away and more, where one thing of the generator is different.
    assert wrong(verify(ready(Foreign, tmp_path / "foreign", protocol=protocol))) == {
        "pixel mean",
        "pixel sd",
        "share of zeros",
    }
