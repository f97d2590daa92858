"""Everything of a Pathfinder image that does not depend on chance, tabulated.

All positions of the generator are whole pixels and all orientations come from a finite set: the 360 whole degrees in
which a path may start, and the offsets of the pixels on a circle, in which it may go on. So every paddle, mask, step
and weight is computed here once, and growing a path is left with look-ups and additions.

Steps are kept unrounded, because the published generator adds a step to a position and then rounds up: a sine that
should be 0 or ½ but is off by its last bits moves a paddle by a pixel where the position is too small to absorb it.
That is often enough to see in the mean of a few hundred images.

Pillow draws the stamps. A paddle is drawn on a canvas of its own, a little larger than itself, scaled down with that
canvas, and cut off where it leaves the window: rendering never sees the window's edge. A marker is drawn on the whole
window, so that near an edge the Lanczos filter is cut there; its stamps are kept per distance to the edges.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import grey_dilation

from lra_tasks.pathfinder_parameters import PathfinderParameters

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

DEGREES = 360


class Tables(NamedTuple):
    """Look-up tables. M margins, D = 360 + C directions, C circle pixels, K side of a paddle's stamp.

    Directions 0..359 are the degrees -180..179; direction 360 + c points at circle pixel c. Offsets are (y, x).
    """

    margin: Ints  # (M,)
    line: Floats  # (M, D, K, K) in [0, 1]; degrees: drawn onwards from the tail, circle: backwards from the head
    mask: Floats  # (M, D, K, K) in [0, 1], the line dilated by the margin
    near: Floats  # (M, D, K', K') largest mask within a margin; K' = K + 2 max(margins)
    head: Doubles  # (M, 360, 2) from a first paddle's tail to its head, to be rounded up at the head
    pivot: Doubles  # (M, 360, 2) from a first paddle's head to its pivot, likewise
    advance: Doubles  # (M, D, 2) from a pivot to the next, likewise
    circle: Ints  # (M, C, 2) from a pivot to the possible new heads
    weight: Doubles  # (M, D, C) preference for going on in nearly the same direction; 0 beyond M's C
    core: Ints  # (M, 360, P, 2) pixels that must be free for a first paddle, seen from its tail
    core_size: Ints  # (M, 360) how many of P are used
    core_box: Ints  # (M, 360, 2, 2) smallest and largest (y, x) of those pixels
    startable: NDArray[np.bool_]  # (M, 360) whether a first paddle may have this orientation
    ring: Doubles  # (360, 2) from the first tail of path 1 to that of path 2, to be rounded to the nearest there
    marker: Floats  # (S, S, S, S) marker at (y, x) of a window of S pixels


def build_tables(parameters: PathfinderParameters) -> Tables:
    """Render every stamp and tabulate every step for ``parameters``."""
    per_margin = [_margin_tables(parameters, margin) for margin in parameters.margins]
    stacked = {name: _stack([tables[name] for tables in per_margin]) for name in per_margin[0]}
    return Tables(
        margin=np.array(parameters.margins),
        **stacked,
        ring=parameters.seed_distance * _directions(np.arange(DEGREES) * np.pi / 180),
        marker=_marker_stamps(parameters),
    )


def render_paddle(parameters: PathfinderParameters, margin: int, orientation: float) -> tuple[Floats, Floats]:
    """Draw one paddle from the centre pixel of a small canvas.

    Args:
        margin: gap kept round the paddle, in pixels.
        orientation: in radians, from x towards y (downwards).

    Returns:
        The line and the mask, both (K, K) in [0, 1].
    """
    scale = parameters.antialias
    half = parameters.paddle_length + math.ceil(parameters.paddle_thickness) + margin
    centre = half * scale
    step = parameters.paddle_length * scale * _directions([orientation])[0]
    end_y, end_x = (math.ceil(centre + float(offset)) for offset in step)
    canvas = Image.new("L", (2 * centre + 1, 2 * centre + 1))
    width = round(parameters.paddle_thickness * scale)
    ImageDraw.Draw(canvas).line([(centre, centre), (end_x, end_y)], fill=255, width=width)
    dilated = Image.fromarray(_dilate(np.asarray(canvas)[None], margin * scale)[0])
    return _scale_down(canvas, 2 * half + 1), _scale_down(dilated, 2 * half + 1)


def render_marker(parameters: PathfinderParameters, window: int, y: int, x: int) -> Floats:
    """Draw the marker of an end at (y, x) on a whole window; (window, window) in [0, 1]."""
    scale = parameters.antialias
    rows, columns = np.ogrid[: window * scale, : window * scale]
    radius = parameters.marker_radius * scale
    disc = (rows - y * scale) ** 2 + (columns - x * scale) ** 2 <= radius**2
    return _scale_down(Image.fromarray(np.where(disc, 255, 0).astype(np.uint8)), window)


def _margin_tables(parameters: PathfinderParameters, margin: int) -> dict[str, NDArray]:
    length = parameters.paddle_length
    widest = max(parameters.margins)
    degrees = np.arange(-DEGREES // 2, DEGREES // 2) * np.pi / 180
    circle = _circle_pixels(length + margin)
    towards = np.array([math.atan2(y, x) for y, x in circle])
    orientations = np.concatenate([degrees, towards])
    drawn = np.concatenate([degrees, _backwards(towards)])
    stamps = [render_paddle(parameters, margin, angle) for angle in drawn]
    masks = _widen(np.stack([mask for _, mask in stamps]), widest - margin)
    turn = np.abs(orientations[:, None] - towards[None, :])
    turn = np.minimum(turn, 2 * np.pi - turn)
    weight = np.cos(np.minimum(parameters.continuity * turn, np.pi / 2)) ** 2
    cores = [_core(mask, length + margin) for mask in masks[:DEGREES]]
    return {
        "line": _widen(np.stack([line for line, _ in stamps]), widest - margin),
        "mask": masks,
        "near": _dilate(_widen(masks, widest), margin),
        "head": length * _directions(degrees),
        "pivot": (length + margin) * _directions(_backwards(degrees)),
        "advance": (length + 2 * margin) * _directions(orientations),
        "circle": circle,
        # The cosine of π/2 is not quite 0.
        "weight": np.where(weight < 1e-9, 0.0, weight),
        "core": _stack(cores),
        "core_size": np.array([len(core) for core in cores]),
        "core_box": np.array([_box(core) for core in cores]),
        "startable": np.array([_is_startable(core) for core in cores]),
    }


def _circle_pixels(radius: int) -> Ints:
    """Distinct pixels met on a circle in steps of one pixel of arc, in order of (y, x); (C, 2)."""
    angles = np.arange(0, 2 * np.pi * radius) / radius
    return np.unique(np.floor(radius * _directions(angles)).astype(np.int64), axis=0)


def _core(mask: Floats, reach: int) -> Ints:
    """Offsets from the tail of a first paddle at which the shared mask must be free.

    The published generator keeps only the fully masked pixels, on a canvas of 2·reach + 1 pixels that the paddle
    starts one pixel off the centre of, both down and to the right; the offsets keep that shift.
    """
    offsets = np.argwhere(mask == 1.0) - mask.shape[0] // 2 + 1
    return offsets[(np.abs(offsets) <= reach).all(axis=1)]


def _box(core: Ints) -> Ints:
    """Smallest and largest (y, x); zeros for an empty core, which is never startable."""
    return np.array([core.min(axis=0), core.max(axis=0)]) if len(core) else np.zeros((2, 2), np.int64)


def _is_startable(core: Ints) -> bool:
    """Whether the core lies in all four quadrants round the tail (an axis belongs to both sides).

    Otherwise it would leave the window altogether with the tail in some corner, where the dilation of the published
    generator finds no pixel and yields a value that makes it take the whole window as occupied. So the first paddles
    of its paths have only these orientations, and at 32 pixels most distractors find no place.
    """
    return all(((core * side >= 0).all(axis=1)).any() for side in ((1, 1), (1, -1), (-1, 1), (-1, -1)))


def _marker_stamps(parameters: PathfinderParameters) -> Floats:
    # A stamp reaches 3 pixels (Lanczos) beyond the disc, and an edge changes the 3 pixels next to it.
    side = min(parameters.window, 2 * (math.ceil(parameters.marker_radius) + 7) + 1)
    return np.stack(
        [np.stack([render_marker(parameters, side, y, x) for x in range(side)]) for y in range(side)], dtype=np.float32
    )


def _scale_down(image: Image.Image, side: int) -> Floats:
    small = image.resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(small).astype(np.float32) / np.float32(255)


def _backwards(angles: Doubles) -> Doubles:
    return np.where(angles < 0, angles + np.pi, angles - np.pi)


def _directions(angles: Iterable[float]) -> Doubles:
    """Unit vectors (N, 2) as (y, x), by the C library: NumPy's sines differ between machines in their last bit."""
    return np.array([(math.sin(angle), math.cos(angle)) for angle in angles])


def _widen(stamps: NDArray, pixels: int) -> NDArray:
    """Zeros on every side of the stamps (N, K, K), so that those of all margins have one size."""
    return np.pad(stamps, ((0, 0), (pixels, pixels), (pixels, pixels)))


def _dilate(images: NDArray, radius: int) -> NDArray:
    """Largest value within ``radius`` in each of the images (N, H, W)."""
    return grey_dilation(images, footprint=_disc(radius)[None], mode="constant", cval=0)


def _disc(radius: int) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return rows**2 + columns**2 <= radius**2


def _stack(arrays: list[NDArray]) -> NDArray:
    """Stack along a new first axis, with zeros at the end of what is shorter."""
    shape = np.max([array.shape for array in arrays], axis=0)
    return np.stack([np.pad(array, [(0, n - m) for n, m in zip(shape, array.shape, strict=True)]) for array in arrays])
