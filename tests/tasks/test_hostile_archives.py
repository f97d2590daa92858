"""Data of somebody who means harm: headers, cards, pickles and lines that ask for more than the file holds."""

import gzip
import io
import json
import pickle
import struct
import types
import zipfile
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
from local_site import Site, sentence, serve
from made_archives import in_file, tar

from lra_tasks import Store, TaskError, text
from lra_tasks.archive import open_members
from lra_tasks.arrays import array_task
from lra_tasks.cifar import read_batch
from lra_tasks.download import fetch
from lra_tasks.json_files import read_json
from lra_tasks.listops_text import read_tsv
from lra_tasks.npy import map_array
from lra_tasks.pathfinder_files import read_files
from lra_tasks.store import prepare
from lra_tasks.store_writer import Layout
from lra_tasks.text import Text


def npy(header: str, data: bytes = b"", version: bytes = b"\1\0") -> bytes:
    made = header.encode("latin1")
    made += b" " * (-(11 + len(made)) % 64) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H" if version == b"\1\0" else "<I", len(made)) + made + data


def described(descr: str, shape: str, order: bool = False) -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


HEADERS = {
    "more than there is": npy(described("'<i8'", "(1000000000000,)")),
    "more than a machine has": npy(described("'<i8'", "(1" + "0" * 40 + ",)"), bytes(8)),
    "negative": npy(described("'<i8'", "(-1,)"), bytes(8)),
    "twice negative": npy(described("'<i8'", "(-1, -1)"), bytes(8)),
    "objects": npy(described("'|O'", "(1,)"), pickle.dumps(print)),
    "objects inside": npy(described("[('a', '|O')]", "(1,)"), pickle.dumps(print)),
    "nothing, many times": npy(described("'|V0'", "(1000000000000000000,)")),
    "code": npy("__import__('os').system('touch owned')"),
    "unclosed": npy("{" + "(" * 3_000),
    "nested": npy("(" * 4_000 + ")" * 4_000),
    "too long": npy(described("'<i8'", "(1,)") + " " * 100_000, version=b"\2\0"),
    "another version": npy(described("'<i8'", "(1,)"), bytes(8), version=b"\x09\0"),
    "no header": b"\x93NUMPY\1\0",
    "no array": b"plain text",
    "empty": b"",
}


@pytest.fixture
def folder(tmp_path):
    """A folder of arrays that is in order."""
    place = tmp_path / "toy"
    place.mkdir()
    (place / "card.toml").write_text(CARD)
    for split in ("train", "test"):
        np.save(place / f"{split}-inputs.npy", np.ones((12, 3), np.int64))
        np.save(place / f"{split}-labels.npy", np.arange(12) % 2)
    return place


CARD = 'title = "Toy"\nsummary = "A toy."\nclasses = 2\ninputs = "tokens"\nvocab_size = 5\n'


def one_sentence(call, *arguments, match: str | None = None) -> str:
    with pytest.raises(TaskError, match=match) as caught:
        call(*arguments)
    said = sentence(caught)
    assert said.isprintable()
    assert len(said) < 2_000
    return said


@pytest.mark.parametrize("kind", HEADERS)
def test_a_header_is_believed_as_far_as_the_file_goes(tmp_path, monkeypatch, folder, kind):
    monkeypatch.chdir(tmp_path)
    array_task(folder)
    (folder / "train-inputs.npy").write_bytes(HEADERS[kind])
    with pytest.raises(ValueError) as caught:
        map_array(folder / "train-inputs.npy")
    assert len(str(caught.value)) < 500
    assert "train-inputs.npy is no array of numbers" in one_sentence(array_task, folder)
    assert not (tmp_path / "owned").exists()


ARRAYS = [np.arange(6).reshape(2, 3), np.asfortranarray(np.eye(3)), np.empty((0, 4)), np.array(3.5)]


@pytest.mark.parametrize("array", ARRAYS, ids=["rows", "columns", "empty", "one"])
def test_arrays_are_mapped_as_numpy_reads_them(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    found = map_array(tmp_path / "x.npy")
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert np.array_equal(found, np.load(tmp_path / "x.npy"))
    assert found.flags.f_contiguous == np.load(tmp_path / "x.npy").flags.f_contiguous


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda card: card.replace("= 5", "= 0x" + "f" * 60_000), "vocab_size is a whole number, not int too long"),
        (lambda card: card.replace("= 5", "= " + "9" * 10_000), "cannot be read"),
        (lambda card: card.replace("= 5", "= 99999999999999999999"), "vocab_size is a whole number"),
        (lambda card: card.replace("classes = 2", "classes = 1000000000"), "more than 65,536 classes"),
        (lambda card: card.replace('"A toy."', '"\\u001b[2J"'), "summary is text"),
        (lambda card: card + "a = " + "[" * 20_000, "cannot be read"),
        (lambda card: card + "#" * 70_000, "more than 65,536 bytes"),
        (lambda card: card + '"\\u001b[2J' + "x" * 10_000 + '" = 1', "has a key"),
        (lambda card: card.replace('"tokens"', '"' + "x" * 9_999 + '"'), "inputs are 'tokens' or 'values'"),
        (lambda card: card.replace("tokens", "values").replace("vocab_size = 5", "shift = nan"), "shift is a number"),
    ],
    ids=[str(number) for number in range(10)],
)
def test_a_card_with_wild_values_is_refused(folder, change, words):
    (folder / "card.toml").write_text(change(CARD))
    assert words in one_sentence(array_task, folder)


def test_a_folder_whose_name_is_none_is_refused(folder):
    hostile = folder.rename(folder.parent / "\x1b[2J")
    one_sentence(array_task, hostile, match="cannot be a task's")


# -- stores


@pytest.fixture
def store(tmp_path):
    def build(out):
        out["train"].append(np.array([1, 2, 3], np.uint8), 1)
        out["train"].append(np.array([4], np.uint8), 0)

    recipe = {"task": "toy", "protocol": "s4", "spec": {"n_classes": 2}}
    prepare(tmp_path / "store", recipe, Layout({"train": 2, "val": 0}, np.dtype(np.uint8), 2), build)
    return tmp_path / "store"


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_store_is_mapped_by_the_same_rule(store, kind, split):
    Store.open(store).verify()
    (store / f"{split}-labels.npy").write_bytes(HEADERS[kind])
    assert f"{split}-labels.npy" in one_sentence(Store.open, store, match="prepare it again")


@pytest.mark.parametrize(
    "change",
    [
        lambda meta: meta.update(format="\x1b[2J" * 9_999),
        lambda meta: meta.update(fingerprint=3),
        lambda meta: meta.update(notes=[]),
        lambda meta: meta.update(spec=[]),
        lambda meta: meta.update(arrays=[]),
        lambda meta: meta.update(arrays={"train": 3}),
        lambda meta: meta["arrays"]["train"]["labels"].update(size=-2),
        lambda meta: meta["arrays"]["train"]["labels"].update(size="2"),
        lambda meta: meta["arrays"]["train"].pop("labels"),
        lambda meta: meta["spec"].update(channels="many"),
    ],
)
def test_a_store_of_another_shape_is_one_sentence(store, change):
    path = store / "meta.json"
    meta = json.loads(path.read_text())
    change(meta)
    path.write_text(json.dumps(meta))
    one_sentence(Store.open, store, match="prepare it again")


def test_a_store_that_lacks_its_hashes_is_not_what_was_written(store):
    path = store / "meta.json"
    meta = json.loads(path.read_text())
    del meta["arrays"]["train"]["labels"]["sha256"]
    path.write_text(json.dumps(meta))
    one_sentence(Store.open(store).verify, match="not what was written there")


def test_a_store_cannot_pass_for_another(store):
    """Results name their data by the fingerprint."""
    path = store / "meta.json"
    path.write_text(path.read_text().replace(Store.open(store).fingerprint, "0" * 64))
    one_sentence(Store.open(store).check, match="prepare it again")


def test_json_of_a_store_keeps_every_character(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"characters": "\x1b\x85é\u202e"}))
    assert read_json(tmp_path / "x.json") == {"characters": "\x1b\x85é\u202e"}


# -- pickles of CIFAR-10


def test_a_pickle_that_numbers_an_object_in_the_billions_takes_no_memory():
    pickled = b"\x80\x02}r\xff\xff\xff\x7f."  # an empty table, and room for 2^31 objects beside it
    one_sentence(read_batch, pickled, "x", match="object is number 2,147,483,647")
    one_sentence(read_batch, b"(dp99999999999\n.", "x", match="object is number 99,999,999,999")


def test_numpy_itself_builds_nothing_of_a_pickle():
    """It believes what a pickle says of a type, as that its bytes are addresses of objects."""
    pixels = np.arange(3072, dtype=np.uint8).reshape(1, 3072)
    good = pickle.dumps({b"data": pixels, b"labels": [1]}, protocol=2)
    images, labels = read_batch(good, "x")
    assert (images[0].transpose(2, 0, 1).ravel() == pixels[0]).all()
    assert labels.tolist() == [1]
    flags = b"J\xff\xff\xff\xffK\x00t"  # the last word of a type's state
    assert flags in good
    assert (read_batch(good.replace(flags, flags.replace(b"\0", b"\x3f")), "x")[0] == images).all()
    one_sentence(read_batch, good.replace(b"M\x00\x0c", b"M\x01\x0c"), "x")  # 3,073 of 3,072 bytes
    for kind in (b"O8", b"V1", b"i8"):
        one_sentence(read_batch, good.replace(b"u1", kind), "x", match=r"has no data of 3,072 bytes")


# -- lines and members


def test_a_line_without_end_is_not_read_into_memory():
    class Endless(io.RawIOBase):
        given = 0

        def readable(self):
            return True

        def readinto(self, buffer):
            start = b"Source\tTarget\n" if not self.given else b""
            data = (start + b"( " * len(buffer))[: len(buffer)]
            buffer[:] = data
            self.given += len(data)
            assert self.given < 10_000_000
            return len(data)

    one_sentence(lambda: list(read_tsv(io.BufferedReader(Endless()), "x")), match="x is no ListOps file")


PARTS = ("train/neg", "train/pos", "test/neg", "test/pos")


def folder_task(path: Path) -> types.SimpleNamespace:
    return types.SimpleNamespace(source="folder", origin=path, card=Text.card, name="text")


def test_reviews_without_end_are_not_kept_in_memory(tmp_path, monkeypatch):
    names = [f"aclImdb/{part}/{n}_7.txt" for part in PARTS for n in range(5)]
    path = in_file(tmp_path, gzip.compress(tar(dict.fromkeys(names, b"x" * 100_000))))
    assert len(Text._read(folder_task(path), tmp_path)["train"]) == 10
    monkeypatch.setattr(text, "_LARGEST_ALL", 1_000_000)
    one_sentence(Text._read, folder_task(path), tmp_path, match="more text than reviews have")


@pytest.mark.parametrize("number", ["9" * 5_000, "9" * 10, "-1", "1e5"])
def test_a_number_in_a_name_is_no_number_without_end(tmp_path, number):
    """Python refuses to read the longest ones, with an error of its own."""
    files = {f"pathfinder8/curv_contour_length_14/metadata/{number}.npy": b"imgs/0 sample_0.png 0 1 1 1 1 1 1 1 1\n"}
    files |= {f"aclImdb/{part}/{number}_7.txt": b"text" for part in PARTS}
    path = in_file(tmp_path, tar(files))
    with open_members(path) as members:
        one_sentence(read_files, members, 8, tmp_path / "spool", "x", None)
    one_sentence(Text._read, folder_task(path), tmp_path, match="holds 0 reviews")


def test_a_member_that_overlaps_others_is_limited_like_any(tmp_path):
    """As in the zip bombs of David Fifield (WOOT 2019), many entries of the directory are of one packed member."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", bytes(1_000_000))
        one = file.infolist()[0]
        file.filelist += [one] * 50
    path = in_file(tmp_path, packed.getvalue())
    with open_members(path) as members:
        one_sentence(lambda: [member.read(10_000) for member in members], match="larger than the 10,000 bytes")


# -- servers


@pytest.mark.parametrize("length", ["9" * 5_000, "²", "-1", "1e9"], ids=["long", "superscript", "negative", "float"])
def test_a_length_that_is_none_is_not_believed(tmp_path, monkeypatch, length):
    site, send = Site(), BaseHTTPRequestHandler.send_header

    def lie(self, name, value):
        send(self, name, length if name == "Content-Length" else value)

    with serve(site) as served, monkeypatch.context() as patched:
        patched.setattr(BaseHTTPRequestHandler, "send_header", lie)
        assert fetch(served.archive(), tmp_path / "data").read_bytes() == site.content
