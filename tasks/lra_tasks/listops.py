"""ListOps: the value of a nested expression, 10 classes (Nangia and Bowman 2018; long form: Tay et al. 2021)."""

import itertools
import re
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lra_tasks import cards
from lra_tasks.card import Scale, TaskSpec, require
from lra_tasks.datamodule import LRATask
from lra_tasks.errors import TaskError
from lra_tasks.listops_text import (
    EOS,
    FIRST_DIGIT,
    SYMBOLS,
    UNK,
    Grammar,
    decode,
    encode,
    parse,
    read_tsv,
    write_tsv,
)
from lra_tasks.original import original_members, place
from lra_tasks.store_writer import StoreWriter

if TYPE_CHECKING:
    from rich.console import RenderableType

_FILE = re.compile(r"(?:^|/)basic_(train|val|test)\.tsv$")
_SHIFT = np.uint8(2)  # an id of protocol s4 over that of google


@dataclass(frozen=True)
class ListOpsScale(Scale):
    """Split sizes and the distribution of the expressions."""

    grammar: Grammar = Grammar()

    def __post_init__(self) -> None:
        super().__post_init__()
        grammar = self.grammar
        require(0 < grammar.operator_probability < 1, "operator_probability must lie between 0 and 1.")
        require(grammar.max_depth >= 2 and grammar.max_args >= 2, "max_depth and max_args must be 2 or more.")
        require(
            0 <= grammar.min_length < grammar.max_length - 1,
            f"No expression is longer than {grammar.min_length} and shorter than {grammar.max_length} symbols.",
        )


class ListOps(LRATask):
    """Expressions as symbol ids, without parentheses; with an end mark in protocol s4."""

    name = "listops"
    card = cards.LISTOPS
    scales: ClassVar[dict[str, ListOpsScale]] = {
        "full": ListOpsScale(96_000, 2_000, 2_000),
        "tenth": ListOpsScale(9_600, 2_000, 2_000),  # val and test whole: a tenth of them is too few
        "small": ListOpsScale(48_000, 2_000, 2_000, Grammar(max_depth=7, min_length=100, max_length=500)),
        "tiny": ListOpsScale(32_000, 2_000, 2_000, Grammar(max_depth=4, max_args=5, min_length=10, max_length=60)),
        # Beyond the Long Range Arena, as deep as keeps enough of the attempts.
        "4k": ListOpsScale(96_000, 2_000, 2_000, Grammar(max_depth=11, min_length=2_000, max_length=4_000)),
        "8k": ListOpsScale(96_000, 2_000, 2_000, Grammar(max_depth=12, min_length=4_000, max_length=8_000)),
        "16k": ListOpsScale(96_000, 2_000, 2_000, Grammar(max_depth=13, min_length=8_000, max_length=16_000)),
    }

    @property
    def spec(self) -> TaskSpec:
        """The longest expression has max_length − 1 symbols; protocol s4 adds the end mark."""
        vocab_size = self.card.protocol(self.protocol).vocab_size
        longest = self.scales[self.scale].grammar.max_length - (self.protocol == "google")
        return TaskSpec(self.name, "tokens", vocab_size, self.card.classes, longest)

    def build(self, out: StoreWriter) -> None:
        """Fill the splits from the original files, or train, val and test in turn from one stream of expressions."""
        if self.source != "generated":
            self._read(out)
            return
        with closing(self._generated()) as stream:
            for split, size in self.sizes.items():
                for symbols, value in itertools.islice(stream, size):
                    out[split].append(self._encoded(symbols), value)

    def write_miniature(self, path: Path) -> None:
        """The same expressions as the generated ones, in the published files."""
        path.mkdir()
        with closing(self._generated()) as stream:
            for split, size in self.sizes.items():
                rows = ((decode(symbols), value) for symbols, value in itertools.islice(stream, size))
                write_tsv(path / f"basic_{split}.tsv", rows)

    def render(self, document: np.ndarray) -> "RenderableType":
        """The expression as a tree, each operator with its value."""
        from lra_tasks.show import expression_tree

        return expression_tree(parse(decode(document + _SHIFT if self.protocol == "google" else document[:-1])))

    def symbols(self, document: np.ndarray) -> list[str]:
        """The operators, brackets and digits."""
        table = ["<pad>", *SYMBOLS[FIRST_DIGIT:], "<unk>"] if self.protocol == "google" else SYMBOLS
        return [table[number] for number in document.tolist()]

    def _generated(self) -> Generator[tuple[np.ndarray, int], None, None]:
        from lra_tasks.listops_generator import expressions

        return expressions(self.seed, self.scales[self.scale].grammar, self.workers)

    def _encoded(self, symbols: np.ndarray) -> np.ndarray:
        """Return the ids of the protocol: those of s4 with the end mark, or from 1 on, the unknown one at the end."""
        if self.protocol == "s4":
            return np.append(symbols, np.uint8(EOS))
        return np.where(symbols == UNK, self.spec.vocab_size - 1, symbols - _SHIFT).astype(np.uint8)

    def _read(self, out: StoreWriter) -> None:
        grammar = self.scales[self.scale].grammar
        if self.source == "official" and grammar != Grammar():
            raise TaskError(f"The official files of ListOps are not of scale {self.scale}: set task.scale=full.")
        found = dict.fromkeys(self.sizes, 0)
        with original_members(self, out.scratch, skip=r"pathfinder\d+|tsv_data") as members:
            for member in members:
                match = _FILE.search(member.name)
                if match is None:
                    continue
                split, where = match[1], f"{member.name} in {place(self)}"
                with member.open() as file:
                    for symbols, value in read_tsv(file, where):
                        found[split] += 1
                        if len(symbols) >= grammar.max_length:
                            raise TaskError(
                                f"{where}, expression {found[split]}: it has {len(symbols):,} symbols, more than a "
                                f"published one; fetch the file again."
                            )
                        if found[split] <= self.sizes[split]:
                            out[split].append(self._encoded(encode(symbols)), value)
                if all(found.values()):
                    break  # of an archive of 8 GB the rest is not waited for
        for split, size in self.sizes.items():
            if found[split] != size:
                raise TaskError(
                    f"basic_{split}.tsv in {place(self)} has {found[split]:,} expressions where the published file has "
                    f"{size:,}: give the three files of listops-1000 whole."
                )
