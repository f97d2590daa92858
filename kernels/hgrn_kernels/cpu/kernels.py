"""The compiled kernels by name, and their launch. numba is imported with this module, so import it at first use."""

import ctypes
import functools
from typing import Any

import torch
from numba import types

from hgrn_kernels.cpu import norm_kernels, one_way, threads, two_ways
from hgrn_kernels.cpu.fields import POSITIONS

_KERNELS = {
    "forward": (one_way.forward, one_way.forward_rows),
    "backward": (one_way.backward, one_way.backward_rows),
    "forward both": (two_ways.forward, two_ways.forward_rows),
    "backward both": (two_ways.backward, two_ways.backward_rows),
    "gated norm": (norm_kernels.forward, norm_kernels.forward_rows),
    "gated norm backward": (norm_kernels.backward, norm_kernels.backward_rows),
}


@functools.cache
def compiled(name: str, dtype: torch.dtype) -> Any:
    """Return the kernel of that name for float32 or float64 tensors, a ctypes function."""
    return _KERNELS[name][0](types.float64 if dtype == torch.float64 else types.float32).ctypes


def launch(name: str, dtype: torch.dtype, fields: dict[str, int], workers: int) -> None:
    """Run a kernel on so many threads; fields that are left out are 0."""
    rows = _KERNELS[name][1](fields.get("PLANES", 1), fields.get("CHUNK", 1))
    size = rows * fields["CHANNELS"]
    scratch = torch.empty(workers * size, dtype=dtype)
    block = (ctypes.c_int64 * len(POSITIONS))()
    for field, value in {**fields, "SCRATCH": scratch.data_ptr(), "SCRATCH_SIZE": size}.items():
        block[POSITIONS[field]] = value
    threads.run(compiled(name, dtype), block, workers)
