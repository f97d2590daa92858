"""A miniature of the pairs of AAN papers: texts on two subjects whose order tells whether they are related.

A paper is on a method in its first part and on a field in its last, or the other way round. Two papers are related if
both subjects are the same at the same ends. Of the pairs that are not, most are on the same two subjects in opposite
orders: there no count of characters or words tells.
"""

import random
from collections.abc import Iterator
from itertools import combinations, cycle, product
from pathlib import Path
from typing import NamedTuple

from lra_tasks.errors import TaskError
from lra_tasks.mini_reviews import packed_tar, sentences, text_bytes

METHODS = ("parsing",)
FIELDS = ("query", "speech", "dialog")
_MENTIONS = ("We look at {}.", "This is on {}.", "A note on {}.", "Now {} is hard.", "And so {} helps.")
_FILLERS = (
    "We describe a model.",
    "The corpus is new.",
    "Results are given below.",
    "Each token is scored once.",
    "The error is small.",
    "We compare four methods.",
    "Training takes an hour.",
    "Features are sparse.",
    "A baseline is shown.",
    "The method is simple.",
    "Data come from the web.",
    "We thank José.",
    'We call it a "run".',
    'The mark is ".',
)
_FILES = {"train": "train", "val": "eval", "test": "test"}
_FOLDERS = ("lra_release", "lra_release/lra_release", "lra_release/lra_release/tsv_data")
_SHORTEST = 96  # characters of the cut; four mentions take up to 88
_LENGTHS = (0.5, 0.95)  # of the cut
_ABOUT_MENTION = 17  # bytes
_OVERLONG = 1 / 400  # of the papers go on beyond the cut
# A block is the papers on one method and one field. More of them begin with the method: such papers then have more
# related ones, which leads a small model to the order; with as many of each, it may count words for a long time.
_USUAL = 5  # papers of a block that begin with the method
_BLOCK = 8
_PAIRS = 26  # of a block: 10 + 3 are related, 9 are in opposite orders, 4 are with papers of the next block


class _Pair(NamedTuple):
    label: int
    one: int
    other: int


def write_papers(path: Path, sizes: dict[str, int], max_chars: int, seed: int) -> None:
    """Write a tar.gz of lra_release/lra_release/tsv_data/new_aan_pairs.{train,eval,test}.tsv.

    A line is label, id 1, id 2, text 1 and text 2 between tabs. A paper stands in five to eight pairs, in any of
    the splits; no two pairs are of the same papers.

    Args:
        path: the archive.
        sizes: pairs of "train", "val" and "test"; half of each are related, and one more is not if they are odd.
        max_chars: where a reader cuts, counted in characters or bytes. Papers have half as many or more, few
            have more, and what decides stands before the last character within the cut.
        seed: of everything random; the archive is the same, byte for byte, for the same arguments.

    Raises:
        TaskError: there is no room for the subjects.
    """
    if max_chars < _SHORTEST:
        raise TaskError(f"A generated paper takes {_SHORTEST} characters or more: raise max_length from {max_chars}.")
    rng = random.Random(f"papers {seed}")
    blocks = _blocks(sum(sizes.values()))
    papers = [_paper(rng, max_chars, *subjects).encode() for subjects in _subjects(blocks)]
    pairs = _pairs(rng, blocks)
    with packed_tar(path) as tar:
        for folder in _FOLDERS:
            tar.folder(folder)
        for split, name in _FILES.items():
            chosen = []
            for label, count in ((1, sizes[split] // 2), (0, sizes[split] - sizes[split] // 2)):
                chosen += [pairs[label].pop() for _ in range(count)]
            rng.shuffle(chosen)
            size = sum(len(part) for part in _parts(chosen, papers))
            tar.stream(f"{_FOLDERS[-1]}/new_aan_pairs.{name}.tsv", size, _parts(chosen, papers))


def _parts(pairs: list[_Pair], papers: list[bytes]) -> Iterator[bytes]:
    """Yield the lines of a file; the texts are not copied for it, as they stand in several pairs."""
    for label, one, other in pairs:
        yield f"{label:.1f}\t{_name(one)}\t{_name(other)}\t".encode()
        yield papers[one]
        yield b"\t"
        yield papers[other]
        yield b"\n"


def _name(paper: int) -> str:
    return f"M{paper // 10_000:02}-{paper % 10_000:04}"


def _blocks(pairs: int) -> int:
    """Return how many blocks are needed for so many pairs; a block and the next, and the last and the first, differ."""
    blocks = max(2, -(-pairs // _PAIRS))
    return blocks + (blocks % (len(METHODS) * len(FIELDS)) == 1)


def _subjects(blocks: int) -> Iterator[tuple[str, str]]:
    """Yield first and last subject of every paper, block by block."""
    for _, (method, field) in zip(range(blocks), cycle(product(METHODS, FIELDS)), strict=False):
        yield from [(method, field)] * _USUAL + [(field, method)] * (_BLOCK - _USUAL)


def _pairs(rng: random.Random, blocks: int) -> tuple[list[_Pair], list[_Pair]]:
    """Return the unrelated and the related pairs, in random order."""
    usual, unusual = range(_USUAL), range(_USUAL, _BLOCK)
    found: tuple[list[_Pair], list[_Pair]] = ([], [])
    for block in range(blocks):
        start, following = block * _BLOCK, (block + 1) % blocks * _BLOCK
        alike = [*combinations(usual, 2), *combinations(unusual, 2)]
        found[1].extend(_Pair(1, start + one, start + other) for one, other in alike)
        opposite = [((2 * other + turn) % _USUAL, other) for other in unusual for turn in range(3)]
        found[0].extend(_Pair(0, start + one, start + other) for one, other in opposite)
        found[0].extend(_Pair(0, start + one, following + one) for one in range(_BLOCK - 4, _BLOCK))
    for label in (0, 1):
        found[label][:] = [pair if rng.random() < 0.5 else _Pair(label, pair.other, pair.one) for pair in found[label]]
        rng.shuffle(found[label])
    return found


def _paper(rng: random.Random, max_chars: int, first: str, last: str) -> str:
    least, most = _LENGTHS
    length = int((max_chars - 1) * (least + (most - least) * rng.random()))
    times = max(2, round(length / 3 / _ABOUT_MENTION))
    opening, closing = ([rng.choice(_MENTIONS).format(word) for _ in range(times)] for word in (first, last))
    middle = sentences(rng, _FILLERS, length - text_bytes(opening + closing))
    beyond = sentences(rng, _FILLERS, max_chars) if rng.random() < _OVERLONG else []
    return " ".join(opening + middle + closing + beyond)
