"""Cards, names and the contract of a registered task."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import lra_tasks
from lra_tasks import Protocol, TaskCard, TaskError, TaskSpec
from lra_tasks.card import Archive, markdown_table
from lra_tasks.cards import LISTOPS

README = Path(__file__).parents[2] / "tasks" / "README.md"


def test_names_and_cards_need_no_heavy_import():
    code = (
        "import sys, lra_tasks; lra_tasks.task_cards(); lra_tasks.get_card('listops')\n"
        "assert not {'torch', 'lightning', 'numba', 'PIL', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_readme_table_is_the_generated_one():
    before, table, after = README.read_text(encoding="utf-8").split("<!-- cards -->\n")
    assert before
    assert after
    assert table == markdown_table(lra_tasks.task_cards())


def test_published_facts():
    sizes = {name: (card.train, card.val, card.test) for name, card in lra_tasks.task_cards().items()}
    assert sizes["listops"] == (96_000, 2_000, 2_000)
    assert sizes["text"] == (25_000, 0, 25_000)
    assert sizes["retrieval"] == (147_086, 18_090, 17_437)
    assert sizes["image"] == (45_000, 5_000, 10_000)
    assert sizes["pathfinder"] == sizes["pathx"] == (160_000, 20_000, 20_000)
    assert list(sizes) == ["listops", "text", "retrieval", "image", "pathfinder", "pathx"]
    assert LISTOPS.lengths == (501, 1999)
    shapes = {
        (name, protocol.name): (protocol.vocab_size, protocol.max_length)
        for name, card in lra_tasks.task_cards().items()
        for protocol in card.protocols
    }
    assert shapes == {
        ("listops", "s4"): (18, 2_000),
        ("listops", "google"): (17, 1_999),
        ("text", "s4"): (134, 4_096),
        ("text", "google"): (257, 4_000),
        ("retrieval", "s4"): (98, 4_000),
        ("retrieval", "google"): (257, 4_000),
        ("image", "s4"): (0, 1_024),
        ("image", "s4-rgb"): (0, 1_024),
        ("image", "google"): (256, 1_024),
        ("pathfinder", "s4"): (0, 1_024),
        ("pathfinder", "google"): (256, 1_024),
        ("pathx", "s4"): (0, 16_384),
        ("pathx", "google"): (256, 16_384),
    }


@pytest.mark.parametrize("name", lra_tasks.task_names())
def test_a_tenth_is_the_published_task_with_a_tenth_of_its_samples(name, tmp_path):
    tenth, full = (lra_tasks.get_task(name)(scale=scale, data_dir=tmp_path) for scale in ("tenth", "full"))
    assert tenth.spec == full.spec
    for split, size in full.parameters.sizes.items():
        whole = name == "listops" and split != "train"
        assert tenth.parameters.sizes[split] == (size if whole else -(-size // 10)), split
    shapes = [dataclasses.replace(task.parameters, train=1, val=1, test=1) for task in (tenth, full)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", lra_tasks.task_names())
def test_contract(name, tmp_path):
    cls = lra_tasks.get_task(name)
    card = lra_tasks.get_card(name)
    assert cls.name == name
    assert cls.card is card
    assert {"tiny", "small", "tenth", "full"} <= set(cls.scales)
    full = cls(data_dir=tmp_path)
    assert full.parameters.sizes == {"train": card.train, "val": card.val, "test": card.test}
    for protocol in card.protocols:
        spec = cls(protocol=protocol.name, data_dir=tmp_path).spec
        assert (spec.name, spec.n_classes) == (name, card.classes)
        assert (spec.vocab_size, spec.max_length) == (protocol.vocab_size, protocol.max_length)
    folders = {
        cls(scale=scale, protocol=protocol.name, source=source, seed=seed, data_dir=tmp_path).folder
        for scale in cls.scales
        for protocol in card.protocols
        for source in card.sources
        for seed in (0, 1)
    }
    assert len(folders) == len(cls.scales) * len(card.protocols) * len(card.sources) * 2
    with pytest.raises(TaskError, match="not prepared"):
        full.setup()
    with pytest.raises(TaskError, match="not set up"):
        full.train_dataloader()


def test_a_new_field_of_the_spec_moves_no_prepared_task(tmp_path):
    """Folders of stores that were prepared before a step could have several values."""
    names = {name: lra_tasks.get_task(name)(data_dir=tmp_path).folder.name for name in ("listops", "image", "pathx")}
    assert names == {
        "listops": "s4-full-generated-seed0-9d997268",
        "image": "s4-full-official-seed0-d529d191",
        "pathx": "s4-full-generated-seed0-2ea197b2",
    }


def test_bad_arguments_get_a_sentence(tmp_path):
    cls = lra_tasks.get_task("listops")
    with pytest.raises(TaskError, match=r"no scale 'tinny'; it has .* Did you mean 'tiny'"):
        cls(scale="tinny")
    with pytest.raises(TaskError, match="no protocol 's5'"):
        cls(protocol="s5")
    for option in ("seed", "workers", "batch_size", "eval_batch_size", "order_seed"):
        with pytest.raises(TaskError, match=option):
            cls(**{option: -1})


def test_lookups_that_fail():
    with pytest.raises(TaskError, match=r"no task 'listop'.* Did you mean 'listops'"):
        lra_tasks.get_task("listop")
    with pytest.raises(TaskError, match=r"cannot be imported"):
        lra_tasks.get_task("no_such_package.Task")
    with pytest.raises(TaskError, match="not a subclass"):
        lra_tasks.get_task("lra_tasks.card.TaskCard")
    with pytest.raises(TaskError, match="taken"):
        lra_tasks.register_task("listops", "a.B", LISTOPS)
    with pytest.raises(TaskError, match="no dot"):
        lra_tasks.register_task("a.b", "a.B", LISTOPS)
    assert lra_tasks.get_task("lra_tasks.listops.ListOps") is lra_tasks.get_task("listops")


@pytest.mark.parametrize(
    "change",
    [
        {"title": " "},
        {"val": -1},
        {"classes": 1},
        {"lengths": (5, 4)},
        {"protocols": ()},
        {"protocols": LISTOPS.protocols * 2},
        {"sources": ()},
        {"archive": None},
        {"version": 0},
    ],
)
def test_card_is_validated(change):
    with pytest.raises(TaskError):
        dataclasses.replace(LISTOPS, **change)


def test_protocol_and_spec_are_validated():
    with pytest.raises(TaskError):
        Protocol("s4", "", 18, 2000)
    with pytest.raises(TaskError):
        Protocol("s4", "symbols", 18, 2000, departures=(" ",))
    with pytest.raises(TaskError, match="vocab_size"):
        TaskSpec("a", "values", 18, 10, 100)
    with pytest.raises(TaskError, match="one or two"):
        TaskSpec("a", "tokens", 18, 10, 100, documents=3)
    with pytest.raises(TaskError, match="side² = max_length"):
        TaskSpec("a", "values", 0, 10, 100, variable=False, side=9)
    with pytest.raises(TaskError, match="one length"):
        TaskSpec("a", "values", 0, 10, 100, side=10)
    with pytest.raises(TaskError, match="a step is one token"):
        TaskSpec("a", "tokens", 18, 10, 100, channels=3)
    with pytest.raises(TaskError, match="a step is one token"):
        TaskSpec("a", "values", 0, 10, 100, channels=0)
    with pytest.raises(TaskError, match="one value or three"):
        TaskSpec("a", "values", 0, 10, 100, variable=False, side=10, channels=2)
    with pytest.raises(TaskError, match="scale is one number, or one for each of 3 channels"):
        TaskSpec("a", "values", 0, 10, 100, channels=3, scale=(1.0, 2.0))
    with pytest.raises(TaskError, match="shift is one number"):
        TaskSpec("a", "values", 0, 10, 100, shift=(1.0,))
    with pytest.raises(TaskError, match="scale must be positive"):
        TaskSpec("a", "values", 0, 10, 100, channels=2, scale=(1.0, 0.0))
    with pytest.raises(TaskError, match="https"):
        Archive("http://example.org/a", "a", 1, "0" * 32)
    with pytest.raises(TaskError, match="md5 has 32"):
        Archive("https://example.org/a", "a", 1, "0" * 31)
    with pytest.raises(TaskError, match="size and md5"):
        Archive("https://example.org/a", "a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        LISTOPS.train = 1


def test_table_tells_a_range_of_lengths_from_one_length():
    card = TaskCard("A", "What", "s", "l", "u", 1000, 2, 3, 2, (4, 4), (Protocol("p", "bytes", 256, 4),), version=7)
    row = markdown_table({"a": card}).splitlines()[-1]
    assert row == "| `a` | What | 1,000 / 2 / 3 | 2 | 4 | generated | p: bytes | 7 |"
    assert "| 1,000 / – / 3 |" in markdown_table({"a": dataclasses.replace(card, val=0)})
    assert "| 4–5 |" in markdown_table({"a": dataclasses.replace(card, lengths=(4, 5))})


def test_a_known_fingerprint_is_that_of_the_generator(tmp_path):
    """ListOps at full scale is the same on every machine; `lra data verify` tells a user so."""
    task = lra_tasks.get_task("listops")(data_dir=tmp_path)
    task.prepare_data()
    task.setup()
    known = [sha for start, sha in LISTOPS.fingerprints if task.folder.name.startswith(start)]
    assert known == [task.fingerprint]
