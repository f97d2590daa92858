"""Every reader of a file that may come from anyone, as a function of its bytes, with small valid files to begin from.

A reader may answer with a sentence: one line that any terminal can show, of less than 2,000 characters. Whatever else
it raises is a defect. Where a reader takes an archive or a folder, the bytes are those of its members, with `CUT`
between them, so that a changed byte gets past checksums; what has more or fewer parts is the file itself.
"""

import io
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lra_hgrn.errors import UserError
from lra_tasks import TaskError
from lra_tasks.findings import Broken

CUT = b"\n----8<----\n"
# Words that mean something to one of the readers.
WORDS = [
    *(
        b"${oc.env:HOME}",
        b"!!python/object/apply:os.system [id]",
        b"&a",
        b"*a",
        b"[[[[[[[[",
        b"{{{{",
        b"- - - -",
        b"<<: ",
    ),
    *(b"1e999", b"-1", b"0x7fffffffffffffff", b"99999999999999999999", b"NaN", b"null", b"true", b'""', b"[]", b"{}"),
    *(b"\\ud800", b"\x1b[2J", b"\xe2\x80\xae", b"\x00", b"\xff", b"\r\n", b"\t", b"../../", b"<script>", b"|O", b"|V0"),
    *(b"(10000000000000,)", b"r\xff\xff\xff\x7f", b"cos\nsystem\n", b"(-1,)", b"True", b"{'descr': "),
]
ALLOWED = (UserError, TaskError, Broken)


@dataclass(frozen=True)
class Target:
    """A reader of bytes, which it may put into a folder of its own, and the valid files to begin from."""

    read: Callable[[bytes, Path], object]
    seeds: Callable[[], list[bytes]]
    share: float  # of the runs of a target of half a millisecond


TARGETS: dict[str, Target] = {}


def hold(name: str, data: bytes) -> bool:
    """Give bytes to a reader; return whether it took them.

    Raises:
        AssertionError: what it says against them is no sentence.
        Exception: it said nothing.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            TARGETS[name].read(data, Path(folder))
        except ALLOWED as error:
            said = str(error)
            assert said.isprintable(), f"{said!r} is not one line to be printed"
            assert 0 < len(said) < 2_000, f"{len(said)} characters: {said[:200]}"
            return False
    return True


def target(
    seeds: Callable[[], Iterable[bytes]], share: float = 1.0
) -> Callable[[Callable[[bytes, Path], object]], None]:
    """Add a function of (bytes, empty folder), by its name without ``read_``."""

    def add(read: Callable[[bytes, Path], object]) -> None:
        TARGETS[read.__name__.removeprefix("read_")] = Target(read, lambda: list(seeds()), share)

    return add


# -- files of several parts


def npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()
