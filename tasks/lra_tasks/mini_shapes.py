"""A miniature of CIFAR-10: ten classes of shapes in the pickled batches of the original, for tests and demonstrations.

A shape has a random place, a random area and two random colours, the lighter one inside or outside. Areas are drawn
alike for all classes, so that these differ little in how often a gray value occurs, but in where.
"""

import struct
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from lra_tasks.mini_reviews import PackedTar, packed_tar

SIDE = 32
# Each shape with its area where it spans −1 to 1 in height and width.
AREAS = {
    "disc": 3.14,
    "ring": 2.01,
    "square": 4.0,
    "frame": 2.31,
    "triangle": 2.0,
    "plus": 1.75,
    "cross": 2.04,
    "rows": 2.4,
    "columns": 2.4,
    "checks": 2.0,
}
SHAPES = tuple(AREAS)
_AREA = (150, 260)  # pixels of 1,024
_NOISE = 12  # largest change of a pixel, of 255
_CONTRAST = 70  # least difference of the two gray values, of 255
_LUMA = np.array([299, 587, 114])  # thousandths of gray
_ROOT = "cifar-10-batches-py"
_BATCHES = 5  # of the training images
_CHUNK = 500  # images drawn at a time: they take some 30 MB
_README = b"<html><body>A miniature of CIFAR-10: generated shapes in its files.</body></html>\n"


def write_images(path: Path, sizes: dict[str, int], seed: int) -> None:
    """Write a tar.gz of cifar-10-batches-py/{data_batch_1 to 5,test_batch,batches.meta,readme.html}.

    Each batch holds every class as often as any other, or once more.

    Args:
        path: the archive.
        sizes: images of "train", spread over the five batches as evenly as can be, and "test".
        seed: of everything random; the archive is the same, byte for byte, for the same arguments.
    """
    cuts = [number * sizes["train"] // _BATCHES for number in range(_BATCHES + 1)]
    with packed_tar(path) as tar:
        tar.folder(_ROOT)
        tar.add(f"{_ROOT}/batches.meta", _meta(cuts[1]))
        tar.add(f"{_ROOT}/readme.html", _README)
        for number in range(1, _BATCHES + 1):
            about = f"training batch {number} of {_BATCHES}"
            _add_batch(tar, f"data_batch_{number}", about, cuts[number] - cuts[number - 1], [seed, number])
        _add_batch(tar, "test_batch", "testing batch 1 of 1", sizes["test"], [seed, 0])


def _add_batch(tar: PackedTar, name: str, about: str, count: int, seed: list[int]) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % len(SHAPES))
    names = [f"{SHAPES[label]}_s_{number:06}.png" for number, label in enumerate(labels.tolist())]
    size = 3 * SIDE**2 * count
    head = _PROTOCOL_2 + b"}(" + _string(b"batch_label") + _string(about.encode())
    head += _string(b"labels") + _list(b"K" + struct.pack("B", label) for label in labels.tolist())
    head += _string(b"data") + _ARRAY + _int(count) + _int(3 * SIDE**2) + _UINT8 + struct.pack("<i", size)
    tail = _ARRAY_END + _string(b"filenames") + _list(_string(file.encode()) for file in names) + b"u."
    tar.stream(f"{_ROOT}/{name}", len(head) + size + len(tail), chain([head], _planes(rng, labels), [tail]))


# The original's pickles are Python 2's, whose strings today's pickle module can read but not write.

_PROTOCOL_2 = b"\x80\x02"
# An array as numpy 1 pickled it: its shape follows the first part, its bytes the second.
_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01("
_UINT8 = b"tcnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNN" + 2 * b"J\xff\xff\xff\xff" + b"K\x00tb\x89T"
_ARRAY_END = b"tb"


def _meta(images: int) -> bytes:
    names = _list(_string(shape.encode()) for shape in SHAPES)
    numbers = (_string(b"num_cases_per_batch") + _int(images), _string(b"num_vis") + _int(3 * SIDE**2))
    return _PROTOCOL_2 + b"}(" + _string(b"label_names") + names + b"".join(numbers) + b"u."


def _string(text: bytes) -> bytes:
    return b"U" + struct.pack("B", len(text)) + text


def _int(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)


def _list(items: Iterator[bytes]) -> bytes:
    return b"](" + b"".join(items) + b"e"


# Only operations that IEEE 754 rounds exactly, so that the images are the same on every machine.


def _planes(rng: np.random.Generator, labels: np.ndarray) -> Iterator[bytes]:
    """Yield the images of some labels at a time, each as a plane of red, one of green and one of blue."""
    for start in range(0, len(labels), _CHUNK):
        yield _images(rng, labels[start : start + _CHUNK]).transpose(0, 3, 1, 2).tobytes()


def _images(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Draw one image for each label: (n, 32, 32, 3) uint8."""
    count = len(labels)
    least, most = _AREA
    area = least + (most - least) * rng.random(count)
    radius = np.sqrt(area / np.array(list(AREAS.values()))[labels])
    centre = radius[:, None] + (SIDE - 2 * radius[:, None]) * rng.random((count, 2))
    inside = _inside(labels, radius, centre)[..., None]
    one, other = _colours(rng, count)
    noise = rng.integers(-_NOISE, _NOISE + 1, (count, SIDE, SIDE, 1))
    return (np.where(inside, one, other) + noise).clip(0, 255).astype(np.uint8)


def _colours(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return two colours for each image, (2, n, 1, 1, 3), whose gray values differ by the contrast or more."""
    colours = rng.integers(0, 256, (2, count, 3))
    while (close := np.abs((colours[0] - colours[1]) @ _LUMA) < 1000 * _CONTRAST).any():
        colours[:, close] = rng.integers(0, 256, (2, close.sum(), 3))
    return colours[:, :, None, None]


def _inside(labels: np.ndarray, radius: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Return which pixels belong to each image's shape: (n, 32, 32) bool."""
    y, x = ((np.arange(SIDE) + 0.5 - centre[:, axis, None]) / radius[:, None] for axis in (0, 1))
    y, x = y[:, :, None], x[:, None, :]
    far, high, wide = y * y + x * x, np.abs(y), np.abs(x)
    large, thin = np.maximum(high, wide), np.minimum(high, wide)
    box = large <= 1
    shapes = {
        "disc": far <= 1,
        "ring": (far <= 1) & (far > 0.36),
        "square": box,
        "frame": box & (large > 0.65),
        "triangle": box & (2 * wide <= y + 1),
        "plus": box & (thin <= 0.25),
        "cross": box & (np.abs(high - wide) <= 0.3),
        "rows": box & (np.floor((y + 1) * 2.5) % 2 == 0),
        "columns": box & (np.floor((x + 1) * 2.5) % 2 == 0),
        "checks": box & ((np.floor((y + 1) * 2) + np.floor((x + 1) * 2)) % 2 == 0),
    }
    return np.stack([shapes[shape] for shape in SHAPES])[labels, np.arange(len(labels))]
