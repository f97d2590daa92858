"""Images that a model gets wrong, as a contact sheet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from lra_hgrn.results.figures.style import STYLE, WIDTH
from lra_hgrn.results.predictions import Predictions

SHOWN = 8  # images a model
_ROOM = 0.45  # inches of a row for its words


@dataclass(frozen=True)
class Mistake:
    """One test sample that the best checkpoint gets wrong."""

    index: int
    label: int
    predicted: int
    confidence: float | None


def mistakes_of(predictions: Predictions, count: int = SHOWN) -> list[Mistake]:
    """Return ``count`` wrong predictions, the surest first; the first ones where no confidence is known."""
    wrong = np.flatnonzero(predictions.best != predictions.labels)
    confidence = predictions.confidence
    if confidence is not None:
        wrong = wrong[np.argsort(-confidence[wrong].astype(np.float64), kind="stable")]
    return [
        Mistake(
            int(i),
            int(predictions.labels[i]),
            int(predictions.best[i]),
            None if confidence is None else float(confidence[i]),
        )
        for i in wrong[:count]
    ]


def contact_sheet(
    mistakes: Mapping[str, Sequence[tuple[Mistake, np.ndarray]]], titles: Mapping[str, str], classes: Sequence[str]
) -> Figure | None:
    """Draw the mistakes of each model in a row.

    Args:
        mistakes: by model, each with its image, (side, side) gray values.
        titles: by model, the line above its row.
        classes: what each class is called.

    Returns:
        None where no model makes a mistake.
    """
    rows = {model: found for model, found in mistakes.items() if found}
    if not rows:
        return None
    side = WIDTH / SHOWN
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, (side + _ROOM) * len(rows)), layout="constrained")
        parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
        for part, (model, found) in zip(parts, rows.items(), strict=True):
            part.suptitle(titles[model], x=0.008, ha="left", fontsize=9)
            for axes, item in zip(part.subplots(1, SHOWN), [*found, *[None] * (SHOWN - len(found))], strict=True):
                axes.set_axis_off()
                if item is None:
                    continue
                mistake, image = item
                axes.imshow(image, cmap="gray", interpolation="none")  # vector formats keep the pixels
                sure = "" if mistake.confidence is None else f", {100 * mistake.confidence:.0f} %"
                said = f"{classes[mistake.predicted]}{sure}"
                axes.set_title(f"no. {mistake.index}\n{said}", fontsize=7, loc="left")
        return figure
