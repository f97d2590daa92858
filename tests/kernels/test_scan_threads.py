"""Threads and processes: the same bits for any number of threads, from many callers, after a fork, in a new process."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from hgrn_kernels import _threads, cpu, scan

# Big enough for several threads; a few samples, so that the channels are split as well.
SHAPES = [(8, 300, 64), (1, 2000, 100), (3, 700, 130)]


@pytest.fixture
def set_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def train_step(shape, *, planes=2, seed=0):
    """Output and gradients of one pass; the same for the same seed."""
    batch, length, channels = shape
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, length, planes * channels, generator=g).requires_grad_()
    gate = torch.rand(batch, length, channels, generator=g).requires_grad_()
    theta = torch.randn(channels, generator=g).requires_grad_() if planes == 2 else None
    leaves = [t for t in (x, gate, theta) if t is not None]
    h, final = scan(x, gate, theta=theta, return_final_state=True, backend="cpu")
    dh = torch.randn(h.shape, generator=g)
    return [h.detach(), final.detach(), *torch.autograd.grad(h, leaves, dh)]


def digest(tensors):
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in tensors)).hexdigest()


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("openmp", [True, False])
def test_results_do_not_depend_on_the_number_of_threads(shape, planes, openmp, set_threads, monkeypatch):
    if not openmp:  # the pool of Python threads
        monkeypatch.setattr(_threads, "_openmp", lambda: None)
    digests = set()
    for threads in (1, 2, 3, 8):
        set_threads(threads)
        digests.add(digest(train_step(shape, planes=planes)))
    assert len(digests) == 1


def test_tiles_cover_all_channels_and_feed_all_threads():
    for batch in (1, 2, 3, 7, 64):
        for channels in (1, 3, 16, 64, 130, 1000):
            for threads in (1, 2, 3, 16):
                tiles, tile = cpu._tiles(batch, channels, threads)
                assert (tiles - 1) * tile < channels <= tiles * tile
                assert tiles == 1 or tile % 16 == 0
                if batch * channels >= 1000 * threads:
                    assert batch * tiles >= threads


def test_work_on_several_threads_reaches_all_of_them(set_threads, monkeypatch):
    used = []
    monkeypatch.setattr(_threads, "run", lambda kernel, block, threads: used.append(threads))
    set_threads(2)
    scan(torch.zeros(8, 300, 64), torch.zeros(8, 300, 64), backend="cpu")
    scan(torch.zeros(2, 10, 8), torch.zeros(2, 10, 8), backend="cpu")
    assert used == [2, 1]


def test_several_python_threads_at_once():
    expected = [digest(train_step(SHAPES[i % 3], seed=i)) for i in range(6)]
    with ThreadPoolExecutor(6) as callers:
        actual = list(callers.map(lambda i: digest(train_step(SHAPES[i % 3], seed=i % 6)), range(24)))
    assert actual == expected * 4


def test_an_error_in_one_share_waits_for_the_others(monkeypatch):
    # The block of integers must outlive every thread that reads it, also when the caller's share fails.
    monkeypatch.setattr(_threads, "_openmp", lambda: None)
    import ctypes
    import threading
    import time

    caller, finished = threading.get_ident(), []

    def share(_):
        if threading.get_ident() == caller:
            time.sleep(0.05)  # lets the other share begin
            raise KeyboardInterrupt
        time.sleep(0.2)
        finished.append(True)

    share.argtypes = [ctypes.c_void_p]
    with pytest.raises(KeyboardInterrupt):
        _threads.run(share, (ctypes.c_int64 * 1)(0), 2)
    assert finished == [True]


# The inputs are made before the fork: torch's own parallel operations would hang in a forked child.
WORKERS = """
import hashlib, multiprocessing, sys
import torch
from hgrn_kernels import scan

torch.set_num_threads(2)
x = torch.linspace(-1, 1, 8 * 500 * 64).view(8, 500, 64)
gate, theta = torch.full((8, 500, 32), 0.9), torch.full((32,), 0.1)

def digest(_=None):
    h = scan(x, gate, theta=theta, backend="cpu")
    return hashlib.sha256(h.numpy().tobytes()).hexdigest()

if __name__ == "__main__":
    here = digest()
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        assert pool.map(digest, range(4)) == [here] * 4
    print("same")
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes(method, tmp_path):
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    command = [sys.executable, "-W", "ignore", str(script), method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "same", done.stderr


FIRST_USE = """
import sys, torch, hgrn_kernels
assert "numba" not in sys.modules
x = torch.ones(1, 3, 2)
h = hgrn_kernels.scan(x, x, backend="cpu")
from hgrn_kernels import _native
kernel = _native._forward_real(_native.types.float32)
print(h.flatten().tolist() == [1, 1, 2, 2, 3, 3], kernel.cache_hits, type(kernel._cache).__name__)
"""


def first_use(tmp_path, folder):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), "HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", FIRST_USE], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_kernels_are_compiled_once(tmp_path):
    assert first_use(tmp_path, tmp_path / "cache") == ["True", "1", "FunctionCache"]
    assert list((tmp_path / "cache").rglob("*forward_real*.nbc"))


def test_kernels_work_where_nothing_can_be_cached(monkeypatch):
    from numba.core.caching import FunctionCache, NullCache

    from hgrn_kernels import _native

    # What numba finds in a read-only installation without a writable home.
    monkeypatch.setattr(FunctionCache._impl_class, "_locator_classes", [])
    assert isinstance(_native._forward_real(_native.types.float32)._cache, NullCache)
