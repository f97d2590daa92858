"""Tokens that stay on a device: put there once for each array, whatever splits and loaders read it."""

import math
import weakref
from collections.abc import Iterable

import numpy as np
import torch

from lra_tasks.store import Split

_CHUNK_BYTES = 1 << 26  # copied at a time, so that a memory map never lies in memory as a whole

_placed: dict[tuple[int, torch.device], torch.Tensor] = {}  # by the identity of the array, which is never changed


def resident_tensor(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return a copy of ``array`` on ``device``, the same one for the same array as long as the array lives.

    Args:
        array: (n, ...) uint8, uint16, int64 or float32, never changed; a memory map is read in pieces.
        device: where the copy lies.

    Returns:
        (n, ...) uint8, int16 (the bits of uint16), int64 or float32.
    """
    key = (id(array), _exact(device))
    if key not in _placed:
        bits = array.view(np.int16) if array.dtype == np.uint16 else array  # torch has few kernels for uint16
        chunk = max(1, _CHUNK_BYTES // (bits.itemsize * math.prod(bits.shape[1:])))  # rows
        with torch.inference_mode(False):  # a first pass may be one of evaluation; training reads the copy too
            copy = torch.empty(bits.shape, dtype=torch.from_numpy(bits[:0].copy()).dtype, device=device)
            for start in range(0, len(bits), chunk):
                copy[start : start + chunk].copy_(torch.from_numpy(bits[start : start + chunk].copy()))
        _placed[key] = copy
        # With the array goes its copy; an array at the same address later on is another one.
        weakref.finalize(array, _placed.pop, key).atexit = False
    return _placed[key]


def fits(splits: Iterable[Split], device: torch.device, share: float = 0.25) -> bool:
    """Return whether the tokens of ``splits`` may stay on ``device``; never on a CPU, whose memory maps serve as well.

    Args:
        splits: the splits that will be read; an array that several share counts once, one there already not at all.
        device: where they would lie.
        share: of the device's free memory that they may take.
    """
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    arrays = {id(split.tokens): split.tokens.nbytes for split in splits}
    return sum(size for key, size in arrays.items() if (key, _exact(device)) not in _placed) <= share * free


def _exact(device: torch.device) -> torch.device:
    """Return "cuda" with the number of the device that it stands for."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device
