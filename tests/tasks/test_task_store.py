"""Stores: content, fingerprints, interrupted builds, two processes at once, damage."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lra_tasks import Store, TaskError, store_writer
from lra_tasks.store import prepare
from lra_tasks.store_writer import Layout

SIZES = {"train": 5, "val": 2, "test": 1}
RECIPE = {"task": "toy", "protocol": "s4", "spec": {"vocab_size": 300}, "seed": 0}
TOTAL = sum(SIZES.values())


def samples(split: str) -> list[np.ndarray]:
    rng = np.random.default_rng(len(split))
    return [rng.integers(1, 300, length).astype(np.uint16) for length in range(1, SIZES[split] + 1)]


def build(out) -> None:
    for split in SIZES:
        buffer = np.zeros(SIZES[split], np.uint16)  # reused, as a task may
        for label, sample in enumerate(samples(split)):
            buffer[: len(sample)] = sample
            out[split].append(buffer[: len(sample)], label)


LAYOUT = Layout(SIZES, np.dtype(np.uint16), classes=10)


def make(folder: Path, *, recipe=RECIPE, build=build, progress=None, layout=LAYOUT) -> Store:
    prepare(folder, recipe, layout, build, progress)
    return Store.open(folder)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def test_what_is_written_is_read(tmp_path):
    store = make(tmp_path / "a" / "store")
    for split, size in SIZES.items():
        assert len(store.splits[split]) == size
        for index, expected in enumerate(samples(split)):
            (tokens,), label = store.splits[split][index]
            assert tokens.tolist() == expected.tolist()
            assert label == index
    assert store.splits["train"].tokens.dtype == np.uint16
    assert names(tmp_path / "a") == {"store"}
    store.verify()
    plain = np.load(tmp_path / "a" / "store" / "train-offsets.npy")  # an ordinary .npy file for everybody else
    assert plain.tolist() == [0, 1, 3, 6, 10, 15]


def test_extend_is_append_and_buffers_keep_the_order(tmp_path, monkeypatch):
    images = np.arange(TOTAL * 6).reshape(TOTAL, 2, 3).astype(np.uint8)

    def extended(out):
        out["train"].extend(images[:2], np.array([0, 1]))
        out["train"].append(images[2].ravel(), 2)
        out["train"].extend(images[3:5], np.array([3, 4]))
        out["val"].extend(images[5:7], np.array([5, 6]))
        out["test"].extend(images[7:], np.array([7]))

    def appended(out):
        monkeypatch.setattr(store_writer, "_BUFFER_BYTES", 300)
        for index, image in enumerate(images):
            out["train" if index < 5 else "val" if index < 7 else "test"].append(image.ravel(), index)

    first, second = make(tmp_path / "e", build=extended), make(tmp_path / "a", build=appended)
    assert first.splits["train"].tokens.tolist() == images[:5].ravel().tolist()
    assert first.splits["train"].labels.tolist() == [0, 1, 2, 3, 4]
    assert first.fingerprint == second.fingerprint


def test_progress_counts_to_the_end(tmp_path):
    calls = []
    make(tmp_path / "store", progress=lambda done, total: calls.append((done, total)))
    assert calls == sorted(calls)
    assert calls[-1] == (TOTAL, TOTAL)
    make(tmp_path / "store", progress=lambda done, total: pytest.fail("the store is there"))


def test_fingerprint_covers_content_and_protocol_alone(tmp_path):
    def other_id(out):
        build(_Changed(out, id=1))

    def other_label(out):
        build(_Changed(out, label=1))

    class _Changed:
        def __init__(self, out, id=0, label=0):
            self.out, self.id, self.label = out, id, label

        def __getitem__(self, split):
            self.split = split
            return self

        def append(self, sample, label):
            last = self.split == "test"
            self.out[self.split].append(sample + self.id * last, label + self.label * last)

    base = make(tmp_path / "0").fingerprint
    assert make(tmp_path / "1", recipe={**RECIPE, "seed": 1}).fingerprint == base
    changed = [
        make(tmp_path / "2", build=other_id),
        make(tmp_path / "3", build=other_label),
        make(tmp_path / "4", recipe={**RECIPE, "protocol": "lra"}),
        make(tmp_path / "5", recipe={**RECIPE, "spec": {"vocab_size": 301}}),
    ]
    assert len({base, *(store.fingerprint for store in changed)}) == 5


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_build_leaves_nothing(tmp_path, error):
    def failing(out):
        build(out)
        raise error

    with pytest.raises(error):
        make(tmp_path / "store", build=failing)
    assert names(tmp_path) == set()
    make(tmp_path / "store")


def test_a_store_appears_by_renaming(tmp_path):
    built = []

    def note(out):
        build(out)
        built.append((tmp_path / "store.partial" / "train-tokens.npy").stat().st_ino)

    make(tmp_path / "store", build=note)
    assert built == [(tmp_path / "store" / "train-tokens.npy").stat().st_ino]


def test_wrong_samples_are_refused(tmp_path):
    with pytest.raises(TaskError, match="train split came out with 0 samples where its scale says 5"):
        make(tmp_path / "store", build=lambda out: None)
    with pytest.raises(ValueError, match="does not fit in uint16"):
        make(tmp_path / "store", build=lambda out: out["train"].append(np.array([70_000]), 0))
    with pytest.raises(ValueError, match="no steps"):
        make(tmp_path / "store", build=lambda out: out["train"].append(np.array([], np.uint16), 0))
    with pytest.raises(ValueError, match="2 samples with 3 labels"):
        make(tmp_path / "store", build=lambda out: out["train"].extend(np.ones((2, 4), np.uint16), np.zeros(3)))
    with pytest.raises(TaskError, match="val split has a label 10 where the task has the classes 0 to 9"):
        make(tmp_path / "store", build=lambda out: out["val"].extend(np.ones((2, 4), np.uint16), np.array([3, 10])))
    with pytest.raises(ValueError, match="one document"):
        make(tmp_path / "store", build=lambda out: out["val"].extend_pairs(np.zeros((1, 2), int), np.zeros(1, int)))
    with pytest.raises(FileNotFoundError):  # what the task itself looked for is not the store's matter
        make(tmp_path / "store", build=lambda out: (tmp_path / "source").read_text())
    assert names(tmp_path) == set()


CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
import test_task_store as toy
root, name = Path({root!r}), sys.argv[1]

def build(out):
    with (root / "builds").open("a") as log:
        log.write(name)
    toy.build(out)
    out["train"].flush()
    while not (root / "go").exists():
        time.sleep(0.02)

print(toy.make(root / "data" / "store", build=build).fingerprint)
"""


def start(root: Path, name: str) -> subprocess.Popen:
    code = CHILD.format(here=str(Path(__file__).parent), root=str(root))
    return subprocess.Popen(
        [sys.executable, "-c", code, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(path: Path, child: subprocess.Popen) -> None:
    while not path.exists():
        assert child.poll() is None, child.communicate()
        time.sleep(0.02)


def test_a_second_process_waits_and_reuses(tmp_path):
    first = start(tmp_path, "1")
    wait_for(tmp_path / "builds", first)
    second = start(tmp_path, "2")
    assert "waiting for it" in second.stderr.readline()
    assert not (tmp_path / "data" / "store").exists()
    (tmp_path / "go").touch()
    fingerprints = [child.communicate(timeout=60)[0] for child in (first, second)]
    assert first.returncode == second.returncode == 0
    assert fingerprints[0] == fingerprints[1] != ""
    assert (tmp_path / "builds").read_text() == "1"


def test_a_killed_process_leaves_nothing_that_counts(tmp_path):
    child = start(tmp_path, "1")
    wait_for(tmp_path / "builds", child)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert names(tmp_path / "data") == {"store.partial"}
    (tmp_path / "data" / "store.partial" / "left over").touch()
    store = make(tmp_path / "data" / "store")
    assert names(tmp_path / "data") == {"store"}
    assert "left over" not in names(store.folder)


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_full_disk_is_one_sentence(tmp_path):
    code = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import numpy as np, test_task_store as toy
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
def build(out):
    out["train"].append(np.ones(100_000, np.uint16), 0)
try:
    toy.make(Path({str(tmp_path)!r}) / "store", build=build)
except toy.TaskError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot be prepared in" in done.stdout
    assert "LRA_DATA" in done.stdout
    assert done.stderr == ""
    assert names(tmp_path) == set()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TaskError, match="LRA_DATA"):
        make(tmp_path / "file" / "task" / "store")


def test_a_prepared_store_is_used_without_a_lock(tmp_path):
    make(tmp_path / "store")
    (tmp_path / "store.lock").unlink(missing_ok=True)
    make(tmp_path / "store", build=lambda out: pytest.fail("the store is there"))
    assert not (tmp_path / "store.lock").exists()


PAIRS = Layout({"train": 3, "val": 1, "test": 0}, np.dtype(np.uint8), classes=2, documents=2)


def build_pairs(out):
    numbers = [out.documents.append(np.full(length, 7 + length, np.uint8)) for length in (1, 2, 3)]
    out["train"].extend_pairs(np.array([[0, 1], [2, 0], [1, 1]]), np.array([1, 0, 1]))
    out["val"].extend_pairs(np.array([[numbers[2], numbers[1]]]), np.array([0]))


def test_pairs_share_their_documents(tmp_path):
    store = make(tmp_path / "store", build=build_pairs, layout=PAIRS)
    train = store.splits["train"]
    assert [([document.tolist() for document in train[i][0]], train[i][1]) for i in range(3)] == [
        ([[8], [9, 9]], 1),
        ([[10, 10, 10], [8]], 0),
        ([[9, 9], [9, 9]], 1),
    ]
    assert train.documents(np.array([1, 2])).tolist() == [[2, 1], [0, 1]]
    assert train.lengths().tolist() == [2, 3, 2]
    assert store.splits["val"].tokens is train.tokens
    assert len(store.splits["test"]) == 0
    store.verify()


def test_pairs_of_documents_that_are_not_there(tmp_path):
    with pytest.raises(ValueError, match="a document that is not there"):
        make(
            tmp_path / "store",
            build=lambda out: out["train"].extend_pairs(np.zeros((1, 2), int), np.zeros(1, int)),
            layout=PAIRS,
        )
    with pytest.raises(ValueError, match="extend_pairs"):
        make(tmp_path / "store", build=lambda out: out["train"].append(np.ones(1, np.uint8), 0), layout=PAIRS)


def test_values_are_stored_as_floats(tmp_path):
    layout = Layout({"train": 1, "val": 1, "test": 0}, np.dtype(np.float32), classes=2)

    def build(out):
        out["train"].append(np.array([0.5, -2.25]), 1)
        out["val"].extend(np.array([[1e-3]]), np.array([0]))

    store = make(tmp_path / "store", build=build, layout=layout)
    assert store.splits["train"].tokens.dtype == np.float32
    assert store.splits["train"].tokens.tolist() == [0.5, -2.25]
    with pytest.raises(ValueError, match="not a finite number"):
        make(tmp_path / "2", build=lambda out: out["train"].append(np.array([np.nan]), 1), layout=layout)


def test_scratch_files_go_and_notes_stay(tmp_path):
    def noting(out):
        out.scratch.mkdir()
        (out.scratch / "a").touch()
        out.notes["characters"] = "ab"
        build(out)

    store = make(tmp_path / "store", build=noting)
    assert store.notes == {"characters": "ab"}
    assert not (store.folder / "scratch").exists()
    assert store.fingerprint == make(tmp_path / "other").fingerprint


def remove(folder):
    (folder / "val-tokens.npy").unlink()


def shorten(folder):
    os.truncate(folder / "train-tokens.npy", 140)


def shorten_header(folder):
    os.truncate(folder / "train-tokens.npy", 5)


def replace(folder):
    np.save(folder / "train-labels.npy", np.zeros(4, np.int64))


def reversion(folder):
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, "format": 99}))


def cut_meta(folder):
    os.truncate(folder / "meta.json", 40)


def strip_meta(folder):
    (folder / "meta.json").write_text("{}")


@pytest.mark.parametrize("damage", [remove, shorten, shorten_header, replace, reversion, cut_meta, strip_meta])
def test_a_damaged_store_is_one_sentence(tmp_path, damage):
    folder = make(tmp_path / "store").folder
    damage(folder)
    with pytest.raises(TaskError, match="delete that folder and prepare it again") as caught:
        Store.open(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_verify_finds_a_changed_byte(tmp_path):
    folder = make(tmp_path / "store").folder
    path = folder / "train-tokens.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(TaskError, match="train-tokens"):
        Store.open(folder).verify()


def test_nothing_is_logged_without_waiting(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        make(tmp_path / "store")
    assert caplog.records == []
