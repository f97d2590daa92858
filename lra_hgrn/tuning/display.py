"""The progress of a search: trials, and the steps of the one at work."""

import sys
from typing import Any

from lra_hgrn.progress import Reporter, bar
from lra_hgrn.results.tables.table import percent
from lra_hgrn.tuning.study import Trial


class Display(Reporter):
    """Bars on a terminal, a line for each trial in a log; the reporter of every trial of the search."""

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total = title, total
        self._bar = bar() if sys.stderr.isatty() else None
        self._trials: Any = None
        self._steps: Any = None
        self._number = 0

    def __enter__(self) -> "Display":
        if self._bar is not None:
            self._bar.start()
            self._trials = self._bar.add_task(f"{self._title}: trials", total=self._total, note="")
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, number: int) -> None:
        """Begin to show the steps of a trial."""
        self._number = number
        if self._bar is not None:
            self._steps = self._bar.add_task(f"trial {number}", total=None, note="")

    def update(self, phase: str, done: int, total: int, note: str | None = None) -> None:
        """Show how far the trial at work is."""
        if self._bar is not None and self._steps is not None:
            fields: Any = {} if note is None else {"note": note}
            description = f"trial {self._number}: {phase}"
            self._bar.update(self._steps, description=description, completed=done, total=total or None, **fields)

    def finish(self, trial: Trial, best: Trial | None) -> None:
        """Say what came of a trial, and which is the best so far."""
        so_far = "" if best is None else f"best so far {percent(best.val_accuracy or 0)} % (trial {best.number})"
        came = f"{percent(trial.val_accuracy)} %" if trial.val_accuracy is not None else f"failed: {trial.message}"
        options = ", ".join(f"{key}={_short(value)}" for key, value in trial.options.items())
        line = f"[{trial.number}/{self._total}] {options}: {came}"
        if self._bar is None:
            print(f"{line}; {so_far}" if so_far else line, file=sys.stderr, flush=True)
            return
        self._bar.console.print(line, highlight=False, markup=False)
        self._bar.remove_task(self._steps)
        self._steps = None
        self.count(trial.number, so_far)

    def count(self, done: int, note: str) -> None:
        """Show how many trials have ended."""
        if self._bar is not None:
            self._bar.update(self._trials, completed=done, note=note)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
