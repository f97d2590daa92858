"""Functions that take turns, and their times."""

import functools
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

_SWEEP = 256 << 20  # bytes: more than the caches of a GPU hold
_SWEEP_SECONDS = 30e-6  # no GPU of today overwrites them faster
_FEWEST = 3  # turns in which a slow function is measured, too


@dataclass(frozen=True)
class Spread:
    """Times of one function, in milliseconds."""

    min: float
    quartile1: float
    median: float
    quartile3: float
    turns: int


def take_turns(
    functions: Mapping[str, Callable[[], object]],
    device: torch.device,
    may_fail: frozenset[str] = frozenset(),
    *,
    repeats: int,
    warmup: int,
    seconds: float,
) -> dict[str, Spread | str]:
    """Call the functions one after the other, again and again; return the times of each, or why it failed.

    Args:
        functions: by name.
        device: on a GPU the times are the device's own, without what the host takes to launch the work.
        may_fail: names of which any error is returned; of the others only a lack of memory is.
        repeats: measured turns.
        warmup: turns before them, at least 1: the first call compiles.
        seconds: what one function may take after its first call; then it sits out, but is measured three times.
    """
    clock = functools.partial(_gpu, {}) if device.type == "cuda" else _cpu
    times: dict[str, list[float]] = {name: [] for name in functions}
    used = dict.fromkeys(functions, 0.0)
    failures: dict[str, str] = {}
    for turn in range(-warmup, repeats):
        for name, function in functions.items():
            done = used[name] > seconds and (turn < 0 or len(times[name]) >= _FEWEST)
            if done or name in failures:
                continue
            begin = time.perf_counter()
            try:
                elapsed = clock(function)
            except Exception as error:
                if isinstance(error, torch.OutOfMemoryError):
                    failures[name] = "out of memory"
                elif name in may_fail:
                    failures[name] = f"failed: {first_line(error)}"
                else:
                    raise
                continue
            if turn >= 0:
                times[name].append(elapsed * 1e3)
            if turn > -warmup:
                used[name] += time.perf_counter() - begin
    return {name: failures.get(name) or _spread(times[name]) for name in functions}


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _spread(times: list[float]) -> Spread:
    low, middle, high = statistics.quantiles(times, method="inclusive") if len(times) > 1 else times * 3
    return Spread(min(times), low, middle, high, len(times))


def _cpu(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def _gpu(launching: dict[Callable[[], object], float], function: Callable[[], object]) -> float:
    """Return the seconds between two events around a call.

    Before it memory is overwritten for at least as long as the host took to launch this function the last time: so
    all launches are queued before the first one starts, and the caches hold none of the inputs.
    """
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    memory = torch.empty(_SWEEP, dtype=torch.uint8, device="cuda")
    for _ in range(1 + min(100, int(launching.get(function, 0.0) / _SWEEP_SECONDS))):
        memory.zero_()
    start.record()
    launching[function] = _cpu(function)
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3
