"""Random crops and flips of training images: which there are, how often, and the same ones after an interruption."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from lra_tasks import TaskError, get_task, task_names
from lra_tasks.augment import crops_and_flips
from lra_tasks.card import TaskSpec, image_spec
from lra_tasks.image import Image, ImageScale
from lra_tasks.loader import BatchLoader
from lra_tasks.order import epoch_variants
from lra_tasks.store import Split

SIDE, PADDING = 6, 2
TABLE = crops_and_flips(SIDE, PADDING)
GRAY = image_spec("gray", 0, 2, SIDE)
SPECS = {
    "gray": GRAY,
    "ids": image_spec("ids", 256, 2, SIDE),
    "colour": image_spec("colour", 0, 2, SIDE, shift=(1.0, 2.0, 3.0), scale=(4.0, 5.0, 6.0), channels=3),
}


def images(spec, count=23):
    """Random images, image i with the label i."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 256, (count * SIDE**2, *spec.step_shape)).astype(np.uint8)
    tokens.setflags(write=False)
    return Split(tokens, np.arange(count + 1) * SIDE**2, np.arange(count))


def changed(image):
    """All that pad, crop and flip make of an image (side, side, ...), one after another."""
    edges = [(PADDING, PADDING)] * 2 + [(0, 0)] * (image.ndim - 2)
    padded = np.pad(image, edges, mode="symmetric")
    corners = list(itertools.product(range(2 * PADDING + 1), repeat=2))
    crops = [padded[top : top + SIDE, left : left + SIDE] for top, left in corners]
    return crops + [crop[:, ::-1] for crop in crops]


def loader(spec, split, **options):
    return BatchLoader(split, spec, 4, **{"shuffle": True, "seed": 5, "variants": TABLE, **options})


def stream(batches):
    while True:
        yield from batches


def same(one, other):
    return all(torch.equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_crops_and_flips_are_those_of_slices(spec):
    split = images(spec, 1)
    image = split.tokens.reshape(SIDE, SIDE, *spec.step_shape)
    expected = changed(image)
    assert TABLE.shape == (len(expected), SIDE**2) == (50, 36)
    for row, crop in zip(TABLE, expected, strict=True):
        assert (split.tokens[row].reshape(image.shape) == crop).all()
    assert len({crop.tobytes() for crop in expected}) == len(expected)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_batch_holds_the_variant_drawn_for_each_sample(spec):
    split = images(spec)
    batches = loader(spec, split)
    plain = BatchLoader(split, spec, len(split), shuffle=False)
    (stored,) = plain
    seen = Counter()
    for epoch in range(2):
        drawn = epoch_variants(len(split), len(TABLE), seed=5, epoch=epoch)
        for batch in batches:
            assert batch.inputs.dtype == stored.inputs.dtype
            for inputs, label in zip(batch.inputs, batch.labels.tolist(), strict=True):
                image = stored.inputs[label].numpy().reshape(SIDE, SIDE, *spec.step_shape)
                assert (inputs.numpy().reshape(image.shape) == changed(image)[drawn[label]]).all()
                seen[label] += 1
    assert set(seen.values()) == {2}


@pytest.mark.parametrize("where", [None, torch.device("cpu")], ids=["files", "resident"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_resumed_loader_draws_what_an_undisturbed_one_does(spec, where):
    split = images(spec)
    whole = list(itertools.islice(stream(loader(spec, split)), 14))  # 6 batches an epoch
    for taken in (1, 5, 6, 8):
        first = loader(spec, split, device=where)
        begun = list(itertools.islice(stream(first), taken))
        second = loader(spec, split, device=where)
        second.load_state_dict(first.state_dict())
        rest = itertools.islice(stream(second), 14 - taken)
        assert all(map(same, whole, [*begun, *rest]))
    other = itertools.islice(stream(loader(spec, split, seed=6)), 14)
    assert not any(map(same, whole, other))


def test_processes_share_the_batches_of_one():
    split = images(GRAY)
    whole = list(itertools.islice(stream(loader(GRAY, split)), 5))
    shares = [itertools.islice(stream(loader(GRAY, split, rank=rank, world_size=2)), 5) for rank in (0, 1)]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert same(batch, [torch.cat(tensors) for tensors in zip(*parts, strict=True)])


def test_both_documents_of_a_sample_are_changed_alike():
    spec = TaskSpec("pairs", "tokens", 256, 2, SIDE**2, documents=2, variable=False, side=SIDE)
    one = images(spec)
    split = Split(one.tokens, one.offsets, np.zeros(9, np.int64), np.stack([np.arange(9), np.arange(9)], axis=1))
    for batch in loader(spec, split):
        first, second = batch.inputs.chunk(2)
        assert torch.equal(first, second)


def test_every_variant_is_as_likely_as_any_other():
    count = len(crops_and_flips(32, 4))
    assert count == 2 * 9 * 9
    samples = epoch_variants(45_000, count, seed=1, epoch=3)
    assert chisquare(np.bincount(samples, minlength=count)).pvalue > 1e-3
    epochs = [epoch_variants(40, count, seed=1, epoch=epoch)[7] for epoch in range(8_000)]
    assert chisquare(np.bincount(epochs, minlength=count)).pvalue > 1e-3


class Few(Image):
    scales = {"full": Image.scales["full"], "few": ImageScale(45, 5, 10), "tiny": ImageScale(45, 5, 10, pool=2)}


@pytest.mark.parametrize("protocol", ["s4", "s4-rgb", "google"])
def test_training_images_alone_are_changed(tmp_path, protocol):
    plain, augmented = (
        Few(scale="few", source="mini", protocol=protocol, data_dir=tmp_path, augment=augment)
        for augment in (False, True)
    )
    for task in (plain, augmented):
        task.prepare_data()
        task.setup()
    assert plain.folder == augmented.folder  # what is stored is the same
    for name in ("val_dataloader", "test_dataloader"):
        assert all(map(same, getattr(plain, name)(), getattr(augmented, name)()))
    before, after = next(iter(plain.train_dataloader())), next(iter(augmented.train_dataloader()))
    assert torch.equal(before.labels, after.labels)
    moved = [not torch.equal(one, other) for one, other in zip(before.inputs, after.inputs, strict=True)]
    assert sum(moved) >= len(moved) - 3  # one in 162 stays as it is
    sentence = "Training images are cropped and flipped at random."
    assert (sentence in augmented.rule_departures, sentence in plain.rule_departures) == (True, False)


def test_coarse_images_are_moved_as_far_in_the_photograph():
    assert Image(scale="tiny").variants() is crops_and_flips(16, 2)
    assert Image().variants() is crops_and_flips(32, 4)


@pytest.mark.parametrize("name", [name for name in task_names() if name != "image"])
def test_other_tasks_refuse(name):
    with pytest.raises(TaskError, match=rf"^{name} has no augmentation: leave task.augment at false.$"):
        get_task(name)(augment=True)


def test_variants_of_another_length_are_refused():
    with pytest.raises(TaskError, match="variants of 36 steps, and its samples have 16: give one step for each"):
        BatchLoader(images(GRAY), image_spec("x", 0, 2, 4), 4, shuffle=True, variants=TABLE)
    with pytest.raises(TaskError, match="various lengths"):
        BatchLoader(images(GRAY), TaskSpec("x", "values", 0, 2, 36), 4, shuffle=True, variants=TABLE)
