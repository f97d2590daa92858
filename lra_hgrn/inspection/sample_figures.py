"""Figures of what one decision depends on: bars and coloured symbols of a sequence, heat over an image."""

from functools import cache
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from lra_hgrn.inspection.figures import ACCENT, OTHER
from lra_hgrn.inspection.record import Document, Sample
from lra_hgrn.results.figures import PERCENT, STYLE, WIDTH
from lra_tasks.pixels import gray_pillow
from lra_tasks.show import as_bytes

COLUMNS = 108  # characters of a line
LINES = 6
BARS = 240
FONT = "DejaVu Sans Mono"  # comes with matplotlib

_SIGNS = {"\n": "↵", "\t": "→", "<eos>": "∎", "<unk>": "�", "<pad>": "␀"}

Symbols = list[str] | None


def sample_caption(sample: Sample, model: str, task: str, split: str, image: bool) -> str:
    """Say what the figure of a sample shows."""
    where = "colour on the pixels" if image else "height of the bars and colour of the symbols"
    right = "rightly" if sample.predicted == sample.label else f"where {sample.label} is right"
    rates = [f"{document.agreement:.2f}" for document in sample.documents if document.agreement is not None]
    check = f" The two agree at a rank correlation of {' and '.join(rates)}." if rates else ""
    return (
        f"{model} on {task}, sample {sample.index} of {split}, taken for class {sample.predicted}, {right}: share of "
        f"each position in all |gradient × input| of that class's logit ({where}), and how far the logit falls when "
        f"the embedding of a window is zero (occlusion).{check}"
    )


def sequence_figure(sample: Sample, symbols: list[Symbols], values: list[np.ndarray]) -> Figure:
    """Draw a sample of one or two sequences.

    Args:
        symbols: of each document, one for each position, as `LRATask.symbols`; None: the document has values.
        values: the documents themselves.
    """
    shares = _shares(sample)
    symbols = [None if words is None else [_visible(word) for word in words] for words in symbols]
    excerpts = [None if words is None else _excerpt(part, words) for part, words in zip(shares, symbols, strict=True)]
    heights = [2.5 + (0.8 if lines is None else 0.4 + 0.19 * len(lines)) for lines in excerpts]
    titles = ["First document. ", "Second document. "] if len(shares) == 2 else [""]
    top = max(part.max(initial=0) for part in shares) or 1
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
        parts = figure.subfigures(len(shares), 1, squeeze=False, height_ratios=heights)[:, 0]
        for part, *each in zip(parts, titles, sample.documents, shares, symbols, values, excerpts, strict=True):
            _draw_document(part, top, *each)
        return figure


def image_figure(sample: Sample, images: list[np.ndarray]) -> Figure:
    """Draw a sample of one or two images as they are, and under both kinds of heat.

    Args:
        images: (side, side) gray values each, or (side, side, 3) of RGB.
    """
    images = [as_bytes(image) if image.ndim == 3 else image for image in images]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.5 * len(images)), layout="constrained")
        grid = figure.subplots(len(images), 3, squeeze=False)
        for (plain, left, right), image, document, shares in zip(
            grid, images, sample.documents, _shares(sample), strict=True
        ):
            side = len(image)
            cells = -(-side // document.window)
            falls = np.array(document.occlusion).reshape(cells, cells)
            falls = falls.repeat(document.window, 0).repeat(document.window, 1)[:side, :side]
            plain.imshow(image, cmap="gray", interpolation="nearest")
            left.imshow(_heated(image, shares.reshape(side, side)), interpolation="nearest")
            right.imshow(_heated(image, falls), interpolation="nearest")
            top, far = 100 * shares.max(), np.abs(falls).max()
            width = document.window
            for axes, title, note in (
                (plain, "Image", ""),
                (left, "Gradient × input, share of each pixel", f"full colour: {top:.2g} %"),
                (
                    right,
                    f"Occlusion of {width} × {width} pixels",
                    f"full colour: the logit falls (blue: rises) by {far:.2g}",
                ),
            ):
                axes.set_title(title)
                axes.set_xlabel(note)
                axes.set_xticks([])
                axes.set_yticks([])
                axes.spines[:].set_visible(False)
        return figure


def _shares(sample: Sample) -> list[np.ndarray]:
    """Return |gradient × input| of each document's positions, over the sum of all."""
    sizes = [np.abs(document.gradient) for document in sample.documents]
    return [values / (sum(map(np.sum, sizes)) or 1) for values in sizes]


def _heated(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lay heat over a pale gray image: orange where it is positive, blue where negative, (side, side, 3)."""
    gray = gray_pillow(image) if image.ndim == 3 else image
    gray = gray.astype(float) - gray.min()
    gray /= gray.max() or 1
    # The ground of a dark image becomes white, as paper: heat does not show on black.
    gray = 0.7 + 0.3 * (1 - gray if np.median(gray) < 0.5 else gray)
    weight = (np.abs(heat) / (np.abs(heat).max() or 1))[..., None]
    colors = np.where((heat >= 0)[..., None], to_rgb(ACCENT), to_rgb(OTHER))
    return (1 - weight) * gray[..., None] + weight * colors


def _draw_document(
    part: SubFigure,
    top: float,
    title: str,
    document: Document,
    shares: np.ndarray,
    symbols: Symbols,
    values: np.ndarray,
    lines: list[tuple[int, int]] | None,
) -> None:
    last = 0.8 if lines is None else 0.1 + 0.19 * len(lines)
    gradient, occluded, below = part.subplots(3, 1, height_ratios=(1.0, 0.8, last))
    length = document.length
    size = -(-max(1, length) // BARS)
    starts = np.arange(0, length, size)
    if length:
        _bars(gradient, starts, size, length, np.add.reduceat(shares, starts), "#444444")
    each = "of each position" if size == 1 else f"of {size} positions each"
    gradient.set_title(f"{title}Gradient × input, share {each}")
    gradient.yaxis.set_major_formatter(PERCENT)
    falls = np.array(document.occlusion)
    places = np.arange(len(falls)) * document.window
    _bars(occluded, places, document.window, length, falls, np.where(falls >= 0, ACCENT, OTHER))
    occluded.axhline(0, color="black", linewidth=0.6)
    each = "one position" if document.window == 1 else f"{document.window} positions"
    occluded.set_title(f"Occlusion of {each}, fall of the logit")
    for axes in (gradient, occluded):
        axes.set_xlim(-0.5, max(1, length) - 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.grid(axis="x", visible=False)
    if symbols is None or lines is None:
        below.plot(values, color="black", linewidth=0.8)
        below.set_xlim(-0.5, max(1, length) - 0.5)
        below.set_title("Values")
        return
    first, end = (lines[0][0], lines[-1][1]) if lines else (0, 0)
    whole = first == 0 and end == length
    below.set_title("The symbols, coloured by share" if whole else f"Symbols {first} to {end - 1} (grey above)")
    if not whole:
        for axes in (gradient, occluded):
            axes.axvspan(first - 0.5, end - 0.5, color="#eeeeee", zorder=0)
    _draw_lines(below, symbols, shares / top, lines)


def _bars(axes: Axes, starts: np.ndarray, size: int, length: int, heights: np.ndarray, color: object) -> None:
    widths = np.minimum(size, length - starts)
    axes.bar(starts - 0.5, heights, width=widths, align="edge", color=color, linewidth=0)


def _excerpt(shares: np.ndarray, symbols: list[str]) -> list[tuple[int, int]]:
    """Break symbols into lines; of more lines than are drawn, take those one after the other with the largest share."""
    lines, start, used = [], 0, 0
    for place, width in enumerate(_widths(symbols)):
        if used + width > COLUMNS and place > start:
            lines.append((start, place))
            start, used = place, 0
        used += width
    if symbols:
        lines.append((start, len(symbols)))
    if len(lines) <= LINES:
        return lines
    sums = np.array([shares[first:end].sum() for first, end in lines])
    best = int(np.convolve(sums, np.ones(LINES), mode="valid").argmax())
    return lines[best : best + LINES]


def _widths(symbols: list[str]) -> list[int]:
    """Return the columns of each symbol; where there are words among them, a blank follows every one."""
    blank = any(len(symbol) > 1 for symbol in symbols)
    return [len(symbol) + blank for symbol in symbols]


def _draw_lines(axes: Axes, symbols: list[str], shades: np.ndarray, lines: list[tuple[int, int]]) -> None:
    widths = [float(width) for width in _widths(symbols)]
    if len(symbols) * max(widths, default=0) <= COLUMNS:  # each symbol stands under its bars
        widths = [COLUMNS / len(symbols) for _ in symbols]
    axes.set_xlim(0, COLUMNS)
    axes.set_ylim(max(1, len(lines)), 0)
    axes.set_axis_off()
    unseen: dict[str, Any] = {"in_layout": False}  # of thousands of artists none can move the axes
    style: dict[str, Any] = {"family": FONT, "fontsize": 8, "ha": "center", "va": "center", "clip_on": True, **unseen}
    for row, (first, end) in enumerate(lines):
        column = 0.0
        for place in range(first, end):
            width, shade = widths[place], float(shades[place])
            axes.add_patch(Rectangle((column, row), width, 0.92, color=ACCENT, alpha=shade, linewidth=0, **unseen))
            axes.text(column + width / 2, row + 0.48, _drawable(symbols[place]), **style)
            column += width


def _visible(symbol: str) -> str:
    """Return something to see for what is blank or a control character."""
    symbol = _SIGNS.get(symbol, symbol)
    return symbol if symbol.isprintable() else "·"


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(font_manager.get_font(font_manager.findfont(FONT)).get_charmap())


def _drawable(text: str) -> str:
    """Replace what the font has no glyph for."""
    return "".join(character if ord(character) in _glyphs() else "□" for character in text)
