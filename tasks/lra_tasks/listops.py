"""ListOps: the value of a nested expression, 10 classes (Nangia and Bowman 2018; long form: Tay et al. 2021)."""

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lra_tasks import cards
from lra_tasks.card import Scale, TaskSpec, require
from lra_tasks.datamodule import LRATask
from lra_tasks.listops_text import EOS, Grammar, decode, parse
from lra_tasks.store import StoreWriter

if TYPE_CHECKING:
    from rich.console import RenderableType


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
    """Expressions as symbol ids, without parentheses, with an end mark (protocol s4)."""

    name = "listops"
    card = cards.LISTOPS
    scales: ClassVar[dict[str, ListOpsScale]] = {
        "full": ListOpsScale(96_000, 2_000, 2_000),
        "small": ListOpsScale(48_000, 2_000, 2_000, Grammar(max_depth=7, min_length=100, max_length=500)),
        "tiny": ListOpsScale(32_000, 2_000, 2_000, Grammar(max_depth=4, max_args=5, min_length=10, max_length=60)),
    }

    @property
    def spec(self) -> TaskSpec:
        """The longest input has max_length − 1 symbols and the end mark."""
        vocab_size = self.card.protocol(self.protocol).vocab_size
        return TaskSpec(self.name, "tokens", vocab_size, self.card.classes, self.scales[self.scale].grammar.max_length)

    def build(self, out: StoreWriter) -> None:
        """Fill train, val and test in turn from one stream of distinct expressions."""
        from lra_tasks.listops_generator import expressions

        scale = self.scales[self.scale]
        end_mark = np.array([EOS], np.uint8)
        with closing(expressions(self.seed, scale.grammar, self.workers)) as stream:
            for split, size in scale.sizes.items():
                for _ in range(size):
                    symbols, value = next(stream)
                    out[split].append(np.concatenate([symbols, end_mark]), value)

    def render(self, sample: np.ndarray) -> "RenderableType":
        """The expression as a tree, each operator with its value."""
        from lra_tasks.show import expression_tree

        return expression_tree(parse(decode(sample[:-1])))
