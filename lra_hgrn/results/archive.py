"""Take records along: copy runs without their checkpoints into a folder or an archive, and take them in again.

An archive that comes from elsewhere is not trusted. It is read member by member and never unpacked as a whole: a member
has to be one of the files that `run_files` names, in a folder that is a run's, plain, and of a size that such files
have. Every run is then held against its record (`lra_hgrn.results.check`) before any of them is taken in.
"""

import filecmp
import gzip
import io
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath

from lra_hgrn.errors import UserError
from lra_hgrn.inspection import record as inspection
from lra_hgrn.results import predictions
from lra_hgrn.results.check import verify_run
from lra_hgrn.results.files import CONFIG, METRICS, write_whole
from lra_hgrn.results.record import FILE, run_folders

NAMES = (FILE, CONFIG, METRICS, predictions.FILE)
LARGEST_FILE, LARGEST, MOST_FILES = 2**25, 2**30, 100_000  # bytes, bytes in all, files in all
_PICTURE = re.compile(r"[A-Za-z0-9_-]+\.png")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date that a zip file knows


@dataclass(frozen=True)
class Moved:
    """What came of an export or an import: runs that were copied with their bytes, and runs that were there already."""

    copied: dict[str, int]
    there: list[str]


def run_files(folder: Path) -> dict[str, Path]:
    """Return the files of a run that last, by their path in its folder: no checkpoints, logs or progress files.

    Raises:
        UserError: one of them is a link or a folder.
    """
    found = {name: folder / name for name in NAMES}
    shown = folder / inspection.FOLDER
    if shown.is_dir() and not shown.is_symlink():
        inside = {f"{inspection.FOLDER}/{path.name}": path for path in sorted(shown.iterdir())}
        found |= {name: path for name, path in inside.items() if _is_known(name)}
    found = {name: path for name, path in found.items() if os.path.lexists(path)}
    for path in (shown, *found.values()):
        if path.is_symlink() or (path != shown and not path.is_file()):
            raise UserError(f"{path} is not a plain file: put the file itself there.")
    return found


def export_runs(destination: Path, folders: Sequence[Path]) -> Moved:
    """Copy runs into a folder, or into one .tar.gz or .zip file: all of them or none.

    Args:
        destination: what is written. The bytes of an archive depend on the runs' files alone.
        folders: of the runs.

    Raises:
        UserError: a run does not agree with its record, two have one name, or the destination holds something else.
    """
    ordered = sorted({folder.resolve() for folder in folders}, key=lambda folder: folder.name)
    for one, other in pairwise(ordered):
        if one.name == other.name:
            raise UserError(f"{one} and {other} have one name: export one of them.")
    for folder in ordered:
        _check(folder, str(folder))
    if not _is_archive(destination):
        with _staging(destination) as staging:
            for folder in ordered:
                for name, path in run_files(folder).items():
                    _put(staging / folder.name / name, path.read_bytes())
            return _place(staging, destination)
    files = {f"{folder.name}/{name}": path for folder in ordered for name, path in sorted(run_files(folder).items())}
    content = _zipped(files) if destination.suffix == ".zip" else _tarred(files)
    if not os.path.lexists(destination):
        try:
            write_whole(destination, content)
        except OSError as error:
            raise UserError(f"Cannot write {destination}: {error.strerror}; choose another DESTINATION.") from None
    elif not destination.is_file() or destination.read_bytes() != content:
        raise UserError(f"{destination} exists and holds something else: choose another name.")
    return Moved({folder.name: _size(folder) for folder in ordered}, [])


def import_runs(source: Path, runs: Path) -> Moved:
    """Take runs in from a folder, or from a .tar.gz or .zip file: all of them or none.

    Args:
        source: what `export_runs` wrote, a folder of runs, or one run's folder.
        runs: folder that each run gets a folder in. A run that is there with the same files is left alone.

    Raises:
        UserError: the source holds what is no run's file, a run that does not agree with its record, or one that is
            there already with other content.
    """
    with _staging(runs) as staging:
        for name, content in _members(source):
            _put(staging / name, content)
        arrived = sorted(staging.iterdir())
        if not arrived:
            raise UserError(f"{source} holds no runs.")
        for folder in arrived:
            _check(folder, f"{folder.name} of {source}", str(staging) + os.sep)
        return _place(staging, runs)


def _check(folder: Path, what: str, prefix: str = "") -> None:
    for finding in verify_run(folder):
        if finding.ok is False:
            reason = finding.message.replace(prefix, "") if prefix else finding.message
            raise UserError(f"Nothing was copied: {what} fails the check {finding.check!r}. {reason}")


# -- putting runs in their place


@contextmanager
def _staging(beside: Path) -> Iterator[Path]:
    """Make a hidden folder in the one that files are to be renamed into, and remove it at the end."""
    made = not beside.exists()
    try:
        beside.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=beside))
    except OSError as error:
        raise UserError(f"Cannot write to {beside}: {error.strerror}; choose another folder.") from None
    try:
        yield staging
    except OSError as error:
        raise UserError(f"Nothing was copied: {error}.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if made and not any(beside.iterdir()):
            beside.rmdir()


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _place(staging: Path, into: Path) -> Moved:
    new, there = [], []
    for folder in sorted(staging.iterdir()):
        target = into / folder.name
        if not os.path.lexists(target):
            new.append(folder.name)
        elif _same(folder, target):
            there.append(folder.name)
        else:
            raise UserError(f"Nothing was copied: {target} is there already with other content; rename or remove it.")
    sizes = {name: _size(staging / name) for name in new}
    moved: list[str] = []
    try:
        for name in new:
            os.rename(staging / name, into / name)
            moved.append(name)
    except OSError:
        for name in moved:
            os.rename(into / name, staging / name)
        raise
    return Moved(sizes, there)


def _same(folder: Path, target: Path) -> bool:
    files, others = run_files(folder), run_files(target)
    return all(name in others and filecmp.cmp(path, others[name], shallow=False) for name, path in files.items())


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in run_files(folder).values())


# -- writing archives


def _is_archive(path: Path) -> bool:
    return path.name.endswith((".tar.gz", ".zip"))


def _tarred(files: dict[str, Path]) -> bytes:
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, path in files.items():
            member, content = tarfile.TarInfo(name), path.read_bytes()
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _zipped(files: dict[str, Path]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files.items():
            member = zipfile.ZipInfo(name, _EPOCH)
            member.create_system, member.external_attr = 3, (stat.S_IFREG | 0o644) << 16  # as on Unix, everywhere
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, path.read_bytes())
    return buffer.getvalue()


# -- reading what may come from anyone


def _members(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (``run/file``, content) of every file of every run in a folder or an archive."""
    if source.is_dir():
        yield from _in_folder(source)
        return
    if not source.is_file():
        raise UserError(f"There is no {source}: give a folder, a .tar.gz or a .zip file.")
    if not _is_archive(source):
        raise UserError(f"{source} is not a folder, a .tar.gz or a .zip file.")
    tally = _Tally(source)
    try:
        yield from (_in_zip if source.suffix == ".zip" else _in_tar)(source, tally)
    except UserError:
        raise
    except Exception as error:  # of a damaged archive its reader raises whatever it stumbles over
        raise UserError(f"{source} cannot be read: {' '.join(str(error).split()) or type(error).__name__}.") from error


def _in_folder(source: Path) -> Iterator[tuple[str, bytes]]:
    tally = _Tally(source)
    for folder in run_folders(source):
        for name, path in run_files(folder).items():
            tally.add(f"{folder.resolve().name}/{name}", path.stat().st_size)
            yield f"{folder.resolve().name}/{name}", path.read_bytes()


def _in_tar(source: Path, tally: "_Tally") -> Iterator[tuple[str, bytes]]:
    with _Capped(source) as packed, tarfile.open(fileobj=packed, mode="r:") as archive:
        for member in archive:
            if member.isdir():
                tally.inside(member.name)
                continue
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                raise tally.refusal(member.name, "which is not a plain file")
            name = tally.add(member.name, member.size)
            file = archive.extractfile(member)
            assert file is not None
            yield name, file.read()


def _in_zip(source: Path, tally: "_Tally") -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(source) as archive:
        for member in archive.infolist():
            if member.is_dir():
                tally.inside(member.filename)
                continue
            if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
                raise tally.refusal(member.filename, "which is not a plain file")
            name = tally.add(member.filename, member.file_size)
            with archive.open(member) as file:  # never gives more than the size that was declared
                yield name, file.read()


class _Tally:
    """Take note of the members of an archive, and refuse one that no export would write."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.names: set[str] = set()
        self.bytes = 0

    def refusal(self, name: str, why: str) -> UserError:
        return UserError(f"Nothing was copied: {self.source} holds {name[:200]!r}, {why}.")

    def inside(self, name: str) -> PurePosixPath:
        """Return a member's path without ``./``; it must not lead out of the folder."""
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
            raise self.refusal(name, "which leads out of the folder")
        return path

    def add(self, name: str, size: int) -> str:
        """Return the path ``run/file`` of a member of ``size`` bytes."""
        run, *rest = self.inside(name).parts or ("",)
        file = "/".join(rest)
        if not run.isprintable() or run.startswith(".") or not _is_known(file):
            raise self.refusal(name, "which is no file of a run")
        if f"{run}/{file}" in self.names:
            raise self.refusal(name, "more than once")
        self.names.add(f"{run}/{file}")
        self.bytes += size
        if size > LARGEST_FILE:
            raise self.refusal(name, f"whose {size:,} bytes are more than the {LARGEST_FILE:,} allowed")
        if self.bytes > LARGEST or len(self.names) > MOST_FILES:
            raise self.refusal(name, f"beyond the {MOST_FILES:,} files and {LARGEST:,} bytes allowed in all")
        return f"{run}/{file}"


def _is_known(file: str) -> bool:
    folder, _, name = file.rpartition("/")
    if folder:
        return folder == inspection.FOLDER and (name == inspection.FILE or _PICTURE.fullmatch(name) is not None)
    return name in NAMES


class _Capped(gzip.GzipFile):
    """A gzip file that refuses to unpack more than an export may hold: a tar's own headers are read unasked."""

    def _need(self, end: int, size: int) -> None:
        if end > LARGEST or size > LARGEST_FILE:
            raise UserError(f"Nothing was copied: {self.name} unpacks to more than {LARGEST:,} bytes.")

    def read(self, size: int | None = -1) -> bytes:
        wanted = LARGEST if size is None or size < 0 else size
        self._need(self.tell() + wanted, wanted)
        return super().read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._need(offset, 0)
        return super().seek(offset, whence)
