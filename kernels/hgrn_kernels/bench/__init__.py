"""Time the kernels, and their peers, against a plain copy of the bytes that each must at least read and write."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from hgrn_kernels.bench.contenders import Contender, contenders
from hgrn_kernels.bench.peers import libraries
from hgrn_kernels.bench.turns import Spread, take_turns

__all__ = ["DTYPES", "SHAPES", "Row", "Spread", "libraries", "measure"]

# (batch, length, channels) or (batch, height, width, channels): the Long Range Arena's on a GPU, smaller ones on a CPU.
SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "cuda": {
        "ListOps": (64, 2048, 32),
        "Text": (32, 4096, 128),
        "Image": (50, 1024, 512),
        "Pathfinder": (128, 1024, 128),
        "Path-X": (16, 16384, 64),
        "Pathfinder, 2-D": (128, 32, 32, 128),
    },
    "cpu": {
        "short": (8, 1024, 128),
        "long": (4, 4096, 128),
        "one sequence": (1, 16384, 128),
        "in the caches": (32, 256, 64),
        "images": (8, 32, 32, 128),
    },
}
DTYPES = {"cuda": torch.bfloat16, "cpu": torch.float32}  # of the activations


@dataclass(frozen=True)
class Row:
    """One function on one shape; what did not run has a note in the place of times."""

    shape: tuple[int, ...]
    name: str
    peer: bool
    passes: str  # "forward" or "forward+backward"
    megabytes: float  # that it must at least move, and that the copy moves
    time: Spread | None
    copy: Spread | None
    ratio: float | None  # of the medians
    note: str


def measure(
    shape: tuple[int, ...],
    device: torch.device,
    dtype: torch.dtype | None = None,
    *,
    repeats: int = 20,
    warmup: int = 3,
    seconds: float = 5.0,
) -> list[Row]:
    """Measure all kernels and peers on one shape, forward and then forward and backward.

    Everything takes turns, the copies included, so that whatever else the machine does falls on all.

    Args:
        shape: (B, L, D), or (B, H, W, D) for the 2-D kernels.
        device: of type "cpu" or "cuda".
        dtype: of the activations; None: as in `DTYPES`.
        repeats, warmup, seconds: see `take_turns`.
    """
    dtype = dtype or DTYPES[device.type]
    entered = contenders(shape, device, dtype)
    size = math.prod(shape)
    # A copy reads one half of its bytes and writes the other.
    memory = torch.zeros(2, max(sum(one.floor) for one in entered) * size // 2, device=device, dtype=dtype)
    rows = []
    for passes in (1, 2):
        floors = [sum(one.floor[:passes]) for one in entered]
        functions: dict[str, Callable[[], object]] = {}
        for one, floor in zip(entered, floors, strict=True):
            source, target = memory[:, : floor * size // 2]
            functions[f"copy of {floor}"] = functools.partial(target.copy_, source)
            functions[one.name] = _call(one, passes)
        may_fail = frozenset(one.name for one in entered if one.peer)
        times = take_turns(functions, device, may_fail, repeats=repeats, warmup=warmup, seconds=seconds)
        for one, floor in zip(entered, floors, strict=True):
            time, copy = (t if isinstance(t, Spread) else None for t in (times[one.name], times[f"copy of {floor}"]))
            ratio = time.median / copy.median if time and copy else None
            note = "" if time else str(times[one.name])
            megabytes = floor * size * dtype.itemsize / 1e6
            name = "forward" if passes == 1 else "forward+backward"
            rows.append(Row(shape, one.name, one.peer, name, megabytes, time, copy, ratio, note))
    return rows


def _call(one: Contender, passes: int) -> Callable[[], object]:
    if passes == 1:
        return torch.no_grad()(one.run)
    dy = torch.randn_like(one.leaves[0])
    return lambda: torch.autograd.grad(one.run(), one.leaves, dy)
