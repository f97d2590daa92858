"""What a sweep has to do, and what came of a cell in a few words."""

from pathlib import Path

from lra_hgrn.results.files import last_line
from lra_hgrn.results.record import FINAL, Record
from lra_hgrn.suite import Job, Suite, is_lost
from lra_hgrn.sweep.launcher import Ended
from lra_hgrn.sweep.process import LOG


def missing(suite: Suite, runs: Path, reseed: int = 0) -> list[Job]:
    """Return the jobs that have no final record, and the further seeds that are due.

    Args:
        suite: the suite.
        runs: folder of its runs.
        reseed: how many further seeds may be tried in the place of one that is lost.

    Raises:
        UserError: a record cannot be read, which is an error and not a missing cell.
    """
    todo = []
    for job in suite.jobs:
        tried = [(one, one.record(runs)) for one in suite.tries(job, runs)]
        todo += [one for one, record in tried if not is_final(record)]
        last, record = tried[-1]
        following = further(suite, last, record, reseed) if is_final(record) else None  # else it goes on itself
        todo += [following] if following is not None else []
    return todo


def further(suite: Suite, job: Job, record: Record | None, reseed: int) -> Job | None:
    """Return the job with the seed to try in the place of one that is lost, or None."""
    if record is None or not is_lost(record) or job.tried >= reseed:
        return None
    return suite.again(job)


def is_final(record: Record | None) -> bool:
    """Tell whether more training cannot change a run."""
    return record is not None and record.status in FINAL


def title(job: Job) -> str:
    """Say which cell a job is."""
    config = job.config
    scale = "" if config.task.scale == "full" else f" ({config.task.scale})"
    return f"{config.model.name} on {config.task.name}{scale}, seed {config.seed}"


def outcome(record: Record | None) -> str:
    """Put the result of one run in a few words."""
    if record is None:
        return "no record"
    if record.scores is None:
        return record.status
    words = f"test accuracy {100 * record.scores.best.accuracy:.2f} %"
    return words if record.status == "finished" else f"{words} ({record.status})"


def failure(ended: Ended, directory: Path) -> str:
    """Say in one sentence why a cell has no result."""
    if ended.trouble:
        return f"{directory.name} failed: {ended.trouble}"
    log = directory / LOG
    said = f"{last_line(log)} (see {log})" if log.is_file() else "it left no log"
    return f"{directory.name} failed (exit {ended.code}): {said}"
