"""The disk fails a task: quotas, folders that vanish, damaged files. One sentence, and nothing half-written."""

import errno
import gc
import io
import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import test_task_store as toy
from local_site import CONTENT, Site, sentence, serve
from numpy.lib import format as npy

from lra_tasks import LRATask, Scale, Store, TaskError, TaskSpec, get_card
from lra_tasks.download import fetch


def quota():
    return OSError(errno.EDQUOT, "Disk quota exceeded")


class Toy(LRATask):
    name = "toy"
    card = get_card("listops")
    scales = {"full": Scale(20, 5, 5)}

    @property
    def spec(self):
        return TaskSpec("toy", "tokens", vocab_size=8, n_classes=2, max_length=12)

    def build(self, out):
        for split, size in self.parameters.sizes.items():
            for index in range(size):
                out[split].append(np.full(3 + index % 9, 1 + index % 7, np.uint8), index % 2)


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with serve(Site()) as site:
        yield site


def left(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix != ".lock"}


def assert_said(caught, *words):
    text = sentence(caught)
    assert [word for word in words if word not in text] == [], text


def refuse(monkeypatch, function):
    def refused(*args, **options):
        raise quota()

    monkeypatch.setattr(os, function, refused)


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_quota_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch, function):
    """Network file systems say so when a file is synced."""
    with monkeypatch.context() as patch:
        refuse(patch, function)
        with pytest.raises(TaskError) as caught:
            toy.make(tmp_path / "store")
    assert_said(caught, str(tmp_path), "Disk quota exceeded", "free space there", "LRA_DATA")
    assert left(tmp_path) == set()
    assert toy.make(tmp_path / "store").fingerprint == toy.make(tmp_path / "undisturbed").fingerprint


def test_a_store_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, original=original: (done.append(name), original(*args)))
    store = toy.make(tmp_path / "store")
    assert done == ["fsync"] * len(list(store.folder.iterdir())) + ["replace"]


def test_files_that_cannot_be_opened_leave_none_open(tmp_path, monkeypatch):
    original = Path.open

    def limited(self, *args, **options):
        if self.name == "test-labels.npy":
            raise quota()
        return original(self, *args, **options)

    monkeypatch.setattr(Path, "open", limited)
    with pytest.raises(TaskError) as caught:
        toy.make(tmp_path / "store")
    assert_said(caught, "Disk quota exceeded")
    del caught
    gc.collect()  # a file that is open still would warn here, and warnings are errors
    assert left(tmp_path) == set()


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_quota_ends_a_download_that_goes_on_later(site, tmp_path, monkeypatch, function):
    with monkeypatch.context() as patch:
        refuse(patch, function)
        with pytest.raises(TaskError) as caught:
            fetch(site.archive(), tmp_path)
    assert_said(caught, f"Nothing can be downloaded to {tmp_path}", "Disk quota exceeded", "LRA_DATA")
    assert not [name for name in left(tmp_path) if not name.endswith((".part", ".part.json"))]
    assert fetch(site.archive(), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("removed", ["store.partial", "."])
def test_a_folder_removed_while_it_is_filled_is_one_sentence(tmp_path, removed):
    data = tmp_path / "data"

    def build(out):
        toy.build(out)
        shutil.rmtree(data / removed)

    with pytest.raises(TaskError) as caught:
        toy.make(data / "store", build=build)
    assert_said(caught, str(data), "was removed while it was being filled" if removed != "." else "cannot be made")
    assert left(tmp_path) - {"data"} == set()
    toy.make(data / "store")


def test_a_source_that_build_misses_is_not_taken_for_the_store(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        toy.make(tmp_path / "store", build=lambda out: Path("nowhere").read_text())
    assert left(tmp_path) == set()


def test_data_removed_after_they_were_opened_are_read_on(tmp_path):
    task = Toy(data_dir=tmp_path / "data", batch_size=4)
    task.prepare_data()
    task.setup()
    expected = [batch.inputs.tolist() for batch in task.test_dataloader()]
    shutil.rmtree(tmp_path / "data")
    assert [batch.inputs.tolist() for batch in task.test_dataloader()] == expected
    again = Toy(data_dir=tmp_path / "data", batch_size=4)
    again.prepare_data()
    again.setup()
    assert again.fingerprint == task.fingerprint


def rewrite(folder, name, change):
    array = np.load(folder / f"{name}.npy")
    np.save(folder / f"{name}.npy", change(array))


def no_list(folder):
    (folder / "meta.json").write_text("[]")


def other_meta(folder):
    meta = json.loads((folder / "meta.json").read_text())
    meta["spec"]["n_classes"] = 3
    (folder / "meta.json").write_text(json.dumps(meta))


def header(shape):
    out = io.BytesIO()
    npy.write_array_header_1_0(out, {"descr": "<i8", "fortran_order": False, "shape": shape})
    return out.getvalue()


DAMAGES = {
    "meta.json is a list": no_list,
    "meta.json says otherwise": other_meta,
    "header without end": lambda folder: (folder / "val-labels.npy").write_bytes(
        (folder / "val-labels.npy").read_bytes().replace(b"}", b" ", 1)
    ),
    "header of a huge shape": lambda folder: (folder / "val-labels.npy").write_bytes(header((10**30,))),
    "labels of another type": lambda folder: rewrite(folder, "val-labels", lambda old: old.astype(np.uint64)),
    "a label beyond the classes": lambda folder: rewrite(folder, "test-labels", lambda old: old + 1),
    "a label below zero": lambda folder: rewrite(folder, "train-labels", lambda old: old - 1),
    "offsets in disorder": lambda folder: rewrite(folder, "train-offsets", lambda old: np.sort(old)[::-1].copy()),
    "offsets beyond the tokens": lambda folder: rewrite(folder, "train-offsets", lambda old: old * 2),
    "offsets from another place": lambda folder: rewrite(folder, "val-offsets", lambda old: np.r_[1, old[1:]]),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_found_before_training(tmp_path, damage):
    task = Toy(data_dir=tmp_path)
    task.prepare_data()
    damage(task.folder)
    with pytest.raises(TaskError) as caught:
        Toy(data_dir=tmp_path).prepare_data()
    assert_said(caught, str(task.folder), "delete that folder and prepare it again")
    shutil.rmtree(task.folder)
    task.prepare_data()


def test_whatever_the_damage_it_is_one_sentence(tmp_path):
    """Bytes of headers and of meta.json changed at random: a store opens, or says what is wrong."""
    folder = toy.make(tmp_path / "store").folder
    files = {path: path.read_bytes() for path in sorted(folder.iterdir())}
    drawn, refused = random.Random(1), 0
    for _ in range(1500):
        path, whole = drawn.choice(list(files.items()))
        start = drawn.randrange(min(len(whole), 140))
        bit = bytes([whole[start] ^ 1 << drawn.randrange(8)])
        path.write_bytes(
            whole[:start] + drawn.choice([bit, b"", b"\0", b"(", b"'", b"9" * 20, b"-"]) + whole[start + 1 :]
        )
        try:
            Store.open(folder).check()
        except TaskError:
            refused += 1
        except DeprecationWarning:  # of numpy, for a type by a name of old
            refused += 1
        path.write_bytes(whole)
    assert refused > 1200
    Store.open(folder).check()
