"""A task of one's own as a folder of arrays with a card: no Python is needed to train on it.

The folder's name is the task's. It holds::

    card.toml
    train-inputs.npy   (n, L): sample i is row i; or (n, 2, L): a sample has two documents
    train-labels.npy   (n,) integers from 0
    train-lengths.npy  (n,) or (n, 2) steps of each row, the rest being padding; without it all L steps count
    test-*.npy         likewise, and val-*.npy; without val a tenth of train is held out for it

``card.toml`` names ``title``, ``summary``, ``classes`` and ``inputs``: "tokens" (integers below its ``vocab_size``; 0
is padding where lengths differ) or "values" (numbers, served as (value − ``shift``) / ``scale``). It may name
``source``, ``licence``, ``url`` and, where the steps are the pixels of an image row by row, its ``side``.

Values are stored as float32 and served as they are, except for uint8, which is stored as it is and served in [−1, 1]
unless shift and scale say otherwise. The only protocol is called s4, since that is the default: as stored.
"""

import os
import tomllib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from lra_tasks.card import Protocol, Scale, TaskCard, TaskSpec
from lra_tasks.datamodule import LRATask, Progress
from lra_tasks.errors import TaskError, is_clean, nearest, shown
from lra_tasks.npy import map_array
from lra_tasks.store_writer import DocumentWriter, StoreWriter

CARD = "card.toml"
_CHUNK_STEPS = 1 << 22  # in memory at a time
_LARGEST_CARD = 1 << 16  # bytes
_GREATEST = 2**63  # that an integer of the card must stay below
_NEEDED = ("title", "summary", "classes", "inputs")
_KINDS: dict[str, tuple[str, tuple[type, ...]]] = {
    **dict.fromkeys(("title", "summary", "source", "licence", "url", "inputs"), ("text", (str,))),
    **dict.fromkeys(("classes", "vocab_size", "side"), ("a whole number", (int,))),
    **dict.fromkeys(("shift", "scale"), ("a number", (int, float))),
}


@dataclass(frozen=True)
class ArrayScale(Scale):
    """Split sizes, and what tells these arrays from those that the folder held before."""

    files: tuple[tuple[str, int, int], ...]  # name, bytes, and time of the last change in ns, of each array


@dataclass(frozen=True)
class _Arrays:
    """The arrays of one split, as memory maps."""

    inputs: np.ndarray  # (n, L) or (n, 2, L)
    labels: np.ndarray  # (n,)
    lengths: np.ndarray | None  # (n,) or (n, 2), as inputs without L

    @property
    def span(self) -> tuple[int, int]:
        """Steps of the shortest and of the longest document."""
        steps = self.inputs.shape[-1]
        return (steps, steps) if self.lengths is None else (int(self.lengths.min()), int(self.lengths.max()))


class ArrayTask(LRATask):
    """A task that is read from a folder of arrays; :func:`array_task` makes the class of each folder."""

    arrays: ClassVar[Path]  # the folder
    shape: ClassVar[TaskSpec]
    stored: ClassVar[np.dtype]  # how steps are stored

    @property
    def spec(self) -> TaskSpec:
        """The shape that the arrays and their card give."""
        return self.shape

    @property
    def dtype(self) -> np.dtype:
        """uint8 and uint16 as for other tasks, or float32 for values that are not uint8."""
        return self.stored

    @property
    def departures(self) -> list[str]:
        """Nothing was published that one could depart from; that a split is held out is said."""
        return [] if self.card.val or self.selects_on_test else ["A tenth of train is held out for validation."]

    @property
    def rule_departures(self) -> list[str]:
        """As for other tasks, but for the first one, of the source: the arrays are the task and no copy of another."""
        return super().rule_departures[1:]

    def prepare_data(self, progress: Progress | None = None, origin: Path | None = None) -> None:
        """Build the task unless it is there; ``origin`` has no use here.

        Raises:
            TaskError: the arrays are not what their card says, or an origin is named.
        """
        if origin is not None:
            raise TaskError(f"{self.name} is read from the arrays in {self.arrays}: leave {origin} out.")
        super().prepare_data(progress)

    def build(self, out: StoreWriter) -> None:
        """Copy the arrays, a few MiB at a time; samples that are held out are drawn by the seed."""
        for split in _splits(self.arrays):
            arrays = _open(self.arrays, split)
            count = len(arrays.labels)
            held = np.zeros(count, bool)
            if split == "train" and not self.card.val:
                held[np.random.default_rng(self.seed).permutation(count)[: self.sizes["val"]]] = True
            rows = max(1, _CHUNK_STEPS // arrays.inputs[0].size)
            for first in range(0, count, rows):
                numbers = np.arange(first, min(first + rows, count))
                for target, chosen in ((split, numbers[~held[numbers]]), ("val", numbers[held[numbers]])):
                    if len(chosen):
                        self._copy(out, target, arrays, chosen, self.arrays / f"{split}-inputs.npy")

    def _copy(self, out: StoreWriter, target: str, arrays: _Arrays, numbers: np.ndarray, path: Path) -> None:
        steps = arrays.inputs.shape[-1]
        inputs = arrays.inputs[numbers]
        if arrays.lengths is None:
            lengths = np.full(inputs.shape[:-1], steps)
        else:
            lengths = arrays.lengths[numbers].astype(np.int64)
        kept = self._checked(inputs, np.arange(steps) < lengths[..., None], numbers, path)
        labels = arrays.labels[numbers].astype(np.int64)
        whole = bool((lengths == steps).all())
        if self.shape.documents == 2:
            assert out.documents is not None
            begin = out.documents.count
            self._documents(out.documents, kept.reshape(-1, steps), lengths.ravel(), whole)
            out[target].extend_pairs(begin + np.arange(2 * len(numbers)).reshape(-1, 2), labels)
        elif whole:
            out[target].extend(kept, labels)
        else:
            for row, length, label in zip(kept, lengths.tolist(), labels.tolist(), strict=True):
                out[target].append(row[:length], label)

    @staticmethod
    def _documents(writer: DocumentWriter, rows: np.ndarray, lengths: np.ndarray, whole: bool) -> None:
        if whole:
            writer.extend(rows)
            return
        for row, length in zip(rows, lengths.tolist(), strict=True):
            writer.append(row[:length])

    def _checked(self, inputs: np.ndarray, inside: np.ndarray, numbers: np.ndarray, path: Path) -> np.ndarray:
        """Return inputs as they are stored; ``inside`` tells steps from padding, ``numbers`` are for messages."""
        if self.shape.inputs == "tokens":
            ids, least = self.shape.vocab_size, int(self.shape.variable)
            wrong = inside & ((inputs < least) | (inputs >= ids))
            rule = f"{least} to {ids - 1}{', 0 being padding' if least else ''}: correct the ids, or vocab_size"
            stored = inputs
        else:
            with np.errstate(over="ignore"):
                stored = inputs.astype(self.stored)
            wrong = inside & ~np.isfinite(stored)
            rule = "the finite numbers of float32: correct the values"
        if wrong.any():
            place = np.argwhere(wrong)[0]
            raise TaskError(
                f"{path}, sample {numbers[place[0]]}: {inputs[tuple(place)]} at step {place[-1]} is none of {rule}."
            )
        return stored


def array_task(folder: str | os.PathLike[str]) -> type[LRATask]:
    """Return the task of a folder of arrays, as this module describes it.

    Nothing of the inputs is read yet; labels, ids and values are checked as the task is prepared.

    Raises:
        TaskError: a file is missing or no array, shapes or numbers of samples do not fit, or the card is wrong.
    """
    place = Path(os.path.abspath(folder))
    if not is_clean(place.name):
        raise TaskError(f"The folder {folder} has a name that cannot be a task's: give it another one.")
    fields = _read_card(place / CARD)
    splits = {split: _open(place, split) for split in _splits(place)}
    for split, arrays in splits.items():
        _same_kind(place, split, arrays.inputs, splits["train"].inputs, str(fields["inputs"]))
    sizes = {split: len(splits[split].labels) if split in splits else 0 for split in ("train", "val", "test")}
    if not sizes["val"] and sizes["train"] < 10:
        raise TaskError(
            f"{place / 'train-labels.npy'} has fewer than 10 samples to hold a tenth out of: add val-*.npy."
        )
    shortest = min(arrays.span[0] for arrays in splits.values())
    longest = max(arrays.span[1] for arrays in splits.values())
    shape = _shape(place, fields, splits["train"].inputs, shortest, longest)
    files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in _files(place)]
    members = {
        "name": place.name,
        "card": _card(fields, shape, sizes, (shortest, longest)),
        "scales": {"full": ArrayScale(**sizes, files=tuple(files))},
        "arrays": place,
        "shape": shape,
        "stored": _stored(shape, splits["train"].inputs),
        "__doc__": fields["summary"],
    }
    return cast(type[LRATask], type(place.name, (ArrayTask,), members))


def _card(fields: Mapping[str, Any], shape: TaskSpec, sizes: dict[str, int], lengths: tuple[int, int]) -> TaskCard:
    stated = {key: fields.get(key, "not stated") for key in ("source", "licence", "url")}
    protocol = Protocol("s4", "as stored", shape.vocab_size, shape.max_length, splits="the arrays of each split")
    return TaskCard(
        title=fields["title"],
        summary=fields["summary"],
        **stated,
        train=sizes["train"],
        val=sizes["val"],
        test=sizes["test"],
        classes=shape.n_classes,
        lengths=lengths,
        protocols=(protocol,),
        sources=("folder",),
    )


def _stored(shape: TaskSpec, inputs: np.ndarray) -> np.dtype:
    if shape.inputs == "values":
        return np.dtype(np.uint8 if inputs.dtype == np.uint8 else np.float32)
    return np.dtype(np.uint8 if shape.vocab_size <= 256 else np.uint16)


def _files(folder: Path) -> list[Path]:
    paths = (folder / f"{split}-{what}.npy" for split in _splits(folder) for what in ("inputs", "labels", "lengths"))
    return [path for path in paths if path.exists()]


def _splits(folder: Path) -> list[str]:
    val = any((folder / f"val-{what}.npy").exists() for what in ("inputs", "labels", "lengths"))
    return ["train", *(["val"] if val else []), "test"]


def _read_card(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_CARD + 1)
        if len(data) > _LARGEST_CARD:
            raise ValueError(f"it has more than {_LARGEST_CARD:,} bytes")
        fields = tomllib.loads(data.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise TaskError(f"{path} cannot be read ({error}): a folder of arrays needs a card in TOML.") from None
    for key, value in fields.items():
        if key not in _KINDS:
            raise TaskError(f"{path} has a key {shown(key)}; it may have {', '.join(_KINDS)}.{nearest(key, _KINDS)}")
        kind, types = _KINDS[key]
        wild = (
            (isinstance(value, float) and not isfinite(value))
            or (isinstance(value, int) and abs(value) >= _GREATEST)
            or (isinstance(value, str) and not is_clean(value))
        )
        if not isinstance(value, types) or isinstance(value, bool) or wild:
            raise TaskError(f"{path}: {key} is {kind}, not {shown(value)}.")
    for key in _NEEDED:
        if key not in fields:
            raise TaskError(f"{path} has no {key}: a card needs {', '.join(_NEEDED)}.")
    if fields["inputs"] not in ("tokens", "values"):
        raise TaskError(f"{path}: inputs are 'tokens' or 'values', not {shown(fields['inputs'])}.")
    if fields["inputs"] == "tokens" and "vocab_size" not in fields:
        raise TaskError(f"{path} has no vocab_size: name the number of ids, 0 included.")
    for key in ("vocab_size",) if fields["inputs"] == "values" else ("shift", "scale"):
        if key in fields:
            raise TaskError(f"{path}: {key} has no meaning where inputs are {fields['inputs']}: take it out.")
    return fields


def _shape(folder: Path, fields: Mapping[str, Any], inputs: np.ndarray, shortest: int, longest: int) -> TaskSpec:
    shift, scale = (127.5, 127.5) if inputs.dtype == np.uint8 else (0.0, 1.0)
    try:
        return TaskSpec(
            name=folder.name,
            inputs=fields["inputs"],
            vocab_size=fields.get("vocab_size", 0),
            n_classes=fields["classes"],
            max_length=longest,
            documents=2 if inputs.ndim == 3 else 1,
            variable=shortest != longest,
            side=fields.get("side", 0),
            shift=float(fields.get("shift", shift)),
            scale=float(fields.get("scale", scale)),
        )
    except TaskError as error:
        raise TaskError(f"{folder / CARD} and its arrays do not fit: {error}") from None


def _open(folder: Path, split: str) -> _Arrays:
    """Map the arrays of a split; shapes, kinds and lengths are checked, ids, values and labels are not.

    Raises:
        TaskError: see :func:`array_task`.
    """
    path = folder / f"{split}-inputs.npy"
    inputs = _inputs(folder, split)
    if not (inputs.ndim == 2 or (inputs.ndim == 3 and inputs.shape[1] == 2)) or 0 in inputs.shape:
        raise TaskError(
            f"{path} has the shape {inputs.shape}: give (n, L), a row for each sample, or (n, 2, L) for two documents."
        )
    labels = _load(folder / f"{split}-labels.npy", "iu")
    if labels.shape != inputs.shape[:1]:
        raise TaskError(
            f"{folder / f'{split}-labels.npy'} has the shape {labels.shape} where {path.name} has {len(inputs):,} "
            "samples: give one label for each."
        )
    beside = folder / f"{split}-lengths.npy"
    if not beside.exists():
        return _Arrays(inputs, labels, None)
    lengths = _load(beside, "iu")
    if lengths.shape != inputs.shape[:-1]:
        raise TaskError(f"{beside} has the shape {lengths.shape} and not {inputs.shape[:-1]}: give one for each row.")
    if lengths.min() < 1 or lengths.max() > inputs.shape[-1]:
        raise TaskError(f"{beside} has lengths beyond 1 to {inputs.shape[-1]}, the steps of {path.name}: correct them.")
    return _Arrays(inputs, labels, lengths)


def _inputs(folder: Path, split: str) -> np.ndarray:
    return _load(folder / f"{split}-inputs.npy", "iuf")


def _load(path: Path, kinds: str) -> np.ndarray:
    try:
        array = map_array(path)
    except FileNotFoundError:
        raise TaskError(f"There is no {path.name} in {path.parent}: a folder of arrays needs it.") from None
    except (OSError, ValueError) as error:
        if zipfile.is_zipfile(path):
            raise TaskError(f"{path} holds an archive: save {_said(kinds)}.") from None
        raise TaskError(f"{path} is no array of numbers ({error}): write it with numpy.save.") from None
    if array.dtype.kind not in kinds:
        raise TaskError(f"{path} holds {array.dtype}: save {_said(kinds)}.")
    return array


def _said(kinds: str) -> str:
    return "integers or floats" if "f" in kinds else "integers"


def _same_kind(folder: Path, split: str, inputs: np.ndarray, train: np.ndarray, kind: str) -> None:
    """Compare the inputs of a split with the card's kind and with those of train."""
    path = folder / f"{split}-inputs.npy"
    if kind == "tokens" and inputs.dtype.kind == "f":
        raise TaskError(f"{path} holds {inputs.dtype} where the card says tokens: save integers, or say values.")
    if kind == "values" and inputs.dtype != train.dtype:
        raise TaskError(f"{path} holds {inputs.dtype} and train-inputs.npy {train.dtype}: save them alike.")
    if inputs.ndim != train.ndim:
        raise TaskError(f"{path} and train-inputs.npy differ in the documents of a sample: save them alike.")
