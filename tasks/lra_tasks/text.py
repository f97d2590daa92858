"""Text: is a film review positive or negative, character by character? (Maas et al. 2011; Tay et al. 2021)."""

import re
from pathlib import Path
from typing import ClassVar

import numpy as np

from lra_tasks import cards
from lra_tasks.documents import DocumentScale, DocumentTask
from lra_tasks.errors import TaskError
from lra_tasks.original import decoded, drawn, original_members, place
from lra_tasks.store_writer import StoreWriter
from lra_tasks.tokens import count_characters

MIN_FREQUENCY = 15  # of a character in the training reviews, cut as at full scale
_LARGEST = 1 << 20  # bytes of a review; the longest published one has 14 kB
_LARGEST_ALL = 1 << 30  # characters of all reviews; the published ones have 65 million
_REVIEW = re.compile(r"(?:^|/)(train|test)/(pos|neg)/(\d{1,9})_\d+\.txt$")


class Text(DocumentTask):
    """IMDB reviews as characters (protocol s4) or bytes (google)."""

    name = "text"
    card = cards.TEXT
    scales: ClassVar[dict[str, DocumentScale]] = {
        "full": DocumentScale(25_000, 0, 25_000),
        "tenth": DocumentScale(2_500, 0, 2_500),
        "small": DocumentScale(5_000, 0, 5_000, max_length=1_024),
        "tiny": DocumentScale(12_000, 0, 2_000, max_length=128),
    }

    def build(self, out: StoreWriter) -> None:
        """Draw each split's reviews, half of each class, from the published train and test."""
        reviews = self._read(out.scratch)
        train = reviews["train"]
        encode = self.encoder(out, lambda read: count_characters(text[:read] for text, _ in train), MIN_FREQUENCY)
        sizes = self.scales[self.scale].sizes
        for split in ("train", "test"):
            held_out = self.sizes["val"] if split == "train" else 0
            for nth, number in enumerate(self._chosen(split, len(reviews[split]), sizes[split])):
                text, label = reviews[split][number]
                out["val" if nth < held_out else split].append(encode(text), label)

    def write_miniature(self, path: Path) -> None:
        """Generated reviews in the published layout."""
        from lra_tasks.mini_reviews import write_reviews

        sizes = self.scales[self.scale].sizes
        write_reviews(path, {split: sizes[split] for split in ("train", "test")}, self.spec.max_length, self.seed)

    def _read(self, scratch: Path) -> dict[str, list[tuple[str, int]]]:
        """Return (text, label) of every labelled review: negative ones first, each class by its number."""
        found: dict[str, dict[tuple[int, int], str]] = {"train": {}, "test": {}}
        read = 0
        with original_members(self, scratch, skip="unsup") as members:
            for member in members:
                if match := _REVIEW.search(member.name):
                    split, kind, number = match.groups()
                    text = decoded(member.read(_LARGEST), f"The review {member.name} in {place(self)}")
                    if not text:
                        raise TaskError(f"The review {member.name} in {place(self)} is empty: fetch the archive again.")
                    found[split][int(kind == "pos"), int(number)] = text
                    read += len(text)
                    if read > _LARGEST_ALL:
                        raise TaskError(f"{place(self)} has more text than reviews have: fetch the archive again.")
        published = self.source == "official"
        for split, size in (("train", self.card.train), ("test", self.card.test)):
            for label, kind in enumerate(("neg", "pos")):
                have = sum(key[0] == label for key in found[split])
                if have != size // 2 if published else not have:
                    raise TaskError(
                        f"{place(self)} holds {have:,} reviews {split}/{kind}/ID_RATING.txt where the published "
                        f"archive has {size // 2:,}: give the whole of aclImdb."
                    )
        return {split: [(found[split][key], key[0]) for key in sorted(found[split])] for split in found}

    def _chosen(self, split: str, there: int, size: int) -> np.ndarray:
        """Return numbers of ``size`` reviews in a drawn order, neg and pos in equal parts."""
        half = there // 2
        order = drawn(half, [self.seed, int(split == "test")])[: size // 2]
        other = drawn(half, [self.seed, 2 + int(split == "test")])[: size // 2] + half
        return np.stack([order, other], axis=1).ravel()
