"""Prepared tasks on disk: written sample by sample, fingerprinted, and read through memory maps.

A store is a folder with ``meta.json`` and, for each split, three arrays: ``<split>-tokens.npy`` (all samples end
to end, uint8, uint16 or float32; of a step of several channels one value after the other), ``<split>-offsets.npy``
(int64, n + 1, in steps) and ``<split>-labels.npy`` (int64, n). Where
samples are pairs of documents that recur, the documents lie once in ``documents-tokens.npy`` and
``documents-offsets.npy``, and each split has ``<split>-pairs.npy`` (int64, 2 n) and its labels. A store is built in a
sibling folder and renamed when complete, so that a folder with its final name is always whole.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lra_tasks.errors import TaskError, shown
from lra_tasks.json_files import read_json
from lra_tasks.lock import locked
from lra_tasks.npy import map_array
from lra_tasks.store_writer import Layout, Progress, StoreWriter

FORMAT = 2  # of the folder; a change makes every older store unreadable

_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError)  # of files, and of a meta.json of another shape


@dataclass(frozen=True)
class Split:
    """Samples of one split: document j is ``tokens[offsets[j]:offsets[j + 1]]``.

    Sample i has the documents ``pairs[i]``, or document i alone where there are no pairs.
    """

    tokens: np.ndarray  # (sum of lengths,), or (sum of lengths, channels); uint8, uint16 or float32
    offsets: np.ndarray  # (documents + 1,) int64
    labels: np.ndarray  # (n,) int64
    pairs: np.ndarray | None = None  # (n, 2) int64

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[tuple[np.ndarray, ...], int]:
        """Return the documents of a sample and its label."""
        numbers = self.documents(np.array([index]))[:, 0]
        return tuple(self.tokens[self.offsets[j] : self.offsets[j + 1]] for j in numbers), int(self.labels[index])

    def documents(self, samples: np.ndarray) -> np.ndarray:
        """Return the numbers of the documents of ``samples`` (B,): (N, B), all first ones before all second ones."""
        return samples[None] if self.pairs is None else self.pairs[samples].T

    def lengths(self) -> np.ndarray:
        """Return the length of the longest document of each sample: (n,) int64."""
        steps = np.diff(self.offsets)
        return steps if self.pairs is None else steps[self.pairs].max(axis=1, initial=0)


@dataclass(frozen=True)
class Store:
    """An opened store: memory maps of its splits and its ``meta.json``."""

    folder: Path
    meta: dict[str, Any]
    splits: dict[str, Split]

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of all samples and of the protocol that made them, taken when the store was built."""
        return self.meta["fingerprint"]

    @classmethod
    def open(cls, folder: Path) -> "Store":
        """Map a prepared store. Sizes and types are checked, content is not (see :meth:`check` and :meth:`verify`).

        Raises:
            TaskError: a file is missing, short, unreadable or of another version.
        """
        try:
            meta = read_json(folder / "meta.json")
            if meta["format"] != FORMAT:
                raise ValueError(f"it has format {shown(meta['format'])} and this version reads {FORMAT}")
            if not (isinstance(meta["fingerprint"], str) and isinstance(meta["notes"], dict)):
                raise ValueError("its fingerprint is no word or its notes are no table")
            arrays = {
                name: {key: _map(folder / f"{name}-{key}.npy", size["size"]) for key, size in described.items()}
                for name, described in meta["arrays"].items()
            }
            channels = meta["spec"].get("channels", 1)
            for own in arrays.values():
                if channels > 1 and "tokens" in own:
                    own["tokens"] = own["tokens"].reshape(-1, channels)
            shared = arrays.pop("documents", None)
            splits = {name: _split(own, shared) for name, own in arrays.items()}
        except _DAMAGE as error:
            raise _unusable(
                folder, f"no {error.args[0]!r} in meta.json" if isinstance(error, KeyError) else error
            ) from error
        return cls(folder, meta, splits)

    @property
    def notes(self) -> dict[str, Any]:
        """Facts of the data that its task has noted, such as the vocabulary."""
        return self.meta["notes"]

    def check(self) -> None:
        """Check in a moment what says where samples are and what they are; tokens are not read.

        Raises:
            TaskError: a place, a label or ``meta.json`` is not what was written there.
        """
        try:
            if fingerprint_of(self.meta) != self.fingerprint:
                raise ValueError("meta.json is not what was written there")
            for name, split in self.splits.items():
                _check(name, split, self.meta["spec"].get("n_classes"))
        except (ValueError, KeyError) as error:
            raise _unusable(self.folder, error) from error

    def verify(self) -> None:
        """Read all files and compare them with their hashes.

        Raises:
            TaskError: a file has changed since the store was built.
        """
        for name, described in self.meta["arrays"].items():
            for key, array in described.items():
                path = self.folder / f"{name}-{key}.npy"
                if hashlib.sha256(_map(path, array["size"]).data).hexdigest() != array.get("sha256"):
                    raise TaskError(
                        f"{path.name} in {self.folder} is not what was written there: delete that folder and prepare "
                        "the task again."
                    )


def _unusable(folder: Path, reason: object) -> TaskError:
    return TaskError(
        f"The prepared task in {folder} cannot be used ({reason}): delete that folder and prepare it again."
    )


def _split(own: dict[str, np.ndarray], shared: dict[str, np.ndarray] | None) -> Split:
    if shared is None:
        return Split(own["tokens"], own["offsets"], own["labels"])
    return Split(shared["tokens"], shared["offsets"], own["labels"], own["pairs"].reshape(-1, 2))


def _check(name: str, split: Split, classes: int | None) -> None:
    offsets, labels, pairs = split.offsets, split.labels, split.pairs
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(split.tokens) or np.diff(offsets).min(initial=1) < 1:
        raise ValueError(f"the offsets of {name} do not fit its tokens")
    if len(labels) != (len(offsets) - 1 if pairs is None else len(pairs)):
        raise ValueError(f"{name} has not one label a sample")
    if labels.min(initial=0) < 0 or (classes is not None and labels.max(initial=0) >= classes):
        raise ValueError(f"{name} has a label that is no class")
    if pairs is not None and (pairs.min(initial=0) < 0 or pairs.max(initial=-1) >= len(offsets) - 1):
        raise ValueError(f"{name} has a pair of documents that are not there")


def _map(path: Path, size: int) -> np.ndarray:
    try:
        mapped = map_array(path)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
    if mapped.shape != (size,):
        raise ValueError(f"{path.name} holds {mapped.shape} values, not ({size},)")
    known = ("|u1", "<u2", "<f4") if path.name.endswith("-tokens.npy") else ("<i8",)
    if mapped.dtype.str not in known:
        raise ValueError(f"{path.name} holds values of type {mapped.dtype.str}, not {' or '.join(known)}")
    return np.asarray(mapped)  # slices of a plain array are several times cheaper than those of a memmap


def prepare(
    folder: Path,
    recipe: dict[str, Any],
    layout: Layout,
    build: Callable[[StoreWriter], None],
    progress: Progress | None = None,
) -> None:
    """Build the store ``folder`` unless it is there; of several processes one builds and the others wait.

    Args:
        folder: final place of the store.
        recipe: what the samples were made from, kept in ``meta.json``; its "task", "protocol" and "spec" enter
            the fingerprint.
        layout, progress: see :class:`StoreWriter`.
        build: appends all samples.

    Raises:
        TaskError: the folder cannot be written, or ``build`` gave the wrong number of samples.
    """
    if (folder / "meta.json").exists():  # before any lock: a shared data folder may be read-only
        return
    with _sentences(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = locked(folder, "preparing")
    try:
        if (folder / "meta.json").exists():  # built while this process waited
            return
        partial = folder.with_name(f"{folder.name}.partial")
        with _sentences(folder):
            shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
            shutil.rmtree(folder, ignore_errors=True)  # no meta.json: nothing that a build has finished
            partial.mkdir()
        try:
            _build(partial, recipe, layout, build, progress)
            with _sentences(folder):
                os.replace(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    finally:
        lock.release()


def _build(
    partial: Path,
    recipe: dict[str, Any],
    layout: Layout,
    build: Callable[[StoreWriter], None],
    progress: Progress | None,
) -> None:
    with _sentences(partial):
        out = StoreWriter(partial, layout, progress)
        try:
            build(out)
            arrays = out.close()
        finally:
            out.abandon()
        shutil.rmtree(out.scratch, ignore_errors=True)
        meta = {"format": FORMAT, **recipe, "arrays": arrays, "notes": out.notes}
        meta["fingerprint"] = fingerprint_of(meta)
        with (partial / "meta.json").open("w", encoding="utf-8") as file:
            file.write(json.dumps(meta, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())  # after a power cut too, a store of its final name is whole


def fingerprint_of(meta: dict[str, Any]) -> str:
    """Return the SHA-256 (hex) of what ``meta.json`` says of the protocol and the arrays."""
    covered = {key: meta[key] for key in ("task", "protocol", "spec", "arrays")}
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def _sentences(folder: Path) -> Iterator[None]:
    """Turn what the file system refuses into one sentence."""
    try:
        yield
    except FileNotFoundError as error:
        if folder.exists():
            raise  # a source that build() looked for
        if folder.parent.exists():
            raise TaskError(
                f"{folder} was removed while it was being filled: leave it alone, and run the same command again."
            ) from error
        raise TaskError(f"The folder {folder.parent} cannot be made ({error}): choose another data folder.") from error
    except (OSError, NotImplementedError) as error:  # filelock: NotImplementedError where locks do not exist
        raise TaskError(
            f"The task cannot be prepared in {folder.parent} ({error}): free space there, or choose another folder "
            "with data_dir or the environment variable LRA_DATA."
        ) from error


def recipe_hash(recipe: dict[str, Any]) -> str:
    """Return 8 hex digits that tell one recipe, written in this format, from another."""
    text = json.dumps({"format": FORMAT, **recipe}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
