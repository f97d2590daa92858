"""The scans over lengths, batches and widths: their times, and how these grow with the length."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from hgrn_kernels import bench
from lra_hgrn.errors import UserError
from lra_hgrn.results.figures.scaling import exponent

COPY = "copy of the bytes of a real scan"
SLOW = 1.0  # seconds of one call, after which a contender is left out at longer inputs
_TENSORS = 20  # elements for each position and channel that inputs, gradients and the copy take at the least


@dataclass(frozen=True)
class Growth:
    """How the time of one contender grows with the length, at one batch and width."""

    batch: int
    width: int
    name: str
    passes: str  # of `hgrn_kernels.bench.PASSES`
    lengths: tuple[int, ...]  # at which it was measured, in order
    milliseconds: tuple[float, ...]  # median at each
    ratios: tuple[float, ...]  # to the copy of the bytes that it must move itself
    exponent: float | None  # a of the fit time ∝ length^a; None with fewer than two lengths


def shapes_of(lengths: Sequence[int], batches: Sequence[int], widths: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return (batch, length, width) in the order of measuring: lengths grow at each batch and width.

    Raises:
        UserError: a number below 1.
    """
    for what, numbers in (("lengths", lengths), ("batch", batches), ("width", widths)):
        for number in numbers:
            if number < 1:
                raise UserError(f"--{what} takes whole numbers from 1 on, not {number}.")
    lengths, batches, widths = (sorted(set(numbers)) for numbers in (lengths, batches, widths))
    return [(batch, length, width) for batch in batches for width in widths for length in lengths]


def check_memory(shapes: Sequence[tuple[int, int, int]], dtype: torch.dtype, size: int | None) -> None:
    """Raise a UserError if the tensors of a shape cannot lie in a memory of ``size`` bytes (None: not known)."""
    batch, length, width = max(shapes, key=lambda shape: shape[0] * shape[1] * shape[2])
    needed = _TENSORS * batch * length * width * dtype.itemsize
    if size is not None and needed > size:
        raise UserError(
            f"A batch of {batch} × {length:,} steps × {width} channels takes {needed / 1e9:.0f} GB at the least, and "
            f"there are {size / 1e9:.0f}: choose a smaller --batch, --width or --lengths."
        )


def sweep(
    shapes: Sequence[tuple[int, int, int]],
    device: torch.device,
    progress: Callable[[int, str], None],
    *,
    slow: float = SLOW,
    repeats: int = 20,
    warmup: int = 2,
    seconds: float = 2.0,
) -> Iterator[list[bench.Row]]:
    """Measure `hgrn_kernels.bench.scans` on one shape after the other, and yield the rows of each.

    A contender whose median was over ``slow`` seconds, or which ran out of memory, is left out at greater lengths of
    the same batch and width, in the same pass; its rows say so.

    Args:
        shapes: as `shapes_of` returns them.
        device: of type "cpu" or "cuda".
        progress: told how many shapes are done, and which is next.
        repeats, warmup, seconds: see `hgrn_kernels.bench.turns.take_turns`.
    """
    dtype = bench.DTYPES[device.type]
    left_out: dict[tuple[str, str], str] = {}
    before = None
    for done, shape in enumerate(shapes):
        batch, length, width = shape
        progress(done, " × ".join(map(str, shape)))
        if (batch, width) != before:
            left_out, before = {}, (batch, width)
        rows = bench.measure(
            shape,
            device,
            dtype,
            entered=bench.scans(shape, device, dtype),
            left_out=left_out,
            repeats=repeats,
            warmup=warmup,
            seconds=seconds,
        )
        for row in rows:
            if row.time is None and row.note == "out of memory":
                left_out[row.name, row.passes] = f"left out: out of memory at length {length:,}"
            elif row.time is not None and row.time.median > 1e3 * slow:
                took = row.time.median / 1e3
                left_out[row.name, row.passes] = f"left out: {took:.1f} s at length {length:,}"
        yield rows
    progress(len(shapes), "")


def growths(rows: Sequence[bench.Row]) -> list[Growth]:
    """Fit every contender's time over the lengths at which it was measured, at each batch and width.

    The last of each pass is the copy of the bytes that a real scan must move.

    Args:
        rows: of shapes (batch, length, width), in order of length.
    """
    groups: dict[tuple[int, int, str], dict[str, list[tuple[int, float, float]]]] = {}
    for row in rows:
        batch, length, width = row.shape
        group = groups.setdefault((batch, width, row.passes), {})
        points = group.setdefault(row.name, [])
        if row.time is not None and row.ratio is not None:
            points.append((length, row.time.median, row.ratio))
        if row.name == "scan, real" and row.copy is not None:
            group.setdefault(COPY, []).append((length, row.copy.median, 1.0))
    grown = []
    for (batch, width, passes), group in groups.items():
        names = sorted(group, key=lambda name: name == COPY)
        grown += [_growth(batch, width, passes, name, group[name]) for name in names]
    return grown


def _growth(batch: int, width: int, passes: str, name: str, points: Sequence[tuple[int, float, float]]) -> Growth:
    lengths = tuple(length for length, _, _ in points)
    times = tuple(time for _, time, _ in points)
    fitted = exponent(lengths, times) if len(points) > 1 else None
    return Growth(batch, width, name, passes, lengths, times, tuple(ratio for _, _, ratio in points), fitted)
