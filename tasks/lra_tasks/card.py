"""What a task is: the card of published facts, its protocols, and the shape of its samples.

Nothing here imports torch, so that cards can be listed quickly.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from lra_tasks.errors import TaskError, nearest


def require(condition: bool, message: str) -> None:
    """Raise TaskError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise TaskError(message)


@dataclass(frozen=True)
class Protocol:
    """How one line of published code cuts, encodes and splits a task, and where ours departs from it."""

    name: str
    encoding: str  # one phrase: what a step of the input is
    vocab_size: int  # ids of a token, 0 for values
    max_length: int  # steps of the longest input, end mark included
    splits: str = "made with the samples"  # one phrase: where the splits come from
    departures: tuple[str, ...] = ()  # from the published code, each one sentence

    def __post_init__(self) -> None:
        require(bool(self.name and self.encoding and self.splits), "A protocol needs a name, an encoding and splits.")
        require(self.vocab_size >= 0, f"Protocol {self.name!r}: vocab_size must be 0 (values) or more.")
        require(self.max_length > 0, f"Protocol {self.name!r}: max_length must be positive.")
        require(all(text.strip() for text in self.departures), f"Protocol {self.name!r}: a departure may not be empty.")


@dataclass(frozen=True)
class Archive:
    """A published file that a task is read from."""

    url: str
    filename: str
    size: int | None = None  # bytes
    md5: str | None = None  # hex; None: no checksum is published
    passing: bool = False  # too large to keep: read while it passes by

    def __post_init__(self) -> None:
        require(self.url.startswith("https://"), f"{self.filename}: an archive is fetched over https.")
        require(bool(self.filename) and "/" not in self.filename, "An archive has a plain file name.")
        require(self.md5 is None or len(self.md5) == 32, f"{self.filename}: an md5 has 32 hex digits.")
        require(self.passing or None not in (self.md5, self.size), f"{self.filename}: name its size and md5.")


Source = Literal["generated", "official", "folder", "mini"]


@dataclass(frozen=True)
class Reference:
    """A published or measured fact of the full task, for `lra_tasks.verify`."""

    quantity: str  # as verify names it: "mean length"
    value: float
    tolerance: float = 0.0  # in the units of the quantity
    sources: tuple[Source, ...] = ("generated", "official")  # of the data that it holds for
    protocols: tuple[str, ...] = ("s4", "google")

    def __post_init__(self) -> None:
        require(bool(self.quantity) and self.tolerance >= 0, f"Reference {self.quantity!r} has no sense.")


@dataclass(frozen=True)
class TaskCard:
    """The published facts of a task. ``version`` goes up whenever the samples of a prepared task change.

    The first of ``sources`` is what a task is made from unless another is asked for.
    """

    title: str
    summary: str  # one sentence: what is asked of a model
    source: str  # paper and origin of the data
    licence: str
    url: str
    train: int  # published number of samples in each split
    val: int
    test: int
    classes: int
    lengths: tuple[int, int]  # steps of the shortest and longest sample, without end mark
    protocols: tuple[Protocol, ...]
    sources: tuple[Source, ...] = ("generated",)
    archive: Archive | None = None  # of the source "official"
    references: tuple[Reference, ...] = ()
    # (start of a prepared folder's name, SHA-256), where every machine gives the same: none of generated images, whose
    # floating-point choices may differ.
    fingerprints: tuple[tuple[str, str], ...] = ()
    version: int = 1

    def __post_init__(self) -> None:
        for field in ("title", "summary", "source", "licence", "url"):
            require(bool(getattr(self, field).strip()), f"Task card {self.title!r}: {field} is empty.")
        require(min(self.train, self.val, self.test) >= 0, f"Task card {self.title!r}: a split size is negative.")
        require(self.classes >= 2, f"Task card {self.title!r}: a task has at least two classes.")
        shortest, longest = self.lengths
        require(0 < shortest <= longest, f"Task card {self.title!r}: lengths must be (shortest, longest).")
        names = [protocol.name for protocol in self.protocols]
        require(bool(names), f"Task card {self.title!r}: name at least one protocol.")
        require(len(set(names)) == len(names), f"Task card {self.title!r}: a protocol is named twice.")
        require(bool(self.sources), f"Task card {self.title!r}: name at least one source.")
        require(
            ("official" in self.sources) == (self.archive is not None),
            f"Task card {self.title!r}: the source 'official' and an archive go together.",
        )
        require(self.version >= 1, f"Task card {self.title!r}: version starts at 1.")

    def protocol(self, name: str) -> Protocol:
        """Return the protocol called ``name``.

        Raises:
            TaskError: the task has no such protocol.
        """
        for protocol in self.protocols:
            if protocol.name == name:
                return protocol
        names = [protocol.name for protocol in self.protocols]
        raise TaskError(f"{self.title} has no protocol {name!r}; it has {', '.join(names)}.{nearest(name, names)}")


@dataclass(frozen=True)
class Scale:
    """A named size of a task; a task adds the parameters of its generator in a subclass."""

    train: int  # samples in each split
    val: int
    test: int

    def __post_init__(self) -> None:
        require(min(self.train, self.val, self.test) >= 0, "A split size is negative.")

    @property
    def sizes(self) -> dict[str, int]:
        """Samples in each split, by name."""
        return {"train": self.train, "val": self.val, "test": self.test}


@dataclass(frozen=True)
class TaskSpec:
    """The shape of a task's samples: all that a model needs to know of it.

    Values are served as (stored − shift) / scale in float32. A step of several values (``channels``), as a pixel in
    colour, has each of them; shift and scale are then one number for all or one for each.
    """

    name: str
    inputs: Literal["tokens", "values"]
    vocab_size: int  # ids of a token, padding (0) included; 0 for values
    n_classes: int
    max_length: int  # steps of the longest input
    documents: Literal[1, 2] = 1  # inputs of one sample
    variable: bool = True  # lengths differ, so that batches are padded
    side: int = 0  # height and width of the image that the steps are, row by row; 0: no image
    shift: float | tuple[float, ...] = 127.5
    scale: float | tuple[float, ...] = 127.5
    channels: int = 1  # values of a step: inputs are (N·B, L), or (N·B, L, channels) where there are several

    def __post_init__(self) -> None:
        require(self.inputs in ("tokens", "values"), f"{self.name}: inputs are 'tokens' or 'values'.")
        tokens = self.inputs == "tokens"
        require((self.vocab_size > 0) == tokens, f"{self.name}: vocab_size is the number of tokens, 0 for values.")
        require(self.n_classes >= 2, f"{self.name}: a task has at least two classes.")
        require(self.n_classes <= 65_536, f"{self.name}: more than 65,536 classes cannot be stored.")
        require(self.max_length > 0, f"{self.name}: max_length must be positive.")
        require(self.vocab_size <= 65_536, f"{self.name}: more than 65,536 ids cannot be stored.")
        require(self.documents in (1, 2), f"{self.name}: a sample has one or two documents.")
        require(self.side in (0, math.isqrt(self.max_length)), f"{self.name}: an image has side² = max_length steps.")
        require(not (self.side and self.variable), f"{self.name}: images have one length.")
        require(self.channels == 1 or (self.channels > 1 and not tokens), f"{self.name}: a step is one token.")
        require(not self.side or self.channels in (1, 3), f"{self.name}: a pixel has one value or three (RGB).")
        for what, numbers in (("shift", self.shift), ("scale", self.scale)):
            one = not isinstance(numbers, tuple) or (len(numbers) == self.channels > 1)
            require(one, f"{self.name}: {what} is one number, or one for each of {self.channels} channels.")
        scales = self.scale if isinstance(self.scale, tuple) else (self.scale,)
        require(min(scales) > 0, f"{self.name}: scale must be positive.")

    @property
    def step_shape(self) -> tuple[int, ...]:
        """Shape of one step of the inputs: () for a token or one value, (channels,) for several values."""
        return () if self.channels == 1 else (self.channels,)

    def described(self) -> dict[str, Any]:
        """Return the fields as a store keeps and hashes them: ``channels`` only where there are several, since stores
        are older than that field.
        """
        fields = asdict(self)
        if self.channels == 1:
            del fields["channels"]
        return fields


def image_spec(
    name: str,
    vocab_size: int,
    n_classes: int,
    side: int,
    *,
    shift: float | tuple[float, ...] = 127.5,
    scale: float | tuple[float, ...] = 127.5,
    channels: int = 1,
) -> TaskSpec:
    """Return the spec of images, row by row: as ids where there is a vocabulary, else as values; 3 channels are RGB."""
    return TaskSpec(
        name,
        "tokens" if vocab_size else "values",
        vocab_size,
        n_classes,
        max_length=side**2,
        variable=False,
        side=side,
        shift=shift,
        scale=scale,
        channels=channels,
    )


def markdown_table(cards: Mapping[str, TaskCard]) -> str:
    """Return the table of ``cards`` (by task name) that stands in this package's README."""
    rows = [
        "| task | asked | train / val / test | classes | steps | sources | protocol: a step | version |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, card in cards.items():
        shortest, longest = card.lengths
        steps = f"{longest:,}" if shortest == longest else f"{shortest:,}–{longest:,}"
        encodings = "<br>".join(f"{protocol.name}: {protocol.encoding}" for protocol in card.protocols)
        sizes = f"{card.train:,} / {f'{card.val:,}' if card.val else '–'} / {card.test:,}"
        rows.append(
            f"| `{name}` | {card.summary} | {sizes} | {card.classes} | {steps} | {', '.join(card.sources)} | "
            f"{encodings} | {card.version} |"
        )
    return "\n".join(rows) + "\n"
