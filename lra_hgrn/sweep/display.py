"""Progress of a sweep: its cells, and the steps of each cell at work."""

import sys
from pathlib import Path
from typing import Any

from lra_hgrn.progress import bar, read_progress
from lra_hgrn.results.record import Record
from lra_hgrn.suite import Job
from lra_hgrn.sweep.cells import outcome, title


class Display:
    """Bars on a terminal, else lines; use as a context manager."""

    def __init__(self, total: int, done: int) -> None:
        self._bar = bar() if sys.stderr.isatty() else None
        self._total, self._done, self._started = total, done, done
        self._cells: Any = None
        self._rows: dict[str, Any] = {}  # of the cells that have been seen at work

    def __enter__(self) -> "Display":
        if self._bar is not None:
            self._bar.start()
            self._cells = self._bar.add_task("cells", total=self._total, completed=self._done, note="")
        elif self._done:
            self.say(f"{self._done} of {self._total} cells are done already")
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        if self._bar is not None:
            self._bar.console.print(line, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Tell what the whole sweep is doing."""
        if self._bar is not None:
            self._bar.update(self._cells, note=text)
        elif text:
            self.say(text)

    def more(self) -> None:
        """Count one cell more: a further seed."""
        self._total += 1
        if self._bar is not None:
            self._bar.update(self._cells, total=self._total)

    def start(self, job: Job) -> None:
        """Show a cell as being at work; does nothing if it is shown already."""
        if job.name in self._rows:
            return
        self._started += 1
        row = self._bar.add_task(title(job), total=None, note="") if self._bar is not None else None
        self._rows[job.name] = row
        if row is None:
            self.say(f"[{self._started}/{self._total}] {title(job)} ...")

    def follow(self, job: Job, directory: Path) -> None:
        """Show how far a cell is, if it is at work."""
        state = read_progress(directory)
        if state is None:
            return
        self.start(job)
        if self._bar is not None:
            self._bar.update(
                self._rows[job.name],
                description=f"{title(job)}: {state.phase}",
                completed=state.done,
                total=state.total or None,
                note=state.note,
            )

    def leave(self, job: Job) -> None:
        """Show a cell no longer as being at work: it has no result yet."""
        if job.name not in self._rows:
            return
        self._started -= 1
        row = self._rows.pop(job.name)
        if self._bar is not None:
            self._bar.remove_task(row)

    def finish(self, job: Job, record: Record | None, failure: str | None) -> None:
        """Show what came of a cell."""
        self._done += 1
        if job.name not in self._rows:
            self._started += 1
        row = self._rows.pop(job.name, None)
        if self._bar is not None:
            if row is not None:
                self._bar.remove_task(row)
            self._bar.update(self._cells, completed=self._done)
        self.say(f"[{self._done}/{self._total}] {title(job)}: {failure or outcome(record)}")
