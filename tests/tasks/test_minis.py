"""Miniatures: the original formats read back by other means, what their labels depend on, and what cannot tell them."""

import csv
import gzip
import hashlib
import io
import itertools
import pickle
import re
import tarfile
from collections import Counter

import numpy as np
import pytest

from lra_tasks import TaskError
from lra_tasks.cifar import read_batch
from lra_tasks.mini_papers import FIELDS, METHODS, write_papers
from lra_tasks.mini_reviews import BLAME, PRAISE, packed_tar, write_reviews
from lra_tasks.mini_shapes import SHAPES, write_images

CUT = 256
REVIEWS = {"train": 601, "test": 400}
PAIRS = {"train": 1201, "val": 100, "test": 250}
IMAGES = {"train": 603, "test": 200}
WRITE = {
    "reviews": lambda path, seed=0: write_reviews(path, REVIEWS, CUT, seed),
    "papers": lambda path, seed=0: write_papers(path, PAIRS, CUT, seed),
    "shapes": lambda path, seed=0: write_images(path, IMAGES, seed),
}
# Of the tar in the gzip, on every machine and with every Python: what changes it raises `version` in the task's card.
DIGESTS = {
    "reviews": "d5517d63f31123b48ebf9f77c5a9847b0892672f10cbf2f57f24aa2da949c760",
    "papers": "19808381ed8295b0ecb2f6fc68d57b7fe9a8d3582a4dc09ce8130a38e598b78b",
    "shapes": "a96b3f6171fb73ba7b7f31836edcd1f0825bc2dec08130c44f28ff6f1b502d76",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Each miniature as {name: content}, of its files."""
    folder = tmp_path_factory.mktemp("minis")
    found = {}
    for name, write in WRITE.items():
        write(folder / name)
        with tarfile.open(folder / name, "r:gz") as tar:
            found[name] = {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isfile()}
    return found


@pytest.mark.parametrize("name", WRITE)
def test_the_same_arguments_give_the_same_bytes(name, tmp_path):
    for file, seed in (("one", 0), ("same", 0), ("other", 1)):
        WRITE[name](tmp_path / file, seed)
    one = (tmp_path / "one").read_bytes()
    assert one == (tmp_path / "same").read_bytes()
    assert one != (tmp_path / "other").read_bytes()
    assert hashlib.sha256(gzip.decompress(one)).hexdigest() == DIGESTS[name]
    assert {path.name for path in tmp_path.iterdir()} == {"one", "same", "other"}


@pytest.mark.parametrize("name", WRITE)
def test_archives_carry_no_time_and_no_user(name, tmp_path):
    WRITE[name](tmp_path / "one")
    data = (tmp_path / "one").read_bytes()
    assert data[:8] == b"\x1f\x8b\x08\0\0\0\0\0"  # RFC 1952: no name, time 0
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as tar:  # which compares length and check sum
        entries = tar.getmembers()
    assert {(entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname) for entry in entries} == {(0, 0, 0, "", "")}
    folders = {entry.name for entry in entries if entry.isdir()}
    assert {entry.name.rpartition("/")[0] for entry in entries} - {""} <= folders


def test_packed_tar_is_whole_or_absent(tmp_path):
    large = np.random.default_rng(0).bytes(200_000)  # no multiple of tar's block
    with packed_tar(tmp_path / "whole") as tar:
        tar.stream("a", len(large), [large[:70_000], b"", large[70_000:]])
        tar.add("empty", b"")
    with tarfile.open(tmp_path / "whole", "r:gz") as found:
        assert [(entry.name, found.extractfile(entry).read()) for entry in found] == [("a", large), ("empty", b"")]
    with pytest.raises(ZeroDivisionError), packed_tar(tmp_path / "failed") as tar:
        tar.add("a", bytes(1 // 0))
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def reviews(files):
    """Return split, kind, number, rating and text of every review."""
    found = []
    for name, content in files.items():
        if match := re.fullmatch(r"aclImdb/(train|test)/(pos|neg)/(\d+)_(\d+)\.txt", name):
            split, kind, number, rating = match.groups()
            found.append((split, kind, int(number), int(rating), content.decode()))
    return found


def verdicts(text):
    return [word in PRAISE for word in re.findall("|".join(PRAISE + BLAME), text)]


def test_reviews_lie_as_in_the_original(written):
    found = reviews(written["reviews"])
    assert Counter((split, kind) for split, kind, *_ in found) == {
        ("train", "neg"): 301,
        ("train", "pos"): 300,
        ("test", "neg"): 200,
        ("test", "pos"): 200,
    }
    for split, kind in itertools.product(("train", "test"), ("neg", "pos")):
        of_class = [review for review in found if review[:2] == (split, kind)]
        assert sorted(number for _, _, number, _, _ in of_class) == list(range(len(of_class)))
        assert {rating for *_, rating, _ in of_class} == ({7, 8, 9, 10} if kind == "pos" else {1, 2, 3, 4})
    others = written["reviews"].keys() - {
        f"aclImdb/{split}/{kind}/{number}_{rating}.txt" for split, kind, number, rating, _ in found
    }
    assert "aclImdb/README" in others
    assert sum(re.fullmatch(r"aclImdb/train/unsup/\d+_0\.txt", name) is not None for name in others) == len(others) - 1


@pytest.mark.parametrize("cut", [64, 128, 1024])
def test_the_last_verdict_within_the_cut_is_the_label(cut, written, tmp_path):
    write_reviews(tmp_path / "reviews", {"train": 300, "test": 2}, cut, 3)
    with tarfile.open(tmp_path / "reviews") as tar:
        found = reviews({entry.name: tar.extractfile(entry).read() for entry in tar if entry.isfile()})
    at_256 = reviews(written["reviews"])
    for limit, some in ((cut, found), (CUT, at_256)):
        for _, kind, _, _, text in some:
            said = verdicts(text)
            assert said[-1] == (kind == "pos")
            assert said[0] != said[-1]
            assert 2 * sum(said) == len(said)  # counts are equal, so that they cannot tell
            # Neither a cut by characters nor one by bytes takes a verdict away.
            assert verdicts(text[: limit - 1]) == verdicts(text.encode()[: limit - 1].decode(errors="ignore")) == said
    lengths = np.array([len(text) for *_, text in at_256])
    assert lengths.min() > 0.3 * CUT
    assert 0.01 < (lengths >= CUT).mean() < 0.06
    texts = [text for *_, text in at_256]
    assert all(any(word in text for text in texts) for word in ("é", "ï", "<br />"))
    apart = [
        max(map(text.rfind, PRAISE + BLAME)) - min(text.find(w) for w in PRAISE + BLAME if w in text) for text in texts
    ]
    assert np.median(apart) > 100  # characters from the first verdict to the last


def test_counts_do_not_tell_reviews(written):
    texts = {split: [r for r in reviews(written["reviews"]) if r[0] == split] for split in ("train", "test")}
    labels = {split: np.array([kind == "pos" for _, kind, *_ in texts[split]]) for split in texts}
    for tokens in (list, re.compile(r"\w+").findall):
        known = sorted({token for *_, text in texts["train"] for token in tokens(text[: CUT - 1])})
        features = {}
        for split in texts:
            counted = [Counter(tokens(text[: CUT - 1])) for *_, text in texts[split]]
            features[split] = np.array([[1.0, *(count[token] for token in known)] for count in counted])
        weights = np.linalg.lstsq(features["train"], 2.0 * labels["train"] - 1, rcond=None)[0]
        assert abs(((features["test"] @ weights > 0) == labels["test"]).mean() - 0.5) < 0.1  # 4 standard errors


def pairs(files, name):
    content = files[f"lra_release/lra_release/tsv_data/new_aan_pairs.{name}.tsv"].decode()
    return list(csv.reader(io.StringIO(content, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE))


def ends(text):
    """Return the subject at the beginning and the one at the end, each named as often as the other."""
    named = re.findall("|".join(METHODS + FIELDS), text)
    half = len(named) // 2
    assert named == [named[0]] * half + [named[-1]] * half
    assert len(set(named)) == 2
    return named[0], named[-1]


def test_papers_are_related_by_the_order_of_their_subjects(written):
    rows = {name: pairs(written["papers"], name) for name in ("train", "eval", "test")}
    assert {name: len(rows[name]) for name in rows} == {"train": 1201, "eval": 100, "test": 250}
    for name in rows:
        assert Counter(row[0] for row in rows[name]) == {"1.0": len(rows[name]) // 2, "0.0": -(-len(rows[name]) // 2)}
    every = [row for name in rows for row in rows[name]]
    assert len({frozenset(row[1:3]) for row in every}) == len(every)  # of two papers, and no two of the same
    texts = {}
    for _, one, other, first, second in every:
        assert texts.setdefault(one, first) == first
        assert texts.setdefault(other, second) == second
    assert len(set(texts.values())) == len(texts)
    standing = Counter(paper for row in every for paper in row[1:3])
    assert 5 < np.mean(list(standing.values())) < 7
    assert max(standing.values()) <= 8
    assert np.mean([times >= 4 for times in standing.values()]) > 0.97  # but for those of the last block
    for row in every:
        assert float(row[0]) == (ends(row[3]) == ends(row[4]))
    # Subjects without their order, all that counts tell, leave about a third to chance.
    same = [set(ends(row[3])) == set(ends(row[4])) for row in every]
    assert 0.6 < np.mean([float(row[0]) == counted for row, counted in zip(every, same, strict=True)]) < 0.7
    assert 0.4 < np.mean([METHODS.count(ends(row[3])[0]) for row in every if row[0] == "0.0"]) < 0.7


@pytest.mark.parametrize("cut", [96, 128, CUT, 1024])
def test_papers_keep_their_subjects_within_the_cut(cut, tmp_path):
    write_papers(tmp_path / "papers", {"train": 9_000 if cut == 128 else 100, "val": 1, "test": 0}, cut, 5)
    with tarfile.open(tmp_path / "papers") as tar:
        files = {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isfile()}
    texts = {text for row in pairs(files, "train") for text in row[3:]}
    assert all(
        ends(text) == ends(text[: cut - 1]) == ends(text.encode()[: cut - 1].decode(errors="ignore")) for text in texts
    )
    assert pairs(files, "test") == []
    if cut == 128:
        assert any(len(text) > cut for text in texts)
    if cut == CUT:
        assert any(text.count('"') % 2 for text in texts)
        assert any(not text.isascii() for text in texts)


def batches(files):
    return {
        name.rpartition("/")[2]: (content, pickle.loads(content, encoding="bytes"))
        for name, content in files.items()
        if name.endswith(("_batch", "batches.meta")) or "/data_batch_" in name
    }


def test_images_lie_as_in_the_original(written):
    files = written["shapes"]
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    assert files.keys() == {f"cifar-10-batches-py/{name}" for name in [*names, "batches.meta", "readme.html"]}
    found = batches(files)
    meta = found.pop("batches.meta")[1]
    assert meta == {
        b"label_names": [shape.encode() for shape in SHAPES],
        b"num_cases_per_batch": 120,
        b"num_vis": 3072,
    }
    assert [len(found[name][1][b"labels"]) for name in names] == [120, 121, 120, 121, 121, 200]
    for name, (content, batch) in found.items():
        assert list(batch) == [b"batch_label", b"labels", b"data", b"filenames"]
        assert content[:2] == b"\x80\x02"
        assert b"_codecs" not in content  # Python 3's way to write bytes in this protocol
        assert batch[b"data"].dtype == np.uint8
        assert batch[b"data"].shape == (len(batch[b"labels"]), 3072)
        assert all(type(label) is int for label in batch[b"labels"])
        times = Counter(batch[b"labels"])
        assert sorted(times) == list(range(10))
        assert max(times.values()) - min(times.values()) <= 1
        prefixes = [file.split(b"_")[0].decode() for file in batch[b"filenames"]]
        assert prefixes == [SHAPES[label] for label in batch[b"labels"]]
        images, labels = read_batch(content, name)
        assert labels.tolist() == batch[b"labels"]
        assert (images[..., 2] == batch[b"data"][:, 2048:].reshape(-1, 32, 32)).all()  # blue is the last plane
    assert found["data_batch_3"][1][b"batch_label"] == b"training batch 3 of 5"
    assert found["test_batch"][1][b"batch_label"] == b"testing batch 1 of 1"


def shapes(files):
    """Return, class by class, the pixels of each image's shape, cut to its box, and all gray values."""
    found = {shape: [] for shape in SHAPES}
    grays = {shape: [] for shape in SHAPES}
    for _, batch in batches(files).values():
        for label, data in zip(batch.get(b"labels", []), batch.get(b"data", []), strict=True):
            gray = np.array([0.299, 0.587, 0.114]) @ data.reshape(3, -1)
            shape = (gray > (gray.min() + gray.max()) / 2).reshape(32, 32)
            shape = ~shape if shape.sum() > 512 else shape
            rows, columns = np.flatnonzero(shape.any(axis=1)), np.flatnonzero(shape.any(axis=0))
            found[SHAPES[label]].append(shape[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
            grays[SHAPES[label]].append(gray)
    return found, grays


def test_shapes_are_what_they_are_called(written):
    found, grays = shapes(written["shapes"])
    filled = {name: np.mean([shape.mean() for shape in found[name]]) for name in found}
    expected = {"disc": np.pi / 4, "ring": np.pi / 4 * 0.64, "square": 1.0, "frame": 1 - 0.65**2, "triangle": 0.5}
    expected |= {"plus": 7 / 16, "cross": 0.51, "checks": 0.5}
    for name, share in expected.items():
        assert filled[name] == pytest.approx(share, abs=0.06), name
    for name, axis in (("rows", 1), ("columns", 0)):
        for shape in found[name]:
            lines = shape.mean(axis=axis)
            assert set(lines) == {0.0, 1.0}
            assert (np.diff(lines) > 0).sum() == 2  # three stripes
    for shape in found["triangle"]:  # on its base
        assert (np.diff(shape.sum(axis=1)) >= 0).all()
    for shape in found["plus"]:
        assert shape[len(shape) // 2].all()
        assert not shape[0, 0]
    for shape in found["cross"]:
        assert shape[0, 0]
        assert not shape[0, shape.shape[1] // 2]
    areas = [np.mean([shape.sum() for shape in found[name]]) for name in SHAPES]
    assert 190 < min(areas) < max(areas) < 220
    # Nor do the colours tell: shapes are lighter than the ground as often as darker.
    lighter = [np.mean([gray.mean() < (gray.min() + gray.max()) / 2 for gray in grays[name]]) for name in SHAPES]
    assert 0.3 < min(lighter) < max(lighter) < 0.7


def test_too_short_a_cut_is_refused(tmp_path):
    with pytest.raises(TaskError, match="takes 64 characters or more: raise max_length from 63"):
        write_reviews(tmp_path / "reviews", {"train": 2, "test": 2}, 63, 0)
    with pytest.raises(TaskError, match="takes 96 characters or more: raise max_length from 95"):
        write_papers(tmp_path / "papers", {"train": 2, "val": 2, "test": 2}, 95, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_few_samples_are_enough(tmp_path):
    write_reviews(tmp_path / "reviews", {"train": 2, "test": 0}, 64, 0)
    write_papers(tmp_path / "papers", {"train": 1, "val": 0, "test": 3}, 96, 0)
    write_images(tmp_path / "shapes", {"train": 3, "test": 0}, 0)
    with tarfile.open(tmp_path / "shapes") as tar:
        counts = [
            len(pickle.loads(tar.extractfile(entry).read(), encoding="bytes")[b"labels"])
            for entry in tar
            if entry.name.endswith("_batch") or "/data_batch_" in entry.name
        ]
    assert counts == [0, 1, 0, 1, 1, 0]
