"""Retrieval: does one of two papers cite the other, character by character? (Radev et al. 2013; Tay et al. 2021)."""

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np

from lra_tasks import cards
from lra_tasks.documents import DocumentScale, DocumentTask
from lra_tasks.errors import TaskError
from lra_tasks.original import decoded, drawn, original_members, place
from lra_tasks.store_writer import StoreWriter
from lra_tasks.tokens import count_characters

_PAIRS = re.compile(r"(?:^|/)new_aan_pairs\.(train|eval|test)\.tsv$")
_SPLITS = {"train": "train", "eval": "val", "test": "test"}
_LONGEST_LINE = 1 << 26  # bytes; a published line holds two papers of some 30 kB
_BEGINNING = 16_000  # bytes of a paper that are kept
_LABELS = {b"0": 0, b"0.0": 0, b"1": 1, b"1.0": 1}


@dataclass
class _Pairs:
    """The pairs of one file: numbers of papers and labels, in order."""

    papers: array = field(default_factory=lambda: array("q"))  # two for each pair
    labels: array = field(default_factory=lambda: array("q"))


class Retrieval(DocumentTask):
    """Pairs of papers of the ACL Anthology Network as characters (protocol s4) or bytes (google).

    The published files repeat each paper in many pairs; here each is stored once.
    """

    name = "retrieval"
    card = cards.RETRIEVAL
    scales: ClassVar[dict[str, DocumentScale]] = {
        "full": DocumentScale(147_086, 18_090, 17_437),
        "tenth": DocumentScale(14_709, 1_809, 1_744),
        "small": DocumentScale(10_000, 2_000, 2_000, max_length=1_024),
        "tiny": DocumentScale(10_000, 1_000, 2_000, max_length=128),
    }

    documents = 2

    def build(self, out: StoreWriter) -> None:
        """Store each paper that is used once, then the pairs of each split, drawn from the published file."""
        papers, pairs = self._read(out.scratch)
        encode = self.encoder(out, partial(self._counted, papers, pairs["train"]), min_frequency=1)
        assert out.documents is not None
        stored: dict[int, int] = {}
        for nth, (split, size) in enumerate(self.scales[self.scale].sizes.items()):
            labels = np.array(pairs[split].labels, np.int64)
            chosen = np.arange(size) if size == len(labels) else drawn(len(labels), [self.seed, nth])[:size]
            numbers = np.array(pairs[split].papers, np.int64).reshape(-1, 2)[chosen]
            for paper in numbers.ravel().tolist():
                if paper not in stored:
                    stored[paper] = out.documents.append(encode(papers[paper]))
            renumbered = np.array([stored[paper] for paper in numbers.ravel().tolist()], np.int64).reshape(-1, 2)
            out[split].extend_pairs(renumbered, labels[chosen])

    def write_miniature(self, path: Path) -> None:
        """Generated pairs in the published layout."""
        from lra_tasks.mini_papers import write_papers

        write_papers(path, self.scales[self.scale].sizes, self.spec.max_length, self.seed)

    def _counted(self, papers: list[str], train: _Pairs, read: int) -> np.ndarray:
        times = np.bincount(np.array(train.papers, np.int64), minlength=len(papers))  # a paper counts in every pair
        cut = (papers[paper][:read] for paper in np.flatnonzero(times))
        return count_characters(cut, times[times > 0].tolist())

    def _read(self, scratch: Path) -> tuple[list[str], dict[str, _Pairs]]:
        """Return the beginning of each distinct paper, and the pairs of each split."""
        numbers: dict[str, int] = {}
        found: dict[str, _Pairs] = {}
        with original_members(self, scratch, skip=r"pathfinder\d+|listops-\d+") as members:
            for member in members:
                if match := _PAIRS.search(member.name):
                    split = _SPLITS[match[1]]
                    found[split] = _Pairs()
                    with member.open() as file:
                        self._read_pairs(file, f"{member.name} in {place(self)}", numbers, found[split])
                if len(found) == len(_SPLITS):
                    break  # of an archive of 8 GB the rest is not waited for
        for published, split in _SPLITS.items():
            have = len(found[split].labels) if split in found else 0
            needed = self.scales[self.scale].sizes[split]
            if have < needed or (self.source == "official" and have != getattr(self.card, split)):
                raise TaskError(
                    f"new_aan_pairs.{published}.tsv in {place(self)} has {have:,} pairs where the published file has "
                    f"{getattr(self.card, split):,}: give the three files of tsv_data whole."
                )
        return list(numbers), found

    def _read_pairs(self, file: BinaryIO, where: str, numbers: dict[str, int], pairs: _Pairs) -> None:
        for line, fields in enumerate(_lines(file, where), start=1):
            label = _LABELS.get(fields[0])
            if label is None:
                shown = fields[0][:20].decode("utf-8", errors="replace")
                raise TaskError(f"{where}, line {line}: the label is {shown!r} and not 0.0 or 1.0.")
            for text in fields[3:]:
                beginning = _beginning(text, f"{where}, line {line}")
                if not beginning:
                    raise TaskError(f"{where}, line {line}: a paper has no text; fetch the file again.")
                pairs.papers.append(numbers.setdefault(beginning, len(numbers)))
            pairs.labels.append(label)


def _lines(file: BinaryIO, where: str) -> Iterator[list[bytes]]:
    """Yield the five fields of each line: label, id 1, id 2, text 1, text 2."""
    number = 0
    while data := file.readline(_LONGEST_LINE):
        number += 1
        fields = data.rstrip(b"\r\n").split(b"\t")
        if len(fields) != 5:
            raise TaskError(
                f"{where}, line {number}: it has {len(fields)} fields and not label, id, id, text, text between tabs; "
                "fetch the file again."
            )
        yield fields


def _beginning(data: bytes, where: str) -> str:
    """Decode as much of a paper as any protocol reads: 4,000 characters of at most 4 bytes, whole ones only."""
    if len(data) <= _BEGINNING:
        return decoded(data, where)
    end = _BEGINNING
    while end > _BEGINNING - 4 and data[end] & 0xC0 == 0x80:  # inside a character
        end -= 1
    return decoded(data[:end], where)
