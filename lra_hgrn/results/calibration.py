"""Calibration: whether a classifier is right as often as its confidence says (Guo et al. 2017, arXiv 1706.04599)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lra_hgrn.results.predictions import Predictions

BINS = 15  # as in their table 1


@dataclass(frozen=True)
class Bin:
    """The predictions whose confidence lies in (low, high]; the first bin holds 0 as well."""

    low: float
    high: float
    count: int
    accuracy: float | None  # share that is right; None in an empty bin
    confidence: float | None  # mean


def reliability(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> list[Bin]:
    """Sort predictions into bins of equal width by their confidence: the bars of a reliability diagram.

    Args:
        confidence: (n,) in [0, 1], probability of the predicted class.
        correct: (n,) bool, whether that class is the label.
        bins: number of bins, at least 1.

    Returns:
        The bins from 0 to 1, empty ones too.

    Raises:
        ValueError: the arrays are not (n,) alike, or a confidence lies outside [0, 1].
    """
    # In float64: the edges of bins are not numbers of half precision.
    shares, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=bool)
    if shares.ndim != 1 or shares.shape != right.shape:
        raise ValueError(f"confidence has shape {shares.shape} and correct {right.shape}, not both (n,)")
    if not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError("confidence must lie between 0 and 1")
    edges = np.linspace(0, 1, bins + 1)
    index = np.maximum(np.searchsorted(edges, shares, side="left") - 1, 0)
    counts, rights, sums = (np.bincount(index, weights=values, minlength=bins) for values in (None, right, shares))
    return [
        Bin(float(low), float(high), int(n), float(hits / n) if n else None, float(total / n) if n else None)
        for low, high, n, hits, total in zip(edges, edges[1:], counts, rights, sums, strict=False)
    ]


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """Return the mean distance of accuracy and confidence over bins, weighted by their counts (equation 3 there).

    Raises:
        ValueError: every bin is empty.
    """
    total = sum(item.count for item in bins)
    if total == 0:
        raise ValueError("there are no predictions to measure the calibration of")
    gaps = (
        item.count * abs(item.accuracy - item.confidence)
        for item in bins
        if item.accuracy is not None and item.confidence is not None
    )
    return sum(gaps) / total


def reliability_of(predictions: Predictions) -> list[Bin] | None:
    """Return the bins of a run's best checkpoint on the test split; None where the run kept no confidences."""
    if predictions.confidence is None:
        return None
    return reliability(predictions.confidence, predictions.best == predictions.labels)
