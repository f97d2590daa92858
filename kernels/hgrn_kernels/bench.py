"""Time the CPU scan against a plain copy of the bytes that it must at least read and write."""

import functools
import statistics
import time
from collections.abc import Callable, Iterable

import torch

from hgrn_kernels._scan import scan

SHAPES = ((8, 1024, 128), (4, 4096, 128), (1, 16384, 128), (32, 256, 64))  # (B, L, D)


def measure_cpu(
    shapes: Iterable[tuple[int, int, int]] = SHAPES,
    *,
    planes: int = 2,
    repeats: int = 20,
    warmup: int = 3,
    dtype: torch.dtype = torch.float32,
) -> list[dict[str, str | int | float]]:
    """Return two rows for each shape, "forward" and "forward+backward", with times in milliseconds.

    The copy and the scan take turns, so that whatever else the machine does falls on both. The floor counts each
    input read once and each output written once: with complex numbers 5 elements a channel and step forward (x 2,
    gate 1, h 2) and 8 more backward (dh 2, h 2, gate 1, dx 2, dgate 1); with real numbers 3 and 5.

    Args:
        shapes: (B, L, D) of the gate.
        planes: 2 for complex numbers with theta, 1 for real ones.
        repeats: measured turns; the medians are of these.
        warmup: turns before them, which also compile the kernels.
        dtype: torch.float32 or torch.float64.

    Returns:
        Rows with the keys pass, batch, length, channels, planes, dtype, threads, copy_ms, scan_ms (medians),
        copy_min_ms, scan_min_ms, and ratio: scan_ms / copy_ms.
    """
    rows = []
    for batch, length, channels in shapes:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(batch, length, planes * channels, dtype=dtype, generator=generator).requires_grad_()
        gate = torch.rand(batch, length, channels, dtype=dtype, generator=generator).requires_grad_()
        theta = torch.rand(channels, dtype=dtype, generator=generator).requires_grad_() if planes == 2 else None
        dh = torch.randn(x.shape, dtype=dtype, generator=generator)
        leaves = [t for t in (x, gate, theta) if t is not None]

        def forward(x=x, gate=gate, theta=theta) -> None:  # type: ignore[no-untyped-def]
            with torch.no_grad():
                scan(x, gate, theta=theta, backend="cpu")

        def both(x=x, gate=gate, theta=theta, leaves=leaves, dh=dh) -> None:  # type: ignore[no-untyped-def]
            torch.autograd.grad(scan(x, gate, theta=theta, backend="cpu"), leaves, dh)

        read_and_written = {"forward": 2 * planes + 1, "forward+backward": 5 * planes + 3}
        for name, run in (("forward", forward), ("forward+backward", both)):
            source = torch.randn(gate.numel() * read_and_written[name] // 2, dtype=dtype)
            target = torch.empty_like(source)
            copy = functools.partial(target.copy_, source)
            copy_s, scan_s = _take_turns(copy, run, repeats=repeats, warmup=warmup)
            row: dict[str, str | int | float] = {
                "pass": name,
                "batch": batch,
                "length": length,
                "channels": channels,
                "planes": planes,
                "dtype": str(dtype).removeprefix("torch."),
                "threads": torch.get_num_threads(),
                "copy_ms": statistics.median(copy_s) * 1e3,
                "scan_ms": statistics.median(scan_s) * 1e3,
                "copy_min_ms": min(copy_s) * 1e3,
                "scan_min_ms": min(scan_s) * 1e3,
                "ratio": statistics.median(scan_s) / statistics.median(copy_s),
            }
            rows.append(row)
    return rows


def _take_turns(*functions: Callable[[], object], repeats: int, warmup: int) -> list[list[float]]:
    """Call the functions one after the other, again and again; return the seconds of each call, by function."""
    seconds: list[list[float]] = [[] for _ in functions]
    for turn in range(warmup + repeats):
        for function, times in zip(functions, seconds, strict=True):
            start = time.perf_counter()
            function()
            if turn >= warmup:
                times.append(time.perf_counter() - start)
    return seconds
