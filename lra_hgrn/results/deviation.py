"""How far a measured cell is from the published figure that it stands for, and whether that says anything."""

import math
from collections.abc import Set
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from lra_hgrn.results.departures import is_decisive, sentence
from lra_hgrn.results.published import AVERAGE, Figure
from lra_hgrn.results.stats import LEVEL, Summary, wilson
from lra_tasks.registry import get_card

Verdict = Literal["reproduced", "above", "below", "not comparable"]

_Z = NormalDist().inv_cdf((1 + LEVEL) / 2)  # half-width of a normal 95 % interval, in standard deviations


@dataclass(frozen=True)
class Deviation:
    """A measured cell beside a published figure.

    Attributes:
        verdict: "reproduced" inside the joint interval, else "above" or "below" the published figure; "not comparable"
            where the two do not measure the same thing.
        difference: measured minus published, a share; None where one of the two has no value to compare.
        half_width: of the joint 95 % interval of the difference, a share; None likewise.
        reason: one or more sentences where the verdict needs them, else empty.
    """

    verdict: Verdict
    difference: float | None = None
    half_width: float | None = None
    reason: str = ""


def deviate(
    summary: Summary, total: int, scale: str, codes: Set[str], figure: Figure, *, chance: float | None = None
) -> Deviation:
    """Compare a measured cell with a published figure of the same task.

    The joint interval adds in quadrature, all at 95 %: the measured interval (`lra_hgrn.results.stats.summarise`), on
    the side of the published figure; the sampling noise of the published figure, Wilson's at the task's published test
    size, on the side of the measured one; and the published standard deviation over seeds where one is printed, as of
    one run, since the number of seeds behind a printed mean is not known. It takes the two test samples for
    independent. Where they are the same ones (published files, not generated anew) their noise partly cancels, and the
    interval is conservative: "above" and "below" then hold all the more. Where one seed was run on a side, the noise of
    its training is unknown and not in the interval, which is then too narrow.

    A published failure has no value: a measured cell whose interval does not lie above chance reproduces it, any other
    is above it.

    Args:
        summary: the measured cell over its seeds.
        total: samples in the measured test split.
        scale: scale of the measured task; only "full" is the published size.
        codes: departures of the measured cell, as `lra_hgrn.results.departures.codes` gives them.
        figure: the published figure.
        chance: accuracy of guessing the most frequent class of the test split; None: one over the number of classes.

    Raises:
        ValueError: the figure is an average, which has no test split.
        TaskError: the figure's task is not registered.
    """
    if figure.task == AVERAGE:
        raise ValueError("a cell is compared with a figure of its task, not with an average")
    card = get_card(figure.task)
    if reason := _incomparable(total, card.test, scale, codes, figure):
        return Deviation("not comparable", reason=reason)
    if figure.value is None:
        if summary.low > (1 / card.classes if chance is None else chance):
            return Deviation("above", reason="The published run failed, the measured one is above chance.")
        return Deviation("reproduced", reason="The published run failed, and the measured one is at chance.")
    difference = summary.mean - figure.value
    half_width = _joint(summary, figure.value, figure.sd, card.test)
    if abs(difference) <= half_width:
        return Deviation("reproduced", difference, half_width)
    return Deviation("above" if difference > 0 else "below", difference, half_width)


def _joint(summary: Summary, published: float, sd: float | None, samples: int) -> float:
    """Half-width of the joint interval on the sides that face each other."""
    correct = round(published * samples)
    low, high = wilson(correct, samples)
    share = correct / samples
    upwards = published >= summary.mean
    measured = summary.high - summary.mean if upwards else summary.mean - summary.low
    sampling = share - low if upwards else high - share
    return math.hypot(measured, sampling, _Z * (sd or 0.0))


def _incomparable(total: int, published_total: int, scale: str, codes: Set[str], figure: Figure) -> str:
    """Say why the two do not measure the same thing, or nothing if they do."""
    reasons = []
    if not figure.usable:
        reasons.append(f"The published figure is {figure.seen}.")
    if scale != "full":
        reasons.append(f"Measured at scale {scale}, published at full size.")
    elif total != published_total:
        reasons.append(f"Measured on {total:,} test samples, published on {published_total:,}.")
    for side, here, there in (("measured", codes, figure.departures), ("published", figure.departures, codes)):
        alone = sorted(code for code in here - there if is_decisive(code))
        if alone:
            reasons.append(f"Only the {side} one: {' '.join(map(sentence, alone))}")
    return " ".join(reasons)
