"""Records as a pandas DataFrame, for notebooks."""

import dataclasses
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lra_hgrn.config.compose import RUNS
from lra_hgrn.results.record import Record, find_records


def load_results(path: str | Path = RUNS) -> pd.DataFrame:
    """Load the record of every run under a folder.

    Args:
        path: folder of runs, searched in depth, or one run's folder.

    Returns:
        One row for each run, in order of task, model and seed. Accuracies are shares in [0, 1] of the whole test split,
        by the checkpoint best on validation, with the 95 % Wilson interval ``low`` to ``high``; speeds are of training
        steps, memory is in bytes. What is not known is NaN or None. The options of a run are columns named after
        their dotted keys (``optim.lr``; ``tuning.trials`` says what a search for them spent), and ``stands_for`` names
        the published row that its recipe repeats. A record that cannot be read is left out with a warning.

    Raises:
        UserError: there is no such folder.
    """
    found, problems = find_records(Path(path))
    for problem in problems:
        warnings.warn(problem, stacklevel=2)
    return to_frame(record for _, record in found)


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Return one row for each record, as `load_results` does."""
    rows = [_row(record) for record in records]
    frame = pd.DataFrame(rows, columns=list(dict.fromkeys(key for row in rows for key in row)) if rows else _FIRST)
    return frame.sort_values(["task", "model", "seed"], ignore_index=True)


_FIRST = [
    "run", "task", "scale", "protocol", "source", "track", "model", "target", "seed", "status", "accuracy", "low",
    "high", "correct", "total", "val_accuracy", "last_accuracy", "chance", "parameters", "samples_per_second",
    "tokens_per_second", "peak_bytes", "wall_seconds", "device", "backend", "precision",
]  # fmt: skip


def _row(record: Record) -> dict[str, Any]:
    best, speed, device = record.scores and record.scores.best, record.throughput, record.device
    known: dict[str, Any] = {
        **{name: getattr(record, name) for name in _FIRST if hasattr(record, name)},
        "accuracy": best and best.accuracy,
        "low": best and best.low,
        "high": best and best.high,
        "correct": best and best.correct,
        "total": best and best.total,
        "val_accuracy": best and best.val_accuracy,
        "last_accuracy": record.scores and record.scores.last.accuracy,
        "samples_per_second": speed and speed.samples_per_second,
        "tokens_per_second": speed and speed.tokens_per_second,
        "peak_bytes": record.memory and record.memory.peak_bytes,
        "device": device.name,
        "backend": device.backend,
        "precision": device.precision,
    }
    rest = {
        field.name: getattr(record, field.name)
        for field in dataclasses.fields(record)
        if field.name in ("message", "departures", "data_fingerprint", "config_hash", "git_commit", "started")
    }
    rest["stands_for"] = record.config.get("stands_for")
    return {**{name: known[name] for name in _FIRST}, **rest, **_flat(record.config)}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif prefix:  # the others have a column already
            flat[f"{prefix}{key}"] = value
    return flat
