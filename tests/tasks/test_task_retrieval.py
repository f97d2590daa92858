"""Retrieval from files written by hand: ids, papers stored once, pairs, and what is wrong with other files."""

from dataclasses import replace

import numpy as np
import pytest
from originals import write_folder, write_tar

from lra_tasks import TaskError, cards
from lra_tasks.documents import DocumentScale
from lra_tasks.retrieval import Retrieval

LINES = {
    "train": ['1.0\tA1\tB2\tab"\tbb\n', '0.0\tA1\tC3\tab"\tc é\n', "1.0\tB2\tC3\tbb\tc é\n"],
    "eval": ["0.0\tC3\tA1\tc é\tzb\n"],
    "test": [f"1\tD4\tB2\t{'b' * 5000}\tbb\n", "0\tB2\tE5\tbb\tx\n"],
}


class Small(Retrieval):
    card = replace(cards.RETRIEVAL, train=3, val=1, test=2)
    scales = {"full": DocumentScale(3, 1, 2), "small": DocumentScale(2, 1, 1, max_length=3)}


def files(root="lra_release/lra_release/tsv_data", **changes):
    content = {**LINES, **changes}
    made = {
        f"{root}/new_aan_pairs.{split}.tsv": "".join(lines) for split, lines in content.items() if lines is not None
    }
    return {name: text if isinstance(text, bytes) else text.encode() for name, text in made.items()}


def prepared(tmp_path, content=None, **options):
    path = write_tar(tmp_path / "lra_release.gz", content or files())
    task = Small(data_dir=tmp_path / "data", **options)
    task.prepare_data(origin=path)
    task.setup()
    return task


def samples(task, split):
    found = task.split(split)
    return [(*(document.tolist() for document in found[i][0]), found[i][1]) for i in range(len(found))]


def test_ids_of_protocol_s4_and_papers_stored_once(tmp_path):
    task = prepared(tmp_path)
    # In the pairs of train: b 2 in each of two ab" and 4 in two bb, so b 6; a, ", blank, c and é twice each.
    assert task.store.notes["characters"] == 'b "acé'
    b, blank, quote, a, c, e = range(3, 9)
    unk, eos = 1, 2
    ab, bb, ce = [a, b, quote, eos], [b, b, eos], [c, blank, e, eos]
    assert samples(task, "train") == [(ab, bb, 1), (ab, ce, 0), (bb, ce, 1)]
    assert samples(task, "val") == [(ce, [unk, b, eos], 0)]
    assert samples(task, "test") == [([b] * 3999 + [eos], bb, 1), (bb, [unk, eos], 0)]
    assert len(task.split("train").offsets) - 1 == 6  # ab", bb, c é, zb, bbb…, x
    assert task.split("train").tokens is task.split("test").tokens
    assert {path.name for path in task.folder.iterdir()} == {
        "meta.json",
        "documents-tokens.npy",
        "documents-offsets.npy",
        *(f"{split}-{what}.npy" for split in ("train", "val", "test") for what in ("pairs", "labels")),
    }


def test_ids_of_protocol_google(tmp_path):
    task = prepared(tmp_path, protocol="google")
    assert samples(task, "train")[1] == ([98, 99, 35], [100, 33, 196, 170], 0)
    assert samples(task, "test")[0][0] == [99] * 4000


def test_batches_hold_first_documents_then_second_ones(tmp_path):
    task = prepared(tmp_path, protocol="google", eval_batch_size=5)
    (batch,) = task.val_dataloader()
    assert batch.inputs.tolist() == [[100, 33, 196, 170], [123, 99, 0, 0]]
    assert batch.lengths.tolist() == [4, 2]
    assert batch.labels.tolist() == [0]


def test_a_reduced_scale_draws_pairs_and_keeps_their_papers_alone(tmp_path):
    task = prepared(tmp_path, scale="small")
    assert [len(task.split(name)) for name in ("train", "val", "test")] == [2, 1, 1]
    assert len(task.split("train").offsets) - 1 == len(
        np.unique(np.concatenate([s.pairs for s in task.store.splits.values()]))
    )
    assert max(len(ids) for sample in samples(task, "train") for ids in sample[:2]) <= 3


@pytest.mark.parametrize("root", ["tsv_data", "lra_release/tsv_data", "."])
def test_every_layout_gives_the_same_samples(tmp_path, root):
    (tmp_path / "1").mkdir()
    path = write_folder(tmp_path / "folder", files(root))
    task = Small(data_dir=tmp_path / "2")
    task.prepare_data(origin=path)
    task.setup()
    assert task.fingerprint == prepared(tmp_path / "1").fingerprint


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"eval": None}, r"new_aan_pairs\.eval\.tsv in .* has 0 pairs where the published file has 1"),
        ({"train": LINES["train"][:2]}, r"new_aan_pairs\.train\.tsv in .* has 2 pairs where the published file has 3"),
        ({"eval": ["0.0\tC3\tA1\tc\n"]}, r"eval\.tsv in .*, line 1: it has 4 fields"),
        ({"test": [LINES["test"][0], "7\tB\tC\tb\tx\n"]}, r"test\.tsv in .*, line 2: the label is '7' and not"),
        ({"eval": ["0.0\tC3\tA1\t\tx\n"]}, r"line 1: a paper has no text"),
        ({"eval": [b"0.0\tC3\tA1\tcaf\xe9\tx\n".decode("latin1")]}, None),
    ],
)
def test_other_files_are_one_sentence_and_leave_nothing(tmp_path, changes, complaint):
    if complaint is None:
        content = files()
        name = next(name for name in content if "eval" in name)
        content[name] = b"0.0\tC3\tA1\tcaf\xe9\tx\n"
        complaint = r"eval\.tsv in .*, line 1 is not UTF-8 at byte 3"
    else:
        content = files(**changes)
    with pytest.raises(TaskError, match=complaint) as caught:
        prepared(tmp_path, content)
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "data" / "retrieval").iterdir() if path.suffix != ".lock"] == []


def test_a_long_paper_is_cut_between_characters(tmp_path):
    content = files(eval=["0.0\tC3\tA1\tx" + "é" * 9000 + "\tx\n"])
    ids = samples(prepared(tmp_path, content), "val")[0][0]
    assert len(ids) == 4000
    assert ids[0] == 1
    assert set(ids[1:-1]) == {8}
