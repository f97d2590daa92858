"""What goes into the generator of Pathfinder images and what comes out: parameters, presets, images.

Names and values follow the generator of Linsley et al., "Learning long-range spatial dependencies with horizontal
gated recurrent units" (NeurIPS 2018), as the Long Range Arena set them for its hardest folder.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lra_tasks.errors import TaskError


@dataclass(frozen=True)
class PathfinderParameters:
    """Two target paths of dashes ("paddles"), shorter distractor paths, and two marked ends.

    Lengths are in pixels of the square window; a path's length is in paddles. Raises TaskError where a value
    cannot be drawn.
    """

    window: int
    seed_distance: int  # between the first ends of the two target paths
    paddle_length: int
    paddle_thickness: float
    margins: tuple[int, ...]  # gap kept round a paddle; one is drawn for each image
    marker_radius: float
    continuity: float  # larger: straighter paths
    snake_contrast: float
    paddle_contrast: float  # times snake_contrast on the target paths; distractors have snake_contrast alone
    contour_length: int = 14
    distractors: int = 0
    distractor_length: int = 4
    padding: int = 1
    antialias: int = 2  # paddles and markers are drawn this many times larger, then scaled down
    paddle_retries: int = 2
    distractor_retries: int = 4

    def __post_init__(self) -> None:
        # The first end of path 1 keeps twice the seed distance from every side of the window.
        if self.window <= 4 * self.seed_distance:
            raise TaskError(
                f"Pathfinder's window of {self.window} pixels is too small for a seed distance of "
                f"{self.seed_distance}: make it larger than {4 * self.seed_distance}."
            )
        if self.contour_length < 2 or self.distractor_length < 2:
            raise TaskError("A Pathfinder path needs at least 2 paddles: raise contour_length or distractor_length.")
        if (self.antialias * self.paddle_thickness) % 1 or self.paddle_thickness <= 0:
            raise TaskError(
                f"Pathfinder's paddle_thickness of {self.paddle_thickness} is not a whole number of pixels when drawn "
                f"{self.antialias} times larger: choose a positive multiple of 1/{self.antialias}."
            )
        if self.padding < 1 or self.paddle_length < 1 or not self.margins or min(self.margins) < 1:
            raise TaskError("Pathfinder's padding, paddle_length and margins must be at least 1 pixel.")


class PathfinderImages(NamedTuple):
    """Images with what is known about them; n images of H×W pixels."""

    images: NDArray[np.uint8]  # (n, H, W)
    labels: NDArray[np.uint8]  # (n,) 1: the marked ends are the two ends of one path; 0: of two paths
    margins: NDArray[np.uint8]  # (n,) gap round a paddle, in pixels
    distractors: NDArray[np.uint8]  # (n,) how many found a place
    paths: NDArray[np.int16]  # (n, 2, contour_length, 2) y, x of each target path's first tail, then of its heads
    ends: NDArray[np.int16]  # (n, 2, 2) y, x of the two marked ends


PRESETS: dict[int, PathfinderParameters] = {
    # The sizes of the Long Range Arena (32 is Pathfinder, 128 is Path-X; 64 and 256 are released and in no table), and
    # one that a test can generate and learn in seconds. What the description of 64 and 256 does not name is as in the
    # published generator.
    16: PathfinderParameters(
        window=16,
        seed_distance=3,
        paddle_length=2,
        paddle_thickness=0.5,
        margins=(1,),
        marker_radius=1.5,
        continuity=1.0,
        snake_contrast=2.0,
        paddle_contrast=0.75,
        contour_length=5,
    ),
    32: PathfinderParameters(
        window=32,
        seed_distance=7,
        paddle_length=2,
        paddle_thickness=0.5,
        margins=(1,),
        marker_radius=1.5,
        continuity=1.0,
        snake_contrast=2.0,
        paddle_contrast=0.75,
        distractors=5,
    ),
    64: PathfinderParameters(
        window=64,
        seed_distance=12,
        paddle_length=5,
        paddle_thickness=1.0,
        margins=(1,),
        marker_radius=2.5,
        continuity=1.8,
        snake_contrast=0.8,
        paddle_contrast=1.0,
        distractors=5,
    ),
    128: PathfinderParameters(
        window=128,
        seed_distance=20,
        paddle_length=5,
        paddle_thickness=1.5,
        margins=(2, 3),
        marker_radius=3.0,
        continuity=1.8,
        snake_contrast=0.9,
        paddle_contrast=1.0,
        distractors=8,
    ),
    256: PathfinderParameters(
        window=256,
        seed_distance=27,
        paddle_length=5,
        paddle_thickness=2.0,
        margins=(3,),
        marker_radius=5.0,
        continuity=1.8,
        snake_contrast=1.0,
        paddle_contrast=1.0,
        distractors=7,
        padding=22,
    ),
}
