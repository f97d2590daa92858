"""The gate: run a suite's cells, judge them, and say what is worse; or write the baseline anew."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lra_hgrn.bench.runner import Runner
from lra_hgrn.errors import UserError
from lra_hgrn.gate import judge, yardstick
from lra_hgrn.gate.baseline import SCHEMA, Baseline, CellBaseline, packed
from lra_hgrn.gate.judge import Finding
from lra_hgrn.gate.measure import Measured, measure, measure_yardstick, other_backends, pace, prepare_data
from lra_hgrn.gate.trees import Tree, this_tree, tree_of
from lra_hgrn.results.cells import Key
from lra_hgrn.suite import Job, Suite
from lra_hgrn.training import environment

Progress = Callable[[int, str], None]


@dataclass(frozen=True)
class Outcome:
    """All findings on a suite."""

    suite: str
    against: str  # what speed was compared with
    findings: list[Finding]

    @property
    def regressions(self) -> list[Finding]:
        return [one for one in self.findings if one.verdict == "regression"]


def check(
    suite: Suite,
    baseline: Baseline,
    ref: str | None,
    output: Path,
    progress: Progress,
    slower: float = judge.SPEED,
) -> Outcome:
    """Run each cell of a suite with its first seed, and judge it.

    Args:
        suite: the cells.
        baseline: what they are judged by.
        ref: commit beside which speed and memory are measured; None: beside the yardstick, and judged by the baseline.
        output: folder of the runs.
        progress: called with the number of cells done, and the one at work.
        slower: share by which a step may take longer than that commit's.

    Raises:
        UserError: a cell is not in the baseline with the same options, or the other commit cannot be had.
    """
    jobs = _first_seeds(suite)
    for job in jobs:
        before = baseline.cell(job.key)
        if before is None or before.identity != job.identity:
            what = "is not in the baseline" if before is None else "has other options than in the baseline"
            raise UserError(f"{job.key.model} on {job.key.task} {what}: write a new one with --update REASON.")
    with nullcontext() if ref is None else tree_of(ref) as other:
        measured = list(_measure(jobs, output, other, progress))
    against = "the yardstick" if other is None else other.name
    return Outcome(suite.name, against, _judge(measured, baseline, other, slower))


def update(suite: Suite, reason: str, output: Path, progress: Progress) -> Baseline:
    """Run all cells with all their seeds, and return what is to be the baseline.

    Raises:
        UserError: a cell failed.
    """
    measured = []
    for one in _measure(suite.jobs, output, None, progress):
        if one.failure:
            raise UserError(f"{_title(one.job)} failed, and no baseline was written: {one.failure}.")
        measured.append(one)
    cells = [_baseline([one for one in measured if one.job.key == key]) for key in suite.keys]
    record = measured[0].record
    assert record is not None
    return Baseline(
        schema=SCHEMA,
        suite=suite.name,
        reason=reason,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=environment.git_commit(),
        device=record.device.name,
        threads=record.device.threads,
        versions=record.versions,
        yardstick=yardstick.VERSION,
        cells=cells,
    )


def _first_seeds(suite: Suite) -> list[Job]:
    first: dict[Key, Job] = {}
    for job in suite.jobs:
        first.setdefault(job.key, job)
    return list(first.values())


def _title(job: Job) -> str:
    return f"{job.key.model} on {job.key.task}, seed {job.config.seed}"


def _measure(jobs: Sequence[Job], output: Path, other: Tree | None, progress: Progress) -> Iterator[Measured]:
    def opponent(job: Job, logs: Path) -> Runner:
        if other is None:
            return measure_yardstick(job, logs)
        return pace(job, logs / "other", logs / "other.log", other)

    here = this_tree()
    seen: set[str] = set()
    for done, job in enumerate(jobs):
        progress(done, _title(job))
        own = environment.kernel_backend(environment.compute_device(job.config.train.accelerator))
        backends = other_backends(job, own) if job.key.model not in seen else []  # once for each model
        seen.add(job.key.model)
        prepare_data(job, here)
        yield measure(job, output / "runs", here, opponent, backends)
    progress(len(jobs), "")


def _judge(measured: Sequence[Measured], baseline: Baseline, other: Tree | None, slower: float) -> list[Finding]:
    findings, whole = [judge.judge_run(one) for one in measured if one.failure], []
    for one in measured:
        before = baseline.cell(one.job.key)
        assert before is not None
        if one.failure:
            continue
        elsewhere = judge.judge_data(one, before)
        if elsewhere is not None:
            findings.append(elsewhere)
        else:
            whole.append((one, before))
    findings += judge.judge_accuracy(whole)
    for one, before in whole:
        findings += judge.judge_losses(one, before)
    if other is not None:
        findings += judge.judge_speed([one for one, _ in whole], other.name, slower)
        findings += [judge.judge_memory(one, one.race.other_peak if one.race else None, other.name) for one, _ in whole]
    else:
        findings += [judge.judge_calibrated(one, before, baseline) for one, before in whole]
        findings += [judge.judge_stored_memory(one, before, baseline) for one, before in whole]
    return findings


def _baseline(measured: Sequence[Measured]) -> CellBaseline:
    """Put the seeds of one cell together."""
    first = measured[0]
    answers = [one.correct for one in measured if one.correct is not None]
    races = [one.race for one in measured if one.race is not None]
    assert first.record is not None
    assert first.record.data_fingerprint is not None
    return CellBaseline(
        **first.job.key._asdict(),
        identity=first.job.identity,
        fingerprint=first.record.data_fingerprint,
        samples=len(answers[0]),
        seeds=[one.job.config.seed for one in measured],
        answers=[packed(correct) for correct in answers],
        losses=first.losses,
        yardsticks=[judge.interval(race.ratios)[0] for race in races if race.ratios],
        peaks=[race.peak for race in races if race.peak is not None],
    )
