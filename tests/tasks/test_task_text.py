"""Text from files written by hand: ids, splits, selection, and what is wrong with other files."""

from dataclasses import replace

import pytest
from originals import write_folder, write_tar

from lra_tasks import TaskError, cards
from lra_tasks.documents import DocumentScale
from lra_tasks.text import Text

# In train a occurs 15 times, b 16 times, c 14 times, é once; the long review's z lie beyond the cut.
TRAIN = {
    "train/neg/0_3.txt": "aaaaabbbbbb",
    "train/neg/1_1.txt": "ccccccc" + "bbbbb",
    "train/pos/0_10.txt": "aaaaaé" + "bbbbb",
    "train/pos/1_7.txt": "aaaaaccccccc",
}
TEST = {"test/neg/7_2.txt": "cab", "test/pos/3_9.txt": "éb" + "a" * 5000}


class Small(Text):
    card = replace(cards.TEXT, train=4, test=2)
    scales = {"full": DocumentScale(4, 0, 2), "small": DocumentScale(2, 0, 2, max_length=4)}


def files(changes=None):
    content = {**TRAIN, **TEST, "train/unsup/0_0.txt": "bbbb" * 9, "README": "?", **(changes or {})}
    return {
        f"aclImdb/{name}": text if isinstance(text, bytes) else text.encode()
        for name, text in content.items()
        if text is not None
    }


def prepared(tmp_path, content=None, **options):
    path = write_tar(tmp_path / "aclImdb.tar.gz", content or files())
    task = Small(data_dir=tmp_path / "data", **options)
    task.prepare_data(origin=path)
    task.setup()
    return task


def samples(task, split):
    return sorted(
        (documents[0].tolist(), label)
        for documents, label in (task.split(split)[i] for i in range(len(task.split(split))))
    )


def test_ids_of_protocol_s4(tmp_path):
    task = prepared(tmp_path, selection="published")
    assert task.store.notes["characters"] == "ba"  # of frequency 15 or more, the most frequent first
    b, a, unk, eos = 3, 4, 1, 2
    assert samples(task, "train") == sorted(
        [
            ([a] * 5 + [b] * 6 + [eos], 0),
            ([unk] * 7 + [b] * 5 + [eos], 0),
            ([a] * 5 + [unk] + [b] * 5 + [eos], 1),
            ([a] * 5 + [unk] * 7 + [eos], 1),
        ]
    )
    assert samples(task, "test") == sorted([([unk, a, b, eos], 0), ([unk, b] + [a] * 4093 + [eos], 1)])


def test_what_is_cut_away_is_not_counted(tmp_path):
    content = files({"train/pos/1_7.txt": "a" * 4095 + "z" * 20})
    assert "z" not in prepared(tmp_path, content).store.notes["characters"]
    content = files({"train/pos/1_7.txt": "a" * 4080 + "z" * 15})
    (tmp_path / "2").mkdir()
    assert "z" in prepared(tmp_path / "2", content).store.notes["characters"]


def test_ids_of_protocol_google(tmp_path):
    task = prepared(tmp_path, protocol="google")
    test = samples(task, "test")
    assert test[0] == ([100, 98, 99], 0)
    assert test[1] == ([196, 170, 99] + [98] * 3997, 1)  # 4,000 bytes, no end mark


def test_strict_holds_out_a_tenth_of_train_and_published_selects_on_test(tmp_path):
    class Ten(Small):
        card = replace(cards.TEXT, train=20, test=2)
        scales = {"full": DocumentScale(20, 0, 2)}

    many = {f"train/{kind}/{n}_5.txt": f"{kind} {n}" for kind in ("neg", "pos") for n in range(10)}
    path = write_folder(tmp_path / "aclImdb", {name: text.encode() for name, text in {**many, **TEST}.items()})

    def task(**options):
        made = Ten(data_dir=tmp_path / "data", protocol="google", **options)
        made.prepare_data(origin=path)
        made.setup()
        return made

    strict, published, other = task(), task(selection="published"), task(seed=1)
    assert [len(strict.split(name)) for name in ("train", "val", "test")] == [18, 2, 2]
    assert sorted(label for _, label in samples(strict, "val")) == [0, 1]
    assert sorted(samples(strict, "train") + samples(strict, "val")) == samples(published, "train")
    assert samples(strict, "val") != samples(other, "val")
    assert published.split("val") is published.split("test")
    assert len(published.val_dataloader().split) == 2
    assert any("held out" in text for text in strict.departures)
    assert strict.rule_departures == []
    assert published.rule_departures == ["The checkpoint is selected on the test split, as in the published code."]
    assert not any("held out" in text for text in published.departures)


def test_a_reduced_scale_takes_half_of_each_class_with_the_ids_of_the_full_one(tmp_path):
    task = prepared(tmp_path, scale="small", selection="published")
    assert task.store.notes["characters"] == "ba"
    assert sorted(label for _, label in samples(task, "train")) == [0, 1]
    assert all(len(ids) == 4 and ids[-1] == 2 for ids, _ in samples(task, "train"))


@pytest.mark.parametrize("layout", ["archive", "folder", "parent", "contents"])
def test_every_layout_gives_the_same_samples(tmp_path, layout):
    expected = prepared(tmp_path / "1", selection="published").fingerprint if (tmp_path / "1").mkdir() is None else ""
    if layout == "archive":
        path = write_tar(tmp_path / "renamed", dict(reversed(files().items())), "w")
    else:
        path = write_folder(tmp_path / "deep", files())
        path = {"folder": path / "aclImdb", "parent": path, "contents": path / "aclImdb"}[layout]
    task = Small(data_dir=tmp_path / "2", selection="published")
    task.prepare_data(origin=path)
    task.setup()
    assert task.fingerprint == expected


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"train/pos/1_7.txt": None}, r"holds 1 reviews train/pos/ID_RATING\.txt where the published archive has 2"),
        ({"test/neg/7_2.txt": None}, r"holds 0 reviews test/neg"),
        ({"test/neg/7_2.txt": b"caf\xe9"}, r"test/neg/7_2\.txt in .* is not UTF-8 at byte 3"),
        ({"test/neg/7_2.txt": ""}, r"test/neg/7_2\.txt in .* is empty"),
    ],
)
def test_other_files_are_one_sentence_and_leave_nothing(tmp_path, changes, complaint):
    with pytest.raises(TaskError, match=complaint) as caught:
        prepared(tmp_path, files(changes))
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "data" / "text").iterdir() if path.suffix != ".lock"] == []


def test_files_are_only_read_where_the_source_is_official(tmp_path):
    with pytest.raises(TaskError, match=r"task\.source=official"):
        Small(source="mini", data_dir=tmp_path).prepare_data(origin=tmp_path)
    with pytest.raises(TaskError, match=r"no source 'generated'; it has official, mini"):
        Small(source="generated")
    with pytest.raises(TaskError, match=r"no selection 'test'"):
        Small(selection="test")
