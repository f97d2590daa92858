"""Arrays in ``.npy`` files that may come from anyone: a header is believed as far as the file bears it out."""

import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lra_tasks.errors import one_line

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an array: its shape, whether it lies column by column, and its type.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such header, its type holds Python objects, or its shape is none.
    """
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran, dtype = _HEADERS[version](file)
    except OSError:
        raise
    except Exception as error:  # numpy reads the header as Python, whose parser raises whatever it stumbles over
        raise ValueError(f"its header is none of an array, {one_line(error, 200) or type(error).__name__}") from None
    if dtype.hasobject or not dtype.itemsize or min(shape, default=0) < 0:
        raise ValueError(f"its header says {dtype} and the shape {shape}")
    return shape, fortran, dtype


def size_of(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Return the bytes of an array's values."""
    return dtype.itemsize * math.prod(shape)


def map_array(path: Path) -> np.ndarray:
    """Map a ``.npy`` file into memory, to be read only; an empty array is no map.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no array file, holds Python objects, or is shorter than its header says.
    """
    with path.open("rb") as file:
        shape, fortran, dtype = read_header(file)
        start = file.tell()
    needed, there = size_of(shape, dtype), path.stat().st_size - start
    if needed > there:
        raise ValueError(f"it has {there:,} bytes of values where its header says {needed:,}")
    if not needed:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
