"""The few statistics a table needs: intervals, spread over seeds, and a test against chance.

Accuracies are shares in [0, 1] everywhere; only renderers turn them into percent.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

LEVEL = 0.95


def wilson(correct: int, total: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of ``correct / total`` (Wilson 1927, JASA 22:209)."""
    interval = stats.binomtest(correct, total).proportion_ci(LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def above_chance(correct: int, total: int, chance: float) -> bool:
    """Return whether ``correct`` of ``total`` is more than guessing the most frequent class would give.

    An exact one-sided binomial test at 2.5 %, the lower side of a 95 % interval. It can disagree with the printed
    Wilson interval only where chance lies almost on the interval's lower end.
    """
    return bool(stats.binomtest(correct, total, chance, alternative="greater").pvalue < (1 - LEVEL) / 2)


@dataclass(frozen=True)
class Summary:
    """Test accuracy of one cell over its seeds."""

    mean: float
    sd: float | None  # sample standard deviation (n - 1); None for one seed
    seeds: int
    low: float
    high: float


def summarise(scores: Sequence[tuple[int, int]]) -> Summary:
    """Summarise one (correct, total) for each seed, all on the same test samples.

    The interval of the mean adds two independent kinds of noise in quadrature: the t interval over seeds
    (training) and the Wilson interval of the mean accuracy at the size of the test split (sampling; the seeds
    share the test samples, so averaging does not shrink it). It is therefore never narrower than the test split
    allows, even where all seeds agree. With one seed the noise of training is unknown and the interval is
    Wilson's alone.

    Raises:
        ValueError: no scores, or seeds that were tested on different numbers of samples.
    """
    totals = {total for _, total in scores}
    if len(totals) != 1:
        raise ValueError(f"seeds of one cell must share one test split, not test sizes {sorted(totals)}")
    total, n = totals.pop(), len(scores)
    accuracies = [correct / total for correct, _ in scores]
    mean = statistics.fmean(accuracies)
    low, high = wilson(round(mean * total), total)
    if n == 1:
        return Summary(mean, None, 1, low, high)
    sd = statistics.stdev(accuracies)
    training = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * sd / math.sqrt(n)
    below, above = math.hypot(training, mean - low), math.hypot(training, high - mean)
    return Summary(mean, sd, n, max(0.0, mean - below), min(1.0, mean + above))
