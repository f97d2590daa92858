"""From text to ids: characters of a vocabulary with an end mark (protocol s4), or bytes plus 1 (protocol google)."""

from collections.abc import Iterable
from functools import cached_property
from itertools import repeat

import numpy as np

SPECIALS = ("<pad>", "<unk>", "<eos>")
UNK = SPECIALS.index("<unk>")
EOS = SPECIALS.index("<eos>")
_CODE_POINTS = 0x110000


def codes_of(text: str) -> np.ndarray:
    """Return the code points of a text, (characters,) uint32."""
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def byte_ids(text: str, max_length: int) -> np.ndarray:
    """Return the first ``max_length`` bytes of a text in UTF-8, each plus 1: (L,) uint16, ids 1 to 256."""
    return np.frombuffer(text.encode()[:max_length], np.uint8).astype(np.uint16) + 1


def byte_text(ids: np.ndarray) -> str:
    """Return the text of ids that :func:`byte_ids` has made; a character that was cut in two becomes “�”."""
    return (ids - 1).astype(np.uint8).tobytes().decode("utf-8", errors="replace")


class Characters:
    """A vocabulary of characters: pad, unk, eos, then characters by falling frequency, ties by code point.

    Args:
        characters: in the order of their ids, the first having id 3.
    """

    def __init__(self, characters: str) -> None:
        self.characters = characters

    @classmethod
    def counted(cls, counts: np.ndarray, min_frequency: int, vocab_size: int) -> "Characters":
        """Keep the characters that occur ``min_frequency`` times or more, at most ``vocab_size`` − 3 of them.

        Args:
            counts: occurrences of each code point, (0x110000,).
        """
        found = np.flatnonzero(counts >= max(1, min_frequency))
        by_frequency = found[np.lexsort((found, -counts[found]))]
        return cls("".join(map(chr, by_frequency[: vocab_size - len(SPECIALS)].tolist())))

    def __len__(self) -> int:
        """Ids, special ones included."""
        return len(SPECIALS) + len(self.characters)

    @cached_property
    def _ids(self) -> np.ndarray:
        table = np.full(_CODE_POINTS, UNK, np.uint8 if len(self) <= 256 else np.uint16)
        table[[ord(character) for character in self.characters]] = np.arange(len(SPECIALS), len(self))
        return table

    def ids(self, text: str, max_length: int) -> np.ndarray:
        """Return the ids of the first ``max_length`` − 1 characters and the end mark: (L,) uint8 or uint16."""
        ids = self._ids[codes_of(text[: max_length - 1])]
        return np.append(ids, ids.dtype.type(EOS))

    def text(self, ids: np.ndarray) -> str:
        """Return the text of ids; an unknown character is “�”, end marks are left out."""
        symbols = ["", "�", "", *self.characters]
        return "".join(symbols[number] for number in ids.tolist())


def count_characters(texts: Iterable[str], weights: Iterable[int] = repeat(1)) -> np.ndarray:
    """Count code points over texts, each text as often as its weight says: (0x110000,) int64."""
    counts = np.zeros(_CODE_POINTS, np.int64)
    for text, weight in zip(texts, weights, strict=False):
        codes, times = np.unique(codes_of(text), return_counts=True)
        counts[codes] += weight * times
    return counts
