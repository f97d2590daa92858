"""Departures from LRA's rules: one vocabulary for measured records, which carry sentences, and published rows, which
carry codes (``results/published.csv``).

Two accuracies of one task are of one kind only if the departures that decide what is measured, the *decisive* ones, are
the same on both sides.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from lra_tasks.registry import task_cards


@dataclass(frozen=True)
class Departure:
    """A known departure.

    Attributes:
        code: its name in ``results/published.csv``.
        sentence: what a measured record says of it, literally.
        decisive: whether a figure with it cannot be set beside one without.
    """

    code: str
    sentence: str
    decisive: bool


DEPARTURES = {
    departure.code: departure
    for departure in (
        Departure("colour", "Images are in colour.", True),
        Departure("augmentation", "Training images are cropped and flipped at random.", True),
        Departure("2-d", "Scans rows and columns of the image (2-D).", True),
        Departure("selected-on-test", "The checkpoint is selected on the test split, as in the published code.", True),
        Departure("mini", "The data is a generated miniature of the task.", True),
        Departure("folder", "The pixels were read from a folder of image files and may have been re-encoded.", True),
        Departure("padding", "Padding is scanned and counted.", False),
        Departure(
            "held-out", "A tenth of train is held out for validation; the published code validates on test.", False
        ),
        Departure(
            "generated", "The samples are drawn anew from a seed; the published files were drawn without one.", False
        ),
        # Of published rows alone: nothing that is measured here does so.
        Departure("pre-training", "The model is pre-trained.", True),
        Departure("drop-last", "The last partial batch of the test split is dropped.", False),
        Departure("black-pixels", "Black pixels are masked as padding.", False),
        Departure("single-seed", "One seed was run.", False),
    )
}


def codes(sentences: Iterable[str]) -> set[str]:
    """Return the codes of a record's departures; a sentence that is not in the vocabulary is its own code."""
    known = {departure.sentence: departure.code for departure in DEPARTURES.values()}
    return {known.get(sentence, sentence) for sentence in sentences}


def is_decisive(code: str) -> bool:
    """Whether a figure with this departure cannot be set beside one without.

    A code that is not in the vocabulary is decisive, to be safe, unless it is a sentence of a task's card: those say
    how an encoding differs from the published code's in details that LRA's rules leave open.
    """
    return DEPARTURES[code].decisive if code in DEPARTURES else code not in _details()


def sentence(code: str) -> str:
    """Put a code in words."""
    return DEPARTURES[code].sentence if code in DEPARTURES else code


@cache
def _details() -> frozenset[str]:
    """Sentences in which the cards of our tasks depart from the published code."""
    return frozenset(
        text for card in task_cards().values() for protocol in card.protocols for text in protocol.departures
    )
