"""Which sweep works on which cell: locks of the system, which end with their holder, however it ends.

A sweep claims a cell before it starts it, wherever the cell then runs; the process that works in a run's folder holds a
second lock there (`lra_hgrn.training.folder`). So sweeps share what is to be done, and none waits for a dead one.
"""

from pathlib import Path

from filelock import FileLock, Timeout

from lra_hgrn.errors import UserError
from lra_hgrn.suite import Job

FOLDER = ".sweep"  # in the folder of the runs


def claim(job: Job, runs: Path) -> FileLock | None:
    """Take a cell for this process until the lock is released; None if another one has it.

    Raises:
        UserError: nothing can be locked there.
    """
    path = runs / FOLDER / f"{job.name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        lock.acquire(timeout=0)
    except Timeout:
        return None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"Cannot write to {path.parent}: {reason}; choose another --runs.") from None
    return lock
