"""A cell on another machine: trained where the sweep's folder of runs is seen, else in a folder there and sent back."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from lra_hgrn.errors import BUSY, UserError
from lra_hgrn.results.archive import export_runs, import_runs, run_files
from lra_hgrn.results.files import LOCK, write_whole
from lra_hgrn.results.record import FILE, load_record
from lra_hgrn.sweep import process
from lra_hgrn.sweep.cells import is_final
from lra_hgrn.sweep.process import LOG

VARIABLES = ("LRA_DATA", "PYTHONPATH")  # of the sweep's environment that hold for its cells everywhere
LARGEST_LOG = 2**20  # bytes of a log's end that are sent
_ARCHIVE = "run.tar.gz"


@dataclass(frozen=True)
class Errand:
    """What another machine is told of a cell."""

    words: tuple[str, ...]  # what follows `lra train`
    directory: Path  # of the run, absolute, as the sweep sees it
    token: Path  # a file that the sweep wrote among its runs ...
    secret: str  # ... and what stands in it
    cwd: Path  # where the sweep runs
    variables: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Answer:
    """What came of it: the exit code, and the run's files where the sweep cannot see them."""

    code: int
    host: str
    archive: bytes | None = None  # as `export_runs` writes it
    log: bytes | None = None
    trouble: str = ""  # why there is no archive, if there should be one


def errand(words: tuple[str, ...], directory: Path, token: Path, secret: str) -> Errand:
    """Make the errand of a cell for other machines."""
    variables = tuple((name, os.environ[name]) for name in VARIABLES if name in os.environ)
    return Errand(words, directory.resolve(), token.resolve(), secret, Path.cwd(), variables)


def run(given: Errand, variables: dict[str, str], follow: Callable[[subprocess.Popen[bytes]], int]) -> Answer:
    """Train the cell on this machine, and go on with what is there of it.

    Without a shared file system what was interrupted stays in the user's cache, for the next errand to this machine.

    Args:
        given: the errand.
        variables: of the environment, over those of the errand.
        follow: waits for the process and returns its exit code.
    """
    seen = _sees(given)
    directory = given.directory if seen else platformdirs.user_cache_path("lra-hgrn") / "cells" / given.directory.name
    record = load_record(directory / FILE) if (directory / FILE).is_file() else None
    code = 0
    if not is_final(record):  # else this is a second try, and the first one came to an end
        cwd = given.cwd if given.cwd.is_dir() else None
        code = follow(process.start(given.words, directory, cwd, {**dict(given.variables), **variables}))
    host = socket.gethostname()
    return Answer(code, host) if seen or code == BUSY else _packed(code, host, directory)


def _sees(given: Errand) -> bool:
    try:
        return given.token.read_text() == given.secret
    except OSError:
        return False


def _packed(code: int, host: str, directory: Path) -> Answer:
    log = _end(directory / LOG)
    record = load_record(directory / FILE) if (directory / FILE).is_file() else None
    if record is None or record.status == "stopped":
        return Answer(code, host, log=log)
    try:
        with tempfile.TemporaryDirectory() as folder:
            export_runs(Path(folder) / _ARCHIVE, [directory])
            archive = (Path(folder) / _ARCHIVE).read_bytes()
    except UserError as error:
        return Answer(code, host, log=log, trouble=str(error))
    shutil.rmtree(directory, ignore_errors=True)
    return Answer(code, host, archive, log)


def _end(log: Path) -> bytes:
    if not log.is_file():
        return b""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LARGEST_LOG))
        return file.read()


def receive(answer: Answer, directory: Path) -> int:
    """Write what came back into the run's folder, the record last, and return the exit code.

    It is checked as an import is (`lra_hgrn.results.archive`). A run that has ended meanwhile stays as it is, and BUSY
    is returned while another process works on it.

    Args:
        answer: of the other machine.
        directory: of the run.

    Raises:
        UserError: what came back is no run's, or not this one's.
        OSError: it cannot be written.
    """
    if answer.log is None:
        return answer.code
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(directory / LOCK, timeout=0):
            record = load_record(directory / FILE) if (directory / FILE).is_file() else None
            if not is_final(record):
                write_whole(directory / LOG, answer.log)
                if answer.archive is not None:
                    _unpack(answer.archive, directory)
    except Timeout:
        return BUSY
    if answer.trouble:
        raise UserError(answer.trouble)
    return answer.code


def _unpack(archive: bytes, directory: Path) -> None:
    # A hidden folder of a name that `lra clean` knows, should this process be killed.
    with tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=directory.parent) as folder:
        write_whole(Path(folder) / _ARCHIVE, archive)
        import_runs(Path(folder) / _ARCHIVE, Path(folder) / "runs")
        names = [path.name for path in (Path(folder) / "runs").iterdir()]
        if names != [directory.name]:
            raise UserError(f"What came back is {', '.join(names)}, and not {directory.name}.")
        files = run_files(Path(folder) / "runs" / directory.name)
        for name in sorted(files, key=lambda name: name == FILE):
            write_whole(directory / name, files[name].read_bytes())
