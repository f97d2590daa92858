"""Progress of a run: a bar on a terminal, lines in a log, and ``progress.json`` for whoever watches from outside."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

FILE = "progress.json"


@dataclass
class State:
    """What a run is doing: phase ("data", "train", "test"), units done and in all, and a note for people."""

    phase: str = "start"
    done: int = 0
    total: int = 0
    note: str = ""


class RateColumn(ProgressColumn):
    """Units a second."""

    def render(self, task: Task) -> Text:
        return Text("" if not task.speed else f"{task.speed:.3g}/s")


def bar(console: Console | None = None) -> Progress:
    """Make the one style of progress bar of the command line: description, bar, count, rate, times, note."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console or Console(stderr=True),
    )


@contextmanager
def counter(title: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """Show how many of ``total`` pieces are done: the function that is given takes their number and the next one."""
    if not sys.stderr.isatty():
        yield lambda done, note: print(f"{title}: {done}/{total} {note}".rstrip(), file=sys.stderr, flush=True)
        return
    with bar() as shown:
        row = shown.add_task(title, total=total, note="")
        yield lambda done, note: shown.update(row, completed=done, note=note)


class Reporter:
    """Report the progress of one run; use as a context manager."""

    SECONDS_BETWEEN_WRITES = 0.5
    SECONDS_BETWEEN_LINES = 30.0

    def __init__(self, directory: Path, title: str) -> None:
        self.path = directory / FILE
        self.title = title
        self.state = State()
        self._bar = bar() if sys.stderr.isatty() else None
        self._task: Any = None
        self._written = self._printed = -1e9

    def __enter__(self) -> "Reporter":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        for path in (self.path, self.path.with_suffix(".tmp")):
            with suppress(OSError):  # what is wrong with the folder has been said, or will be
                path.unlink(missing_ok=True)

    def update(self, phase: str, done: int, total: int, note: str | None = None) -> None:
        """Tell that ``done`` of ``total`` units of a phase are finished."""
        new_phase = phase != self.state.phase
        self.state = State(phase, done, total, self.state.note if note is None else note)
        if self._bar is not None:
            if new_phase:
                if self._task is not None:
                    self._bar.stop_task(self._task)
                self._task = self._bar.add_task(f"{self.title}: {phase}", total=total, note="", completed=done)
            self._bar.update(self._task, completed=done, total=total, note=self.state.note)
        now = time.monotonic()
        if new_phase or now - self._written >= self.SECONDS_BETWEEN_WRITES:
            self._written = now
            temporary = self.path.with_suffix(".tmp")
            temporary.write_text(json.dumps(asdict(self.state)))
            os.replace(temporary, self.path)
        if self._bar is None and (new_phase or done == total or now - self._printed >= self.SECONDS_BETWEEN_LINES):
            self._printed = now
            print(f"{self.title}: {phase} {done}/{total} {self.state.note}".rstrip(), file=sys.stderr, flush=True)


class Silent(Reporter):
    """Report nothing: another process of the run does."""

    def __init__(self) -> None: ...

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *error: object) -> None: ...

    def update(self, phase: str, done: int, total: int, note: str | None = None) -> None: ...


def read_progress(directory: Path) -> State | None:
    """Return the state of a run that another process is working on, or None if it has none."""
    try:
        return State(**json.loads((directory / FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None
