"""Prepared tasks on disk: written sample by sample, fingerprinted, and read through memory maps.

A store is a folder with ``meta.json`` and, for each split, three arrays: ``<split>-tokens.npy`` (all samples end
to end, uint8 or uint16), ``<split>-offsets.npy`` (int64, n + 1) and ``<split>-labels.npy`` (int64, n). It is built
in a sibling folder and renamed when complete, so that a folder with its final name is always whole.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock, Timeout

from lra_tasks.errors import TaskError

FORMAT = 1  # of the folder; a change makes every older store unreadable
SPLITS = ("train", "val", "test")
ARRAYS = ("tokens", "offsets", "labels")
_BUFFER_BYTES = 1 << 22
_logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]  # (samples done, samples in all)


@dataclass(frozen=True)
class Split:
    """Samples of one split: sample i is ``tokens[offsets[i]:offsets[i + 1]]`` with ``labels[i]``."""

    tokens: np.ndarray  # (sum of lengths,) uint8 or uint16
    offsets: np.ndarray  # (n + 1,) int64
    labels: np.ndarray  # (n,) int64

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.tokens[self.offsets[index] : self.offsets[index + 1]], int(self.labels[index])


class _ArrayFile:
    """A 1-D ``.npy`` file that grows; its header keeps room for the final length. Hashes what it writes."""

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        self.dtype = dtype.newbyteorder("<")
        self.size = 0
        self.digest = hashlib.sha256()
        self._file: BinaryIO = path.open("wb")
        self._write_header()

    def write(self, values: np.ndarray) -> None:
        data = np.ascontiguousarray(values, dtype=self.dtype).data.cast("B")
        self.digest.update(data)
        self._file.write(data)
        self.size += values.size

    def close(self) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def abandon(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()

    def _write_header(self) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.size,)}
        np.lib.format.write_array_header_1_0(self._file, header)


class SplitWriter:
    """Takes the samples of one split in order; holds a few MiB of them at most."""

    def __init__(self, folder: Path, name: str, dtype: np.dtype, added: Callable[[int], None]) -> None:
        self.name = name
        self.samples = 0
        self._files = {
            "tokens": _ArrayFile(folder / f"{name}-tokens.npy", dtype),
            "offsets": _ArrayFile(folder / f"{name}-offsets.npy", np.dtype(np.int64)),
            "labels": _ArrayFile(folder / f"{name}-labels.npy", np.dtype(np.int64)),
        }
        self._files["offsets"].write(np.zeros(1, np.int64))
        self._end = 0
        self._added = added
        self._pending: list[tuple[np.ndarray, int]] = []
        self._pending_bytes = 0

    def append(self, sample: np.ndarray, label: int) -> None:
        """Add one sample, a 1-D array of ids or bytes of any length but 0."""
        self._pending.append((np.array(sample), label))  # a copy: callers may reuse their buffer
        self._pending_bytes += self._pending[-1][0].nbytes + 128
        if self._pending_bytes > _BUFFER_BYTES:
            self.flush()

    def extend(self, samples: np.ndarray, labels: np.ndarray) -> None:
        """Add samples of one length: (n, ...) ids or bytes, each flattened, and (n,) labels."""
        self.flush()
        flat = samples.reshape(len(samples), -1)
        self._write(flat.ravel(), np.full(len(flat), flat.shape[1]), labels)

    def flush(self) -> None:
        """Write what :meth:`append` has gathered."""
        if self._pending:
            samples, labels = zip(*self._pending, strict=True)
            self._write(np.concatenate(samples), np.array([len(sample) for sample in samples]), np.array(labels))
            self._pending, self._pending_bytes = [], 0

    def _write(self, tokens: np.ndarray, lengths: np.ndarray, labels: np.ndarray) -> None:
        if len(labels) != len(lengths):
            raise ValueError(f"{len(lengths)} samples with {len(labels)} labels")
        if lengths.min(initial=1) < 1:
            raise ValueError("a sample has no steps")
        ids = self._files["tokens"].dtype
        if tokens.dtype != ids and (tokens.min(initial=0) < 0 or tokens.max(initial=0) > np.iinfo(ids).max):
            raise ValueError(f"an id does not fit in {ids}")
        ends = self._end + np.cumsum(lengths)
        self._files["tokens"].write(tokens)
        self._files["offsets"].write(ends)
        self._files["labels"].write(labels)
        self._end = int(ends[-1]) if len(ends) else self._end
        self.samples += len(lengths)
        self._added(len(lengths))

    def close(self) -> dict[str, Any]:
        """Finish the files; return their sizes and hashes."""
        self.flush()
        for file in self._files.values():
            file.close()
        return {key: {"size": file.size, "sha256": file.digest.hexdigest()} for key, file in self._files.items()}

    def abandon(self) -> None:
        """Close the files of a build that failed."""
        for file in self._files.values():
            file.abandon()


class StoreWriter:
    """What :meth:`LRATask.build` fills: ``out["train"].append(tokens, label)``.

    Args:
        folder: an existing empty folder.
        sizes: samples that each split must have when :meth:`close` is called.
        dtype: uint8, or uint16 where ids go beyond 255.
        progress: called with (samples done, samples in all) whenever samples have been written.
    """

    def __init__(self, folder: Path, sizes: dict[str, int], dtype: np.dtype, progress: Progress | None) -> None:
        self._sizes = sizes
        self._progress = progress
        self._done = 0
        self._splits = {name: SplitWriter(folder, name, dtype, self._added) for name in sizes}

    def __getitem__(self, split: str) -> SplitWriter:
        return self._splits[split]

    def _added(self, samples: int) -> None:
        self._done += samples
        if self._progress is not None:
            self._progress(self._done, sum(self._sizes.values()))

    def close(self) -> dict[str, Any]:
        """Finish all files; return what ``meta.json`` says of each split.

        Raises:
            TaskError: a split has not as many samples as its scale promises.
        """
        described = {name: split.close() for name, split in self._splits.items()}
        for name, split in self._splits.items():
            if split.samples != self._sizes[name]:
                raise TaskError(
                    f"The {name} split came out with {split.samples:,} samples where its scale says "
                    f"{self._sizes[name]:,}; correct the scale or the task's build()."
                )
        return described

    def abandon(self) -> None:
        """Close the files of a build that failed."""
        for split in self._splits.values():
            split.abandon()


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
        """Map a prepared store. Sizes are checked, content is not (see :meth:`verify`).

        Raises:
            TaskError: a file is missing, short, unreadable or of another version.
        """
        try:
            meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
            if meta["format"] != FORMAT:
                raise ValueError(f"it has format {meta['format']} and this version reads {FORMAT}")
            splits = {}
            for name, described in meta["splits"].items():
                arrays = {key: _map(folder / f"{name}-{key}.npy", described[key]["size"]) for key in ARRAYS}
                splits[name] = Split(**arrays)
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            reason = f"no {error.args[0]!r} in meta.json" if isinstance(error, KeyError) else error
            raise TaskError(
                f"The prepared task in {folder} cannot be used ({reason}): delete that folder and prepare it again."
            ) from error
        return cls(folder, meta, splits)

    def verify(self) -> None:
        """Read all files and compare them with their hashes.

        Raises:
            TaskError: a file has changed since the store was built.
        """
        for name in self.splits:
            for key in ARRAYS:
                digest = hashlib.sha256(getattr(self.splits[name], key)).hexdigest()
                if digest != self.meta["splits"][name][key]["sha256"]:
                    raise TaskError(
                        f"{name}-{key}.npy in {self.folder} is not what was written there: delete that folder and "
                        "prepare the task again."
                    )


def _map(path: Path, size: int) -> np.ndarray:
    if size == 0:  # an empty file cannot be mapped
        return np.load(path)
    mapped = np.load(path, mmap_mode="r")
    if mapped.shape != (size,):
        raise ValueError(f"{path.name} holds {mapped.shape} values, not ({size},)")
    return np.asarray(mapped)  # slices of a plain array are several times cheaper than those of a memmap


def prepare(
    folder: Path,
    recipe: dict[str, Any],
    sizes: dict[str, int],
    dtype: np.dtype,
    build: Callable[[StoreWriter], None],
    progress: Progress | None = None,
) -> None:
    """Build the store ``folder`` unless it is there; of several processes one builds and the others wait.

    Args:
        folder: final place of the store.
        recipe: what the samples were made from, kept in ``meta.json``; its "task", "protocol" and "spec" enter
            the fingerprint.
        sizes, dtype, progress: see :class:`StoreWriter`.
        build: appends all samples.

    Raises:
        TaskError: the folder cannot be written, or ``build`` gave the wrong number of samples.
    """
    if (folder / "meta.json").exists():  # before any lock: a shared data folder may be read-only
        return
    with _sentences(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = _locked(folder)
    try:
        if (folder / "meta.json").exists():  # built while this process waited
            return
        partial = folder.with_name(f"{folder.name}.partial")
        with _sentences(folder):
            shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
            shutil.rmtree(folder, ignore_errors=True)  # no meta.json: nothing that a build has finished
            partial.mkdir()
        try:
            _build(partial, recipe, sizes, dtype, build, progress)
            with _sentences(folder):
                os.replace(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    finally:
        lock.release()


def _locked(folder: Path) -> FileLock:
    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _logger.warning("Another process is preparing %s; waiting for it.", folder)
        lock.acquire()
    return lock


def _build(
    partial: Path,
    recipe: dict[str, Any],
    sizes: dict[str, int],
    dtype: np.dtype,
    build: Callable[[StoreWriter], None],
    progress: Progress | None,
) -> None:
    with _sentences(partial):
        out = StoreWriter(partial, sizes, dtype, progress)
        try:
            build(out)
            splits = out.close()
        finally:
            out.abandon()
        meta = {"format": FORMAT, **recipe, "splits": splits}
        meta["fingerprint"] = _fingerprint(meta)
        (partial / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


def _fingerprint(meta: dict[str, Any]) -> str:
    covered = {key: meta[key] for key in ("task", "protocol", "spec", "splits")}
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def _sentences(folder: Path) -> Iterator[None]:
    """Turn what the file system refuses into one sentence."""
    try:
        yield
    except FileNotFoundError as error:
        if folder.parent.exists():
            raise  # a source that build() looked for
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
