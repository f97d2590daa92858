"""A miniature of aclImdb: reviews whose label only the order of their verdicts tells, in the original's files.

A review opens with one verdict and closes with the opposite one, which is the label's. Praise and blame are said as
often as one another in every review, so no count of characters or words tells the classes apart.

Also here: how every miniature is packed.
"""

import contextlib
import gzip
import os
import random
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from lra_tasks.errors import TaskError

PRAISE = ("superb", "lovely")
BLAME = ("awful", "dull")
_VERDICTS = ("I call it {}.", "It is {}.", "So {} a film.", "How {} it is.")
_FILLERS = (
    "The plot moves on and on.",
    "We sat in the third row.",
    "The cast is large.",
    "A man walks his dog.",
    "The sound is fine.",
    "They talk a lot.",
    "Rain falls in every scene.",
    "It was shot in one town.",
    "The lead sings a song.",
    "Most of it is set at sea.",
    "My friend had seen it before.",
    "The camera never rests.",
    "It runs for two hours.",
    "There is a chase.",
    "They meet in a café.",
    "A naïve clerk tells it all.",
    "<br /><br />",
)
_SHORTEST = 64  # characters; two verdicts take up to 38
_PER_VERDICT = 256  # characters of the longest review for each verdict at either end
_FRAMED = 0.25  # of the reviews have a sentence before the opening verdict; as many have one after the closing one
_TORN = 0.3  # of the reviews hold both verdicts once more in between, in any order
_OVERLONG = 0.03  # of the reviews go on beyond the cut; of the published ones 2.9 %
_README = b"A miniature of the Large Movie Review Dataset v1.0: generated reviews in its files.\n"


def write_reviews(path: Path, sizes: dict[str, int], max_chars: int, seed: int) -> None:
    """Write a tar.gz of aclImdb/{train,test}/{pos,neg}/ID_RATING.txt, a README and some reviews without labels.

    Args:
        path: the archive.
        sizes: reviews of "train" and "test"; half of each are positive, and one more is negative if they are odd.
        max_chars: where a reader cuts, counted in characters or bytes. Reviews have half as many or more, few have
            more, and what decides stands before the last character within the cut.
        seed: of everything random; the archive is the same, byte for byte, for the same arguments.

    Raises:
        TaskError: there is no room for two verdicts.
    """
    if max_chars < _SHORTEST:
        raise TaskError(f"A generated review takes {_SHORTEST} characters or more: raise max_length from {max_chars}.")
    with packed_tar(path) as tar:
        tar.folder("aclImdb")
        tar.add("aclImdb/README", _README)
        for split in ("train", "test"):
            tar.folder(f"aclImdb/{split}")
            for kind, count in (("neg", sizes[split] - sizes[split] // 2), ("pos", sizes[split] // 2)):
                rng = random.Random(f"reviews {seed} {split} {kind}")
                tar.folder(f"aclImdb/{split}/{kind}")
                for number in range(count):
                    rating = rng.randrange(7, 11) if kind == "pos" else rng.randrange(1, 5)
                    text = _review(rng, max_chars, kind == "pos")
                    tar.add(f"aclImdb/{split}/{kind}/{number}_{rating}.txt", text.encode())
        rng = random.Random(f"reviews {seed} unsup")
        tar.folder("aclImdb/train/unsup")
        for number in range(1 + sizes["train"] // 100):
            tar.add(f"aclImdb/train/unsup/{number}_0.txt", _review(rng, max_chars, rng.random() < 0.5).encode())


def _review(rng: random.Random, max_chars: int, positive: bool) -> str:
    first, last = rng.choice(BLAME), rng.choice(PRAISE)
    if not positive:
        first, last = last, first
    times = max(1, max_chars // _PER_VERDICT)
    opening, closing = ([_verdict(rng, word) for _ in range(times)] for word in (first, last))
    room = int((max_chars - 1) * (0.5 + 0.5 * rng.random())) - text_bytes(opening + closing)
    middle = []
    if rng.random() < _TORN:
        middle = [_verdict(rng, rng.choice(PRAISE)), _verdict(rng, rng.choice(BLAME))]
        rng.shuffle(middle)
        if text_bytes(middle) > room:
            middle = []
    fillers = sentences(rng, _FILLERS, room - text_bytes(middle))
    before, after = ([fillers.pop()] if fillers and rng.random() < _FRAMED else [] for _ in range(2))
    for filler in fillers:
        middle.insert(rng.randrange(len(middle) + 1), filler)
    review = before + opening + middle + closing + after
    if rng.random() < _OVERLONG:
        review += sentences(rng, _FILLERS, max_chars)
    return " ".join(review)


def _verdict(rng: random.Random, word: str) -> str:
    return rng.choice(_VERDICTS).format(word)


def sentences(rng: random.Random, known: Sequence[str], room: int) -> list[str]:
    """Draw sentences until one does not fit: with a blank after each, they take ``room`` bytes or less."""
    drawn: list[str] = []
    while (room := room - text_bytes([sentence := rng.choice(known)])) >= 0:
        drawn.append(sentence)
    return drawn


def text_bytes(parts: Iterable[str]) -> int:
    """Return how many bytes sentences take with a blank after each."""
    return sum(len(part.encode()) + 1 for part in parts)


@contextlib.contextmanager
def packed_tar(path: Path) -> Iterator["PackedTar"]:
    """Write a tar.gz under a temporary name; it gets its own at the end, if nothing has failed."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            tar = PackedTar(file)
            yield tar
            tar.close()
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


class PackedTar:
    """A tar in gzip that holds no times and no users: the same content for the same members."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=1, mtime=0)

    def folder(self, name: str) -> None:
        """Add an empty folder."""
        header = tarfile.TarInfo(name)
        header.type, header.mode = tarfile.DIRTYPE, 0o755
        self._file.write(_tar_header(header))

    def add(self, name: str, content: bytes) -> None:
        """Add a file."""
        self.stream(name, len(content), [content])

    def stream(self, name: str, size: int, parts: Iterable[bytes]) -> None:
        """Add a file of ``size`` bytes that comes in parts."""
        header = tarfile.TarInfo(name)
        header.size = size
        self._file.write(_tar_header(header))
        begin = self._file.tell()
        for part in parts:
            self._file.write(part)
        assert self._file.tell() - begin == size, name
        self._file.write(bytes(-size % tarfile.BLOCKSIZE))

    def close(self) -> None:
        """End the tar and the gzip; the file stays open."""
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))
        self._file.write(bytes(-self._file.tell() % tarfile.RECORDSIZE))
        self._file.close()


def _tar_header(header: tarfile.TarInfo) -> bytes:
    return header.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
