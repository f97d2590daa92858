"""Generator of Pathfinder images: are two marked ends joined by one path of dashes?

Follows the rules and the parameters of the published generator (Linsley et al., NeurIPS 2018; parameters of the Long
Range Arena), which spends half a second on an image of 32×32 pixels and eight on one of 128×128. Here everything
that does not depend on chance is tabulated and the rest is compiled.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lra_tasks.errors import TaskError
from lra_tasks.pathfinder_parameters import PRESETS, PathfinderImages, PathfinderParameters
from lra_tasks.pathfinder_stamps import Tables, build_tables

__all__ = ["PRESETS", "PathfinderImages", "PathfinderParameters", "benchmark", "generate", "generate_with_paths"]

# From-scratch tries of the two target paths of one image; the presets need a few hundred on average.
ATTEMPTS = 100_000
# Images of one compiled call: few, so that cores end together and Ctrl-C is heard.
CHUNK = 16


def generate(
    parameters: PathfinderParameters,
    seed: int,
    start: int,
    count: int,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images ``start`` to ``start + count - 1`` of the endless sequence that ``seed`` stands for.

    An image depends on the parameters, the seed and its index alone, not on the number of workers or on how a
    sequence is cut into calls.

    Args:
        workers: threads; 0: one for each core.
        progress: called with the number of images that were just finished, from the calling thread.

    Returns:
        Images (count, H, W), each stretched to 0..255, and labels (count,), a fair coin: 1 where the two marked ends
        lie on one path.

    Raises:
        TaskError: the paths do not fit in the window, or an argument is out of range.
    """
    drawn = generate_with_paths(parameters, seed, start, count, workers, progress)
    return drawn.images, drawn.labels


def generate_with_paths(
    parameters: PathfinderParameters,
    seed: int,
    start: int,
    count: int,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
) -> PathfinderImages:
    """As :func:`generate`, with the paths and the other facts of each image."""
    # Numba is slow to import, and a prepared data set does without.
    from lra_tasks.pathfinder_growth import draw_images, settings_of

    if not 0 <= seed < 2**64 or start < 0 or count < 0 or workers < 0:
        raise TaskError(
            f"Pathfinder cannot draw {count} images from number {start} with seed {seed} and {workers} workers: "
            "use numbers of 0 and above, the seed below 2^64."
        )
    size, length = parameters.window, parameters.contour_length
    output = PathfinderImages(
        images=np.empty((count, size, size), np.uint8),
        labels=np.empty(count, np.uint8),
        margins=np.empty(count, np.uint8),
        distractors=np.empty(count, np.uint8),
        paths=np.empty((count, 2, length, 2), np.int16),
        ends=np.empty((count, 2, 2), np.int16),
    )
    tables, settings = _tables(parameters), settings_of(parameters, ATTEMPTS)

    def draw(first: int) -> int:
        rows = PathfinderImages._make(array[first : first + CHUNK] for array in output)
        drawn = draw_images(tables, settings, np.uint64(seed), start + first, rows)
        if drawn < len(rows.labels):
            raise TaskError(
                f"Pathfinder found no place for two paths of {length} paddles in a window of {size} pixels after "
                f"{ATTEMPTS:,} tries: shorten contour_length, lower continuity or enlarge window."
            )
        return drawn

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        try:
            for drawn in pool.map(draw, range(0, count, CHUNK)):
                if progress is not None:
                    progress(drawn)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return output


def benchmark(parameters: PathfinderParameters, count: int, seed: int = 0) -> float:
    """Images drawn a second on one core, not counting compilation and the tables."""
    generate(parameters, seed, 0, 1, workers=1)
    begin = time.perf_counter()
    generate(parameters, seed, 0, count, workers=1)
    return count / (time.perf_counter() - begin)


@lru_cache(maxsize=8)
def _tables(parameters: PathfinderParameters) -> Tables:
    return build_tables(parameters)
