"""Tokens that stay on a device: the same batches, one copy for each array, nothing that waits for the device."""

import gc
import weakref

import numpy as np
import pytest
import torch

from lra_tasks import resident
from lra_tasks.card import TaskSpec
from lra_tasks.loader import BatchLoader
from lra_tasks.resident import fits, resident_tensor
from lra_tasks.store import Split

DEVICES = [torch.device("cpu"), *([torch.device("cuda")] if torch.cuda.is_available() else [])]
GPU = torch.device("cuda", 0)
TOKENS = TaskSpec("tokens", "tokens", 65_536, 2, 12)
VALUES = TaskSpec("values", "values", 0, 2, 12, shift=122.6, scale=61.0)


def make_split(dtype: type, documents: int = 1, shortest: int = 1) -> Split:
    """30 documents of 1 to 12 steps, or of 12; 23 samples, or 30 where each is one document."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(shortest, 13, 30)
    lengths[-2:] = 12, shortest  # the padding of the last document lies beyond the end
    high = {np.uint8: 256, np.uint16: 65_536, np.float32: 1}[dtype]
    tokens = rng.random(lengths.sum()) * 9 if dtype == np.float32 else rng.integers(0, high, lengths.sum())
    tokens = tokens.astype(dtype)
    tokens.setflags(write=False)  # as a memory map that is read
    offsets = np.concatenate([[0], lengths.cumsum()])
    if documents == 1:
        return Split(tokens, offsets, np.arange(30))
    pairs = rng.integers(0, 30, (23, 2))
    pairs[0] = 28, 29
    return Split(tokens, offsets, np.arange(23), pairs)


CASES = {
    "bytes": (TOKENS, make_split(np.uint8)),
    "wide ids": (TOKENS, make_split(np.uint16)),
    "pairs": (TOKENS, make_split(np.uint16, documents=2)),
    "byte values": (VALUES, make_split(np.uint8)),
    "images": (VALUES, make_split(np.uint8, shortest=12)),
    "float values": (VALUES, make_split(np.float32)),
}


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_the_same_batches_bit_for_bit(case, device):
    spec, split = CASES[case]
    for options in ({"shuffle": False}, {"shuffle": True, "bucket_batches": 2, "rank": 1, "world_size": 2}):
        loaders = [BatchLoader(split, spec, 4, device=where, **options) for where in (None, device)]
        for _ in range(2):
            for expected, batch in zip(*loaders, strict=True):
                for one, other in zip(expected, batch, strict=True):
                    assert other.device.type == device.type
                    assert one.dtype == other.dtype
                    assert torch.equal(one, other.cpu())


@pytest.mark.parametrize("case", CASES)
def test_a_batch_is_made_without_a_look_at_the_device(case):
    spec, split = CASES[case]
    with pytest.raises(RuntimeError):  # meta tensors have shapes and no content: what reads them fails
        torch.ones(1, device="meta").item()
    meta = BatchLoader(split, spec, 4, shuffle=False, device=torch.device("meta"))
    for expected, batch in zip(BatchLoader(split, spec, 4, shuffle=False), meta, strict=True):
        assert [tensor.shape for tensor in batch] == [tensor.shape for tensor in expected]
        assert batch.inputs.device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("case", CASES)
def test_a_batch_is_made_without_waiting_for_the_gpu(case):
    spec, split = CASES[case]
    resident_tensor(split.tokens, GPU)
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert sum(len(batch.labels) for batch in BatchLoader(split, spec, 4, shuffle=True, device=GPU)) == len(split)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_an_array_is_copied_in_pieces(monkeypatch, dtype):
    monkeypatch.setattr(resident, "_CHUNK_BYTES", 12)
    array = np.arange(29).astype(dtype)
    assert resident_tensor(array, DEVICES[0]).tolist() == list(range(29))
    assert resident_tensor(np.zeros(0, dtype), DEVICES[0]).shape == (0,)


def test_splits_of_one_array_share_its_copy_until_it_goes():
    split = make_split(np.uint8, documents=2)
    others = [Split(split.tokens, split.offsets, split.labels[:9], split.pairs[start : start + 9]) for start in (0, 9)]
    copy = weakref.ref(resident_tensor(split.tokens, DEVICES[0]))
    assert all(resident_tensor(other.tokens, DEVICES[0]) is copy() for other in others)
    assert resident_tensor(split.tokens.copy(), DEVICES[0]) is not copy()
    gc.collect()
    assert copy() is not None
    del split, others
    gc.collect()
    assert copy() is None


def test_a_copy_made_by_an_evaluation_serves_training():
    split = make_split(np.uint8)
    with torch.inference_mode():
        next(iter(BatchLoader(split, TOKENS, 4, shuffle=False, device=DEVICES[0])))
    copy = resident_tensor(split.tokens, DEVICES[0])
    assert not copy.is_inference()


def test_fits_counts_each_array_once_against_the_free_memory(monkeypatch):
    first, second = np.zeros(300, np.uint8), np.zeros(100, np.uint16)  # 300 and 200 bytes
    nothing = np.zeros(1, np.int64)
    splits = [Split(array, nothing, nothing) for array in (first, second, second)]

    def fit(free, **options):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**9))
        return fits(splits, GPU, **options)

    assert fit(2000)
    assert not fit(1999)
    assert fit(1000, share=0.5)
    monkeypatch.setitem(resident._placed, (id(first), GPU), torch.zeros(0))
    assert fit(800)
    assert not fit(799)
    assert not fits(splits, torch.device("cpu"))
