"""Batches: padding, completeness, order, and going on in the middle of an epoch."""

import itertools

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from lra_tasks.card import TaskSpec
from lra_tasks.errors import TaskError
from lra_tasks.loader import BatchLoader
from lra_tasks.store import Split

TOKENS = TaskSpec("tokens", "tokens", 256, 2, 8)
VALUES = TaskSpec("values", "values", 0, 2, 8)


def make_split(n: int = 23, seed: int = 0) -> Split:
    """Sample i has a length of its own, starts with the id i + 1 and has label i."""
    lengths = np.random.default_rng(seed).integers(1, 9, n)
    offsets = np.concatenate([[0], lengths.cumsum()])
    tokens = np.concatenate([[i + 1] + [200 + i % 50] * (length - 1) for i, length in enumerate(lengths)])
    return Split(tokens.astype(np.uint8), offsets, np.arange(n))


def labels_of(batches) -> list[list[int]]:
    return [batch.labels.tolist() for batch in batches]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
def test_every_sample_exactly_once_and_padded_with_zeros(shuffle, batch_size):
    split = make_split()
    loader = BatchLoader(split, TOKENS, batch_size, shuffle=shuffle)
    batches = list(loader)
    assert len(batches) == len(loader) == -(-23 // batch_size)
    assert sorted(itertools.chain.from_iterable(labels_of(batches))) == list(range(23))
    assert all(len(batch.labels) == batch_size for batch in batches[:-1])
    for batch in batches:
        assert batch.inputs.dtype == batch.lengths.dtype == batch.labels.dtype == torch.int64
        assert batch.inputs.shape == (len(batch.labels), batch.lengths.max())
        for row, length, label in zip(batch.inputs, batch.lengths, batch.labels, strict=True):
            assert row[:length].tolist() == split[int(label)][0][0].tolist()
            assert not row[length:].any()


@pytest.mark.parametrize("buckets", [0, 2])
def test_two_documents_of_a_sample_lie_half_a_batch_apart(buckets):
    tokens = np.array([1, 2, 3, 4, 5, 6], np.uint8)  # documents 1 2 3, 4, 5 6
    split = Split(tokens, np.array([0, 3, 4, 6]), np.array([7, 8]), np.array([[0, 1], [2, 0]]))
    (batch,) = BatchLoader(split, TOKENS, 2, shuffle=False)
    assert batch.inputs.tolist() == [[1, 2, 3], [5, 6, 0], [4, 0, 0], [1, 2, 3]]
    assert batch.lengths.tolist() == [3, 2, 1, 3]
    assert batch.labels.tolist() == [7, 8]
    one, other = BatchLoader(split, TOKENS, 1, shuffle=True, bucket_batches=buckets)
    assert sorted([one.inputs.tolist(), other.inputs.tolist()]) == [[[1, 2, 3], [4, 0, 0]], [[5, 6, 0], [1, 2, 3]]]


def test_values_span_minus_one_to_one():
    split = Split(np.array([0, 255, 51, 0, 255, 102], np.uint8), np.array([0, 3, 6]), np.array([1, 0]))
    (batch,) = BatchLoader(split, VALUES, 2, shuffle=False)
    assert batch.inputs.dtype == torch.float32
    assert batch.inputs[:, :2].tolist() == [[-1.0, 1.0], [-1.0, 1.0]]
    torch.testing.assert_close(batch.inputs[:, 2], torch.tensor([-0.6, -0.2]))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_values_are_shifted_and_scaled_and_their_padding_is_zero(dtype):
    spec = TaskSpec("cifar", "values", 0, 2, 8, shift=122.6, scale=61.0)
    split = Split(np.array([0, 255, 122, 0], dtype), np.array([0, 3, 4]), np.array([1, 0]))
    (batch,) = BatchLoader(split, spec, 2, shuffle=False)
    expected = torch.tensor([[-122.6 / 61, 132.4 / 61, -0.6 / 61], [-122.6 / 61, 0.0, 0.0]])
    torch.testing.assert_close(batch.inputs, expected, rtol=1e-5, atol=1e-7)
    assert batch.inputs[1, 1:].tolist() == [0.0, 0.0]
    assert split.tokens.tolist() == [0, 255, 122, 0]


def test_ids_beyond_255():
    split = Split(np.array([40_000, 65_535, 256], np.uint16), np.array([0, 2, 3]), np.array([0, 1]))
    (batch,) = BatchLoader(split, TaskSpec("wide", "tokens", 65_536, 2, 2), 2, shuffle=False)
    assert batch.inputs.tolist() == [[40_000, 65_535], [256, 0]]


def test_order_is_a_function_of_seed_and_epoch():
    def epochs(seed):
        loader = BatchLoader(make_split(), TOKENS, 4, shuffle=True, seed=seed)
        return [labels_of(loader) for _ in range(3)]

    assert epochs(0) == epochs(0)
    assert epochs(0) != epochs(1)
    first, second, third = epochs(0)
    assert first != second != third != first
    plain = BatchLoader(make_split(), TOKENS, 4, shuffle=False)
    assert labels_of(plain) == labels_of(plain)


@pytest.mark.parametrize("buckets", [0, 3])
@pytest.mark.parametrize("taken", range(13))
def test_another_loader_goes_on_with_the_next_batch(taken, buckets):
    def stream(loader):
        while True:
            yield from loader

    loader = BatchLoader(make_split(), TOKENS, 4, shuffle=True, bucket_batches=buckets)  # 6 batches an epoch
    batches = stream(loader)
    labels_of(next(batches) for _ in range(taken))
    state = loader.state_dict()
    assert state == {"epoch": taken // 6, "position": taken % 6}
    expected = labels_of(next(batches) for _ in range(10))

    other = BatchLoader(make_split(), TOKENS, 4, shuffle=True, bucket_batches=buckets)
    other.load_state_dict(state)
    iter(other)  # an iterator that is never asked for a batch changes nothing
    resumed = stream(other)
    assert labels_of(next(resumed) for _ in range(10)) == expected


def test_a_pass_left_early_is_followed_by_a_whole_one():
    loader = BatchLoader(make_split(), TOKENS, 4, shuffle=True)
    for _ in loader:
        break
    assert len(list(loader)) == 6
    assert loader.state_dict() == {"epoch": 2, "position": 0}


def test_a_state_of_smaller_batches_is_refused():
    with pytest.raises(TaskError, match="stands at batch 6 where an epoch has 6"):
        BatchLoader(make_split(), TOKENS, 4, shuffle=True).load_state_dict({"epoch": 0, "position": 6})


def test_buckets_of_samples_in_the_order_of_the_store_are_refused():
    with pytest.raises(TaskError, match="bucket_batches sorts shuffled samples: set it to 0"):
        BatchLoader(make_split(), TOKENS, 4, shuffle=False, bucket_batches=2)


@pytest.mark.parametrize("buckets", [0, 3])
def test_empty_split(buckets):
    split = Split(np.zeros(0, np.uint8), np.zeros(1, int), np.zeros(0, int))
    loader = BatchLoader(split, TOKENS, 4, shuffle=True, bucket_batches=buckets)
    assert len(loader) == 0
    assert list(loader) == []


class Recorder(pl.LightningModule):
    """A model that notes the labels of each batch it is trained on."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = []

    def training_step(self, batch):
        self.seen.append(batch.labels.tolist())
        return (self.weight * batch.inputs.float().mean()).sum()

    def validation_step(self, batch):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning")  # Lightning 2.6 on new torch
@pytest.mark.parametrize("stop_at", [3, 6, 8])  # in the first epoch, at its end, in the second
def test_lightning_resumes_with_the_next_batch(tmp_path, stop_at):
    def fit(max_steps, checkpoint=None):
        trainer = pl.Trainer(
            max_steps=max_steps,
            max_epochs=-1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator="cpu",
            num_sanity_val_steps=1,
            default_root_dir=tmp_path,
        )
        model = Recorder()
        loaders = [BatchLoader(make_split(), TOKENS, 4, shuffle=shuffle) for shuffle in (True, False)]
        trainer.fit(model, *loaders, ckpt_path=checkpoint, weights_only=None if checkpoint is None else False)
        return trainer, model.seen

    _, whole = fit(14)
    trainer, first = fit(stop_at)
    trainer.save_checkpoint(tmp_path / "stopped.ckpt")
    _, second = fit(14, tmp_path / "stopped.ckpt")
    assert first + second == whole
    assert len(whole) == 14
