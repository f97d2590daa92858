"""The order of an epoch: batches of like lengths, and the part of each batch that a process takes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from lra_tasks.card import TaskSpec
from lra_tasks.errors import TaskError
from lra_tasks.loader import BatchLoader
from lra_tasks.order import epoch_order, share
from lra_tasks.store import Split

TOKENS = TaskSpec("tokens", "tokens", 256, 2, 9)


def make_split(n: int = 23) -> Split:
    """Sample i has a length of its own and label i."""
    lengths = np.random.default_rng(1).integers(1, 10, n)
    return Split(np.ones(lengths.sum(), np.uint8), np.concatenate([[0], lengths.cumsum()]), np.arange(n))


def labels_of(batches) -> list[list[int]]:
    return [batch.labels.tolist() for batch in batches]


def bucketed(lengths: list[int], batch_size: int, buckets: int, seed: int, epoch: int) -> list[int]:
    """The order as its description tells it, sample by sample."""
    rng = np.random.default_rng([seed, epoch])
    left = rng.permutation(len(lengths)).tolist()
    batches = []
    while len(left) >= batch_size:
        pool = left[: min(buckets * batch_size, len(left) // batch_size * batch_size)]
        left = left[len(pool) :]
        pool.sort(key=lambda sample: lengths[sample])
        batches += [pool[start : start + batch_size] for start in range(0, len(pool), batch_size)]
    return [sample for number in rng.permutation(len(batches)) for sample in batches[number]] + left


@pytest.mark.parametrize("samples", [0, 3, 4, 40, 47])
@pytest.mark.parametrize("buckets", [1, 3, 100])
def test_buckets_as_described(samples, buckets):
    lengths = np.random.default_rng(samples).integers(1, 6, samples)  # many equal ones: the sort is stable
    for seed, epoch in ((0, 0), (0, 1), (5, 0)):
        order = epoch_order(samples, 4, seed=seed, epoch=epoch, lengths=lengths, bucket_batches=buckets)
        assert order.tolist() == bucketed(lengths.tolist(), 4, buckets, seed, epoch)
        assert sorted(order.tolist()) == list(range(samples))


def test_without_buckets_the_order_is_the_permutation_of_seed_and_epoch():
    expected = np.random.default_rng([3, 2]).permutation(50)
    np.testing.assert_array_equal(epoch_order(50, 8, seed=3, epoch=2), expected)


def listops_like(rng: np.random.Generator) -> np.ndarray:
    """Lengths with the published quartiles of ListOps, evenly spread between them."""
    return np.interp(rng.random(20_000), [0, 0.25, 0.5, 0.75, 1], [501, 723, 995, 1347, 1999]).astype(np.int64)


def imdb_like(rng: np.random.Generator) -> np.ndarray:
    """Log-normal lengths of mean 1,325, of which 3.3 % are cut at 4,096."""
    return rng.lognormal(np.log(1325) - 0.78**2 / 2, 0.78, 20_000).clip(30, 4096).astype(np.int64)


@pytest.mark.parametrize(("draw", "fewer_steps"), [(listops_like, 0.40), (imdb_like, 0.62)])
def test_buckets_take_most_of_the_padding_away(draw, fewer_steps):
    lengths = draw(np.random.default_rng(0))

    def padded(buckets):
        order = epoch_order(len(lengths), 32, seed=0, epoch=0, lengths=lengths, bucket_batches=buckets)
        return sum(32 * lengths[batch].max() for batch in order.reshape(-1, 32))

    plain, sorted_pools, real = padded(0), padded(20), lengths.sum()
    assert sorted_pools - real < 0.06 * (plain - real)
    assert sorted_pools < (1 - fewer_steps) * plain


def test_the_loader_sorts_pairs_by_their_longer_document():
    offsets = np.concatenate([[0], np.cumsum([1, 2, 3, 4, 5, 6, 7, 8])])
    pairs = np.array([[0, 7], [1, 0], [6, 0], [1, 1]])  # longer documents: 8, 2, 7, 2
    split = Split(np.ones(36, np.uint8), offsets, np.arange(4), pairs)
    for _ in range(3):
        batches = labels_of(BatchLoader(split, TOKENS, 2, shuffle=True, bucket_batches=2))
        assert sorted(sorted(batch) for batch in batches) == [[0, 2], [1, 3]]


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [1, 2, 5, 6, 7, 20])
def test_shares_are_those_of_array_split(size, world_size):
    batch = np.arange(100, 100 + size)
    for rank, expected in enumerate(np.array_split(batch, world_size)):
        assert share(batch, rank, world_size, fill=False).tolist() == expected.tolist()
        assert share(batch, rank, world_size, fill=True).tolist() == (expected.tolist() or [100])


def loaders(world_size: int, **options) -> list[BatchLoader]:
    split = make_split()  # 23 samples: 4 batches of 5 and one of 3
    return [BatchLoader(split, TOKENS, 5, rank=rank, world_size=world_size, **options) for rank in range(world_size)]


@pytest.mark.parametrize("buckets", [0, 2])
@pytest.mark.parametrize("world_size", [2, 3, 4, 5])
def test_processes_train_on_the_steps_of_one(world_size, buckets):
    (one,) = loaders(1, shuffle=True, bucket_batches=buckets)
    several = loaders(world_size, shuffle=True, bucket_batches=buckets)
    for _ in range(2):
        expected, parts = labels_of(one), [labels_of(loader) for loader in several]
        assert [len(part) for part in parts] == [len(loader) for loader in several] == [5] * world_size
        for step, batch in enumerate(expected):
            union = [label for part in parts for label in part[step]]
            surplus = max(0, world_size - len(batch))  # in the last step, which has 3 samples
            assert union == batch + [batch[0]] * surplus
    assert all(loader.state_dict() == one.state_dict() == {"epoch": 2, "position": 0} for loader in several)


@pytest.mark.parametrize("world_size", [2, 3, 4, 5])
def test_weighted_means_are_the_mean_of_the_batch_and_padding_is_that_of_the_batch(world_size):
    (one,) = loaders(1, shuffle=True)
    several = loaders(world_size, shuffle=True)
    for batch, *parts in zip(one, *several, strict=True):
        assert {part.inputs.shape[1] for part in parts} == {batch.inputs.shape[1]}
        means = [
            loader.weight * part.labels.double().mean().item() for loader, part in zip(several, parts, strict=True)
        ]
        assert np.mean(means) == pytest.approx(batch.labels.double().mean().item())


@pytest.mark.parametrize("world_size", [2, 3, 4, 5])
def test_processes_evaluate_every_sample_once(world_size):
    several = loaders(world_size, shuffle=False)
    for _ in range(2):
        parts = [labels_of(loader) for loader in several]
        assert [len(part) for part in parts] == [len(loader) for loader in several]
        assert all(batch for part in parts for batch in part)
        union = [label for step in range(5) for part in parts if step < len(part) for label in part[step]]
        assert union == list(range(23))
    assert {len(part) for part in parts} == ({5} if world_size <= 3 else {4, 5})


def test_another_number_of_processes_goes_on_with_the_next_batch():
    (one,) = loaders(1, shuffle=True, bucket_batches=2)
    expected = labels_of(one)[3:] + labels_of(one)
    states = []
    for loader in loaders(2, shuffle=True, bucket_batches=2):
        for _, _ in zip(range(3), loader, strict=False):
            pass
        states.append(loader.state_dict())
    assert states[0] == states[1] == {"epoch": 0, "position": 3}
    several = loaders(3, shuffle=True, bucket_batches=2)
    for loader in several:
        loader.load_state_dict(states[0])
    parts = [labels_of(loader) + labels_of(loader) for loader in several]
    assert [[label for part in step for label in part] for step in zip(*parts, strict=True)] == expected


def test_a_batch_smaller_than_the_number_of_processes_is_refused():
    with pytest.raises(TaskError, match="A batch of 5 cannot be shared by 6 processes: raise batch_size to 6"):
        loaders(6, shuffle=True)


WORKER = """
import datetime, json, sys
import numpy as np, torch, torch.distributed as dist
from lra_tasks import BatchLoader, TaskSpec
from lra_tasks.store import Split

rank, path = int(sys.argv[1]), sys.argv[2]
seconds = datetime.timedelta(seconds=60)
dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2, timeout=seconds)
split = Split(np.ones(42, np.uint8), np.arange(22) * 2, np.arange(21))  # 5 batches of 4 and one of 1
spec = TaskSpec("tokens", "tokens", 2, 21, 2)
seen = {}
for shuffle in (True, False):
    counts = torch.zeros(21, dtype=torch.int64)
    for batch in BatchLoader(split, spec, 4, shuffle=shuffle, rank=rank, world_size=dist.get_world_size()):
        counts += torch.bincount(batch.labels, minlength=21)
        if shuffle:
            dist.barrier()  # as the gradients of a step do: a process with fewer steps would leave the other waiting
    gathered = [torch.zeros_like(counts) for _ in range(2)]
    dist.all_gather(gathered, counts)
    seen["train" if shuffle else "test"] = sum(gathered).tolist()
if rank == 0:
    print(json.dumps(seen))
dist.destroy_process_group()
"""


def test_two_processes_of_torch_distributed(tmp_path):
    environment = os.environ | ({"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {})
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), str(tmp_path / "rendezvous")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], [errors for _, errors in outputs]
    seen = json.loads(outputs[0][0])
    assert seen["test"] == [1] * 21
    assert sorted(seen["train"]) == [1] * 20 + [2]  # the last step has one sample, which both take
