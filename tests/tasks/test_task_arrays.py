"""A folder of arrays as a task: what is stored and served is what the arrays hold, and wrong folders get a sentence."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from lra_tasks import TaskError, arrays, get_card, get_task
from lra_tasks.arrays import array_task

CARD = {"title": "Toy", "summary": "What it is", "classes": 3}
TOKENS = {**CARD, "inputs": "tokens", "vocab_size": 9}
VALUES = {**CARD, "inputs": "values"}


def write(folder: Path, card: dict, **files: np.ndarray) -> Path:
    """Write a folder; ``train_inputs`` is the file train-inputs.npy."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}" for key, value in card.items()]
    (folder / "card.toml").write_text("\n".join(lines))
    for name, array in files.items():
        np.save(folder / f"{name.replace('_', '-')}.npy", array)
    return folder


def split(name: str, n: int, shape: tuple[int, ...], seed: int, ids: int = 9, dtype=np.uint8) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        f"{name}_inputs": rng.integers(1, ids, (n, *shape)).astype(dtype),
        f"{name}_labels": rng.integers(0, 3, n),
    }


def ragged(name: str, n: int, shape: tuple[int, ...], seed: int, **options) -> dict[str, np.ndarray]:
    lengths = np.random.default_rng(seed + 100).integers(1, shape[-1] + 1, (n, *shape[:-1]))
    lengths.flat[:2] = 1, shape[-1]
    return {**split(name, n, shape, seed, **options), f"{name}_lengths": lengths}


def ready(folder: Path, data: Path, **options):
    task = array_task(folder)(data_dir=data, **options)
    task.prepare_data()
    task.setup()
    return task


def samples(task, name: str) -> list[tuple[list[list], int]]:
    stored = task.split(name)
    return [([document.tolist() for document in stored[i][0]], stored[i][1]) for i in range(len(stored))]


def cut(files: dict[str, np.ndarray], name: str) -> list[tuple[list[list], int]]:
    """The samples of a split, straight from its arrays."""
    found = []
    for row, (inputs, label) in enumerate(zip(files[f"{name}_inputs"], files[f"{name}_labels"], strict=True)):
        steps = np.broadcast_to(inputs.shape[-1], inputs.shape[:-1])
        steps = np.atleast_1d(files[f"{name}_lengths"][row] if f"{name}_lengths" in files else steps)
        rows = np.atleast_2d(inputs)
        found.append(([line[:length].tolist() for line, length in zip(rows, steps, strict=True)], int(label)))
    return found


@pytest.mark.parametrize("shape", [(6,), (2, 6)], ids=["one document", "two documents"])
@pytest.mark.parametrize("make", [split, ragged])
@pytest.mark.parametrize("chunk", [1, 20, 1 << 22])
def test_what_is_stored_is_what_the_arrays_hold(tmp_path, monkeypatch, shape, make, chunk):
    monkeypatch.setattr(arrays, "_CHUNK_STEPS", chunk)
    files = {**make("train", 30, shape, 1), **make("val", 5, shape, 2), **make("test", 7, shape, 3)}
    task = ready(write(tmp_path / "toy", TOKENS, **files), tmp_path / "data")
    assert (task.name, task.source) == ("toy", "folder")
    assert task.sizes == {"train": 30, "val": 5, "test": 7}
    assert (task.spec.documents, task.spec.variable) == (len(shape), make is ragged)
    assert (task.spec.max_length, task.spec.vocab_size, task.dtype) == (6, 9, np.uint8)
    for name in ("train", "val", "test"):
        assert samples(task, name) == cut(files, name)
    assert task.departures == task.rule_departures == []


def test_a_tenth_is_held_out_where_there_is_no_val(tmp_path):
    files = {**split("train", 50, (8,), 1), **ragged("test", 7, (8,), 3)}
    folder = write(tmp_path / "toy", TOKENS, **files)
    tasks = [ready(folder, tmp_path / "data", seed=seed) for seed in (0, 1)]
    everything = cut(files, "train")
    for task in tasks:
        assert task.sizes == {"train": 45, "val": 5, "test": 7}
        train, val = samples(task, "train"), samples(task, "val")
        assert sorted(train + val) == sorted(everything)
        places = [everything.index(sample) for sample in train]
        assert places == sorted(places)  # in the order of the file
        assert len(task.departures) == 1
    assert samples(tasks[0], "val") != samples(tasks[1], "val")
    published = ready(folder, tmp_path / "data", selection="published")
    assert samples(published, "train") == everything
    assert samples(published, "val") == samples(published, "test") == cut(files, "test")
    assert published.departures == []
    assert "selected on the test split" in published.rule_departures[0]
    assert len(published.rule_departures) == 1


def test_values_are_served_as_they_are(tmp_path):
    rng = np.random.default_rng(0)
    floats = {f"{name}_inputs": rng.normal(size=(n, 5)) for name, n in (("train", 20), ("test", 4))}
    labels = {f"{name}_labels": rng.integers(0, 3, n) for name, n in (("train", 20), ("test", 4))}
    task = ready(write(tmp_path / "floats", VALUES, **floats, **labels), tmp_path / "data", eval_batch_size=4)
    assert task.dtype == np.float32
    (batch,) = task.test_dataloader()
    assert torch.equal(batch.inputs, torch.from_numpy(floats["test_inputs"].astype(np.float32)))
    scaled = write(tmp_path / "scaled", {**VALUES, "shift": 2, "scale": 0.5}, **floats, **labels)
    (batch,) = ready(scaled, tmp_path / "data", eval_batch_size=4).test_dataloader()
    expected = (floats["test_inputs"].astype(np.float32) - 2) / 0.5
    assert np.allclose(batch.inputs.numpy(), expected, rtol=1e-6)
    samples16 = {
        f"{name}_inputs": rng.integers(-3e4, 3e4, (n, 5)).astype(">i2") for name, n in (("train", 20), ("test", 4))
    }
    (batch,) = ready(
        write(tmp_path / "sound", VALUES, **samples16, **labels), tmp_path, eval_batch_size=4
    ).test_dataloader()
    assert batch.inputs.tolist() == samples16["test_inputs"].tolist()


def test_images_of_bytes_are_served_between_minus_one_and_one(tmp_path):
    files = {**split("train", 20, (9,), 0, ids=256), **split("test", 4, (9,), 1, ids=256)}
    files["test_inputs"][0, :2] = 0, 255
    task = ready(write(tmp_path / "gray", {**VALUES, "side": 3}, **files), tmp_path / "data", eval_batch_size=4)
    assert task.dtype == np.uint8
    assert task.spec.side == 3
    (batch,) = task.test_dataloader()
    assert batch.inputs[0, :2].tolist() == [-1.0, 1.0]
    assert np.allclose(batch.inputs.numpy(), files["test_inputs"] / 127.5 - 1, atol=1e-6)


def test_kinds_and_lengths_of_tokens(tmp_path):
    """Many ids take two bytes; a test split may be longer; 0 is an ordinary id where no sample is padded."""
    card = {**TOKENS, "vocab_size": 5_000}
    files = {
        **split("train", 20, (4,), 0, ids=5_000, dtype=np.int64),
        **split("test", 3, (6,), 1, ids=256),
    }
    task = ready(write(tmp_path / "long", card, **files), tmp_path / "data")
    assert task.dtype == np.uint16
    assert task.card.lengths == (4, 6)
    assert task.spec.variable
    assert samples(task, "test") == cut(files, "test")
    files = {**split("train", 20, (4,), 0), **split("test", 3, (4,), 1)}
    files["train_inputs"][0] = 0
    task = ready(write(tmp_path / "zeros", TOKENS, **files), tmp_path / "data", selection="published")
    assert samples(task, "train")[0][0] == [[0, 0, 0, 0]]


def test_padding_may_hold_anything(tmp_path):
    files = {**ragged("train", 20, (4,), 0, dtype=np.int32), **ragged("test", 3, (4,), 1, dtype=np.int32)}
    for name in ("train", "test"):
        files[f"{name}_inputs"][np.arange(4) >= files[f"{name}_lengths"][:, None]] = -100
    task = ready(write(tmp_path / "toy", TOKENS, **files), tmp_path / "data", eval_batch_size=3)
    assert samples(task, "test") == cut(files, "test")
    (batch,) = task.test_dataloader()
    assert batch.inputs.min() == 0


def test_changed_arrays_are_prepared_anew(tmp_path):
    files = {**split("train", 20, (4,), 0), **split("test", 3, (4,), 1)}
    folder = write(tmp_path / "toy", TOKENS, **files)
    first = ready(folder, tmp_path / "data")
    again = array_task(folder)(data_dir=tmp_path / "data")
    assert again.folder == first.folder
    files["train_inputs"][3, 2] = 9 - files["train_inputs"][3, 2]
    np.save(folder / "train-inputs.npy", files["train_inputs"])
    os.utime(folder / "train-inputs.npy", ns=(1, 1))  # a clock may be too coarse to tell the two
    second = ready(folder, tmp_path / "data")
    assert second.folder != first.folder
    assert second.fingerprint != first.fingerprint
    (tmp_path / "notes.txt").touch()
    np.save(folder / "other.npy", np.zeros(3))  # is none of the task's
    assert array_task(folder)(data_dir=tmp_path / "data").folder == second.folder


def test_a_folder_is_a_task_by_its_name(tmp_path, monkeypatch):
    files = {**split("train", 20, (4,), 0), **split("test", 3, (4,), 1)}
    write(tmp_path / "to.y", TOKENS, **files)
    write(tmp_path / "listops", TOKENS, **files)
    monkeypatch.chdir(tmp_path)
    for name in ("to.y", "./to.y", str(tmp_path / "to.y"), "to.y/"):
        assert get_task(name).name == "to.y"
        assert get_card(name).title == "Toy"
    assert get_task("listops").card is get_card("listops")
    assert get_card("listops").title == "ListOps"
    with pytest.raises(TaskError, match="has the name of the task 'listops'"):
        get_task("./listops")
    with pytest.raises(TaskError, match=r"card.toml cannot be read"):
        get_task("./toys")


def test_an_origin_is_refused(tmp_path):
    folder = write(tmp_path / "toy", TOKENS, **split("train", 20, (4,), 0), **split("test", 3, (4,), 1))
    with pytest.raises(TaskError, match="leave"):
        array_task(folder)(data_dir=tmp_path).prepare_data(origin=folder)


def files_of(dtype=np.uint8) -> dict[str, np.ndarray]:
    return {**split("train", 20, (4,), 0, dtype=dtype), **split("test", 3, (4,), 1, dtype=dtype)}


WRONG_CARDS = [
    ({"classes": 1}, "two classes"),
    ({"classes": "many"}, "classes is a whole number, not 'many'"),
    ({"classes": True}, "classes is a whole number, not true|True"),
    ({"vocab": 3}, "key 'vocab'.* Did you mean 'vocab_size'"),
    ({"inputs": "token"}, "'tokens' or 'values', not 'token'"),
    ({"inputs": "values"}, "vocab_size has no meaning where inputs are values"),
    ({"shift": 1}, "shift has no meaning where inputs are tokens"),
    ({"vocab_size": 70_000}, "65,536"),
    ({"side": 3}, "side² = max_length"),
    ({"title": " "}, "title is empty"),
]


@pytest.mark.parametrize(("change", "sentence"), WRONG_CARDS)
def test_wrong_cards(tmp_path, change, sentence):
    write(
        tmp_path / "toy",
        {**TOKENS, **{key: str(v).lower() if v is True else v for key, v in change.items()}},
        **files_of(),
    )
    if change == {"classes": True}:
        text = (tmp_path / "toy" / "card.toml").read_text().replace('"true"', "true")
        (tmp_path / "toy" / "card.toml").write_text(text)
    with pytest.raises(TaskError, match=sentence) as caught:
        array_task(tmp_path / "toy")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["title", "summary", "classes", "inputs", "vocab_size"])
def test_a_card_that_lacks_a_key(tmp_path, key):
    write(tmp_path / "toy", {name: value for name, value in TOKENS.items() if name != key}, **files_of())
    with pytest.raises(TaskError, match=f"has no {key}"):
        array_task(tmp_path / "toy")


@pytest.mark.parametrize("text", ["title = ", "a\nb", "\xff"])
def test_a_card_that_is_no_toml(tmp_path, text):
    write(tmp_path / "toy", TOKENS, **files_of())
    (tmp_path / "toy" / "card.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(TaskError, match="needs a card in TOML") as caught:
        array_task(tmp_path / "toy")
    assert "\n" not in str(caught.value)


def test_scale_of_values_is_a_positive_number(tmp_path):
    for number, sentence in ((0.0, "scale must be positive"), ("nan", "scale is a number, not nan")):
        folder = write(tmp_path / "toy", VALUES, **files_of())
        with (folder / "card.toml").open("a") as card:
            card.write(f"\nscale = {number}\n")
        with pytest.raises(TaskError, match=sentence):
            array_task(folder)


WRONG_ARRAYS = [
    ({"train_inputs": np.ones((20, 4, 4), np.uint8)}, r"shape \(20, 4, 4\): give \(n, L\)"),
    ({"train_inputs": np.ones(20, np.uint8)}, r"shape \(20,\)"),
    ({"train_labels": np.ones(19, int)}, r"shape \(19,\) where train-inputs.npy has 20 samples"),
    ({"train_labels": np.ones(20)}, "holds float64: save integers"),
    ({"test_lengths": np.ones((3, 2), int)}, r"shape \(3, 2\) and not \(3,\)"),
    ({"test_lengths": np.array([1, 5, 2])}, "lengths beyond 1 to 4"),
    ({"test_lengths": np.array([0, 4, 2])}, "lengths beyond 1 to 4"),
    ({"test_inputs": np.ones((3, 4))}, "holds float64 where the card says tokens"),
    ({"test_inputs": np.ones((3, 2, 4), int)}, "differ in the documents"),
    ({"train_inputs": np.array([[None]])}, "is no array of numbers"),
    ({"train_inputs": np.array([["a"]])}, "holds <U1"),
    ({"train_inputs": np.zeros((20, 0), np.uint8)}, "is no array of numbers|shape"),
    ({"val_labels": np.ones(3, int)}, "There is no val-inputs.npy"),
    ({"train_inputs": np.ones((9, 4), int), "train_labels": np.ones(9, int)}, "fewer than 10 samples"),
]


@pytest.mark.parametrize(("change", "sentence"), WRONG_ARRAYS)
def test_wrong_arrays(tmp_path, change, sentence):
    folder = write(tmp_path / "toy", TOKENS, **{**files_of(), **change})
    with pytest.raises(TaskError, match=sentence) as caught:
        array_task(folder)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    folder = write(tmp_path / "toy", TOKENS, **files_of())
    (folder / "test-labels.npy").unlink()
    with pytest.raises(TaskError, match=r"no test-labels\.npy in"):
        array_task(folder)
    np.savez(folder / "archive.npz", a=np.ones(3))
    os.replace(folder / "archive.npz", folder / "test-labels.npy")
    with pytest.raises(TaskError, match="holds an archive: save integers"):
        array_task(folder)


def test_floats_of_two_kinds(tmp_path):
    files = {**files_of(np.float64), "test_inputs": np.ones((3, 4), np.float32)}
    with pytest.raises(TaskError, match=r"holds float32 and train-inputs\.npy float64"):
        array_task(write(tmp_path / "toy", VALUES, **files))


WRONG_STEPS = [
    (TOKENS, np.uint8, 9, "sample 13: 9 at step 2 is none of 0 to 8: correct"),
    (TOKENS, np.int64, -1, "sample 13: -1 at step 2"),
    (VALUES, np.float64, np.nan, "sample 13: nan at step 2 is none of the finite numbers"),
    (VALUES, np.float64, 1e39, r"sample 13: 1e\+39 at step 2"),
]


@pytest.mark.parametrize(("card", "dtype", "step", "sentence"), WRONG_STEPS)
def test_wrong_steps(tmp_path, monkeypatch, card, dtype, step, sentence):
    monkeypatch.setattr(arrays, "_CHUNK_STEPS", 20)
    files = files_of(dtype)
    files["train_inputs"][13, 2] = step
    task = array_task(write(tmp_path / "toy", card, **files))(data_dir=tmp_path / "data", selection="published")
    with pytest.raises(TaskError, match=sentence):
        task.prepare_data()
    assert not task.folder.exists()


def test_padding_is_no_step(tmp_path):
    files = {**ragged("train", 20, (4,), 0), **ragged("test", 3, (4,), 1)}
    files["test_inputs"][1, 0] = 0
    task = array_task(write(tmp_path / "toy", TOKENS, **files))(data_dir=tmp_path / "data")
    with pytest.raises(TaskError, match="sample 1: 0 at step 0 is none of 1 to 8, 0 being padding"):
        task.prepare_data()


def test_a_label_beyond_the_classes(tmp_path):
    files = files_of()
    files["test_labels"][1] = 3
    task = array_task(write(tmp_path / "toy", TOKENS, **files))(data_dir=tmp_path / "data")
    with pytest.raises(TaskError, match="test split has a label 3 where the task has the classes 0 to 2"):
        task.prepare_data()
