"""Archives and folders as one stream of members, read where they are: nothing is ever unpacked to disk.

What a file is, is decided by its first bytes: tar, plain or packed with gzip, bzip2 or xz; zip; else a file by itself.
"""

import bz2
import contextlib
import gzip
import io
import logging
import os
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from lra_tasks.errors import TaskError

_BLOCK = tarfile.BLOCKSIZE  # bytes of a tar header
_BUFFER = 1 << 16
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",  # an empty one
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "rar",
}
_UNREAD = ("zstd", "7z", "rar")
_TARS = ("tar", "gzip", "bzip2", "xz")
_ARCHIVE_NAME = re.compile(r"\.(tar|tgz|tbz2?|txz|gz|bz2|xz|zip)$", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # and what is not UTF-8: nothing to show in a message
_END_MARK = tarfile.EOFHeaderError  # type: ignore[attr-defined]
_logger = logging.getLogger(__name__)


class Member(NamedTuple):
    """A regular file in an archive or folder."""

    name: str  # POSIX path inside the archive; in a folder, below the last three names of the folder's own path
    size: int  # bytes, as the archive says
    open: Callable[[], BinaryIO]  # may be called, and what it returns be read, until the next member is asked for
    where: str = ""  # archive or folder, for messages

    def read(self, limit: int) -> bytes:
        """Return the whole content.

        Args:
            limit: largest number of bytes that is accepted; they are counted, whatever ``size`` says.

        Raises:
            TaskError: the content is larger, damaged or incomplete.
        """
        with self.open() as file:
            data = file.read(min(self.size, limit) + 1)  # room for `limit` bytes takes longer to get than most contents
            if self.size < len(data) <= limit:
                data += file.read(limit + 1 - len(data))
        if len(data) > limit:
            raise TaskError(
                f"{self.name} in {self.where} is larger than the {limit:,} bytes that a file of its kind may have: "
                "take the files as they were published."
            )
        return data


@contextlib.contextmanager
def open_members(path: Path, *, skip: str = "") -> Iterator[Iterator[Member]]:
    """Open a tar (also packed), a zip, a folder, or a file by itself, as an iterator over the regular files in it.

    Links and devices are left out, as are names that lead outside, hold control characters, or are macOS's own
    ("._*", "__MACOSX"). A folder is read in the order of its names; links in it are followed if they stay inside.

    Args:
        path: archive, folder or file.
        skip: regular expression; folders below ``path`` whose whole name matches are not entered. Not for archives.

    Raises:
        TaskError: here, while members are asked for or while they are read: the path is missing, unreadable, empty, a
            web page, damaged, incomplete, protected by a password, or an archive of another kind.
    """
    skipped = re.compile(skip)
    with contextlib.ExitStack() as stack:
        with _sentences(str(path)):
            entries = _entries(path, skipped, stack)
        yield stack.enter_context(contextlib.closing(_members(entries, str(path))))


@contextlib.contextmanager
def stream_members(file: BinaryIO, label: str) -> Iterator[Iterator[Member]]:
    """Iterate over the regular files of a tar, plain or packed, that passes by once.

    A member can be opened once; what is not read of it is passed over.

    Args:
        file: only ``read`` is used.
        label: what messages call it.

    Raises:
        TaskError: as :func:`open_members`.
    """
    with contextlib.ExitStack() as stack:
        with _sentences(label):
            head = _read_exactly(file, _BLOCK)
            kind = _kind(head, label)
            if kind not in _TARS:
                raise TaskError(f"{label} is no tar, plain or packed: fetch it and give it with --from.")
            entries = _tar(_Forward(file, head), kind, label, stack)
        yield stack.enter_context(contextlib.closing(_members(entries, label)))


def is_page(head: bytes) -> bool:
    """Tell whether a file that begins with ``head`` is a web page or XML, as servers send in place of an archive."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"


def _kind(head: bytes, label: str) -> str:
    """Return what begins with ``head``: "tar", "gzip", "bzip2", "xz", "zip", or "file" for anything else.

    Raises:
        TaskError: it is empty, a web page, or an archive that is not read here.
    """
    if not head:
        raise TaskError(f"{label} is empty: fetch it again.")
    if is_page(head):
        raise TaskError(f"{label} is a web page and no archive: the download went wrong, fetch it again.")
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    if kind in _UNREAD:
        raise TaskError(f"{label} is a {kind} archive, which is not read here: unpack it and give the folder.")
    return kind or ("tar" if _begins_tar(head) else "file")


def _begins_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head[:_BLOCK], "utf-8", "surrogateescape")
    except _END_MARK:  # and nothing else: an empty tar
        return True
    except (tarfile.HeaderError, ValueError):
        return False
    return True


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...

    def close(self) -> None: ...


def _read_exactly(file: _Readable, size: int) -> bytes:
    parts = []
    while size and (data := file.read(size)):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


# Each kind of archive, as name, size and what opens it.

_Entry = tuple[str, int, Callable[[], _Readable | None]]


def _entries(path: Path, skip: re.Pattern[str], stack: contextlib.ExitStack) -> Iterator[_Entry]:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise TaskError(f"{path} does not exist: check the path given with --from.") from None
    if stat.S_ISDIR(mode):
        return _folder(path, skip)
    if not stat.S_ISREG(mode):
        raise TaskError(f"{path} is neither an archive nor a folder: give one of them with --from.")
    file = stack.enter_context(path.open("rb"))
    head = _read_exactly(file, _BLOCK)
    file.seek(0)
    kind = _kind(head, str(path))
    if kind == "zip":
        return _zip(stack.enter_context(zipfile.ZipFile(file)), str(path))
    if kind in _TARS:
        return _tar(file, kind, str(path), stack)
    if _ARCHIVE_NAME.search(path.name):
        raise TaskError(f"{path} is neither a tar, plain or packed, nor a zip, whatever its name says: fetch it again.")
    name = "/".join([*path.resolve().parent.parts[1:][-2:], path.name])  # a link may have a better name than its target
    return iter([(_CONTROL.sub("?", name), path.stat().st_size, partial(_open_file, path))])


def _folder(given: Path, skip: re.Pattern[str]) -> Iterator[_Entry]:
    root = given.resolve()
    inside = str(root).rstrip(os.sep) + os.sep
    # Path, name, and of a folder the real paths of those on the way to it: a link may lead back to one of them.
    prefix = _CONTROL.sub("?", "/".join(root.parts[1:][-3:]))
    pending: list[tuple[str, str, tuple[str, ...]]] = [(str(root), prefix, (str(root),))]
    warned = False
    while pending:
        path, name, way = pending.pop()
        if not way:
            yield name, os.stat(path).st_size, partial(_open_file, path)
            continue
        with os.scandir(path) as found:
            children = sorted(found, key=lambda child: child.name, reverse=True)
        for child in children:
            below = f"{name}/{child.name}".lstrip("/")
            link = child.is_symlink()
            real = os.path.realpath(child.path) if link else os.path.join(way[-1], child.name)
            if not (real + os.sep).startswith(inside):
                if not warned:
                    _logger.warning("Links that lead outside of %s, such as %s, are not followed.", given, child.name)
                    warned = True
            elif os.path.isfile(real) if link else child.is_file():  # a link to itself is nothing
                pending.append((child.path, below, ()))
            elif os.path.isdir(real) and not skip.fullmatch(child.name) and real not in way:
                pending.append((child.path, below, (*way, real)))


def _open_file(path: str | Path) -> _Readable:
    return open(path, "rb", buffering=0)


def _zip(archive: zipfile.ZipFile, label: str) -> Iterator[_Entry]:
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where it was not made on Unix
        if not info.is_dir() and kind in (0, stat.S_IFREG):
            if info.flag_bits & 1:
                raise TaskError(f"{label} is protected by a password: unpack it and give the folder.")
            yield info.filename, info.file_size, partial(archive.open, info)


def _tar(file: Any, kind: str, label: str, stack: contextlib.ExitStack) -> Iterator[_Entry]:
    if kind != "tar":
        # Not tarfile's own "r|gz": that takes a cut file for a whole one and does not look at the check sum.
        unpacked = stack.enter_context(contextlib.closing(_unpacker(kind, file)))
        head = _read_exactly(unpacked, _BLOCK)
        if not _begins_tar(head):
            raise TaskError(f"{label} is packed with {kind}, but what it holds is no tar: unpack it and give the file.")
        file = _Forward(unpacked, head)
    return _tar_entries(tarfile.open(fileobj=file, mode="r:", tarinfo=_Header), file)


def _unpacker(kind: str, file: Any) -> _Readable:
    if kind == "gzip":
        return gzip.GzipFile(fileobj=file, mode="rb")
    if kind == "bzip2":
        return bz2.BZ2File(file)
    import lzma  # some builds of Python lack it

    return lzma.LZMAFile(file)


def _tar_entries(archive: tarfile.TarFile, file: _Readable) -> Iterator[_Entry]:
    while (header := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]  # they would be kept, and there may be millions
        if header.isreg():
            yield header.name, header.size, partial(archive.extractfile, header)
    while file.read(_BUFFER):  # up to the check sum of what it is packed with
        pass


class _Header(tarfile.TarInfo):
    """A header that says when it is damaged; tarfile by itself takes any such for the end of the archive."""

    _EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, b"K")
    _LONGEST = 1 << 20  # bytes; tarfile reads it into memory

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in cls._EXTENDED and header.size > cls._LONGEST):
            raise tarfile.HeaderError(f"a header of {header.size} bytes")
        return header

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_Header":
        try:
            header = super().fromtarfile(archive)
        except _END_MARK:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error
        if header.size < 0:  # said by an extended header
            raise tarfile.ReadError(f"a file of {header.size} bytes")
        return header


class _Forward(io.RawIOBase):
    """Bytes that pass by once, ``head`` first, which has been read of them already; seeks forward, by reading."""

    def __init__(self, file: _Readable, head: bytes) -> None:
        self._file, self._head, self._position = file, head, 0

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or offset < self._position:
            raise io.UnsupportedOperation("what has passed by cannot be read again")
        while self._position < offset and self.read(min(offset - self._position, _BUFFER)):
            pass
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        head, self._head = self._head[:size], self._head[size:]
        data = head + _read_exactly(self._file, size - len(head)) if len(head) < size else head
        self._position += len(data)
        return data


# Members, one at a time, with every error in one sentence.


def _members(entries: Iterator[_Entry], label: str) -> Generator[Member, None, None]:
    while True:
        with _sentences(label):
            entry = next(entries, None)
        if entry is None:
            return
        name, size, opener = entry
        cleaned = _clean(name)
        if cleaned is None:
            continue
        turn = _Turn(opener, f"{cleaned} in {label}")
        try:
            yield Member(cleaned, size, turn, label)
        finally:
            turn.end()


def _clean(name: str) -> str | None:
    """Return a name without empty and "." parts, or None where it is not to be read."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts or name.startswith("/") or ".." in parts or _CONTROL.search(name):
        return None
    if "__MACOSX" in parts or parts[-1].startswith("._"):
        return None
    return "/".join(parts)


class _Turn:
    """Opens a member for as long as it is its turn."""

    def __init__(self, opener: Callable[[], _Readable | None], where: str) -> None:
        self._opener, self._where = opener, where
        self._opened: list[BinaryIO] = []
        self._over = False

    def __call__(self) -> BinaryIO:
        if self._over:
            raise ValueError(f"{self._where} is opened after the next member was asked for")
        with _sentences(self._where):
            file = self._opener()
        assert file is not None  # a regular file has content
        self._opened.append(io.BufferedReader(_Guarded(file, self._where), _BUFFER))
        return self._opened[-1]

    def end(self) -> None:
        self._over = True
        for file in self._opened:
            file.close()


class _Guarded(io.RawIOBase):
    """A member's file, whose errors come out as TaskError."""

    def __init__(self, file: _Readable, where: str) -> None:
        self._file, self._where = file, where

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _sentences(self._where):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


@contextlib.contextmanager
def _sentences(label: str) -> Iterator[None]:
    """Turn what goes wrong in an archive, which may be anything where it is damaged, into one sentence."""
    try:
        yield
    except (TaskError, io.UnsupportedOperation):
        raise
    except PermissionError as error:
        path = error.filename or label
        raise TaskError(f"{path} may not be read: change its permissions, or give a copy.") from error
    except NotImplementedError as error:  # of zipfile
        raise TaskError(f"{label} is packed in a way that is not read here: unpack it and give the folder.") from error
    except Exception as error:
        lines = (getattr(error, "strerror", None) or str(error)).splitlines()
        reason = lines[0] if lines else type(error).__name__
        raise TaskError(f"{label} cannot be read ({reason}): it is damaged or incomplete, fetch it again.") from error
