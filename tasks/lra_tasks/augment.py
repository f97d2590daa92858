"""Random changes of training images, as tables of the pixels that each changed image is made of."""

from functools import cache

import numpy as np


@cache  # one array, so that a device holds one copy of it
def crops_and_flips(side: int, padding: int) -> np.ndarray:
    """Return all crops of an image that is mirrored beyond its edges, as they are and flipped from left to right.

    This is RandomCrop(side, padding, padding_mode="symmetric") and RandomHorizontalFlip() of torchvision, with which
    the S4 line of code augments CIFAR-10 (there ``side`` is 32 and ``padding`` 4).

    Args:
        side: height and width of the image.
        padding: rows and columns beyond each edge, at most ``side``.

    Returns:
        (2·(2·padding + 1)², side²) int64, read-only: pixel i of variant v is pixel ``table[v, i]`` of the image, row by
        row. The unflipped crops come first, row by row of their upper left corner.
    """
    pixels = np.arange(side**2).reshape(side, side)
    padded = np.pad(pixels, padding, mode="symmetric")
    crops = np.lib.stride_tricks.sliding_window_view(padded, (side, side))
    table = np.stack([crops, crops[..., ::-1]]).reshape(-1, side**2)
    table.setflags(write=False)
    return table
