"""Readers of `lra_tasks`: stores, folders of arrays, archives and the original files in them."""

import contextlib
import gzip
import io
import tempfile
import types
from pathlib import Path

import numpy as np
from harness import CUT, npy, target, tarred, zipped
from PIL import Image as Pillow

from lra_tasks import TaskError
from lra_tasks.archive import open_members, stream_members
from lra_tasks.arrays import array_task
from lra_tasks.cifar import read_batch
from lra_tasks.listops_text import read_tsv
from lra_tasks.pathfinder_files import read_files
from lra_tasks.pixels import decode_image
from lra_tasks.retrieval import Retrieval, _Pairs
from lra_tasks.store import Store, prepare
from lra_tasks.store_writer import Layout
from lra_tasks.text import Text

STORE = ("meta.json", "train-tokens.npy", "train-offsets.npy", "train-labels.npy")


def store_seeds() -> list[bytes]:
    def build(out):
        out["train"].append(np.array([1, 2, 3], np.uint8), 1)
        out["train"].append(np.array([4], np.uint8), 0)

    recipe = {"task": "toy", "protocol": "s4", "spec": {"n_classes": 2}}
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder) / "toy", recipe, Layout({"train": 2}, np.dtype(np.uint8), 2), build)
        return [CUT.join((Path(folder) / "toy" / name).read_bytes() for name in STORE)]


@target(store_seeds)
def read_store(data, folder):
    for name, part in zip(STORE, data.split(CUT), strict=False):
        (folder / name).write_bytes(part)
    store = Store.open(folder)
    store.check()
    store.verify()
    for split in store.splits.values():
        assert len(split.lengths()) == len(split)
        assert all(len(document) for i in range(len(split)) for document in split[i][0])


FOLDER = (
    "card.toml",
    *(f"{split}-{what}.npy" for split in ("train", "test") for what in ("inputs", "labels", "lengths")),
)


def folder_seeds() -> list[bytes]:
    card = b'title = "Toy"\nsummary = "A toy."\nclasses = 2\ninputs = "tokens"\nvocab_size = 5\n'
    values = b'title = "Toy"\nsummary = "A toy."\nclasses = 2\ninputs = "values"\nshift = 0.5\nscale = 2\n'
    ids, labels, lengths = np.ones((12, 3), np.int64), np.arange(12) % 2, np.full(12, 2)
    arrays = [npy(array) for array in (ids, labels, lengths)] * 2
    floats = [npy(array) for array in (ids.astype(np.float32), labels, lengths)] * 2
    return [CUT.join([card, *arrays]), CUT.join([values, *floats])]


@target(folder_seeds, 0.1)
def read_folder(data, folder):
    (folder / "toy").mkdir()
    for name, part in zip(FOLDER, data.split(CUT), strict=False):
        (folder / "toy" / name).write_bytes(part)
    task = array_task(folder / "toy")(data_dir=folder / "data")
    task.prepare_data()


FILES = {"a.txt": b"one", "b/c.txt": b"two" * 300}


@target(lambda: [tarred(FILES), zipped(FILES), gzip.compress(tarred(FILES)), b"plain"])
def read_archive(data, folder):
    (folder / "x").write_bytes(data)
    with contextlib.suppress(TaskError), stream_members(io.BytesIO(data), "passing") as members:
        for member in members:
            member.read(1_000)
    with open_members(folder / "x") as members:
        for member in members:
            assert member.name.isprintable() or not member.name.isascii()
            member.read(1_000)


@target(lambda: [b"Source\tTarget\r\n( ( ( [MAX 2 ) 9 ) ] )\t9\r\n"])
def read_listops(data, folder):
    for symbols, value in read_tsv(io.BytesIO(data), "x"):
        assert all(isinstance(symbol, str) for symbol in symbols)
        assert 0 <= value <= 9


@target(lambda: ["1.0\t1\t2\tOne é paper\tAnother\n0\t3\t4\ta\tb\n".encode()])
def read_retrieval(data, folder):
    Retrieval._read_pairs(None, io.BytesIO(data), "x", {}, _Pairs())


REVIEWS = [
    f"aclImdb/{split}/{kind}/{n}_7.txt" for split in ("train", "test") for kind in ("neg", "pos") for n in (0, 1)
]


@target(lambda: [CUT.join(f"A film {n} é.".encode() for n in range(8)), tarred(dict.fromkeys(REVIEWS, b"text"))])
def read_text(data, folder):
    parts = data.split(CUT)
    if len(parts) == len(REVIEWS):
        data = tarred(dict(zip(REVIEWS, parts, strict=True)))
    (folder / "x").write_bytes(data)
    text = types.SimpleNamespace(task=Text, source="folder", origin=folder / "x", card=Text.card, name="text")
    Text._read(text, folder / "scratch")


def batch_seeds() -> list[bytes]:
    import pickle

    pixels = np.zeros((2, 3072), np.uint8)
    return [pickle.dumps({b"labels": [3, 4], b"data": pixels, b"filenames": [b"a", b"b"]}, protocol=2)]


@target(batch_seeds)
def read_cifar(data, folder):
    images, labels = read_batch(data, "x")
    assert len(images) == len(labels)


def picture_seeds() -> list[bytes]:
    found = []
    for kind in ("PNG", "JPEG"):
        buffer = io.BytesIO()
        Pillow.new("RGB", (8, 8), (1, 2, 3)).save(buffer, kind)
        found.append(buffer.getvalue())
    return found


@target(picture_seeds)
def read_picture(data, folder):
    assert decode_image(data, 8, "RGB", "x").shape == (8, 8, 3)


@target(lambda: [CUT.join([picture_seeds()[0], b"imgs/0 sample_0.png 0 1 1.8 6 2 1 1.5 1 1\n", b"0"])])
def read_pathfinder(data, folder):
    image, lines, number = (data.split(CUT) + [b""] * 3)[:3]
    name = number.decode("latin1").replace("/", "")
    root = "pathfinder8/curv_contour_length_14"
    files = {f"{root}/imgs/0/sample_0.png": image, f"{root}/metadata/{name}.npy": lines}
    with contextlib.suppress(ValueError):  # of a name that no tar can have
        data = tarred(files)
    (folder / "x").write_bytes(data)
    with open_members(folder / "x") as members:
        read_files(members, 8, folder / "spool", "x", None)
