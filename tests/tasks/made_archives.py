"""Archives of every kind in memory, and what reading them gives."""

import bz2
import gzip
import io
import lzma
import random
import tarfile
import zipfile
from pathlib import Path

import pytest
from local_site import sentence

from lra_tasks import TaskError

FILES = {
    "set/train/b.txt": b"two\nlines",
    "set/train/a.txt": random.Random(0).randbytes(150_000),
    "set/block": b"x" * 512,
    "set/empty": b"",
    "set/" + "long/" * 60 + "name": b"deep",
}
SMALL = {"a": b"first", "b/c": b"second", "d": b"x" * 512}


def tar(files, format=tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as made:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            made.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def zipped(files, compression=zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as made:
        for name, data in files.items():
            made.writestr(zipfile.ZipInfo(name), data, compression)
    return out.getvalue()


PACK = {
    "tar": bytes,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


class Passing:
    """A file that can be read and nothing else, in pieces of its own size."""

    def __init__(self, data):
        self.data = io.BytesIO(data)

    def read(self, size):
        return self.data.read(min(size, 700))


def in_file(tmp_path, data, name="given") -> Path:
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


def contents(opened, limit=1 << 20) -> dict[str, bytes]:
    with opened as members:
        return {member.name: member.read(limit) for member in members}


def fails(opened, match=None) -> str:
    with pytest.raises(TaskError, match=match) as caught:
        contents(opened)
    return sentence(caught)
