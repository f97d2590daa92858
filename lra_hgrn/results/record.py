"""The record of one run: what was trained, on what, and what came out (``record.json`` in the run's folder).

A record that was written once loads for good. Whoever changes a field, or what a field means, raises `SCHEMA` by one,
adds to `UPGRADES` the function that makes the new dictionary of the old one, and puts a record as the version before
wrote it into ``tests/suite/records/``. Fields are neither dropped nor renamed without that.
"""

import dataclasses
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any, Literal

import numpy as np

from lra_hgrn.errors import UserError
from lra_hgrn.results.decode import decode, load
from lra_hgrn.results.files import write_whole
from lra_hgrn.results.stats import wilson
from lra_tasks.errors import one_line, shown

SCHEMA = 3
FILE = "record.json"

# UPGRADES[n] turns the dictionary of a version n record into one of version n + 1.
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: lambda record: {**record, "source": "generated"},  # there was no other
    # Nobody watched the numbers, and there was one process.
    2: lambda record: {**record, "incidents": [], "device": _with_processes(record.get("device"))},
}

# Ended before its time, by numbers that went wrong: a seed without an accuracy.
SPOILT = ("diverged", "exploded", "plateau")
FINAL = ("finished", "chance", *SPOILT)  # more training cannot change these
Status = Literal["finished", "stopped", "diverged", "exploded", "plateau", "chance", "failed"]
Kind = Literal["gradient", "plateau", "checkpoint", "processes"]


def _with_processes(device: Any) -> Any:
    return {**device, "processes": 1} if isinstance(device, dict) else device


@dataclass(frozen=True, kw_only=True)
class Score:
    """Test accuracy of one checkpoint, with the 95 % Wilson interval of the test sample."""

    correct: int
    total: int
    low: float
    high: float
    val_accuracy: float | None  # None where the protocol has no validation split
    epoch: int
    step: int

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.total or self.total == 0:
            raise ValueError(f"{self.correct} correct of {self.total} is no score")

    @classmethod
    def of(cls, correct: int, total: int, *, val_accuracy: float | None, epoch: int, step: int) -> "Score":
        """Make a score and compute its interval."""
        low, high = wilson(correct, total)
        return cls(correct=correct, total=total, low=low, high=high, val_accuracy=val_accuracy, epoch=epoch, step=step)

    @property
    def accuracy(self) -> float:
        return self.correct / self.total


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Test scores of the checkpoint that is best on validation, and of the last one."""

    best: Score
    last: Score


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Speed of training steps: forward, backward and update, without evaluation and data preparation."""

    samples_per_second: float
    tokens_per_second: float
    median_step_seconds: float
    steps_measured: int
    compile_seconds: float


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Largest memory in use while training."""

    peak_bytes: int
    counts: Literal["resident set", "cuda allocated"]


@dataclass(frozen=True, kw_only=True)
class Device:
    """What the run was computed on and in."""

    name: str
    backend: str  # of hgrn_kernels
    precision: str
    threads: int  # of each process
    processes: int = 1  # that shared each batch


@dataclass(frozen=True, kw_only=True)
class Incident:
    """Something that went wrong along the way and did not have to end the run."""

    kind: Kind  # gradient exploded, plateau at chance, checkpoint damaged, another number of processes
    step: int  # at which it was noticed
    message: str  # one sentence for people


@dataclass(frozen=True, kw_only=True)
class LowerBound:
    """Forget-gate lower bound γ^k of one layer: mean and quantiles over its channels."""

    mean: float
    q05: float
    q25: float
    q50: float
    q75: float
    q95: float


def lower_bounds(values: Any) -> list[LowerBound]:
    """Summarise lower bounds of shape (K, d), layer by layer; anything that ``numpy.asarray`` takes."""
    array = np.asarray(values, dtype=np.float64)
    quantiles = np.quantile(array, (0.05, 0.25, 0.5, 0.75, 0.95), axis=1).T
    return [
        LowerBound(mean=float(row.mean()), q05=q[0], q25=q[1], q50=q[2], q75=q[3], q95=q[4])
        for row, q in zip(array, quantiles.tolist(), strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class Record:
    """One run. Fields that may be None are unknown where the run failed before they could be known."""

    schema: int = SCHEMA
    run: str  # name of the run's folder
    status: Status  # "chance": trained to the end, but the test accuracy is not above chance beyond noise
    message: str  # one sentence for people: why it stopped, diverged or failed; may be empty
    task: str
    scale: str
    protocol: str
    source: str  # what the data were made from: "generated", "official", "mini", "folder"
    track: Literal["strict", "open"]
    departures: list[str]  # from the published code or, on the open track, from its rules; each one sentence
    data_fingerprint: str | None
    model: str  # name in tables
    target: str  # token mixer
    parameters: int | None
    seed: int
    config: dict[str, Any]  # resolved
    config_hash: str  # of what decides what is learnt, without the seed: the runs of one cell share it
    scores: Scores | None
    chance: float | None  # share of the most frequent class of the test split
    throughput: Throughput | None
    memory: Memory | None
    device: Device
    versions: dict[str, str]
    git_commit: str | None  # with "+dirty" where the checkout had changes
    started: str  # ISO 8601, UTC
    wall_seconds: float
    incidents: list[Incident]
    lower_bounds: list[LowerBound] | None

    def __post_init__(self) -> None:
        if self.status in ("finished", "chance") and self.scores is None:
            raise ValueError(f"status {self.status!r} needs scores")
        if self.scores is not None and None in (self.chance, self.parameters, self.data_fingerprint):
            raise ValueError("a run with scores needs chance, parameters and data_fingerprint")
        try:
            offset = datetime.fromisoformat(self.started).utcoffset()
        except ValueError:
            offset = None
        if offset is None or offset.total_seconds() != 0:
            raise ValueError(f"started is {self.started!r}, not an ISO 8601 time in UTC")

    def save(self, directory: Path) -> Path:
        """Write ``record.json`` into the run's folder, whole or not at all; return its path."""
        content = json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False, allow_nan=False)
        return write_whole(directory / FILE, content + "\n")


def _upgraded(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ValueError("the top level is not an object")
    version = data.get("schema")
    if type(version) is not int or version < 1:
        raise ValueError(f"schema is {version!r}, not a version number")
    if version > SCHEMA:
        raise ValueError(f"schema {version} is newer than {SCHEMA}, the newest this version reads; update lra-hgrn")
    for step in range(version, SCHEMA):
        data = {**UPGRADES[step](data), "schema": step + 1}
    return data


def _plausible(record: Record) -> Record:
    """Refuse what no run writes and what reads records relies on; files may come from anyone."""
    name, speed = PurePath(record.run), record.throughput
    if name.is_absolute() or ".." in name.parts:
        raise ValueError(f"run is {record.run!r}, which leads out of the folder of the runs")
    if speed is not None and min(speed.samples_per_second, speed.tokens_per_second, speed.median_step_seconds) <= 0:
        raise ValueError("throughput is not positive")
    for key, kind in (("stands_for", str), ("tuning", dict)):
        if not isinstance(record.config.get(key), kind | None):
            raise ValueError(f"config.{key} is {shown(record.config[key])}")
    return record


def load_record(path: Path) -> Record:
    """Read a record, of this schema version or an older one.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    try:
        return _plausible(decode(Record, _upgraded(load(path))))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: give the {FILE} of a run.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}.") from error
    except ValueError as error:
        reason = one_line(error)
        raise UserError(f"{path} is not a valid record: {reason}; run the cell again, or delete it.") from error


def find_records(folder: Path) -> tuple[list[tuple[Path, Record]], list[str]]:
    """Read the record of every run under a folder, searched in depth; hidden folders are left out.

    Returns:
        (run's folder, record) in order of the folders' paths, and one sentence for each record that cannot be read.

    Raises:
        UserError: there is no such folder.
    """
    found, problems = [], []
    for run in run_folders(folder):
        try:
            found.append((run, load_record(run / FILE)))
        except UserError as error:
            problems.append(str(error))
    return found, problems


def run_folders(folder: Path) -> list[Path]:
    """Return the folders under ``folder``, or itself, that hold a record, in order of their paths.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {str(folder)!r}: give the folder of your runs.")
    found = []
    for path, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]  # what is half-written has such a name
        if FILE in files:
            found.append(Path(path))
    return sorted(found)
