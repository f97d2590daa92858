"""Writing a store: arrays that grow as samples come, hashed on the way; nothing is gathered in memory."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lra_tasks.errors import TaskError

_BUFFER_BYTES = 1 << 22
_BUFFER_SAMPLES = 1 << 10

Progress = Callable[[int, int], None]  # (samples done, samples in all)


@dataclass(frozen=True)
class Layout:
    """What a store holds."""

    sizes: dict[str, int]  # samples of each split
    dtype: np.dtype  # uint8, or uint16 where ids go beyond 255, or float32
    classes: int
    documents: int = 1  # of a sample
    step_shape: tuple[int, ...] = ()  # of a token or value; (channels,) where a step has several values


class _ArrayFile:
    """A 1-D ``.npy`` file that grows; its header keeps room for the final length. Hashes what it writes."""

    def __init__(self, path: Path, dtype: np.dtype, first: Sequence[int] = ()) -> None:
        self.dtype = dtype.newbyteorder("<")
        self.size = 0
        self.digest = hashlib.sha256()
        self._path, self._first = path, first
        self._file: BinaryIO | None = None

    def open(self) -> None:
        self._file = self._path.open("wb")
        self._write_header()
        self.write(np.array(self._first, self.dtype))

    def write(self, values: np.ndarray) -> None:
        assert self._file is not None
        data = np.ascontiguousarray(values, dtype=self.dtype).data.cast("B")
        self.digest.update(data)
        self._file.write(data)
        self.size += values.size

    def close(self) -> None:
        assert self._file is not None
        self._file.seek(0)
        self._write_header()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()

    def _write_header(self) -> None:
        assert self._file is not None
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.size,)}
        np.lib.format.write_array_header_1_0(self._file, header)


class DocumentWriter:
    """Takes documents in order, ids or values of any length but 0; holds a few MiB of them at most."""

    def __init__(self, folder: Path, name: str, dtype: np.dtype, step_shape: tuple[int, ...]) -> None:
        self.count = 0
        self._step_shape = step_shape
        self._tokens = _ArrayFile(folder / f"{name}-tokens.npy", dtype)
        self._offsets = _ArrayFile(folder / f"{name}-offsets.npy", np.dtype(np.int64), first=[0])
        self._end = 0
        self._pending: list[np.ndarray] = []
        self._pending_bytes = 0

    @property
    def files(self) -> dict[str, _ArrayFile]:
        return {"tokens": self._tokens, "offsets": self._offsets}

    def append(self, document: np.ndarray) -> int:
        """Add one document, (L,), or (L, channels) where a step has several; return its number."""
        self._pending.append(np.array(document))  # a copy: callers may reuse their buffer
        self._pending_bytes += self._pending[-1].nbytes + 128
        self.count += 1
        if self._pending_bytes > _BUFFER_BYTES:
            self.flush()
        return self.count - 1

    def extend(self, documents: np.ndarray) -> None:
        """Add documents of one length, (n, L), or (n, L, channels) where a step has several."""
        self.flush()
        self._write(documents.reshape(-1, *documents.shape[2:]), np.full(len(documents), documents.shape[1]))
        self.count += len(documents)

    def flush(self) -> None:
        """Write what :meth:`append` has gathered."""
        if self._pending:
            self._write(np.concatenate(self._pending), np.array([len(document) for document in self._pending]))
            self._pending, self._pending_bytes = [], 0

    def _write(self, tokens: np.ndarray, lengths: np.ndarray) -> None:
        if lengths.min(initial=1) < 1:
            raise ValueError("a sample has no steps")
        if tokens.shape[1:] != self._step_shape:
            raise ValueError(f"a step has the shape {tokens.shape[1:]} and not {self._step_shape}")
        kept = self._tokens.dtype
        if kept.kind == "f":
            if not np.isfinite(tokens).all():
                raise ValueError("a value is not a finite number")
        elif tokens.dtype != kept and (tokens.min(initial=0) < 0 or tokens.max(initial=0) > np.iinfo(kept).max):
            raise ValueError(f"an id does not fit in {kept}")
        ends = self._end + np.cumsum(lengths)
        self._tokens.write(tokens)
        self._offsets.write(ends)
        self._end = int(ends[-1]) if len(ends) else self._end


class SplitWriter:
    """Takes the samples of one split in order, each with its label."""

    def __init__(self, folder: Path, name: str, build: "StoreWriter") -> None:
        self.name = name
        self.samples = 0
        self._build = build
        self._labels = _ArrayFile(folder / f"{name}-labels.npy", np.dtype(np.int64))
        own = None if build.documents is not None else DocumentWriter(folder, name, build.dtype, build.step_shape)
        self._documents = own
        self._pairs = _ArrayFile(folder / f"{name}-pairs.npy", np.dtype(np.int64)) if own is None else None
        self._pending: list[int] = []  # labels

    @property
    def files(self) -> dict[str, _ArrayFile]:
        own = self._documents.files if self._documents is not None else {}
        pairs = {"pairs": self._pairs} if self._pairs is not None else {}
        return {**own, **pairs, "labels": self._labels}

    def append(self, sample: np.ndarray, label: int) -> None:
        """Add one sample of any length L but 0: ids or values (L,), or (L, channels)."""
        if self._documents is None:
            raise ValueError("samples of two documents are added with extend_pairs")
        self._documents.append(sample)
        self._pending.append(label)
        if len(self._pending) >= _BUFFER_SAMPLES:
            self.flush()

    def extend(self, samples: np.ndarray, labels: np.ndarray) -> None:
        """Add samples of one length: (n, ...) ids or values, each flattened but for its channels, and (n,) labels."""
        if self._documents is None:
            raise ValueError("samples of two documents are added with extend_pairs")
        self.flush()
        self._check(len(samples), labels)
        step = samples.shape[samples.ndim - len(self._build.step_shape) :]
        self._documents.extend(samples.reshape(len(samples), -1, *step))
        self._label(labels)

    def extend_pairs(self, pairs: np.ndarray, labels: np.ndarray) -> None:
        """Add samples of two documents: (n, 2) numbers given by the store's ``documents.append``, and (n,) labels."""
        if self._pairs is None or self._build.documents is None:
            raise ValueError("the task's spec has one document a sample")
        self._check(len(pairs), labels)
        if pairs.min(initial=0) < 0 or pairs.max(initial=-1) >= self._build.documents.count:
            raise ValueError("a pair names a document that is not there")
        self._pairs.write(pairs.ravel())
        self._label(labels)

    def flush(self) -> None:
        """Write what :meth:`append` has gathered."""
        if self._documents is not None:
            self._documents.flush()
        if self._pending:
            labels, self._pending = np.array(self._pending), []
            self._label(labels)

    def _check(self, samples: int, labels: np.ndarray) -> None:
        if len(labels) != samples:
            raise ValueError(f"{samples} samples with {len(labels)} labels")

    def _label(self, labels: np.ndarray) -> None:
        classes = self._build.classes
        if labels.min(initial=0) < 0 or labels.max(initial=0) >= classes:
            wrong = labels[(labels < 0) | (labels >= classes)][0]
            raise TaskError(
                f"The {self.name} split has a label {wrong} where the task has the classes 0 to {classes - 1}: correct "
                "the labels, or the number of classes."
            )
        self._labels.write(labels)
        self.samples += len(labels)
        self._build.added(len(labels))


class StoreWriter:
    """What :meth:`LRATask.build` fills: ``out["train"].append(tokens, label)``.

    Args:
        folder: an existing empty folder; ``build`` may keep files of its own in ``scratch`` for as long as it runs.
        layout: what is stored.
        progress: called with (samples done, samples in all) whenever samples have been written.
    """

    def __init__(self, folder: Path, layout: "Layout", progress: Progress | None) -> None:
        self.dtype, self.classes, self.step_shape = layout.dtype, layout.classes, layout.step_shape
        self.scratch = folder / "scratch"
        self.notes: dict[str, Any] = {}  # facts of the data that meta.json keeps, such as the vocabulary
        paired = layout.documents == 2
        self.documents = DocumentWriter(folder, "documents", layout.dtype, layout.step_shape) if paired else None
        self._sizes = layout.sizes
        self._progress = progress
        self._done = 0
        self._splits = {name: SplitWriter(folder, name, self) for name in layout.sizes}
        try:
            for files in self._files().values():
                for file in files.values():
                    file.open()
        except OSError:
            self.abandon()
            raise

    def __getitem__(self, split: str) -> SplitWriter:
        return self._splits[split]

    def added(self, samples: int) -> None:
        """Count samples that have been written."""
        self._done += samples
        if self._progress is not None:
            self._progress(self._done, sum(self._sizes.values()))

    def close(self) -> dict[str, dict[str, Any]]:
        """Finish all files; return size and hash of every array, by split ("documents" for those of pairs).

        Raises:
            TaskError: a split has not as many samples as its scale promises.
        """
        if self.documents is not None:
            self.documents.flush()
        for split in self._splits.values():
            split.flush()
        described = {}
        for name, files in self._files().items():
            for file in files.values():
                file.close()
            described[name] = {
                key: {"size": file.size, "sha256": file.digest.hexdigest()} for key, file in files.items()
            }
        for name, split in self._splits.items():
            if split.samples != self._sizes[name]:
                raise TaskError(
                    f"The {name} split came out with {split.samples:,} samples where its scale says "
                    f"{self._sizes[name]:,}; correct the scale or the task's build()."
                )
        return described

    def abandon(self) -> None:
        """Close the files of a build that failed."""
        for files in self._files().values():
            for file in files.values():
                file.abandon()

    def _files(self) -> dict[str, dict[str, _ArrayFile]]:
        shared = {} if self.documents is None else {"documents": self.documents.files}
        return {**shared, **{name: split.files for name, split in self._splits.items()}}
