"""What a sweep asks of whoever finds a place for its cells."""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from lra_hgrn.suite import Job

STOPPED = 130  # exit code of a cell that was told to stop, and has saved its state


@dataclass(frozen=True)
class Ended:
    """A cell that is no longer at work: the exit code of its process, or why there is none."""

    name: str  # of the job
    code: int | None
    trouble: str = ""  # one sentence


class Launcher(Protocol):
    """Find places for cells. Entered as a context manager, which leaves nothing at work behind."""

    at_once: bool  # whether a cell that is given to it is at work from then on, and does not wait for a place
    retries: int  # how often a cell goes on that something else than this sweep has stopped

    def __enter__(self) -> "Launcher": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def has_room(self) -> bool:
        """Tell whether it takes another cell now."""
        ...

    def start(self, job: Job, directory: Path) -> None:
        """Take a cell whose run lies in a folder, which may not be there yet."""
        ...

    def ended(self) -> list[Ended]:
        """Return the cells that have ended since the last call, without waiting."""
        ...

    def stop(self) -> None:
        """Have the cells at work save their state, forget the others, and return when they have ended."""
        ...
