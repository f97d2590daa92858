"""One process works on a file or folder, and the others wait."""

import logging
from pathlib import Path

from filelock import FileLock, Timeout

_logger = logging.getLogger(__name__)


def locked(path: Path, doing: str) -> FileLock:
    """Return the lock of ``path``, acquired; the file beside it stays. ``doing`` names the work for those who wait.

    Raises:
        OSError, NotImplementedError: the folder cannot be written, or its file system knows no locks.
    """
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _logger.warning("Another process is %s %s; waiting for it.", doing, path)
        lock.acquire()
    return lock
