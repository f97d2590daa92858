"""Published archives over HTTP: kept in a file, or read as they pass by; resumed where a connection broke."""

import contextlib
import hashlib
import http.client
import io
import json
import logging
import os
import re
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import requests
import urllib3

from lra_tasks.archive import is_page
from lra_tasks.card import Archive
from lra_tasks.errors import TaskError
from lra_tasks.lock import locked

Progress = Callable[[int, int | None], None]  # (bytes done, bytes in all, None: not known)

_CHUNK = 1 << 17  # bytes
_TIMEOUT = (10, 60)  # seconds to connect, and between two pieces of an answer
_DELAYS = (1, 2, 4, 8)  # seconds before each new attempt, until bytes come again
_BUSY = (408, 425, 429, 500, 502, 503, 504)  # answers that another attempt may change
_COUNT = r"[0-9]{1,18}"  # of bytes, as a server says it
_CUT = "the connection was closed early"
_NETWORK = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)
_logger = logging.getLogger(__name__)


def fetch(archive: Archive, folder: Path, progress: Progress | None = None) -> Path:
    """Download an archive, unless it is there; a download that was broken off goes on where it stopped.

    Args:
        archive: where it is, and what is known of it. Size and md5 are checked where they are known.
        folder: made if needed. The file has its final name only when it is whole.
        progress: called with (bytes done, bytes in all or None) as they come.

    Returns:
        Path of the file.

    Raises:
        TaskError: no network, an answer that is not the archive, or a folder that cannot be written.
    """
    path = folder / archive.filename
    with _sentences(folder):
        if _is_there(path, archive):  # before any lock: a shared data folder may be read-only
            return path
        folder.mkdir(parents=True, exist_ok=True)
        lock = locked(path, "downloading")
        try:
            if not _is_there(path, archive):  # else another process has fetched it meanwhile
                _download(archive, path, progress)
        finally:
            lock.release()
    return path


def stream(archive: Archive, progress: Progress | None = None) -> BinaryIO:
    """Open an archive to be read once, as it passes by; nothing is written to disk.

    A lost connection is taken up again at the same byte.

    Args:
        archive: where it is.
        progress: called with (bytes read, bytes in all or None) as they come.

    Raises:
        TaskError: here and while it is read: no network, or an answer that is not the archive.
    """
    file = io.BufferedReader(_Passing(archive, progress), _CHUNK)
    file.peek(1)  # what is wrong from the start is said here
    return file


class _Broken(Exception):
    """A connection that failed: why, and whether that will be so the next time."""

    def __init__(self, reason: str, lasting: bool = False) -> None:
        super().__init__(reason)
        self.lasting = lasting


class _Body:
    """The bytes of a file on a server from ``position`` on, taken up again where a connection breaks.

    Where the server sends the whole file anew, as it has changed or is not served in parts, ``position`` falls back
    to 0 before bytes are returned.

    Args:
        archive: where it is.
        position: number of the first byte.
        validator: ETag or date that tells the version of the file that the bytes before came from.
        total: number of bytes in all, where known.
    """

    def __init__(self, archive: Archive, position: int, validator: str | None, total: int | None) -> None:
        self.position, self.validator, self.total = position, validator, total
        self._archive = archive
        self._session = requests.Session()
        if archive.url.startswith("https:"):
            del self._session.adapters["http://"]  # no redirect may lead there
        self._response: requests.Response | None = None
        self._furthest = position  # an attempt that gets no further is in vain
        self._attempts = 0

    def read(self, size: int) -> bytes:
        """Return up to ``size`` of the next bytes, none at the end.

        Raises:
            _Broken: after the last attempt.
            TaskError: the answer is not the archive.
        """
        while self.total is None or self.position < self.total:
            try:
                if self._response is None:
                    self._connect()
                    continue  # it may have found that nothing is left
                return self._next(self._response, size)
            except _Broken as error:
                self._hang_up()
                if error.lasting or self._attempts == len(_DELAYS):
                    raise
                delay = _DELAYS[self._attempts]
                _logger.warning("%s: %s; trying again in %g s.", self._archive.url, error, delay)
            self._attempts += 1
            time.sleep(delay)
        return b""

    def close(self) -> None:
        self._hang_up()
        self._session.close()

    def _hang_up(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _next(self, response: requests.Response, size: int) -> bytes:
        try:
            data = response.raw.read(size, decode_content=False)
        except _NETWORK as error:
            raise _broken(error) from error
        if not data and self.total is not None:
            raise _Broken(_CUT)
        if self.position == 0 and is_page(data):
            raise self._page()
        self.position += len(data)
        if self.position > self._furthest:
            self._furthest, self._attempts = self.position, 0
        return data

    def _connect(self) -> None:
        response = self._request()
        if self.position and response.status_code in (206, 416) and not self._continues(response):
            self.position, self.validator = 0, None
            response = self._request()
        if self.position and response.status_code == 416:
            self.total = self.position  # nothing is left to send
            return
        if response.status_code == 200:
            self.position, self.validator, self.total = 0, None, None
        elif not (self.position and response.status_code == 206):
            raise _Broken(f"{response.status_code} {response.reason}", response.status_code not in _BUSY)
        if response.headers.get("Content-Type", "").lower().startswith("text/html"):
            raise self._page()
        self.validator = _validator(response) or self.validator
        self.total = _served(response)[1] or self.total or self._archive.size
        if self._archive.size not in (None, self.total):
            raise TaskError(
                f"{self._archive.url} has {self.total:,} bytes where {self._archive.size:,} were published: it has "
                f"changed; give a copy of {self._archive.filename} with --from FILE."
            )

    def _request(self) -> requests.Response:
        headers = {"Accept-Encoding": "identity"}  # the bytes as they are published
        if self.position:
            headers["Range"] = f"bytes={self.position}-"
            if self.validator is not None:
                headers["If-Range"] = self.validator
        self._hang_up()
        try:
            self._response = self._session.get(self._archive.url, headers=headers, stream=True, timeout=_TIMEOUT)
        except _NETWORK as error:
            raise _broken(error) from error
        return self._response

    def _continues(self, response: requests.Response) -> bool:
        """Tell whether the server goes on just where the bytes so far end, in the same version of the file."""
        if self.validator is not None and _validator(response) not in (None, self.validator):
            return False
        start, total = _served(response)
        return start == self.position and (total is None or self.total in (None, total))

    def _page(self) -> TaskError:
        return TaskError(
            f"{self._archive.url} answers with a web page and not with {self._archive.filename}: look at it in a "
            "browser, fetch the file by other means, and give it with --from FILE."
        )


def _validator(response: requests.Response) -> str | None:
    etag = response.headers.get("ETag")
    if etag is not None and not etag.startswith("W/"):  # weak ones do not promise the same bytes
        return etag
    return response.headers.get("Last-Modified")


def _served(response: requests.Response) -> tuple[int | None, int | None]:
    """Return the number of the first byte that an answer brings, and of bytes in all, where it says so."""
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if re.fullmatch(_COUNT, length) else None
    said = re.fullmatch(rf"bytes (?:({_COUNT})-\d+|\*)/(?:({_COUNT})|\*)", response.headers.get("Content-Range", ""))
    if said is None:
        return None, None
    total = None if said[2] is None else int(said[2])
    return total if said[1] is None else int(said[1]), total  # no first byte (416): there is none after the last


def _broken(error: BaseException) -> _Broken:
    """Return what is at the bottom of an error that requests and urllib3 have wrapped several times."""
    lasting = isinstance(error, (ValueError, requests.TooManyRedirects))  # ValueError: an address that cannot be used
    if isinstance(error, requests.exceptions.InvalidSchema):
        return _Broken("it is redirected to an address that is not https", lasting)
    bottom = error
    while isinstance(bottom, (requests.RequestException, urllib3.exceptions.HTTPError)):
        below = bottom.__cause__ or bottom.__context__
        if not isinstance(below, _NETWORK):
            break
        bottom = below
    if isinstance(bottom, http.client.IncompleteRead):
        return _Broken(_CUT)
    lines = (getattr(bottom, "strerror", None) or str(bottom) or type(bottom).__name__).splitlines()
    return _Broken(lines[0], lasting or isinstance(bottom, ssl.SSLCertVerificationError))


class _Passing(io.RawIOBase):
    """The bytes of a body in order, each once."""

    def __init__(self, archive: Archive, progress: Progress | None) -> None:
        self._archive, self._progress = archive, progress
        self._body = _Body(archive, 0, None, None)
        self._validator: str | None = None
        self._given = 0  # bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._fresh(len(buffer))
        except _Broken as error:
            total = "" if self._body.total is None else f" of {_amount(self._body.total)}"
            raise TaskError(
                f"{self._archive.url} could be read up to {_amount(self._given)}{total} only ({error}), and nothing "
                "of it is kept: run the same command to start anew, or fetch the file with `curl -L -C - -O "
                f"{self._archive.url}`, which resumes, and give it with --from {self._archive.filename}; "
                "task.source=mini needs no download."
            ) from error
        buffer[: len(data)] = data
        self._given += len(data)
        if self._progress is not None:
            self._progress(self._given, self._body.total)
        return len(data)

    def close(self) -> None:
        self._body.close()
        super().close()

    def _fresh(self, size: int) -> bytes:
        """Return bytes that have not been given yet; where the server sends the file anew, those are passed over."""
        while True:
            data = self._body.read(size)
            validator = self._body.validator
            again = self._body.position - len(data) < self._given
            if self._given and (validator != self._validator or (again and (validator is None or not data))):
                raise _Broken("the file has changed on the server, or is not served in parts")
            self._validator = validator
            fresh = self._body.position - self._given
            if fresh > 0 or not data:
                return data[-fresh:]  # nothing, at the end


def _amount(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:,} bytes"


def _download(archive: Archive, path: Path, progress: Progress | None) -> None:
    part, note = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.json")
    position, validator, total = _left_over(archive, part, note)
    with (
        contextlib.closing(_Body(archive, position, validator, total)) as body,
        part.open("r+b" if position else "wb") as file,
    ):
        file.seek(position)
        while True:
            try:
                data = body.read(_CHUNK)
            except _Broken as error:
                raise TaskError(
                    f"{archive.filename} cannot be fetched from {archive.url} ({error}): the same command goes on "
                    "where it stopped, --from FILE takes a copy fetched by other means, and task.source=mini needs no "
                    "download."
                ) from error
            start = body.position - len(data)
            if start != position or (body.validator, body.total) != (validator, total):
                file.seek(start)
                file.truncate()  # before the note: it must not speak of other bytes
                validator, total = body.validator, body.total
                _write(note, {"url": archive.url, "validator": validator, "total": total})
            file.write(data)
            position = body.position
            if progress is not None:
                progress(position, total)
            if not data:
                break
        file.flush()
        os.fsync(file.fileno())  # else a power cut could leave its final name without its content
    problem = _problem(part, archive)
    if problem is not None:
        part.unlink()
        note.unlink(missing_ok=True)
        raise TaskError(
            f"{archive.filename} from {archive.url} is not what was published ({problem}): run the same command again, "
            "or give the file with --from FILE."
        )
    os.replace(part, path)
    note.unlink(missing_ok=True)


def _left_over(archive: Archive, part: Path, note: Path) -> tuple[int, str | None, int | None]:
    """Return size, validator and final size of a part that can be completed, or nothing known at byte 0."""
    try:
        noted = json.loads(note.read_text(encoding="utf-8"))
        size, validator, total = part.stat().st_size, noted["validator"], noted["total"]
        usable = noted["url"] == archive.url and isinstance(validator, str) and archive.size in (None, total)
        if usable and (total is None or size <= total):
            return size, validator, total
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass
    return 0, None, None


def _write(note: Path, content: dict[str, Any]) -> None:
    unfinished = note.with_name(f"{note.name}.tmp")
    try:
        unfinished.write_text(json.dumps(content), encoding="utf-8")
        os.replace(unfinished, note)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def _is_there(path: Path, archive: Archive) -> bool:
    problem = _problem(path, archive) if path.is_file() else ""
    if problem:
        _logger.warning("%s is not what was published (%s) and is fetched again.", path, problem)
    return problem is None


def _problem(path: Path, archive: Archive) -> str | None:
    """Return what is wrong with a downloaded file."""
    size = path.stat().st_size
    if archive.size not in (None, size):
        return f"{size:,} bytes and not {archive.size:,}"
    if archive.md5 is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if found != archive.md5.lower():
            return f"md5 {found} and not {archive.md5}"
    return None


@contextlib.contextmanager
def _sentences(folder: Path) -> Iterator[None]:
    """Turn what the file system refuses into one sentence."""
    try:
        yield
    except (OSError, NotImplementedError) as error:  # filelock: NotImplementedError where locks do not exist
        raise TaskError(
            f"Nothing can be downloaded to {folder} ({error}): free space there, or choose another folder with "
            "--data-dir or the environment variable LRA_DATA."
        ) from error
