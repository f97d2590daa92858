"""Run a native kernel on several threads at once, without asking for more cores than torch was given.

torch's own OpenMP threads keep spinning for a while after each of its operations. A second pool of threads then fights
them for the cores, which made the scan about twice as slow. So the kernel is handed to the very OpenMP library that
torch has loaded (`GOMP_parallel`, the call that compiled code makes; LLVM's and Intel's libraries have it as well), and
to a pool of Python threads where there is none. OpenMP's threads do not survive a fork, and waiting for them would
hang, so a forked child takes the pool too.
"""

import ctypes
import functools
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import torch

_forked = False


def run(kernel: Any, block: ctypes.Array, threads: int) -> None:
    """Call ``kernel(block)`` on ``threads`` threads, the caller's among them; return when all have finished."""
    address = ctypes.addressof(block)
    if threads == 1:
        kernel(ctypes.cast(address, kernel.argtypes[0]))
    elif not _forked and (parallel := _openmp()) is not None:
        parallel(ctypes.cast(kernel, ctypes.c_void_p), address, threads, 0)
    else:
        argument = ctypes.cast(address, kernel.argtypes[0])
        others = [_pool().submit(kernel, argument) for _ in range(threads - 1)]
        try:
            kernel(argument)
        finally:
            wait([other for other in others if not other.cancel()])  # one that has not begun has nothing left to do


@functools.cache
def _openmp() -> Callable[..., None] | None:
    """Return torch's ``GOMP_parallel(function, argument, threads, flags)``, or None."""
    if not sys.platform.startswith("linux") or not torch.backends.openmp.is_available():
        return None
    # torch loads its OpenMP library with global symbols, so the program's own namespace shows it.
    parallel = getattr(ctypes.CDLL(None), "GOMP_parallel", None)
    if parallel is not None:
        parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        parallel.restype = None
    return parallel


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=max(os.cpu_count() or 1, 2) - 1, thread_name_prefix="hgrn_kernels")


def _after_fork() -> None:
    global _forked
    _forked = True
    _pool.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
