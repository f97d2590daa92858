"""What takes space on the disk, and freeing it; records, and what they rest on, stay."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lra_hgrn.errors import UserError
from lra_hgrn.progress import FILE as PROGRESS
from lra_hgrn.results.files import CHECKPOINTS, CONFIG, LOCK, PENDING, is_temporary
from lra_hgrn.results.record import FILE, FINAL, load_record
from lra_hgrn.results.tables.table import Column, Entry, Table, binary
from lra_tasks.holdings import (
    AT_WORK,
    DATA,
    DOWNLOADS,
    LEFTOVERS,
    Holding,
    holdings,
    is_at_work,
    is_old,
    is_removed,
    remove,
    size_of,
)

BEST, OTHERS, TRACES, UNFINISHED, RECORDS = "best", "checkpoints", "traces", "unfinished", "records"

# What can be freed, in the order of what is lost by it.
KINDS = {
    LEFTOVERS: "what killed processes left: temporary files, half-made tasks, empty run folders",
    OTHERS: "last and previous checkpoints of runs with a final record: no run goes on from them",
    DOWNLOADS: "archives, whole or half: fetched again where they are needed",
    DATA: "prepared tasks: made again where they are needed, those of --from out of the same files",
    TRACES: "traces of train steps, profile/trace.json.gz; their tables stay",
    BEST: "best checkpoints of runs with a final record: lra inspect needs them",
}
KEPT = {
    UNFINISHED: "checkpoints of runs without a final record: --resume goes on from them",
    RECORDS: "records, options, metrics, predictions, pictures, logs",
    AT_WORK: "what a process is working on, or was less than an hour ago",
}

_RUN = re.compile(r".+-seed\d+-[0-9a-f]+")  # see `lra_hgrn.config.compose.run_name`
_STAGING = re.compile(r"\.[a-z0-9_]{8}\.tmp")  # of `lra results import`
_PROFILE, _TRACE = "profile", "trace.json.gz"  # see lra_hgrn/training/profile.py, which needs torch


def survey(runs: Path, data: Path) -> list[Holding]:
    """Return all that takes space below the folder of the runs and that of prepared tasks; links are not followed.

    Raises:
        UserError: a folder cannot be read.
        TaskError: likewise.
    """
    try:
        return [*_in_runs(runs), *holdings(data)]
    except OSError as error:
        raise UserError(f"{runs} cannot be read ({error}): choose another --runs.") from error


def table(found: Iterable[Holding], runs: Path, data: Path) -> Table:
    """Return a table of the kinds: how many files and folders there are, and their bytes."""
    columns = [
        Column("Kind", ("kind",), numeric=False),
        Column("Number", ("number",)),
        Column("Size", ("bytes",)),
        Column("Meaning", ("meaning",), numeric=False, wraps=True),
    ]
    made = Table("", columns)
    sizes: dict[str, list[int]] = {kind: [] for kind in (*KINDS, *KEPT)}
    for holding in found:
        sizes[holding.kind].append(holding.size)
    for heading, kinds in (("Can be freed", KINDS), ("Kept", KEPT)):
        made.begin(heading)
        made.rows += [
            [
                Entry(kind, (kind,)),
                Entry(f"{len(sizes[kind]):,}", (len(sizes[kind]),)),
                Entry(binary(sum(sizes[kind])), (sum(sizes[kind]),)),
                Entry(meaning, (meaning,)),
            ]
            for kind, meaning in kinds.items()
        ]
    whole = binary(sum(map(sum, sizes.values())))
    made.remarks.append(f"{whole} in {runs} and {data}; `lra clean KIND ...` deletes what can be freed.")
    return made


def free(chosen: Sequence[Holding]) -> list[Holding]:
    """Remove these, but what a process has begun to work on meanwhile; return those that are gone.

    Raises:
        UserError: something could not be removed; everything else was.
    """
    gone, failures = [], []
    for holding in chosen:
        try:
            if remove(holding):
                gone.append(holding)
        except (OSError, NotImplementedError) as error:  # filelock: NotImplementedError where locks do not exist
            failures.append(f"{holding.path} ({getattr(error, 'strerror', None) or error})")
    if failures:
        others = f" and {len(failures) - 1:,} more" if len(failures) > 1 else ""
        raise UserError(
            f"{failures[0]}{others} cannot be deleted; {binary(sum(holding.size for holding in gone))} of others are "
            "freed. Mend this; the same command goes on."
        )
    return gone


def _in_runs(top: Path) -> Iterator[Holding]:
    for place, folders, files in os.walk(top, onerror=_raise):
        folder = Path(place)
        hidden = [name for name in folders if name.startswith(".")]
        folders[:] = sorted(name for name in folders if name not in hidden)
        for name in hidden:
            if (_STAGING.fullmatch(name) or is_removed(name)) and not (folder / name).is_symlink():
                yield _left_over(folder / name, None)
        run = _run_of(folder, top)
        lock = _lock_of(folder, top)
        if lock is not None and is_at_work(lock):
            yield from (Holding(AT_WORK, folder / name, size_of(folder / name)) for name in files if name != LOCK)
        elif _RUN.fullmatch(folder.name) and not folders and set(files) <= {LOCK}:
            yield Holding(LEFTOVERS if is_old(folder) else AT_WORK, folder, 0, lock)
        else:
            yield from _in_folder(folder, files, run, lock)


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # gone meanwhile, or no run has been made yet
        raise error


def _run_of(folder: Path, top: Path) -> Path | None:
    """Return the run that a folder belongs to, itself or one that it lies in."""
    inside = [folder, *(parent for parent in folder.parents if parent.is_relative_to(top))]
    return next((each for each in inside if (each / CONFIG).is_file() or (each / FILE).is_file()), None)


def _lock_of(folder: Path, top: Path) -> Path | None:
    """Return the outermost lock that covers a folder: that of the run, or of the search whose trial it is."""
    inside = [folder, *(parent for parent in folder.parents if parent.is_relative_to(top))]
    return next((each / LOCK for each in reversed(inside) if (each / LOCK).is_file()), None)


def _in_folder(folder: Path, files: Sequence[str], run: Path | None, lock: Path | None) -> Iterator[Holding]:
    ended = run is not None and _has_ended(run)
    for name in sorted(files):
        path = folder / name
        if path.is_symlink() or name == LOCK:
            continue
        size = size_of(path)
        if is_temporary(name) or (run is not None and (name.endswith(".tmp") or name in (PROGRESS, f".{_TRACE}"))):
            # The lock speaks of the run's own folder: what inspects a run holds none.
            yield _left_over(path, lock if folder == run else None)
        elif folder == run and name in (*CHECKPOINTS, PENDING):
            kind = BEST if name == CHECKPOINTS[0] else OTHERS
            yield Holding(kind if ended else UNFINISHED, path, size, lock)
        elif name == _TRACE and run is not None and folder == run / _PROFILE:
            yield Holding(TRACES if ended else RECORDS, path, size, lock)
        else:
            yield Holding(RECORDS, path, size)


def _left_over(path: Path, lock: Path | None) -> Holding:
    return Holding(LEFTOVERS if lock is not None or is_old(path) else AT_WORK, path, size_of(path), lock)


def _has_ended(run: Path) -> bool:
    """Tell whether a run has a record that more training cannot change."""
    try:
        return load_record(run / FILE).status in FINAL
    except UserError:
        return False
