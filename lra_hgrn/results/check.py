"""Hold a run's files against its record: what a stored result claims is computed again from what lies beside it."""

import csv
import hashlib
import json
import math
import re
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lra_hgrn.config import from_plain, identity
from lra_hgrn.config.compose import NOT_IDENTITY, read_yaml
from lra_hgrn.errors import UserError
from lra_hgrn.inspection.record import FOLDER, load_inspection
from lra_hgrn.results import predictions
from lra_hgrn.results.files import CONFIG, METRICS
from lra_hgrn.results.record import FILE, Record, Score, load_record
from lra_hgrn.results.stats import wilson
from lra_tasks.errors import shown
from lra_tasks.findings import Finding, NotChecked, attempt, need

LARGEST = 2**28  # bytes of unpacked predictions; the largest test split has 25,000 samples of some bytes
_ANCHOR = re.compile(r"(^|[\s\[{,:-])[&*]\w", re.MULTILINE)
_ROUNDING = 1e-5  # metrics.csv has six digits


def verify_run(folder: Path) -> list[Finding]:
    """Check one run's folder; it may come from anyone.

    Returns:
        One finding for each check: the record loads and has the folder's name; its scores, intervals, chance and
        fingerprint are those of ``predictions.npz``; ``config.yaml`` and the hash agree with the record's options;
        ``metrics.csv`` has the validations that the scores name; ``inspection/`` can be read. Where the record does
        not load it is the only one.
    """
    found = [attempt("record", partial(_record, folder), UserError)]
    if not found[0].ok:
        return found
    record = load_record(folder / FILE)
    checks = {
        "predictions": _predictions,
        "config": _config,
        "hash": _hash,
        "metrics": _metrics,
        "inspection": _inspection,
    }
    return found + [attempt(name, partial(check, record, folder), UserError) for name, check in checks.items()]


def _record(folder: Path) -> str:
    record = load_record(folder / FILE)
    name = folder.resolve().name
    need(record.run == name, f"The record is of {record.run}, but its folder is called {name}: rename the folder.")
    return f"{record.model} on {record.task}, seed {record.seed}, {record.status}"


def _predictions(record: Record, folder: Path) -> str:
    if record.scores is None:
        raise NotChecked("the run has no scores")
    path = folder / predictions.FILE
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            size = sum(member.file_size for member in file.infolist())
        need(size <= LARGEST, f"{path} unpacks to {size:,} bytes, which no test split has.")
    found = predictions.load_predictions(path)
    need(
        found.fingerprint == record.data_fingerprint,
        f"The predictions are of data {found.fingerprint}, the record of {record.data_fingerprint}.",
    )
    need(len(found.labels), "There are no predictions.")
    for name in ("best", "last"):
        _score(name, getattr(record.scores, name), getattr(found, name), found.labels)
    chance = float(np.bincount(found.labels).max() / len(found.labels))
    need(chance == record.chance, f"Chance is {record.chance} in the record, {chance} by the labels.")
    best = record.scores.best
    return f"{best.correct:,} of {best.total:,} correct, counted again"


def _score(name: str, score: Score, predicted: np.ndarray, labels: np.ndarray) -> None:
    counted = (int((predicted == labels).sum()), len(labels))
    need(
        (score.correct, score.total) == counted,
        f"The {name} checkpoint has {score.correct:,} correct of {score.total:,} in the record, "
        f"{counted[0]:,} of {counted[1]:,} by the predictions.",
    )
    interval = wilson(*counted)
    need(
        all(math.isclose(a, b, abs_tol=1e-9) for a, b in zip((score.low, score.high), interval, strict=True)),
        f"The interval of the {name} checkpoint is [{score.low}, {score.high}] in the record, {list(interval)} by "
        "the predictions.",
    )


def _config(record: Record, folder: Path) -> str:
    path = folder / CONFIG
    need(path.is_file(), f"{path} does not exist.")
    stored, recorded = dict(_leaves(read_yaml(path, str(path)))), dict(_leaves(record.config))
    need(not _ANCHOR.search(path.read_text(encoding="utf-8")), f"{path} holds anchors, which no run writes.")
    for key in [*recorded, *stored]:
        one, other = stored.get(key, "no value"), recorded.get(key, "no value")
        need(one == other, f"{key} is {shown(one)} in {CONFIG}, {shown(other)} in the record.")
    return f"{CONFIG} has the record's options"


def _hash(record: Record, folder: Path) -> str:
    try:
        today = identity(from_plain(record.config, "the record"))
    except UserError as error:
        today, reason = None, str(error)
    if record.config_hash == today:
        return f"{today} is the identity of the options"
    if record.config_hash == _first_identity(record.config):
        return f"{record.config_hash} is the identity of the options by the rule of earlier versions"
    if today is None:
        raise NotChecked(f"this version does not know the options: {reason}")
    raise UserError(f"The hash is {record.config_hash}, but that of the options is {today}.")


def _first_identity(config: Mapping[str, Any]) -> str:
    """Return the hash as it was while it covered all options that there were, those at their default too."""
    kept = {key: value for key, value in _leaves(config) if key not in NOT_IDENTITY}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def _metrics(record: Record, folder: Path) -> str:
    path = folder / METRICS
    if record.scores is None and not path.is_file():
        raise NotChecked("the run has no scores")
    need(path.is_file(), f"{path} does not exist.")
    steps, validations = _read_metrics(path)
    if record.scores is None:
        return f"{len(steps):,} rows"
    best, last = record.scores.best, record.scores.last
    end = shown(steps[-1:])
    need(steps and steps[-1] == last.step, f"{METRICS} ends at step {end}, the last score is of {last.step}.")
    for name, score in (("best", best), ("last", last)):
        if score.val_accuracy is not None:
            logged = validations.get(score.step)
            need(
                logged is not None and math.isclose(logged, score.val_accuracy, abs_tol=_ROUNDING),
                f"The validation of the {name} checkpoint, step {score.step}, is {score.val_accuracy} in the record, "
                f"{logged} in {METRICS}.",
            )
    top = max(validations.values(), default=0.0)
    need(
        best.val_accuracy is None or top <= best.val_accuracy + _ROUNDING,
        f"The best checkpoint has {best.val_accuracy} on validation, but {METRICS} has one with {top}.",
    )
    return f"{len(steps):,} rows to step {last.step:,}; the scores' validations are among them"


def _read_metrics(path: Path) -> tuple[list[int], dict[int, float]]:
    """Return the steps of all rows, which never fall, and the validation accuracy by step."""
    steps: list[int] = []
    validations = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file), 2):
                try:
                    step, accuracy = int(row["step"]), float(row["accuracy"])
                    numbers = [float(value) for key, value in row.items() if key != "split"]
                except (KeyError, TypeError, ValueError):
                    numbers = []
                need(numbers, f"Line {number} of {path} is not a row of metrics.")
                need(not steps or steps[-1] <= step, f"Line {number} of {path} goes back to step {shown(step)}.")
                steps.append(step)
                if row["split"] == "val":
                    validations[step] = accuracy
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a CSV file in UTF-8: {error}.") from None
    return steps, validations


def _inspection(record: Record, folder: Path) -> str:
    found = load_inspection(folder)
    if found is None:
        raise NotChecked("the run was not inspected")
    for picture in found.pictures:
        path = folder / FOLDER / picture.file
        need(Path(picture.file).name == picture.file, f"{picture.file} is not in {FOLDER}/.")
        need(path.is_file() and path.read_bytes().startswith(b"\x89PNG"), f"{path} is not a PNG.")
    return f"{len(found.pictures)} pictures"


def _leaves(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return options by dotted key: sections, and keyword arguments one by one, whose values stay whole."""
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        dotted = f"{prefix}{key}"
        deep = not prefix or dotted == "model.kwargs"
        found += _leaves(value, f"{dotted}.") if isinstance(value, Mapping) and value and deep else [(dotted, value)]
    return found
