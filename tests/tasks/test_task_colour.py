"""Steps of several values: stores, batches, and Image in colour (protocol s4-rgb)."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from originals import cifar_batch, write_tar
from PIL import Image as Pillow

from lra_tasks import Store, TaskError, cards
from lra_tasks.card import TaskSpec
from lra_tasks.contract import check_task
from lra_tasks.image import Image, ImageScale
from lra_tasks.loader import BatchLoader
from lra_tasks.resident import resident_tensor
from lra_tasks.show import contact_sheet
from lra_tasks.store import Split, prepare
from lra_tasks.store_writer import Layout
from lra_tasks.verify import verify


class Small(Image):
    card = replace(cards.IMAGE, train=18, val=2, test=4)
    scales = {"full": ImageScale(18, 2, 4), "tiny": ImageScale(18, 2, 4, pool=2)}


RNG = np.random.default_rng(0)
PICTURES, LABELS = RNG.integers(0, 256, (24, 32, 32, 3), np.uint8), RNG.integers(0, 10, 24)


def prepared(tmp_path, **options):
    batches = {f"data_batch_{n + 1}": slice(4 * n, 4 * n + 4) for n in range(5)} | {"test_batch": slice(20, 24)}
    files = {name: cifar_batch(PICTURES[part], LABELS[part].tolist()) for name, part in batches.items()}
    path = write_tar(tmp_path / "cifar-10-python.tar.gz", files)
    task = Small(data_dir=tmp_path / "data", **{"protocol": "s4-rgb", **options})
    task.prepare_data(origin=path)
    task.setup()
    return task


def test_a_pixel_is_red_green_and_blue_row_by_row(tmp_path):
    task = prepared(tmp_path)
    assert (task.spec.channels, task.spec.max_length, task.spec.side) == (3, 1_024, 32)
    gray = prepared(tmp_path, protocol="s4")
    for split in ("train", "val", "test"):
        assert task.split(split).labels.tolist() == gray.split(split).labels.tolist()  # the same photographs
    for index in range(4):
        (pixels,), label = task.split("test")[index]
        assert label == LABELS[20 + index]
        assert (pixels == PICTURES[20 + index].reshape(1_024, 3)).all()
    assert task.rule_departures == ["Images are in colour."]
    assert gray.rule_departures == []


def test_values_are_those_of_to_tensor_and_normalize(tmp_path):
    """(x / 255 − mean) / deviation of each channel, in the figures of the S4 line of code."""
    (batch,) = prepared(tmp_path, batch_size=8).test_dataloader()
    mean, deviation = np.array([0.4914, 0.4822, 0.4465]), np.array([0.247, 0.243, 0.261])
    expected = (PICTURES[20:].reshape(4, 1_024, 3) / 255 - mean) / deviation
    assert batch.inputs.dtype == torch.float32
    np.testing.assert_allclose(batch.inputs.numpy(), expected, atol=2e-6)
    assert batch.lengths.tolist() == [1_024] * 4


def test_a_coarse_scale_averages_each_channel(tmp_path):
    task = prepared(tmp_path, scale="tiny")
    (pixels,), _ = task.split("test")[1]
    with Pillow.fromarray(PICTURES[21]) as image:
        reduced = np.asarray(image.reduce(2), float).reshape(256, 3)
    assert np.abs(pixels - reduced).max() <= 1  # they round halves otherwise
    assert (pixels == reduced).mean() > 0.8


def test_batches_on_a_device_are_those_of_the_files(tmp_path):
    task = prepared(tmp_path)
    cpu = torch.device("cpu")
    for split in ("train", "test"):
        loaders = [BatchLoader(task.split(split), task.spec, 5, shuffle=True, device=device) for device in (None, cpu)]
        for one, other in zip(*loaders, strict=True):
            assert all(torch.equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))
    assert resident_tensor(task.split("train").tokens, cpu).shape == (18 * 1_024, 3)
    # Tensors of meta have shapes and no content: what reads them, and would wait for a GPU, fails.
    variants = Image().variants()
    meta = BatchLoader(task.split("train"), task.spec, 5, shuffle=True, variants=variants, device=torch.device("meta"))
    assert next(iter(meta)).inputs.shape == (5, 1_024, 3)


@pytest.mark.parametrize("device", [None, torch.device("cpu")], ids=str)
def test_padding_of_several_values_is_zero(device):
    spec = TaskSpec("x", "values", 0, 2, 3, shift=(1.0, 2.0), scale=(1.0, 4.0), channels=2)
    tokens = np.array([[1, 2], [3, 4], [5, 6], [7, 8]], np.uint8)
    split = Split(tokens, np.array([0, 1, 4]), np.array([0, 1]))
    (batch,) = BatchLoader(split, spec, 2, shuffle=False, device=device)
    assert batch.inputs.tolist() == [[[0, 0], [0, 0], [0, 0]], [[2, 0.5], [4, 1], [6, 1.5]]]
    assert batch.lengths.tolist() == [1, 3]


LAYOUT = Layout({"train": 3, "val": 1, "test": 0}, np.dtype(np.uint8), classes=2, step_shape=(2,))
RECIPE = {"task": "toy", "protocol": "s4", "spec": {"channels": 2}}


def test_a_store_keeps_the_values_of_a_step_together(tmp_path):
    rows = np.arange(16, dtype=np.uint8).reshape(2, 2, 2, 2)  # two images of 2 × 2 pixels of two values

    def build(out):
        out["train"].append(np.array([[50, 51]], np.uint8), 1)
        out["train"].extend(rows, np.array([0, 1]))
        out["val"].append(rows[0].reshape(4, 2), 1)

    prepare(tmp_path / "store", RECIPE, LAYOUT, build)
    store = Store.open(tmp_path / "store")
    train = store.splits["train"]
    assert [train[i][0][0].tolist() for i in range(2)] == [[[50, 51]], [[0, 1], [2, 3], [4, 5], [6, 7]]]
    assert train.lengths().tolist() == [1, 4, 4]
    assert len(store.splits["test"]) == 0
    assert np.load(tmp_path / "store" / "train-tokens.npy")[:4].tolist() == [50, 51, 0, 1]
    store.verify()


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 2, 1)])
def test_steps_of_another_shape_are_refused(tmp_path, shape):
    def appended(out):
        out["train"].append(np.ones(shape, np.uint8), 0)
        out["train"].flush()

    def extended(out):
        out["train"].extend(np.ones((1, *shape), np.uint8), np.zeros(1, int))

    for build in (appended, extended):
        with pytest.raises(ValueError, match=r"a step has the shape \(.*\) and not \(2,\)"):
            prepare(tmp_path / "store", RECIPE, LAYOUT, build)
        assert not (tmp_path / "store").exists()


def test_a_store_whose_values_are_no_whole_steps_is_refused(tmp_path):
    prepare(tmp_path / "store", RECIPE, LAYOUT, lambda out: fill(out))
    meta = tmp_path / "store" / "meta.json"
    meta.write_text(meta.read_text().replace('"channels": 2', '"channels": 3'))
    with pytest.raises(TaskError, match="cannot be used"):
        Store.open(tmp_path / "store")


def fill(out):
    for split in ("train", "train", "train", "val"):
        out[split].append(np.ones((2, 2), np.uint8), 0)


def test_the_contact_sheet_is_in_colour(tmp_path):
    contact_sheet(prepared(tmp_path), tmp_path / "sheet.png", 4, split="test")
    sheet = np.asarray(Pillow.open(tmp_path / "sheet.png"))
    first = sheet[6 : 6 + 128 : 4, 6 : 6 + 128 : 4]  # every 4th pixel: images are 4 times enlarged
    assert (first == PICTURES[20]).all()


def test_verify_counts_each_channel(tmp_path):
    task = prepared(tmp_path)
    rows = {row.what: row for row in verify(task).rows}
    values = PICTURES.reshape(-1, 3)
    for channel, colour in enumerate(("red", "green", "blue")):
        assert float(rows[f"mean of {colour}"].found) == pytest.approx(values[:, channel].mean(), rel=1e-3)
        assert float(rows[f"sd of {colour}"].found) == pytest.approx(values[:, channel].std(), rel=1e-3)
    # The deviation of noise is not that of CIFAR-10, and 24 images are not 60,000; all else is as it should be.
    wrong = {row.what for row in rows.values() if row.ok is False}
    assert {"sd of red", "sd of green", "sd of blue"} <= wrong
    assert all(what.startswith(("mean of", "sd of", "samples of label")) for what in wrong)


class Mini(Image):
    scales = {"full": Image.scales["full"], "tiny": ImageScale(180, 20, 40, pool=2)}


def test_colour_keeps_the_contract():
    found = check_task(Mini, source="mini", protocol="s4-rgb")
    assert [finding.message for finding in found if finding.ok is False] == []


def test_a_folder_of_image_files_is_read_in_colour(tmp_path):
    class Two(Small):
        card = replace(cards.IMAGE, train=18, val=2, test=20)
        scales = {"full": ImageScale(18, 2, 20)}

    from lra_tasks.image import CLASSES

    content = {}
    for split in ("train", "test"):
        for label, kind in enumerate(CLASSES):
            for number in range(2):
                png = io.BytesIO()
                Pillow.new("RGB", (32, 32), (20 * label + number, 255, 7)).save(png, "PNG")
                content[f"{split}/{kind}/{number:04}.png"] = png.getvalue()
    task = Two(data_dir=tmp_path / "data", source="folder", protocol="s4-rgb")
    task.prepare_data(origin=write_tar(tmp_path / "cifar.tar", content, "w"))
    task.setup()
    split = task.split("test")
    first = sorted((split[i][0][0][0].tolist(), split[i][1]) for i in range(len(split)))
    assert first == sorted(([20 * label + number, 255, 7], label) for label in range(10) for number in range(2))
