"""What takes space in the folder of prepared tasks: stores, downloads, and what killed processes left of them."""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from lra_tasks.errors import TaskError

DATA, DOWNLOADS, LEFTOVERS, AT_WORK = "data", "downloads", "leftovers", "at work"  # kinds of holdings
RECENT = 3600  # seconds: what is younger may belong to a process that holds no lock

_STORE = re.compile(r".+-seed\d+-[0-9a-f]{8}")
_HALF = (".part", ".part.json", ".part.json.tmp")  # of a download
_PARTIAL, _REMOVED, _LOCK = ".partial", ".removed", ".lock"


@dataclass(frozen=True)
class Holding:
    """A file or folder that takes space."""

    kind: str
    path: Path
    size: int  # bytes
    lock: Path | None = None  # held while it is removed; None: what works on it has no lock


def data_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of prepared tasks: the given one, else $LRA_DATA, else in the user's cache folder."""
    return Path(given or os.environ.get("LRA_DATA") or platformdirs.user_cache_path("lra-tasks"))


def holdings(folder: Path) -> list[Holding]:
    """Return what lies in a data folder, in order of the paths; only what this package has put there.

    Symbolic links are not followed. What a process is preparing or downloading at this moment is of the kind "at work".

    Raises:
        TaskError: the folder cannot be read.
    """
    try:
        tasks = [path for path in _entries(folder) if path.is_dir() and path.name != DOWNLOADS]
        found = [holding for task in tasks for holding in _of_task(task)]
        return sorted([*found, *_of_downloads(folder / DOWNLOADS)], key=lambda holding: holding.path)
    except OSError as error:
        raise TaskError(f"{folder} cannot be read ({error}): choose another data folder.") from error


def remove(holding: Holding) -> bool:
    """Remove it, a folder at once: it has another, hidden name before the first of its files goes.

    Returns:
        False where it stays, as a process holds its lock; else True.

    Raises:
        OSError: it cannot be removed.
    """
    path = holding.path
    with unlocked(holding.lock) as free:
        if not free:
            return False
        if not path.is_dir() or path.is_symlink():
            path.unlink(missing_ok=True)
        elif path.name.endswith(_REMOVED):
            shutil.rmtree(path)
        else:
            hidden = path.with_name(f".{path.name}{_REMOVED}")
            if hidden.exists():  # left by a removal that was killed
                shutil.rmtree(hidden)
            os.rename(path, hidden)
            shutil.rmtree(hidden)
    return True


@contextlib.contextmanager
def unlocked(lock: Path | None) -> Iterator[bool]:
    """Tell whether no process holds this lock, and hold it meanwhile; a lock file that is not there is not made."""
    if lock is None or not lock.exists():
        yield True
        return
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        held.release()


def is_at_work(lock: Path) -> bool:
    """Tell whether a process holds this lock, as far as can be seen: where nothing can be locked, none does."""
    try:
        with unlocked(lock) as free:
            return not free
    except OSError:
        return False


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; 0 of what is gone meanwhile."""
    if path.is_dir() and not path.is_symlink():
        return sum(size_of(Path(top, name)) for top, _, files in os.walk(path) for name in files)
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def is_old(path: Path) -> bool:
    """Tell whether nothing in a file or folder has changed for so long that no process is at work on it."""
    inside = [Path(top, name) for top, folders, files in os.walk(path) for name in (*folders, *files)]
    try:
        return all(time.time() - each.lstat().st_mtime > RECENT for each in (path, *inside))
    except FileNotFoundError:  # gone meanwhile
        return False


def is_removed(name: str) -> bool:
    """Tell whether `remove` gives folders such a name before it empties them."""
    return name.startswith(".") and name.endswith(_REMOVED)


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.is_symlink())


def _of_task(folder: Path) -> Iterator[Holding]:
    for path in _entries(folder):
        store = folder / _without(path.name.removeprefix("."), (_REMOVED, _PARTIAL, _LOCK))
        lock = folder / f"{store.name}{_LOCK}"
        if not _STORE.fullmatch(store.name):
            continue
        if path == lock:
            yield from _stale(lock, [store, folder / f"{store.name}{_PARTIAL}"])
        elif path.is_dir():
            yield _held(DATA if path == store and (store / "meta.json").exists() else LEFTOVERS, path, lock)


def _of_downloads(folder: Path) -> Iterator[Holding]:
    for path in _entries(folder):
        archive = folder / _without(path.name, (*_HALF, _LOCK))
        lock = folder / f"{archive.name}{_LOCK}"
        if path == lock:
            yield from _stale(lock, [archive, *(folder / f"{archive.name}{end}" for end in _HALF)])
        elif path.is_file() and lock.exists():  # what has no lock beside it was put there by somebody else
            yield _held(DOWNLOADS, path, lock)


def _without(name: str, endings: Iterable[str]) -> str:
    for end in endings:
        name = name.removesuffix(end)
    return name


def _stale(lock: Path, guarded: Iterable[Path]) -> Iterator[Holding]:
    if is_old(lock) and not any(path.exists() for path in guarded):
        yield _held(LEFTOVERS, lock, lock)


def _held(kind: str, path: Path, lock: Path) -> Holding:
    return Holding(AT_WORK if is_at_work(lock) else kind, path, size_of(path), lock)
