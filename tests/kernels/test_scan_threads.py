"""Threads and processes: the same bits for any number of threads, from many callers, after a fork, in a new process."""

import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import hgrn_kernels
from hgrn_kernels import gated_norm, hgru, hgru2d, scan
from hgrn_kernels.cpu import threads as native_threads
from hgrn_kernels.cpu.recurrence import _tiles

# Big enough for several threads; a few samples, so that the channels are split as well.
SHAPES = [(8, 300, 64), (1, 2000, 100), (3, 700, 130)]
KINDS = ["real scan", "scan", "hgru", "hgru bidirectional", "hgru2d"]


@pytest.fixture
def set_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def train_step(shape, *, kind="scan", seed=0):
    """Output and gradients of one pass; the same for the same seed."""
    batch, length, channels = shape
    planes = 1 if kind == "real scan" else 2
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, length, planes * channels, generator=g).requires_grad_()
    gate = torch.rand(batch, length, channels, generator=g).requires_grad_()
    bound = torch.rand(channels, generator=g).requires_grad_()
    theta = torch.randn(channels, generator=g).requires_grad_() if planes == 2 else None
    leaves = [t for t in (x, gate, theta) if t is not None]
    if "scan" in kind:
        h, final = scan(x, gate, theta=theta, return_final_state=True, backend="cpu")
    elif kind == "hgru2d":
        h = hgru2d(x.unflatten(1, (-1, 20)), gate.unflatten(1, (-1, 20)), bound, theta, backend="cpu")
    else:
        h = hgru(x, gate, bound, theta, bidirectional="bi" in kind, backend="cpu")
    dh = torch.randn(h.shape, generator=g)
    leaves += [] if "scan" in kind else [bound]
    return [h.detach(), *([final.detach()] if "scan" in kind else []), *torch.autograd.grad(h, leaves, dh)]


def digest(tensors):
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in tensors)).hexdigest()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("openmp", [True, False])
def test_results_do_not_depend_on_the_number_of_threads(shape, kind, openmp, set_threads, monkeypatch):
    if not openmp:  # the pool of Python threads
        monkeypatch.setattr(native_threads, "_openmp", lambda: None)
    digests = set()
    for threads in (1, 2, 3, 8):
        set_threads(threads)
        digests.add(digest(train_step(shape, kind=kind)))
    assert len(digests) == 1


def test_tiles_cover_all_channels_and_feed_all_threads():
    for batch in (1, 2, 3, 7, 64):
        for channels in (1, 3, 16, 64, 130, 1000):
            for threads in (1, 2, 3, 16):
                tiles, tile = _tiles(batch, channels, threads)
                assert (tiles - 1) * tile < channels <= tiles * tile
                assert tiles == 1 or tile % 16 == 0
                if batch * channels >= 1000 * threads:
                    assert batch * tiles >= threads


def test_work_on_several_threads_reaches_all_of_them(set_threads, monkeypatch):
    used = []
    monkeypatch.setattr(native_threads, "run", lambda kernel, block, threads: used.append(threads))
    set_threads(2)
    for x in (torch.zeros(8, 300, 64), torch.zeros(2, 10, 8)):
        scan(x, x, backend="cpu")
        hgru(x, x, bidirectional=True, backend="cpu")
        gated_norm(x, x, x[0, 0], x[0, 0], backend="cpu")
    assert used == [2, 2, 2, 1, 1, 1]


def test_several_python_threads_at_once():
    expected = [digest(train_step(SHAPES[i % 3], seed=i)) for i in range(6)]
    with ThreadPoolExecutor(6) as callers:
        actual = list(callers.map(lambda i: digest(train_step(SHAPES[i % 3], seed=i % 6)), range(24)))
    assert actual == expected * 4


def test_an_error_in_one_share_waits_for_the_others(monkeypatch):
    # The block of integers must outlive every thread that reads it, also when the caller's share fails.
    monkeypatch.setattr(native_threads, "_openmp", lambda: None)
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
        native_threads.run(share, (ctypes.c_int64 * 1)(0), 2)
    assert finished == [True]


def test_no_core_is_asked_for_twice(tmp_path):
    """The kernels run on threads that torch's own operations have started: none comes to them."""
    script = """
import os, torch
from hgrn_kernels import gated_norm, hgru

def train(x, gate, weight):
    h = hgru(x, gate, bidirectional=True, backend="cpu")
    gated_norm(h, x, weight, weight, backend="cpu").sum().backward()

torch.set_num_threads(2)
x, gate = torch.randn(8, 500, 64).requires_grad_(), torch.randn(8, 500, 32)
train(x[:1, :2], gate[:1, :2], x[0, 0])  # too small for a second thread; compiling starts one of its own
(x * x).sum().backward()  # starts torch's
before = len(os.listdir("/proc/self/task"))
train(x, gate, x[0, 0])
print(before, len(os.listdir("/proc/self/task")) - before)
"""
    before, more = run_script(tmp_path, script).split()
    assert int(before) >= 2
    assert int(more) == 0


def run_script(folder, script, *arguments, **environment):
    """Run a Python script in a process of its own and return what it prints."""
    path = folder / "script.py"
    path.write_text(script)
    command = [sys.executable, "-W", "ignore", str(path), *arguments]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# The inputs are made before the fork: torch's own parallel operations would hang in a forked child.
WORKERS = """
import hashlib, multiprocessing, sys
import torch
from hgrn_kernels import gated_norm, hgru, scan

torch.set_num_threads(2)
x = torch.linspace(-1, 1, 8 * 500 * 64).view(8, 500, 64)
gate, theta = torch.full((8, 500, 32), 0.9), torch.full((32,), 0.1)
weight = torch.linspace(-1, 1, 64)

def digest(_=None):
    h = scan(x, gate, theta=theta, backend="cpu")
    both = hgru(x, gate, theta, theta, bidirectional=True, backend="cpu")
    y = gated_norm(h, both, weight, weight, backend="cpu")
    return [hashlib.sha256(t.numpy().tobytes()).hexdigest() for t in (h, both, y)]

if __name__ == "__main__":
    here = digest()
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        assert pool.map(digest, range(4)) == [here] * 4
    print("same")
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes(method, tmp_path):
    assert run_script(tmp_path, WORKERS, method) == "same"


FIRST_USE = """
import sys, torch, hgrn_kernels
assert "numba" not in sys.modules
one = torch.ones(1)
y = hgrn_kernels.gated_norm(one, 100 * one, 2 * one, 3 * one, backend="cpu")  # of one channel: 0 · 2 + 3
from numba import types
from hgrn_kernels.cpu import norm_kernels
kernel = norm_kernels.forward(types.float32)
print(hgrn_kernels.__file__, y.item(), kernel.cache_hits, type(kernel._cache).__name__)
"""


def test_kernels_are_compiled_once_and_anew_when_another_file_of_the_folder_changes(tmp_path):
    package = tmp_path / "hgrn_kernels"
    shutil.copytree(Path(hgrn_kernels.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    here = package / "__init__.py"
    assert run_script(tmp_path, FIRST_USE, **environment) == f"{here} 300.0 1 FunctionCache"
    assert list((tmp_path / "cache").rglob("*forward*.nbc"))
    native = package / "cpu" / "native.py"
    source = native.read_text()
    changed = source.replace(
        "return _multiply_add(builder, *args)", "return _multiply_add(builder, *args[:2], args[1])"
    )
    assert changed != source
    native.write_text(changed)
    assert run_script(tmp_path, FIRST_USE, **environment) == f"{here} 200.0 1 FunctionCache"


def test_kernels_work_where_nothing_can_be_cached(monkeypatch):
    from numba import types
    from numba.core.caching import FunctionCache, NullCache

    from hgrn_kernels.cpu import norm_kernels

    # What numba finds in a read-only installation without a writable home.
    monkeypatch.setattr(FunctionCache._impl_class, "_locator_classes", [])
    assert isinstance(norm_kernels.forward(types.float32)._cache, NullCache)
