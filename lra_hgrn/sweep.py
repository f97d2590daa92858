"""Run the missing cells of a suite, one process each, so that a cell cannot take the others down with it."""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from lra_hgrn.errors import UserError
from lra_hgrn.progress import bar, read_progress
from lra_hgrn.results.files import last_line
from lra_hgrn.results.record import FINAL, Record
from lra_hgrn.suite import Job, Suite

LOG = "log.txt"


class Stopped(Exception):
    """The sweep was asked to stop; the cell at work has saved its state."""


def missing(suite: Suite, runs: Path) -> list[Job]:
    """Return the jobs that have no final record; a record that cannot be read is an error, not a missing cell."""
    jobs = [(job, job.record(runs)) for job in suite.jobs]
    return [job for job, record in jobs if record is None or record.status not in FINAL]


def sweep(suite: Suite, runs: Path) -> list[str]:
    """Run what is missing and return one sentence for each cell that failed.

    Raises:
        Stopped: on SIGINT or SIGTERM, after the running cell has saved its state.
    """
    todo = missing(suite, runs)
    failures = []
    show = _Display(len(suite.jobs), len(suite.jobs) - len(todo))
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with show:
            for job in todo:
                show.start(job)
                record, failure = _run(job, runs, show)
                failures += [failure] if failure else []
                show.finish(job, record, failure)
    finally:
        signal.signal(signal.SIGTERM, previous)
    return failures


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(job: Job, runs: Path, show: "_Display") -> tuple[Record | None, str | None]:
    directory = job.directory(runs)
    command = ["train", job.model, job.task, *job.words, "--output", str(directory), "--resume"]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        log = (directory / LOG).open("ab")
    except OSError as error:
        raise UserError(f"Cannot write to {directory}: {error.strerror}; choose another --runs.") from None
    with log:
        # A session of its own: Ctrl-C reaches this process only, which passes it on once.
        process = subprocess.Popen(
            [sys.executable, "-m", "lra_hgrn", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                show.follow(directory)
                time.sleep(0.2)
        except KeyboardInterrupt:
            show.note("stopping after this step ...")
            process.send_signal(signal.SIGTERM)
            try:
                process.wait()
            except KeyboardInterrupt:
                process.kill()
                process.wait()
            raise Stopped(f"Stopped in {directory.name}; the same command goes on.") from None
    record = job.record(runs)
    if process.returncode == 0 or (record is not None and record.status in FINAL):
        return record, None
    return record, (
        f"{directory.name} failed (exit {process.returncode}): {last_line(directory / LOG)} (see {directory / LOG})"
    )


def outcome(record: Record) -> str:
    """Put the result of one run in a few words."""
    if record.scores is None:
        return record.status
    words = f"test accuracy {100 * record.scores.best.accuracy:.2f} %"
    return words if record.status == "finished" else f"{words} ({record.status})"


class _Display:
    """One progress display: cells of the suite, and steps of the cell at work."""

    def __init__(self, total: int, done: int) -> None:
        self._live = sys.stderr.isatty()
        self._bar = bar() if self._live else None
        self._total, self._done = total, done
        self._cells: Any = None
        self._steps: Any = None
        self._title = ""

    def __enter__(self) -> "_Display":
        if self._bar is not None:
            self._bar.start()
            self._cells = self._bar.add_task("cells", total=self._total, completed=self._done, note="")
        elif self._done:
            self._say(f"{self._done} of {self._total} cells are done already")
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.console.print(line, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def start(self, job: Job) -> None:
        config = job.config
        scale = "" if config.task.scale == "full" else f" ({config.task.scale})"
        self._title = f"{config.model.name} on {config.task.name}{scale}, seed {config.seed}"
        if self._bar is not None:
            self._steps = self._bar.add_task(self._title, total=None, note="")
        else:
            self._say(f"[{self._done + 1}/{self._total}] {self._title} ...")

    def note(self, text: str) -> None:
        if self._bar is not None:
            self._bar.update(self._steps, note=text)
        else:
            self._say(text)

    def follow(self, directory: Path) -> None:
        state = read_progress(directory)
        if self._bar is not None and state is not None:
            self._bar.update(
                self._steps,
                description=f"{self._title}: {state.phase}",
                completed=state.done,
                total=state.total or None,
                note=state.note,
            )

    def finish(self, job: Job, record: Record | None, failure: str | None) -> None:
        self._done += 1
        result = failure or (outcome(record) if record else "no record")
        if self._bar is not None:
            self._bar.remove_task(self._steps)
            self._bar.update(self._cells, completed=self._done)
        self._say(f"[{self._done}/{self._total}] {self._title}: {result}")


def report_failures(failures: Sequence[str]) -> None:
    """Print what failed, at the end where it is seen."""
    for failure in failures:
        print(f"lra: {failure}", file=sys.stderr)
