"""The baseline: what each cell of a suite did when it was last found right, kept in the repository as one JSON file."""

import base64
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lra_hgrn.errors import UserError
from lra_hgrn.results.cells import Key
from lra_hgrn.results.decode import decode, load
from lra_hgrn.results.files import write_whole
from lra_tasks.errors import one_line, shown

SCHEMA = 1
FOLDER = Path("results") / "baselines"


@dataclass(frozen=True, kw_only=True)
class CellBaseline:
    """One model on one task, over several seeds."""

    task: str
    scale: str
    model: str
    identity: str  # of its options
    fingerprint: str  # of its data
    samples: int  # of the test split
    seeds: list[int]
    answers: list[str]  # of each seed: which test samples were right, as packed bits in base64
    losses: dict[str, list[float]]  # of the first seed's first steps, by backend of hgrn_kernels
    yardsticks: list[float]  # of each seed: seconds of a step over those of a piece of `yardstick`
    peaks: list[int]  # of each seed: bytes that training takes, as `paced` counts them; none: not known there

    @property
    def key(self) -> Key:
        return Key(self.task, self.scale, self.model)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """What each seed got right: (seeds, samples)."""
        return np.stack([_unpacked(text, self.samples) for text in self.answers])


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """All cells of a suite, with the reason why they stand as they do."""

    schema: int
    suite: str
    reason: str  # one sentence: why this baseline took the place of the one before
    date: str  # ISO 8601, UTC
    commit: str | None
    device: str
    threads: int
    versions: dict[str, str]
    yardstick: int  # version of `yardstick`
    cells: list[CellBaseline]

    def cell(self, key: Key) -> CellBaseline | None:
        return next((cell for cell in self.cells if cell.key == key), None)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            UserError: it cannot be written.
        """
        try:
            write_whole(path, json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n")
        except OSError as error:
            raise UserError(f"Cannot write {path}: {error.strerror}; choose another --baseline.") from None


def load_baseline(path: Path) -> Baseline:
    """Read a baseline.

    Raises:
        UserError: there is none, or the file is damaged.
    """
    try:
        found = decode(Baseline, load(path))
        if found.schema != SCHEMA:
            raise ValueError(f"schema is {found.schema}, not {SCHEMA}")
        for cell in found.cells:
            if len(cell.correct) != len(cell.seeds):
                raise ValueError(f"{cell.task} × {cell.model} has {len(cell.answers)} answers of {shown(cell.seeds)}")
    except FileNotFoundError:
        raise UserError(f"There is no baseline {path}: make one with `lra check --update REASON`.") from None
    except (OSError, ValueError) as error:
        reason = one_line(error)
        raise UserError(f"{path} is no baseline ({reason}): restore it, or make it anew with --update.") from None
    return found


def packed(correct: NDArray[np.bool_]) -> str:
    """Write (samples,) bool as text."""
    return base64.b64encode(np.packbits(correct).tobytes()).decode()


def _unpacked(text: str, samples: int) -> NDArray[np.bool_]:
    if samples < 1:
        raise ValueError(f"{samples} samples are no test split")
    bits = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    if len(bits) != -(-samples // 8):
        raise ValueError(f"{len(bits)} bytes cannot be the answers to {samples} samples")
    return np.unpackbits(bits, count=samples).astype(np.bool_)
