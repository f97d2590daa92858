"""ListOps from its original files: ids of both protocols, layouts, miniatures, longer expressions, other files."""

from dataclasses import replace

import numpy as np
import pytest
from originals import write_folder, write_tar

from lra_tasks import TaskError, cards
from lra_tasks.listops import ListOps, ListOpsScale
from lra_tasks.listops_text import Grammar

HEAD = "Source\tTarget\n"
FILES = {
    "train": HEAD + "( ( ( [MAX 2 ) 9 ) ] )\t9\n( ( ( [SM ( ( ( [MIN 4 ) 7 ) ] ) ) 0 ) ] )\t4\n",
    "val": HEAD + "( ( ( [MED 1 ) 2 ) ] )\t1\n",
    "test": HEAD + "7\t7\n",
}


class Small(ListOps):
    card = replace(cards.LISTOPS, train=2, val=1, test=1)
    scales = {
        "full": ListOpsScale(2, 1, 1),
        "tiny": ListOpsScale(60, 10, 10, Grammar(0.4, 4, 3, 5, 30)),
        "4k": replace(ListOps.scales["4k"], train=3, val=1, test=1),
    }


def files(root="lra_release/lra_release/listops-1000", **changes):
    content = {**FILES, **changes}
    return {f"{root}/basic_{split}.tsv": text.encode() for split, text in content.items() if text is not None}


def prepared(tmp_path, path=None, source="official", **options):
    task = Small(data_dir=tmp_path / "data", source=source, **options)
    official = path or write_tar(tmp_path / "lra_release.gz", files())
    task.prepare_data(origin=official if source == "official" else None)
    task.setup()
    return task


def samples(task, split):
    found = task.split(split)
    return [(found[i][0][0].tolist(), found[i][1]) for i in range(len(found))]


def test_ids_by_hand(tmp_path):
    # s4: pad, unk, eos, then 0 to 9 from 3 on, MIN 13, MAX 14, MED 15, SM 16, closing bracket 17, and the end mark.
    task = prepared(tmp_path)
    assert samples(task, "train") == [([14, 5, 12, 17, 2], 9), ([16, 13, 7, 10, 17, 3, 17, 2], 4)]
    assert samples(task, "val") == [([15, 4, 5, 17, 2], 1)]
    assert samples(task, "test") == [([10, 2], 7)]
    # google: pad, then 0 to 9 from 1 on, MIN 11, MAX 12, MED 13, SM 14, closing bracket 15; no end mark.
    google = prepared(tmp_path, protocol="google")
    assert samples(google, "train") == [([12, 3, 10, 15], 9), ([14, 11, 5, 8, 15, 1, 15], 4)]


def test_an_unknown_symbol_is_out_of_vocabulary(tmp_path):
    path = write_tar(tmp_path / "a", files(test=HEAD + "( ( ( [MAX 2 ) x ) ] )\t9\n"))
    assert samples(prepared(tmp_path / "1", path), "test") == [([14, 5, 1, 17, 2], 9)]
    assert samples(prepared(tmp_path / "2", path, protocol="google"), "test") == [([12, 3, 16, 15], 9)]


@pytest.mark.parametrize("root", ["listops-1000", "lra_release/listops-1000", "."])
def test_every_layout_gives_the_same_samples(tmp_path, root):
    (tmp_path / "1").mkdir()
    folder = write_folder(tmp_path / "x", files(root))
    assert prepared(tmp_path / "2", folder).fingerprint == prepared(tmp_path / "1").fingerprint


@pytest.mark.parametrize("protocol", ["s4", "google"])
def test_a_miniature_holds_the_generated_expressions(tmp_path, protocol):
    options = {"scale": "tiny", "protocol": protocol}
    generated, mini = (prepared(tmp_path, source=source, **options) for source in ("generated", "mini"))
    assert generated.fingerprint == mini.fingerprint
    assert len(mini.split("train")) == 60


def test_longer_expressions(tmp_path):
    task = prepared(tmp_path, source="generated", scale="4k", workers=1)
    lengths = np.concatenate([task.split(name).lengths() for name in ("train", "val", "test")]) - 1
    assert len(lengths) == 5
    assert ((lengths > 2_000) & (lengths < 4_000)).all()
    assert task.spec.max_length == 4_000


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"val": None}, r"basic_val\.tsv in .* has 0 expressions where the published file has 1"),
        ({"val": FILES["val"] + "5\t5\n"}, r"basic_val\.tsv in .* has 2 expressions"),
        ({"val": "( ( ( [MAX 2 ) 9 ) ] )\t9\n"}, r"basic_val\.tsv in .* is no ListOps file"),
        ({"val": HEAD + "5\t12\n"}, r"basic_val\.tsv in .*, line 2: expected an expression, a tab and a digit"),
        ({"val": HEAD + "5\n"}, "line 2: expected"),
        ({"val": HEAD + "5 " * 2_000 + "\t5\n"}, "expression 1: it has 2,000 symbols"),
    ],
)
def test_other_files_are_one_sentence_and_leave_nothing(tmp_path, changes, complaint):
    with pytest.raises(TaskError, match=complaint) as caught:
        prepared(tmp_path, write_tar(tmp_path / "a", files(**changes)))
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "data" / "listops").iterdir() if path.suffix != ".lock"] == []


def test_official_files_are_of_one_scale(tmp_path):
    with pytest.raises(TaskError, match=r"not of scale tiny: set task\.scale=full"):
        prepared(tmp_path, scale="tiny")
