"""What a search may change: options of a cell, and the values that each may take."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lra_hgrn.config.compose import NOT_IDENTITY, parse_overrides, parse_value
from lra_hgrn.errors import UserError, nearest

KINDS = {"log": "log:1e-4:1e-2", "uniform": "uniform:0:0.3", "int": "int:1:8", "choice": "choice:0,0.01,0.1"}
SEARCHED = ("model", "optim", "train")  # sections: another task or seed would make trials incomparable


@dataclass(frozen=True)
class Dimension:
    """One option that is searched."""

    key: str
    spec: str  # as on the command line
    kind: str  # of KINDS
    values: tuple[Any, ...]  # the ends of a range, or the words to choose from

    def word(self, value: Any) -> str:
        """Write a value of this dimension as an override of the command line."""
        return f"{self.key}={value if isinstance(value, str) else json.dumps(value)}"


def parse_space(words: Sequence[str]) -> list[Dimension]:
    """Read ``KEY=SPEC`` words.

    A SPEC is ``log:LOW:HIGH``, ``uniform:LOW:HIGH``, ``int:LOW:HIGH`` (ends included) or ``choice:A,B,...``.

    Raises:
        UserError: for a word that is none of these, a key twice, or one that a search must leave alone.
    """
    dimensions = [_parse(word) for word in words]
    keys = [dimension.key for dimension in dimensions]
    for key in keys:
        if keys.count(key) > 1:
            raise UserError(f"--space names {key} twice.")
    return dimensions


def _parse(word: str) -> Dimension:
    key, _, spec = word.partition("=")
    kind, _, rest = spec.partition(":")
    if kind not in KINDS or not rest:
        raise UserError(
            f"--space {word!r} is not KEY=SPEC.{nearest(kind, KINDS)} A SPEC is one of {', '.join(KINDS.values())}."
        )
    section = key.partition(".")[0]
    if "." in key and (section not in SEARCHED or key in NOT_IDENTITY or key in ("model.name", "train.epochs")):
        raise UserError(
            f"{key} cannot be searched: trials of one search share their task, seed and budget, and options of "
            f"{', '.join(SEARCHED)} that decide what is learnt tell them apart."
        )
    if kind == "choice":
        choices = tuple(rest.split(","))
        if len(set(choices)) < 2 or len(set(choices)) < len(choices):
            raise UserError(f"--space {word!r} must name at least two values, each once.")
        return Dimension(key, spec, kind, choices)
    return Dimension(key, spec, kind, _ends(word, kind, rest))


def _ends(word: str, kind: str, rest: str) -> tuple[Any, ...]:
    ends = [parse_value(text) for text in rest.split(":")]
    wanted: Any = int if kind == "int" else int | float
    if len(ends) != 2 or not all(isinstance(end, wanted) and not isinstance(end, bool) for end in ends):
        numbers = "whole numbers" if kind == "int" else "numbers"
        raise UserError(f"--space {word!r} must give two {numbers}, as in {KINDS[kind]}.")
    low, high = ends if kind == "int" else map(float, ends)
    if not low < high or (kind == "log" and low <= 0):
        raise UserError(f"--space {word!r} must give two ends, the lower first{' and above 0' * (kind == 'log')}.")
    return low, high


def options_of(words: Sequence[str]) -> dict[str, Any]:
    """Return the values of ``key=value`` words by their dotted keys, as the configuration reads them."""
    options = {}
    for word in words:
        key = word.partition("=")[0]
        value: Any = parse_overrides([word])
        for part in key.split("."):
            value = value[part]
        options[key] = value
    return options
