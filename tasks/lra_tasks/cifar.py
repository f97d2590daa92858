"""The pickled batches of CIFAR-10, read without running what a pickle may hold."""

import io
import pickle
import pickletools
from typing import Any

import numpy as np

from lra_tasks.errors import TaskError

_SIDE = 32
_MARKS = 1 << 20  # objects of a pickle that can be referred to; a batch has some 10,000


def read_batch(data: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Read one batch: images (n, 32, 32, 3) uint8 RGB and labels (n,) int64.

    Raises:
        TaskError: naming the file, where it is no such batch, or asks for anything but arrays.
    """
    try:
        _check_marks(data)
        batch = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except TaskError as error:
        raise TaskError(f"{where}: {error}") from None
    except Exception as error:  # a damaged pickle may raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TaskError(f"{where} is no pickled batch of CIFAR-10 ({reason}): fetch the archive again.") from None
    batch = batch if isinstance(batch, dict) else {}
    stored, labels = batch.get(b"data"), batch.get(b"labels")
    pixels = stored.values if isinstance(stored, _Bytes) else None
    if (
        pixels is None
        or pixels.ndim != 2
        or pixels.shape[1] != 3 * _SIDE**2
        or not isinstance(labels, list)
        or len(labels) != len(pixels)
        or not all(type(label) is int for label in labels)
    ):
        raise TaskError(f"{where} has no data of 3,072 bytes and one label for each image: fetch the archive again.")
    for number, label in enumerate(labels):
        if not 0 <= label < 10:
            raise TaskError(f"{where}: the label of image {number} is {label} and not 0 to 9; fetch the archive again.")
    images = pixels.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)  # planes to pixels
    return np.ascontiguousarray(images), np.array(labels, np.int64)


def _check_marks(data: bytes) -> None:
    """Refuse a pickle that numbers an object in the billions: pickle makes room for as many before it goes on."""
    for opcode, argument, _ in pickletools.genops(data):
        if "PUT" in opcode.name and argument is not None and argument >= _MARKS:
            raise ValueError(f"an object is number {argument:,}")


class _Unpickler(pickle.Unpickler):
    """Knows the three names that an array in a pickle needs, and what Python 3 writes bytes with in old protocols.

    None of them is numpy's own, which believes whatever a pickle says of an array's type.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return _Kind
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return _Bytes
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        raise TaskError(
            f"it is a pickle that asks for {module}.{name}, which no batch of CIFAR-10 does; do not use it."
        )


class _Kind:
    """A type of numpy's as a pickle describes it: the first word of it."""

    def __init__(self, word: Any = None, *rest: Any) -> None:
        self.word = word

    def __setstate__(self, state: Any) -> None:
        pass  # byte order and fields, which bytes do not have


class _Bytes:
    """An array as a pickle describes it: made empty, then given its values, which are kept if they are bytes."""

    values: np.ndarray | None = None

    def __init__(self, *described: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_column, data = state
        if isinstance(kind, _Kind) and kind.word in ("u1", b"u1") and isinstance(data, bytes) and not by_column:
            self.values = np.frombuffer(data, np.uint8).reshape(shape)


def _latin1(text: Any, encoding: Any) -> bytes:
    if encoding not in ("latin1", b"latin1") or not isinstance(text, str):
        raise ValueError("not bytes")
    return text.encode("latin1")
