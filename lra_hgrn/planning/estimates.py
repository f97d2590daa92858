"""Estimates of what a cell takes: kept beside the runs, made by probes or read off records of the same cell."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

from lra_hgrn.config import Config, identity
from lra_hgrn.errors import UserError
from lra_hgrn.planning.probe import Probe, checkpoint_bytes, probe
from lra_hgrn.results.decode import decode
from lra_hgrn.results.decode import load as load_json
from lra_hgrn.results.files import write_whole
from lra_hgrn.results.record import Record
from lra_hgrn.training import environment
from lra_hgrn.training.data import build_task
from lra_tasks.errors import one_line

FILE = "estimates.json"


@dataclass(frozen=True)
class Estimate:
    """What one run of a cell takes on one device."""

    seconds: float  # training, validation after each epoch, and the test, from the beginning
    peak_bytes: int
    disk_bytes: int  # of checkpoints
    source: Literal["record", "probe"]
    upper: bool = False  # of samples that all have the greatest length: an upper bound


@dataclass(frozen=True)
class Refusal:
    """Why a cell cannot be probed, in one sentence."""

    reason: str


Kept = dict[str, Probe | Refusal]  # by `name_of`


def name_of(config: Config) -> str:
    """Return what an estimate is kept under: the cell, and the device and arithmetic that it holds for."""
    return f"{identity(config)} on {', '.join(map(str, _device(config)))} threads"


def load(runs: Path) -> Kept:
    """Read the estimates that are kept in a folder of runs.

    Raises:
        UserError: the file is there and is damaged.
    """
    path = runs / FILE
    try:
        entries = load_json(path)
        return {name: _decoded(entry) for name, entry in entries.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        reason = one_line(error)
        raise UserError(f"{path} holds no estimates ({reason}): delete it, and `lra estimate` makes it anew.") from None


def _decoded(entry: Any) -> Probe | Refusal:
    return decode(Refusal, entry) if "reason" in entry else decode(Probe, entry)


def save(kept: Kept, runs: Path) -> None:
    """Write them, whole or not at all."""
    entries = {name: dataclasses.asdict(entry) for name, entry in sorted(kept.items())}
    try:
        write_whole(runs / FILE, json.dumps(entries, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise UserError(f"Cannot write to {runs}: {error.strerror}; choose another --runs.") from None


def measure(configs: Sequence[Config], runs: Path, progress: Callable[[int, str], None]) -> Kept:
    """Probe the cells that have no estimate for this device yet, one process each, and keep what was found.

    Args:
        configs: one of each cell.
        runs: folder of the runs.
        progress: called with the number of probes done, and the cell at work.
    """
    kept = load(runs)
    todo = [config for config in configs if name_of(config) not in kept]
    for done, config in enumerate(todo):
        progress(done, f"{config.model.name} on {config.task.name}")
        kept[name_of(config)] = _probe_apart(config)
        save(kept, runs)  # a sweep of probes that is stopped goes on
    progress(len(todo), "")
    return kept


def _probe_apart(config: Config) -> Probe | Refusal:
    """Probe in a process of its own, whose peak memory is the cell's, and whose death is an answer."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(probe, config).result()
        except UserError as error:
            return Refusal(str(error))
        except BrokenProcessPool:
            return Refusal("The probe was killed, most likely for want of memory.")
        except RuntimeError as error:  # torch.OutOfMemoryError among them
            return Refusal(" ".join(str(error).split())[:200])


def estimate(config: Config, kept: Kept, records: Iterable[Record]) -> Estimate | Refusal | None:
    """Return what a run of this cell takes on this machine; None if nothing is known.

    A finished run of the same cell on the same device is the better witness than a probe.
    """
    for record in records:
        if record.status in ("finished", "chance") and _same_device(record, config) and record.memory is not None:
            disk = checkpoint_bytes(record.parameters or 0)
            return Estimate(record.wall_seconds, record.memory.peak_bytes, disk, "record")
    found = kept.get(name_of(config))
    if found is None or isinstance(found, Refusal):
        return found
    task = build_task(config)
    sizes = task.sizes
    steps = -(-sizes["train"] // config.train.batch_size)
    evaluated = config.train.epochs * (sizes["val"] or sizes["test"]) + 2 * sizes["test"]
    seconds = config.train.epochs * steps * found.step_seconds + evaluated * found.sample_seconds
    upper = task.spec.variable and not found.real_data
    return Estimate(seconds, found.peak_bytes, found.checkpoint_bytes, "probe", upper)


def _same_device(record: Record, config: Config) -> bool:
    device = record.device
    return (device.name, device.precision, device.threads) == _device(config)


def _device(config: Config) -> tuple[str, str, int]:
    """Return what the cell would run on here: name, precision, CPU threads."""
    device = environment.compute_device(config.train.accelerator)
    return environment.device_name(device), config.train.precision, environment.thread_count(config.train.threads)
