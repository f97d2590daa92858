"""Pathfinder as a task: what the generator draws is what is stored and served, chunk by chunk."""

import numpy as np
import pytest

from lra_tasks import pathfinder, pathfinder_generator
from lra_tasks.pathfinder import PathfinderScale, PathX
from lra_tasks.pathfinder_parameters import PRESETS


class Small(pathfinder.Pathfinder):
    scales = {"full": PathfinderScale(150, 20, 30, PRESETS[16])}


def test_store_holds_consecutive_images_of_one_stream(tmp_path, monkeypatch):
    monkeypatch.setattr(pathfinder, "_CHUNK", 64)
    task = Small(data_dir=tmp_path, seed=4, batch_size=50)
    task.prepare_data()
    task.setup()
    images, labels = pathfinder_generator.generate(PRESETS[16], 4, 0, 200)
    stored = np.concatenate([task.split(name).tokens for name in ("train", "val", "test")])
    assert stored.dtype == np.uint8
    assert stored.tobytes() == images.tobytes()
    assert [len(task.split(name)) for name in ("train", "val", "test")] == [150, 20, 30]
    assert np.concatenate([task.split(name).labels for name in ("train", "val", "test")]).tolist() == labels.tolist()
    assert set(labels.tolist()) == {0, 1}
    batch = next(iter(task.test_dataloader()))
    assert batch.inputs.shape == (30, 256)
    np.testing.assert_allclose(batch.inputs.numpy(), images[170:].reshape(30, 256) / 127.5 - 1, atol=1e-6)
    assert batch.inputs.min() == -1
    assert batch.inputs.max() == 1
    assert batch.labels.tolist() == labels[170:].tolist()


def test_full_path_x_is_never_in_memory_whole(tmp_path, monkeypatch):
    """The full recipe is followed with a generator that draws nothing and a writer that keeps nothing."""
    asked = []

    def draw(parameters, seed, start, count, workers):
        asked.append((start, count))
        return np.empty((count, 0)), np.empty(count)

    class Nowhere:
        def __getitem__(self, split):
            return self

        def extend(self, images, labels):
            assert len(images) == len(labels)

    monkeypatch.setattr(pathfinder_generator, "generate", draw)
    task = PathX(data_dir=tmp_path)
    task.build(Nowhere())
    assert max(count for _, count in asked) * task.spec.max_length <= 2**24
    ends = np.cumsum([count for _, count in asked])
    assert [start for start, _ in asked] == [0, *ends[:-1]]
    assert ends[-1] == 200_000


@pytest.mark.parametrize(("cls", "side"), [(pathfinder.Pathfinder, 32), (PathX, 128)])
def test_full_scale_is_the_published_one(cls, side):
    assert cls.scales["full"].images is PRESETS[side]
    assert cls().spec.max_length == side * side


def test_beyond_the_benchmark():
    """Path-256 and Pathfinder at 64 pixels: named scales of other sizes, drawn by the same generator."""
    assert PathX.scales["256"].images.window ** 2 == PathX(scale="256").spec.max_length == 65_536
    assert pathfinder.Pathfinder(scale="64").spec.max_length == 4_096
    for side in (64, 256):
        images, labels = pathfinder_generator.generate(PRESETS[side], 0, 0, 2, workers=1)
        assert images.shape == (2, side, side)
        assert labels.shape == (2,)
        assert images.max() == 255
