"""Time the kernels, and their peers, against a plain copy of the bytes that each must at least read and write."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from hgrn_kernels.bench.contenders import Contender, contenders, scans
from hgrn_kernels.bench.peers import libraries
from hgrn_kernels.bench.turns import Spread, take_turns

__all__ = ["DTYPES", "PASSES", "SHAPES", "Row", "Spread", "libraries", "measure", "scans"]

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
PASSES = ("forward", "forward+backward")


@dataclass(frozen=True)
class Row:
    """One function on one shape; what did not run has a note in the place of times."""

    shape: tuple[int, ...]
    name: str
    peer: bool
    passes: str  # of `PASSES`
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
    entered: Sequence[Contender] | None = None,
    left_out: Mapping[tuple[str, str], str] | None = None,
    repeats: int = 20,
    warmup: int = 3,
    seconds: float = 5.0,
) -> list[Row]:
    """Measure kernels and peers on one shape, forward and then forward and backward.

    Everything takes turns, the copies included, so that whatever else the machine does falls on all.

    Args:
        shape: (B, L, D), or (B, H, W, D) for the 2-D kernels.
        device: of type "cpu" or "cuda".
        dtype: of the activations; None: as in `DTYPES`.
        entered: who takes part, made for this shape, device and dtype; None: all.
        left_out: reasons by name and pass of those who do not, but have a row.
        repeats, warmup, seconds: see `take_turns`.
    """
    dtype = dtype or DTYPES[device.type]
    entered = contenders(shape, device, dtype) if entered is None else entered
    size = math.prod(shape)
    # A copy reads one half of its bytes and writes the other.
    memory = torch.zeros(2, max(sum(one.floor) for one in entered) * size // 2, device=device, dtype=dtype)
    rows = []
    for passes, label in enumerate(PASSES, start=1):
        floors = [sum(one.floor[:passes]) for one in entered]
        absent = {name: reason for (name, of), reason in (left_out or {}).items() if of == label}
        functions: dict[str, Callable[[], object]] = {}
        for one, floor in zip(entered, floors, strict=True):
            source, target = memory[:, : floor * size // 2]
            functions[f"copy of {floor}"] = functools.partial(target.copy_, source)
            if one.name not in absent:
                functions[one.name] = _call(one, passes)
        may_fail = frozenset(one.name for one in entered if one.peer)
        times = absent | take_turns(functions, device, may_fail, repeats=repeats, warmup=warmup, seconds=seconds)
        for one, floor in zip(entered, floors, strict=True):
            time, copy = (t if isinstance(t, Spread) else None for t in (times[one.name], times[f"copy of {floor}"]))
            ratio = time.median / copy.median if time and copy else None
            note = "" if time else str(times[one.name])
            megabytes = floor * size * dtype.itemsize / 1e6
            rows.append(Row(shape, one.name, one.peer, label, megabytes, time, copy, ratio, note))
    return rows


def _call(one: Contender, passes: int) -> Callable[[], object]:
    if passes == 1:
        return torch.no_grad()(one.run)
    dy = torch.randn_like(one.leaves[0])
    # A scan of one step does not depend on its gate.
    return lambda: torch.autograd.grad(one.run(), one.leaves, dy, materialize_grads=True)
