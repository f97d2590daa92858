"""The mean over tasks of one model, in the three ways in which published tables treat a task that failed."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

State = Literal["done", "failed", "missing"]


@dataclass(frozen=True)
class Averages:
    """Mean accuracy over tasks, a share in [0, 1], by what a failed task counts; None where it is not defined."""

    left_out: float | None  # not at all, as in the Long Range Arena's own table (Tay et al. 2021)
    as_chance: float | None  # as guessing, as in S4's tables (Gu et al. 2022): 50 % for Path-X
    as_zero: float | None  # as 0, as in HGRN's table (Qin et al. 2023)
    cells: int  # done or failed
    failed: int


def average(
    results: Mapping[str, tuple[float | None, State]], chance: Mapping[str, float | None], *, partial: bool = False
) -> Averages:
    """Average one model over tasks.

    Args:
        results: for each task (accuracy, state). A cell that diverged, failed, or stayed at chance on every seed is
            "failed": its accuracy may be known, but is not used.
        chance: for each failed task the accuracy of guessing; where it is unknown ``as_chance`` is None.
        partial: average what there is, although cells are missing; otherwise a missing cell leaves no average.

    Raises:
        ValueError: a cell that is done without an accuracy.
    """
    done: list[float] = []
    for task, (accuracy, state) in results.items():
        if state == "done":
            if accuracy is None:
                raise ValueError(f"{task} is done, but has no accuracy")
            done.append(accuracy)
    failed = [task for task, (_, state) in results.items() if state == "failed"]
    cells = len(done) + len(failed)
    if cells == 0 or (cells < len(results) and not partial):
        return Averages(None, None, None, cells, len(failed))
    guesses = [guess for task in failed if (guess := chance.get(task)) is not None]
    return Averages(
        left_out=statistics.fmean(done) if done else None,
        as_chance=statistics.fmean(done + guesses) if len(guesses) == len(failed) else None,
        as_zero=sum(done) / cells,
        cells=cells,
        failed=len(failed),
    )
