"""Compiled part of the Pathfinder generator: grows the paths and pastes the stamps.

Nothing here calls Python, so threads run it side by side. Every image has a random stream of its own (SplitMix64
from the seed and the index of the image): it does not depend on which thread draws it, nor on what was drawn before.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lra_tasks.pathfinder_parameters import PathfinderImages, PathfinderParameters
from lra_tasks.pathfinder_stamps import DEGREES, Tables

Plane = NDArray[np.float32]  # (H, W) an image or a stamp
Taken = NDArray[np.float32]  # (2, H, W) how much each pixel is taken, in [0, 1], and the largest within the margin
Path = NDArray[np.int64]  # (paddles, 3) direction, and y, x of the pixel that the stamp is centred on
Random = NDArray[np.uint64]  # (1,) state of the stream

TAKEN = 0.3  # where a path may start, a mask above this counts as taken
CLASH = 1.8  # a new paddle may not bring mask + its own mask to this anywhere
SCARCE = 0.01  # distractors stop below this free share of the window
DEAD_END = 1e-4  # total weight of the possible heads below which a path is stuck
GUESSES = 32  # random pixels tried for a first tail before all free ones are listed

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)


class Settings(NamedTuple):
    """The parameters that growth reads, as plain numbers."""

    window: int
    padding: int
    seed_border: int
    target_contrast: float
    distractor_contrast: float
    distractors: int
    distractor_length: int
    paddle_retries: int
    distractor_retries: int
    attempts: int


def settings_of(parameters: PathfinderParameters, attempts: int) -> Settings:
    return Settings(
        window=parameters.window,
        padding=parameters.padding,
        seed_border=2 * parameters.seed_distance,
        target_contrast=parameters.paddle_contrast * parameters.snake_contrast,
        distractor_contrast=float(parameters.snake_contrast),
        distractors=parameters.distractors,
        distractor_length=parameters.distractor_length,
        paddle_retries=parameters.paddle_retries,
        distractor_retries=parameters.distractor_retries,
        attempts=attempts,
    )


@njit(nogil=True, cache=True)
def _mix(z: np.uint64) -> np.uint64:
    z = (z ^ (z >> np.uint64(30))) * MIX_1
    z = (z ^ (z >> np.uint64(27))) * MIX_2
    return z ^ (z >> np.uint64(31))


@njit(nogil=True, cache=True)
def _bits(random: Random) -> np.uint64:
    random[0] += GOLDEN
    return _mix(random[0])


@njit(nogil=True, cache=True)
def _below(random: Random, n: int) -> int:
    """A whole number in [0, n); the bias, below n / 2^32, is far under what any data set can show."""
    return int(np.int64(((_bits(random) >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32)))


@njit(nogil=True, cache=True)
def _uniform(random: Random) -> float:
    return (_bits(random) >> np.uint64(11)) * 2.0**-53


@njit(nogil=True, cache=True)
def _inside(taken: Taken, y: int, x: int) -> bool:
    return 0 <= y < taken.shape[1] and 0 <= x < taken.shape[2]


@njit(nogil=True, cache=True)
def _overlap(size: int, stamp: int, at: int) -> tuple[int, int, int]:
    """Where a stamp centred on ``at`` begins and ends on one axis of the window, and its own first pixel there."""
    corner = at - stamp // 2
    first = max(corner, 0)
    return first, min(corner + stamp, size), first - corner


# The two loops below take nearly all of the time. Rows as one-dimensional views, and no early exit, let the compiler
# vectorise them, which makes them three to four times as fast.
@njit(nogil=True, cache=True)
def _paste(target: Plane, stamp: Plane, y: int, x: int, contrast: float) -> None:
    """Combine by maximum, cutting off what leaves the window."""
    y_first, y_end, row = _overlap(target.shape[0], stamp.shape[0], y)
    x_first, x_end, column = _overlap(target.shape[1], stamp.shape[1], x)
    for i in range(y_end - y_first):
        old, new = target[y_first + i][x_first:x_end], stamp[row + i][column:]
        for j in range(old.shape[0]):
            value = new[j] * np.float32(contrast)
            old[j] = value if value > old[j] else old[j]


@njit(nogil=True, cache=True)
def _clashes(mask: Plane, stamp: Plane, y: int, x: int) -> bool:
    y_first, y_end, row = _overlap(mask.shape[0], stamp.shape[0], y)
    x_first, x_end, column = _overlap(mask.shape[1], stamp.shape[1], x)
    clash = False
    for i in range(y_end - y_first):
        old, new = mask[y_first + i][x_first:x_end], stamp[row + i][column:]
        for j in range(old.shape[0]):
            if np.float64(old[j]) + np.float64(new[j]) >= CLASH:
                clash = True
    return clash


@njit(nogil=True, cache=True)
def _take(taken: Taken, tables: Tables, m: int, path: Path, k: int) -> None:
    """Enter paddle ``k`` of a path into what is taken."""
    # The largest of a maximum is the maximum of the largest: so dilated stamps keep the dilated mask up to date.
    _paste(taken[0], tables.mask[m, path[k, 0]], path[k, 1], path[k, 2], 1.0)
    _paste(taken[1], tables.near[m, path[k, 0]], path[k, 1], path[k, 2], 1.0)


@njit(nogil=True, cache=True)
def _is_free(tables: Tables, m: int, taken: Taken, degree: int, y: int, x: int) -> bool:
    """Whether the core of a first paddle with its tail at (y, x) is free."""
    for k in range(tables.core_size[m, degree]):
        i = y + tables.core[m, degree, k, 0]
        j = x + tables.core[m, degree, k, 1]
        if _inside(taken, i, j) and taken[0, i, j] > TAKEN:
            return False
    return True


@njit(nogil=True, cache=True)
def _free_tail(tables: Tables, m: int, taken: Taken, degree: int, random: Random) -> tuple[bool, int, int]:
    """A pixel drawn uniformly from the free ones; (False, 0, 0) where there is none."""
    size = taken.shape[1]
    # A guess that hits is already uniform over the free pixels; listing them all is needed only where they are few.
    for _ in range(GUESSES):
        y, x = _below(random, size), _below(random, size)
        if _is_free(tables, m, taken, degree, y, x):
            return True, y, x
    free = np.empty(size * size, np.int64)
    n = 0
    for y in range(size):
        for x in range(size):
            if _is_free(tables, m, taken, degree, y, x):
                free[n] = y * size + x
                n += 1
    if n == 0:
        return False, 0, 0
    chosen = free[_below(random, n)]
    return True, chosen // size, chosen % size


@njit(nogil=True, cache=True)
def _central_tail(tables: Tables, m: int, size: int, border: int, degree: int, random: Random) -> tuple[bool, int, int]:
    """As ``_free_tail`` in an empty window whose border is taken: a pixel of a rectangle."""
    box = tables.core_box[m, degree]
    rows = size - 2 * border - (box[1, 0] - box[0, 0])
    columns = size - 2 * border - (box[1, 1] - box[0, 1])
    if rows <= 0 or columns <= 0:
        return False, 0, 0
    return True, border - box[0, 0] + _below(random, rows), border - box[0, 1] + _below(random, columns)


@njit(nogil=True, cache=True)
def _start(tables: Tables, m: int, taken: Taken, path: Path, pivot: Path, degree: int, y: int, x: int) -> bool:
    """Put the first paddle at tail (y, x); False where its head or its pivot leaves the window."""
    head_y = math.ceil(y + tables.head[m, degree, 0])
    head_x = math.ceil(x + tables.head[m, degree, 1])
    pivot[0] = math.ceil(head_y + tables.pivot[m, degree, 0])
    pivot[1] = math.ceil(head_x + tables.pivot[m, degree, 1])
    path[0, 0], path[0, 1], path[0, 2] = degree, y, x
    return _inside(taken, head_y, head_x) and _inside(taken, pivot[0], pivot[1])


@njit(nogil=True, cache=True)
def _start_anywhere(
    tables: Tables, settings: Settings, m: int, taken: Taken, central: bool, path: Path, pivot: Path, random: Random
) -> bool:
    """Start a path: target path 1 near the centre of the empty window, a distractor on any free spot."""
    for _ in range(settings.paddle_retries + 1):
        degree = _below(random, DEGREES)
        if not tables.startable[m, degree]:
            return False
        if central:
            found, y, x = _central_tail(tables, m, settings.window, settings.seed_border, degree, random)
        else:
            found, y, x = _free_tail(tables, m, taken, degree, random)
        if not found:
            return False
        if _start(tables, m, taken, path, pivot, degree, y, x):
            return True
    return False


@njit(nogil=True, cache=True)
def _start_near(
    tables: Tables, settings: Settings, m: int, taken: Taken, path: Path, pivot: Path, y: int, x: int, random: Random
) -> bool:
    """Start target path 2 at the seed distance from the tail (y, x) of path 1; what is free does not matter."""
    for _ in range(settings.paddle_retries + 1):
        degree = _below(random, DEGREES)
        angle = _below(random, DEGREES)
        near_y = int(np.rint(y + tables.ring[angle, 0]))
        near_x = int(np.rint(x + tables.ring[angle, 1]))
        if _start(tables, m, taken, path, pivot, degree, near_y, near_x):
            return True
    return False


@njit(nogil=True, cache=True)
def _extend(
    tables: Tables, settings: Settings, m: int, taken: Taken, path: Path, k: int, pivot: Path, random: Random
) -> bool:
    """Add paddle ``k`` to a path, and the one before it to what is taken; False where the path is stuck."""
    last = path[k - 1, 0]
    pivot[0] = math.ceil(pivot[0] + tables.advance[m, last, 0])
    pivot[1] = math.ceil(pivot[1] + tables.advance[m, last, 1])
    n = tables.circle.shape[1]
    cumulative = np.empty(n, np.float64)
    total = 0.0
    for c in range(n):
        weight = tables.weight[m, last, c]
        y, x = pivot[0] + tables.circle[m, c, 0], pivot[1] + tables.circle[m, c, 1]
        if weight > 0 and _inside(taken, y, x):
            total += weight * (1.0 - np.float64(taken[1, y, x]))
        cumulative[c] = total
    if total < DEAD_END:
        return False
    for _ in range(settings.paddle_retries + 1):
        c = min(np.searchsorted(cumulative, _uniform(random) * total, side="right"), n - 1)
        y, x = pivot[0] + tables.circle[m, c, 0], pivot[1] + tables.circle[m, c, 1]
        if not _clashes(taken[0], tables.mask[m, DEGREES + c], y, x):
            path[k, 0], path[k, 1], path[k, 2] = DEGREES + c, y, x
            # A path's last paddle stays out of the mask, so that the next may touch it.
            _take(taken, tables, m, path, k - 1)
            return True
    return False


@njit(nogil=True, cache=True)
def _grow_targets(
    tables: Tables, settings: Settings, m: int, taken: Taken, targets: NDArray[np.int64], random: Random
) -> bool:
    """Fill ``targets`` (2, contour_length, 3) and ``taken`` from scratch; False where a path is stuck."""
    pivots = np.empty((2, 2), np.int64)
    if not _start_anywhere(tables, settings, m, taken, True, targets[0], pivots[0], random):
        return False
    y, x = targets[0, 0, 1], targets[0, 0, 2]
    if not _start_near(tables, settings, m, taken, targets[1], pivots[1], y, x, random):
        return False
    p, size, length = settings.padding, settings.window, targets.shape[1]
    taken[:] = 1
    taken[0, p : size - p, p : size - p] = 0
    p += tables.margin[m]
    taken[1, p : size - p, p : size - p] = 0
    for k in range(1, length):
        for s in range(2):
            if not _extend(tables, settings, m, taken, targets[s], k, pivots[s], random):
                return False
    # As published: the last paddle of path 1 never enters the mask.
    _take(taken, tables, m, targets[1], length - 1)
    return True


@njit(nogil=True, cache=True)
def _grow_distractor(
    tables: Tables, settings: Settings, m: int, taken: Taken, path: Path, scratch: Taken, random: Random
) -> bool:
    """Fill ``path`` (distractor_length, 3) and add it to ``taken``, which is left alone where the path is stuck."""
    if (taken[0] <= TAKEN).sum() < SCARCE * taken[0].size:
        return False
    pivot = np.empty(2, np.int64)
    scratch[:] = taken
    if not _start_anywhere(tables, settings, m, scratch, False, path, pivot, random):
        return False
    for k in range(1, settings.distractor_length):
        if not _extend(tables, settings, m, scratch, path, k, pivot, random):
            return False
    _take(scratch, tables, m, path, settings.distractor_length - 1)
    taken[:] = scratch
    return True


@njit(nogil=True, cache=True)
def _grow_distractors(
    tables: Tables, settings: Settings, m: int, taken: Taken, paths: NDArray[np.int64], scratch: Taken, random: Random
) -> int:
    """Fill the first rows of ``paths`` with the distractors that find a place; how many did."""
    placed = 0
    for _ in range(settings.distractors):
        for _ in range(settings.distractor_retries + 1):
            if _grow_distractor(tables, settings, m, taken, paths[placed], scratch, random):
                placed += 1
                break
    return placed


@njit(nogil=True, cache=True)
def _paste_marker(image: Plane, tables: Tables, y: int, x: int) -> None:
    """Combine by maximum with the marker at (y, x); its stamp depends on the distance to the edges."""
    size, side = image.shape[0], tables.marker.shape[0]
    reach = side // 2
    row = y if y < reach else max(reach, y - (size - side))
    column = x if x < reach else max(reach, x - (size - side))
    stamp = tables.marker[row, column]
    _paste(image, stamp, y - row + reach, x - column + reach, 1.0)


@njit(nogil=True, cache=True)
def _stretch(image: Plane, result: NDArray[np.uint8]) -> None:
    """Scale to 0..255 and round halves up."""
    low, high = np.float64(image.min()), np.float64(image.max())
    scale = 255.0 / (high - low)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            result[y, x] = np.uint8(min((image[y, x] - low) * scale, 255.0) + 0.5)


@njit(nogil=True, cache=True)
def _paste_lines(image: Plane, tables: Tables, m: int, paths: NDArray[np.int64], contrast: float) -> None:
    for s in range(paths.shape[0]):
        for k in range(paths.shape[1]):
            _paste(image, tables.line[m, paths[s, k, 0]], paths[s, k, 1], paths[s, k, 2], contrast)


@njit(nogil=True, cache=True)
def draw_images(tables: Tables, settings: Settings, seed: np.uint64, start: int, output: PathfinderImages) -> int:
    """Draw images start, start + 1, … into ``output``; how many were drawn before one found no place for its paths."""
    size, length = settings.window, output.paths.shape[2]
    random = np.empty(1, np.uint64)
    taken, scratch = np.empty((2, size, size), np.float32), np.empty((2, size, size), np.float32)
    image = np.empty((size, size), np.float32)
    targets = np.empty((2, length, 3), np.int64)
    others = np.empty((settings.distractors, settings.distractor_length, 3), np.int64)
    for n in range(len(output.labels)):
        random[0] = _mix(_mix(seed + GOLDEN) ^ np.uint64(start + n))
        label = _below(random, 2)
        m = _below(random, len(tables.margin))
        attempt = 0
        while not _grow_targets(tables, settings, m, taken, targets, random):
            attempt += 1
            if attempt == settings.attempts:
                return n
        placed = _grow_distractors(tables, settings, m, taken, others, scratch, random)
        first = _below(random, 2)
        last = first if label == 1 else 1 - first
        output.labels[n] = label
        output.margins[n] = tables.margin[m]
        output.distractors[n] = placed
        output.paths[n] = targets[:, :, 1:]
        output.ends[n, 0] = targets[first, 0, 1:]
        output.ends[n, 1] = targets[last, length - 1, 1:]

        image[:] = 0
        _paste_lines(image, tables, m, targets, settings.target_contrast)
        _paste_lines(image, tables, m, others[:placed], settings.distractor_contrast)
        for e in range(2):
            _paste_marker(image, tables, output.ends[n, e, 0], output.ends[n, e, 1])
        _stretch(image, output.images[n])
    return len(output.labels)
