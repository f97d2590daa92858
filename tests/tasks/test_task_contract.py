"""Every registered task keeps the contract, and a task that breaks a rule of it is caught by the check of that rule."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from broken_tasks import BROKEN, Augmented, Pairs, Served, Single, Swapped, Toy, Unscaled, Values, served

from lra_hgrn.cli.main import dispatch
from lra_tasks import TaskError, get_card, get_task, task_names
from lra_tasks.contract import Finding, check_task
from lra_tasks.loader import BatchLoader

CHECKS = [
    *("declaration", "spec", "prepare", "prepare again", "samples", "batches", "order", "resume", "evaluation"),
    *("show", "repeatable", "seed", "failing build", "damage"),
]


def failed(found: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.message for finding in found if finding.ok is False}


@pytest.mark.parametrize("name", task_names())
@pytest.mark.parametrize("protocol", ["s4", "google"])
def test_our_tasks_keep_the_contract(tmp_path, name, protocol):
    cls = get_task(name)
    tiny = replace(cls.scales["tiny"], train=180, val=20 if cls.card.val else 0, test=60)
    few = type("Few", (cls,), {"scales": {**cls.scales, "tiny": tiny}})
    found = check_task(few, protocol=protocol, data_dir=tmp_path)
    assert failed(found) == {}
    sources = [source for source in ("generated", "mini") if source in cls.card.sources]
    prefixes = [f"{source}: " if len(sources) > 1 else "" for source in sources]
    assert [finding.check for finding in found] == [
        *CHECKS[:2],
        *(prefix + check for prefix in prefixes for check in CHECKS[2:]),
    ]
    assert all(finding.ok for finding in found)
    assert list(tmp_path.iterdir()) == []


def test_the_toy_keeps_the_contract(tmp_path):
    calls = []
    found = check_task(Toy, data_dir=tmp_path / "new", report=calls.append)
    assert failed(found) == {}
    assert [finding.check for finding in found] == CHECKS
    assert calls == found
    assert "50 samples of scale half, protocol s4" in found[2].message  # the smallest
    assert "100 samples of scale full, protocol other" in check_task(Toy, scale="full", protocol="other")[2].message
    assert failed(check_task(served(BatchLoader), data_dir=tmp_path)) == {}


@pytest.mark.parametrize(("cls", "check", "sentence"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_rule_is_caught(tmp_path, cls, check, sentence):
    found = check_task(cls, scale="full" if "full" in cls.scales else None, data_dir=tmp_path)
    wrong = failed(found)
    assert check == next(iter(wrong))
    assert re.search(sentence, wrong[check])
    assert "\n" not in wrong[check]
    assert list(tmp_path.iterdir()) == []
    if check == "prepare":
        assert {finding.check for finding in found if finding.ok is None} == set(CHECKS[3:])


def test_two_documents_are_stacked_in_their_order(tmp_path):
    assert failed(check_task(Pairs, data_dir=tmp_path)) == {}
    for loader in (Swapped, Single):
        cls = type("Stacked", (Pairs,), {"loader": loader, "train_too": True, "_loader": Served._loader})
        assert next(iter(failed(check_task(cls, data_dir=tmp_path)))) == "batches"


def test_values(tmp_path):
    found = check_task(Augmented, data_dir=tmp_path)
    assert failed(found) == {}
    assert "not asked for" in next(finding.message for finding in found if finding.check == "seed")
    cls = type("Raw", (Values,), {"loader": Unscaled, "train_too": True, "_loader": Served._loader})
    assert next(iter(failed(check_task(cls, data_dir=tmp_path)))) == "batches"


def test_names_that_the_task_does_not_know(tmp_path):
    for options in ({"scale": "halve"}, {"protocol": "s5"}, {"source": "official"}):
        with pytest.raises(TaskError, match=r"[tT]oy has no"):
            check_task(Toy, data_dir=tmp_path, **options)
    (tmp_path / "file").touch()
    with pytest.raises(TaskError, match="choose another folder"):
        check_task(Toy, data_dir=tmp_path / "file")


def folder_of_arrays(folder: Path, ids: int = 9) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for split, size in (("train", 60), ("val", 20), ("test", 20)):
        np.save(folder / f"{split}-inputs.npy", rng.integers(1, ids, (size, 5)))
        np.save(folder / f"{split}-lengths.npy", rng.integers(1, 6, size))
        np.save(folder / f"{split}-labels.npy", rng.integers(0, 2, size))
    card = 'title = "Mine"\nsummary = "What it is"\nclasses = 2\ninputs = "tokens"\nvocab_size = 9\n'
    (folder / "card.toml").write_text(card)
    return folder


def test_the_command_prints_every_check(tmp_path, capsys):
    mine = folder_of_arrays(tmp_path / "mine")
    assert get_card(str(mine)).title == "Mine"
    assert dispatch(["check-task", str(mine)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:-1]] == [f"ok      {check}" for check in CHECKS]
    assert lines[-1] == f"{mine} keeps the contract"
    wrong = folder_of_arrays(tmp_path / "wrong", ids=12)
    assert dispatch(["check-task", str(wrong), f"task.data_dir={tmp_path / 'work'}"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("FAILED  prepare: ")
    assert "is none of 1 to 8" in lines[2]
    assert lines[3].startswith("–       prepare again: not checked")
    assert lines[-1] == f"{wrong} fails 1 of {len(CHECKS)} checks"
    with pytest.raises(TaskError, match="no scale 'tiny'"):
        dispatch(["check-task", str(mine), "task.scale=tiny"])
    (tmp_path / "mine.yaml").write_text(f"task: {{name: {mine}, scale: tiny}}")
    with pytest.raises(TaskError, match="no scale 'tiny'"):
        dispatch(["check-task", str(tmp_path / "mine.yaml")])
