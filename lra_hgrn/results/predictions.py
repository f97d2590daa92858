"""Test predictions of one run, sample by sample (``predictions.npz`` in the run's folder).

With them two runs can be compared on the same samples, and any score or calibration recomputed, without a checkpoint.
"""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lra_hgrn.errors import UserError
from lra_hgrn.results.files import write_whole
from lra_tasks.errors import one_line
from lra_tasks.npy import read_header, size_of

FILE = "predictions.npz"
LARGEST = 2**26  # bytes of an unpacked array; the largest test split has 25,000 samples of two
Classes = NDArray[np.uint8] | NDArray[np.uint16]
Confidence = NDArray[np.float16]
_CLASSES = ("best", "last", "labels")
_CONFIDENCE = "confidence"


@dataclass(frozen=True, eq=False)
class Predictions:
    """Class of each test sample, in the order of the test split: (n,) uint8, or uint16 above 256 classes."""

    best: Classes  # predicted by the checkpoint that is best on validation
    last: Classes  # predicted by the last checkpoint
    labels: Classes
    fingerprint: str  # of the data, as in the record
    confidence: Confidence | None = None  # (n,), probability of the class in ``best``; None in files of older versions

    def save(self, directory: Path) -> Path:
        """Write ``predictions.npz`` into the run's folder, whole or not at all; return its path."""
        arrays: dict[str, Any] = {name: getattr(self, name) for name in _CLASSES}
        if self.confidence is not None:
            arrays[_CONFIDENCE] = self.confidence
        buffer = io.BytesIO()
        np.savez_compressed(buffer, fingerprint=np.array(self.fingerprint), **arrays)
        return write_whole(directory / FILE, buffer.getvalue())


def make_predictions(
    best: ArrayLike,
    last: ArrayLike,
    labels: ArrayLike,
    *,
    fingerprint: str,
    n_classes: int,
    confidence: ArrayLike | None = None,
) -> Predictions:
    """Check (n,) arrays and make them small: classes in the smallest type that holds ``n_classes``.

    Args:
        best, last, labels: classes, in [0, n_classes).
        fingerprint: of the data.
        n_classes: number of classes of the task.
        confidence: probability of each class of ``best``, in [0, 1]; stored as float16, to 0.05 % or better.

    Raises:
        ValueError: shapes differ, or a class or a probability lies outside its range.
    """
    arrays = [np.asarray(values) for values in (best, last, labels)]
    for name, array in zip(_CLASSES, arrays, strict=True):
        if array.ndim != 1 or array.shape != arrays[2].shape:
            raise ValueError(f"{name} has shape {array.shape}, not (n,) as the labels {arrays[2].shape}")
        if array.size and not (array.min() >= 0 and array.max() < n_classes):
            raise ValueError(f"{name} has classes outside 0 to {n_classes - 1}")
    small = [array.astype(np.uint8) if n_classes <= 256 else array.astype(np.uint16) for array in arrays]
    if confidence is None:
        return Predictions(small[0], small[1], small[2], fingerprint)
    shares = np.asarray(confidence, dtype=np.float16)
    if shares.shape != arrays[2].shape:
        raise ValueError(f"confidence has shape {shares.shape}, not (n,) as the labels {arrays[2].shape}")
    if not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError("confidence has probabilities outside 0 to 1")
    return Predictions(small[0], small[1], small[2], fingerprint, shares)


def load_predictions(path: Path) -> Predictions:
    """Read ``predictions.npz``, which may come from anyone: nothing is unpacked that its header does not account for.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist: give the {FILE} of a finished run.")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is not an npz file: evaluate the run again.")
    try:
        with zipfile.ZipFile(path) as file:
            arrays = {name: _read_array(file, name) for name in _CLASSES}
            fingerprint = _read_array(file, "fingerprint")
            confidence = _read_array(file, _CONFIDENCE) if f"{_CONFIDENCE}.npy" in file.namelist() else None
    except Exception as error:  # of a damaged archive its reader raises whatever it stumbles over
        raise UserError(f"{path} does not hold predictions ({one_line(error)}): evaluate the run again.") from error
    for name, array in arrays.items():
        if array.dtype not in (np.uint8, np.uint16) or array.ndim != 1 or array.shape != arrays["labels"].shape:
            raise UserError(f"{path} has {name} of type {array.dtype} and shape {array.shape}: evaluate the run again.")
    if confidence is not None and (confidence.dtype != np.float16 or confidence.shape != arrays["labels"].shape):
        raise UserError(
            f"{path} has {_CONFIDENCE} of type {confidence.dtype} and shape {confidence.shape}: evaluate the run again."
        )
    if confidence is not None and not ((confidence >= 0) & (confidence <= 1)).all():
        raise UserError(f"{path} has probabilities outside 0 to 1: evaluate the run again.")
    if fingerprint.dtype.kind != "U" or fingerprint.ndim:
        raise UserError(f"{path} has a fingerprint of type {fingerprint.dtype}: evaluate the run again.")
    return Predictions(**arrays, fingerprint=one_line(fingerprint, 100), confidence=confidence)


def _read_array(file: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Read one array; `numpy.load` takes the memory that a header asks for before it looks at what follows."""
    if f"{name}.npy" not in file.namelist():
        raise ValueError(f"there is no array {name}")
    member = file.getinfo(f"{name}.npy")
    if member.file_size > LARGEST:
        raise ValueError(f"{name} has {member.file_size:,} bytes, more than the {LARGEST:,} of any test split")
    with file.open(member) as packed:
        data = io.BytesIO(packed.read())
    shape, _, kind = read_header(data)
    content = data.getvalue()[data.tell() :]
    if size_of(shape, kind) != len(content):
        raise ValueError(f"{name} is not {shape} values of {kind} in {len(content):,} bytes")
    return np.frombuffer(content, kind).reshape(shape) if content else np.empty(shape, kind)
