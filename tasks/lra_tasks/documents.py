"""What the tasks of texts share: documents cut to a length, as characters (protocol s4) or bytes (google)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from lra_tasks.card import Scale, TaskSpec
from lra_tasks.datamodule import LRATask
from lra_tasks.store_writer import StoreWriter
from lra_tasks.tokens import SPECIALS, Characters, byte_ids, byte_text

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class DocumentScale(Scale):
    """Split sizes, and the cut."""

    max_length: int | None = None  # in steps, end mark included; None: the protocol's


class DocumentTask(LRATask):
    """A task of texts, one or two of them a sample."""

    scales: ClassVar[dict[str, DocumentScale]]
    documents: ClassVar[Literal[1, 2]] = 1  # of a sample

    @property
    def spec(self) -> TaskSpec:
        """Texts are cut at the scale's length."""
        protocol = self.card.protocol(self.protocol)
        max_length = self.scales[self.scale].max_length or protocol.max_length
        return TaskSpec(self.name, "tokens", protocol.vocab_size, self.card.classes, max_length, self.documents)

    def render(self, document: np.ndarray) -> "RenderableType":
        """The text."""
        from rich.text import Text as Plain

        if self.protocol == "google":
            return Plain(byte_text(document))
        return Plain(Characters(self.store.notes["characters"]).text(document))

    def symbols(self, document: np.ndarray) -> list[str]:
        """The characters."""
        google = self.protocol == "google"
        table = ["<pad>", *map(chr, range(256))] if google else [*SPECIALS, *self.store.notes["characters"]]
        return [table[number] for number in document.tolist()]

    def encoder(
        self, out: StoreWriter, count: Callable[[int], np.ndarray], min_frequency: int
    ) -> Callable[[str], np.ndarray]:
        """Return what turns a text into ids; the characters of protocol s4 are noted in ``out``.

        Args:
            count: given the number of characters that are read at scale full, counts the code points of the training
                texts, (0x110000,), so that every scale has the ids of the full one.
            min_frequency: of a character that has an id.
        """
        max_length = self.spec.max_length
        if self.protocol == "google":
            return lambda text: byte_ids(text, max_length)
        full = self.card.protocol("s4")
        characters = Characters.counted(count(full.max_length - 1), min_frequency, full.vocab_size)
        out.notes["characters"] = characters.characters
        return lambda text: characters.ids(text, max_length)
