"""Judge what was measured against the baseline, or against the other commit it was measured beside."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from lra_hgrn.gate import yardstick
from lra_hgrn.gate.baseline import Baseline, CellBaseline
from lra_hgrn.gate.measure import Measured
from lra_hgrn.results.cells import Key
from lra_hgrn.results.paired import PairedTest, compare, holm
from lra_hgrn.results.stats import LEVEL
from lra_hgrn.results.tables.table import binary, percent, points

ALPHA = 0.01  # nominal chance that a drop of accuracy is reported by mistake, over all cells of a suite together
# Of the first losses. Other vector instructions, another mode of the matrix library and another number of threads moved
# those of ten float32 steps by at most 2e-7 (measured on six cells of the suite `regression`).
TOLERANCE = 1e-5
SPEED = 0.05  # share by which a step may take longer than the other commit's, measured in turns on this machine
CALIBRATED = 0.35  # the same where both are known over the yardstick only, from two runs on machines of one kind
ELSEWHERE = 1.0  # the same on machines of two kinds; of memory, too
MEMORY = 0.10  # share by which training may take more memory
SLACK = 16 * 2**20  # bytes of memory that are never judged: what an allocator rounds up

Kind = Literal["run", "data", "accuracy", "first losses", "speed", "memory"]
Verdict = Literal["passed", "regression", "not judged"]
OVERALL = "all tasks"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One judgement on one cell, or on one model over all tasks."""

    kind: Kind
    task: str
    scale: str
    model: str
    verdict: Verdict
    text: str  # one sentence: before, now, and the evidence
    values: dict[str, float | int | str | None] = field(default_factory=dict)  # the same as numbers


def judge_run(one: Measured) -> Finding:
    """A cell whose training failed."""
    return _finding("run", one.job.key, "regression", f"the run failed: {one.failure}")


def judge_data(one: Measured, before: CellBaseline) -> Finding | None:
    """The samples are others than the baseline's: nothing else can be compared."""
    if one.record is not None and one.record.data_fingerprint == before.fingerprint:
        return None
    text = "the data are others than the baseline's, which a task's version or --update has to say"
    return _finding("data", one.job.key, "regression", text)


def judge_accuracy(cells: Sequence[tuple[Measured, CellBaseline]]) -> list[Finding]:
    """Test each cell for a drop, with Holm's correction over the cells.

    The test is one-sided, that of `lra_hgrn.results.paired.compare` on the same test samples: one new seed, or more,
    against the baseline's seeds, so that the noise of training is in it. Simulated for 12 cells of 2,000 samples, one
    new seed against five and an sd over seeds of 0.3, 1 and 3 points, a check without any change failed in 0.4, 2.4 and
    3.2 % of 250 cases each, where 1 % is nominal.
    """
    tests = [compare(one.correct[None], before.correct) for one, before in cells if one.correct is not None]
    adjusted = holm([_one_sided(test) for test in tests])
    found = []
    for (one, before), test, p in zip(cells, tests, adjusted, strict=True):
        assert one.correct is not None
        was, now = float(before.correct.mean()), float(one.correct.mean())
        same = bool((before.correct == one.correct).all(axis=1).any())
        text = (
            f"accuracy {percent(now)} % against {percent(was)} % over {len(before.seeds)} seeds, "
            f"{points(test.difference)} points, p = {p:.2g} ({test.method}, one-sided, Holm over {len(tests)} cells)"
        )
        values = {"now": now, "before": was, "difference": test.difference, "p": p, "method": test.method}
        verdict: Verdict = "regression" if p < ALPHA else "passed"
        values["equal"] = "sample by sample" if same else "no"
        found.append(_finding("accuracy", one.job.key, verdict, text, values))
    return found


def judge_losses(one: Measured, before: CellBaseline) -> list[Finding]:
    """Hold the losses of the first steps, which no noise has reached yet, to the baseline's, backend by backend."""
    found = []
    for backend, wanted in before.losses.items():
        losses = one.losses.get(backend)
        if losses is None:
            text = f"the first losses of the {backend} backend, which cannot run here"
            found.append(_finding("first losses", one.job.key, "not judged", text, {"backend": backend}))
            continue
        off = [
            abs(a - b) / max(abs(b), 1e-6) if math.isfinite(a) else math.inf
            for a, b in zip(losses, wanted, strict=True)
        ]
        worst = int(np.argmax(off))
        verdict: Verdict = "regression" if off[worst] > TOLERANCE else "passed"
        text = (
            f"loss {losses[worst]:.6g} in step {worst + 1} of the {backend} backend against {wanted[worst]:.6g}, "
            f"{off[worst]:.1e} off where {TOLERANCE:g} are allowed"
        )
        values = {"backend": backend, "off": off[worst], "step": worst + 1}
        found.append(_finding("first losses", one.job.key, verdict, text, values))
    return found


def judge_speed(races: Sequence[Measured], against: str, allowed: float) -> list[Finding]:
    """Compare the time of a step with that of another commit, measured in turns: each cell, and each model over all.

    A regression is an interval that lies wholly above 1 + ``allowed``.
    """
    found: list[Finding] = []
    by_model: dict[str, list[list[float]]] = {}
    for one in races:
        assert one.race is not None
        if one.race.problem:
            found.append(_finding("speed", one.job.key, "not judged", f"{against} does not run it: {one.race.problem}"))
            continue
        found.append(_speed(one.job.key, one.race.ratios, against, 1.0, allowed))
        by_model.setdefault(one.job.key.model, []).append(one.race.ratios)
    for model, ratios in by_model.items():
        if len(ratios) > 1:
            shortest = min(map(len, ratios))
            together = np.exp(np.mean([np.log(one[:shortest]) for one in ratios], axis=0)).tolist()
            found.append(_speed(Key(OVERALL, "", model), together, against, 1.0, allowed))
    return found


def judge_calibrated(one: Measured, before: CellBaseline, baseline: Baseline) -> Finding:
    """Compare the time of a step over the yardstick's, measured in turns, with the same ratio in the baseline."""
    assert one.race is not None
    if one.race.problem or not before.yardsticks:
        return _finding("speed", one.job.key, "not judged", f"no time over the yardstick: {one.race.problem}")
    if baseline.yardstick != yardstick.VERSION:
        return _finding("speed", one.job.key, "not judged", "the baseline was measured with another yardstick")
    same = _alike(one, baseline)
    against = f"the baseline{'' if same else ', made on another kind of machine'}, both over the yardstick's"
    unit = float(np.median(before.yardsticks))
    return _speed(one.job.key, one.race.ratios, against, unit, CALIBRATED if same else ELSEWHERE)


def judge_stored_memory(one: Measured, before: CellBaseline, baseline: Baseline) -> Finding:
    """Compare the memory that training takes with the most that any seed of the baseline took."""
    same = _alike(one, baseline)
    against = f"the baseline{'' if same else ', made on another kind of machine'}"
    return judge_memory(one, max(before.peaks, default=None), against, MEMORY if same else ELSEWHERE)


def judge_memory(one: Measured, before: int | None, against: str, allowed: float = MEMORY) -> Finding:
    """Compare the memory that training takes at most with ``before``, in bytes."""
    now = None if one.race is None else one.race.peak
    if now is None or before is None:
        return _finding("memory", one.job.key, "not judged", f"memory is not known, here or of {against}")
    more = now > (1 + allowed) * before + SLACK
    text = (
        f"training takes {binary(now)} at most against {binary(before)} of {against}; "
        f"{allowed:.0%} and {binary(SLACK)} more are allowed"
    )
    return _finding("memory", one.job.key, "regression" if more else "passed", text, {"now": now, "before": before})


def interval(ratios: Sequence[float], *, resamples: int = 10_000, seed: int = 0) -> tuple[float, float, float]:
    """Return the median of ratios measured in turns, and the 95 % percentile bootstrap interval of it.

    The turns are drawn anew. It says how far the median would move in other turns of the same processes; that two
    processes of one program differ by some per cent (where their memory came to lie) is not in it. Simulated with 6 to
    12 turns whose logarithms are normal, of heavy tails (t with 2 degrees of freedom) or with outliers upwards, it held
    the true median in 90 to 95 % of 600 cases each.
    """
    logs = np.log(ratios)
    drawn = np.random.default_rng(seed).integers(len(logs), size=(resamples, len(logs)))
    low, high = np.quantile(np.median(logs[drawn], axis=1), ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return math.exp(float(np.median(logs))), math.exp(float(low)), math.exp(float(high))


def _speed(key: Key, ratios: Sequence[float], against: str, unit: float, allowed: float) -> Finding:
    middle, low, high = (value / unit for value in interval(ratios))
    verdict: Verdict = "regression" if low > 1 + allowed else "passed"
    text = (
        f"a step takes {middle:.3f} × the time of {against} [{low:.3f}, {high:.3f}] over {len(ratios)} turns; "
        f"the interval may not lie above {1 + allowed:g}"
    )
    values = {"ratio": middle, "low": low, "high": high, "turns": len(ratios), "allowed": 1 + allowed}
    return _finding("speed", key, verdict, text, values)


def _alike(one: Measured, baseline: Baseline) -> bool:
    """Whether the cell ran on the kind of machine that the baseline was made on."""
    assert one.record is not None
    device = one.record.device
    return (device.name, device.threads) == (baseline.device, baseline.threads)


def _one_sided(test: PairedTest) -> float:
    """The chance of so large a drop, or a larger one, between equals."""
    return test.p / 2 if test.difference < 0 else 1 - test.p / 2


def _finding(kind: Kind, key: Key, verdict: Verdict, text: str, values: dict | None = None) -> Finding:
    return Finding(
        kind=kind, task=key.task, scale=key.scale, model=key.model, verdict=verdict, text=text, values=values or {}
    )
