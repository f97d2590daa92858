"""Image from batches written by hand: gray values, splits, and pickles that are no batches."""

import io
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from originals import cifar_batch, write_folder, write_tar
from PIL import Image as Pillow

from lra_tasks import TaskError, cards
from lra_tasks.cifar import read_batch
from lra_tasks.image import CLASSES, Image, ImageScale
from lra_tasks.pixels import decode_image, gray_pillow, gray_tensorflow

RED, GREEN, BLUE, WHITE, BLACK = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0]]


class Small(Image):
    card = replace(cards.IMAGE, train=18, val=2, test=4)
    scales = {"full": ImageScale(18, 2, 4), "tiny": ImageScale(9, 1, 2, pool=2)}


def pictures(count, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, 32, 32, 3), np.uint8), random.integers(0, 10, count)


TRAIN, TEST = pictures(20), pictures(4, 1)


def files(root="cifar-10-batches-py", **changes):
    batches = {
        f"data_batch_{n + 1}": cifar_batch(TRAIN[0][4 * n : 4 * n + 4], TRAIN[1][4 * n : 4 * n + 4].tolist())
        for n in range(5)
    }
    batches["test_batch"] = cifar_batch(TEST[0], TEST[1].tolist())
    batches |= {"batches.meta": b"?", "readme.html": b"<p>"}
    return {f"{root}/{name}": data for name, data in {**batches, **changes}.items() if data is not None}


def prepared(tmp_path, content=None, **options):
    path = write_tar(tmp_path / "cifar-10-python.tar.gz", content or files())
    task = Small(data_dir=tmp_path / "data", **options)
    task.prepare_data(origin=path)
    task.setup()
    return task


def stored(task, split):
    return task.split(split).tokens.reshape(len(task.split(split)), -1), task.split(split).labels


def test_gray_values_by_hand():
    colours = np.array([RED, GREEN, BLUE, WHITE, BLACK], np.uint8)
    assert gray_pillow(colours).tolist() == [76, 150, 29, 255, 0]  # 0.299, 0.587, 0.114 of 255, rounded
    assert gray_tensorflow(colours).tolist() == [76, 149, 29, 255, 0]  # 0.2989, 0.5870, 0.1140 of 255.5, cut


def test_gray_is_pillows_for_all_kinds_of_colours():
    colours = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    assert (gray_pillow(colours) == np.asarray(Pillow.fromarray(colours).convert("L"))).all()


def test_protocol_s4(tmp_path):
    task = prepared(tmp_path)
    gray = np.stack([np.asarray(Pillow.fromarray(image).convert("L")) for image in TRAIN[0]]).reshape(20, -1)
    parts = torch.utils.data.random_split(range(20), [18, 2], generator=torch.Generator().manual_seed(42))
    for split, part in zip(("train", "val"), parts, strict=True):
        images, labels = stored(task, split)
        assert images.tolist() == gray[list(part)].tolist()
        assert labels.tolist() == TRAIN[1][list(part)].tolist()
    assert stored(task, "test")[1].tolist() == TEST[1].tolist()
    batch = next(iter(task.test_dataloader()))
    test = np.stack([np.asarray(Pillow.fromarray(image).convert("L")) for image in TEST[0]]).reshape(4, -1)
    expected = (test / 255 - 122.6 / 255) / (61.0 / 255)
    np.testing.assert_allclose(batch.inputs.numpy(), expected, atol=1e-5)
    assert (task.spec.inputs, task.spec.variable, task.spec.side) == ("values", False, 32)


def test_protocol_google(tmp_path):
    task = prepared(tmp_path, protocol="google")
    images, labels = stored(task, "train")
    assert labels.tolist() == TRAIN[1][:18].tolist()
    assert stored(task, "val")[1].tolist() == TRAIN[1][18:].tolist()
    assert images.tolist() == gray_tensorflow(TRAIN[0][:18]).reshape(18, -1).tolist()
    batch = next(iter(task.test_dataloader()))
    assert batch.inputs.dtype == torch.int64
    assert batch.inputs.shape == (4, 1024)
    assert (task.spec.inputs, task.spec.vocab_size) == ("tokens", 256)


def test_a_coarse_scale_averages_squares_of_pixels(tmp_path):
    task = prepared(tmp_path, scale="tiny")
    fine, coarse = stored(prepared(tmp_path), "train")[0], stored(task, "train")[0]
    squares = fine[:9].reshape(9, 16, 2, 16, 2).astype(float).mean(axis=(2, 4)).reshape(9, -1)
    assert np.abs(coarse - squares).max() <= 0.5
    assert task.spec.side == 16


def test_a_folder_of_image_files(tmp_path):
    class Two(Small):
        card = replace(cards.IMAGE, train=18, val=2, test=20)
        scales = {"full": ImageScale(18, 2, 20)}

    content = {}
    for split in ("train", "test"):
        for label, kind in enumerate(CLASSES):
            for number in range(2):
                png = io.BytesIO()
                Pillow.fromarray(np.full((32, 32), 20 * label + number, np.uint8)).convert("RGB").save(png, "PNG")
                content[f"{split}/{kind}/{number:04}.png"] = png.getvalue()
    task = Two(data_dir=tmp_path / "data", source="folder")
    task.prepare_data(origin=write_tar(tmp_path / "cifar.tar", content, "w"))
    task.setup()
    images, labels = stored(task, "test")
    assert sorted(zip(images[:, 0].tolist(), labels.tolist(), strict=True)) == [
        (20 * label + number, label) for label in range(10) for number in range(2)
    ]
    assert "re-encoded" in task.rule_departures[0]
    with pytest.raises(TaskError, match="--from"):
        Two(data_dir=tmp_path / "other", source="folder").prepare_data()


class Evil:
    def __reduce__(self):
        return print, ("code from a pickle has run",)


def python2_batch():
    """A pickle as Python 2 wrote the published ones: byte strings, numpy.core.multiarray."""
    text = cifar_batch(*((images := pictures(2))[0], images[1].tolist()))
    return text.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def test_batches_of_either_python(capsys):
    images, labels = read_batch(python2_batch(), "x")
    assert (images == pictures(2)[0]).all()
    assert labels.tolist() == pictures(2)[1].tolist()
    # The form of the published files, byte by byte: protocol 2, strings of Python 2 (SHORT_BINSTRING).
    raw = bytes(range(256)) * 12
    header = (
        b"\x80\x02}q\x01(U\x06labelsq\x02]q\x03K\x07aU\x04dataq\x04"
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
        b"(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x00\x0c\x00\x00"
    )
    images, labels = read_batch(header + raw + b"tbu.", "x")
    assert labels.tolist() == [7]
    assert images[0, 0, :3].tolist() == [[0, 0, 0], [1, 1, 1], [2, 2, 2]]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (pickle.dumps({b"data": Evil(), b"labels": []}, protocol=2), r"asks for \w+\.print"),
        (pickle.dumps({b"data": np.array([Evil()], dtype=object)}, protocol=2), r"asks for \w+\.print"),
        (b"", "no pickled batch"),
        (b"<html>", "no pickled batch"),
        (files()["cifar-10-batches-py/test_batch"][:200], "no pickled batch"),
        (pickle.dumps([1], protocol=2), "has no data of 3,072 bytes"),
        (cifar_batch(pictures(2)[0], [1]), "has no data of 3,072 bytes"),
        (cifar_batch(pictures(2)[0], [1, 10]), "the label of image 1 is 10"),
        (cifar_batch(pictures(2)[0], [1, -1]), "the label of image 1 is -1"),
        (pickle.dumps({b"data": np.zeros((1, 3072)), b"labels": [1]}, protocol=2), "has no data of 3,072 bytes"),
    ],
)
def test_other_pickles_are_one_sentence_and_run_nothing(tmp_path, capsys, data, complaint):
    with pytest.raises(TaskError, match=complaint) as caught:
        prepared(tmp_path, files(data_batch_3=data))
    assert "data_batch_3" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""
    assert [path.name for path in (tmp_path / "data" / "image").iterdir() if path.suffix != ".lock"] == []


def test_a_missing_batch_is_one_sentence(tmp_path):
    with pytest.raises(TaskError, match=r"holds 16 train images where CIFAR-10 has 20: give the whole of it"):
        prepared(tmp_path, files(data_batch_5=None))


@pytest.mark.parametrize("layout", ["root", "parent", "flat"])
def test_every_layout_gives_the_same_samples(tmp_path, layout):
    folder = write_folder(tmp_path / "x", files("." if layout == "flat" else "cifar-10-batches-py"))
    task = Small(data_dir=tmp_path / "2")
    task.prepare_data(origin=folder / "cifar-10-batches-py" if layout == "root" else folder)
    task.setup()
    (tmp_path / "1").mkdir()
    assert task.fingerprint == prepared(tmp_path / "1").fingerprint


@pytest.mark.parametrize(
    ("data", "complaint"),
    [(b"", "is empty"), (b"not a picture", "cannot be read"), (b"\x89PNG\r\n\x1a\n" + b"0" * 30, "cannot be read")],
)
def test_broken_image_files(data, complaint):
    with pytest.raises(TaskError, match=complaint):
        decode_image(data, 32, "L", "a.png")


def test_an_image_of_another_size():
    png = io.BytesIO()
    Pillow.new("L", (16, 32)).save(png, "PNG")
    with pytest.raises(TaskError, match=r"has \(16, 32\) pixels and not 32 × 32"):
        decode_image(png.getvalue(), 32, "L", "a.png")
