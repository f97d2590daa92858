"""ListOps expressions as symbols, as ids, and as the nested text of the original files.

An expression in symbols is ``[MAX 2 9 [MIN 4 7 ] 0 ]``. The original files write it as left-nested pairs,
``( ( ( ( ( [MAX 2 ) 9 ) ( ( ( [MIN 4 ) 7 ) ] ) ) 0 ) ] )``, n + 1 opening parentheses for n arguments.
"""

import csv
import io
import os
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from lra_tasks.errors import TaskError

OPERATORS = ("[MIN", "[MAX", "[MED", "[SM")
SYMBOLS = ("<pad>", "<unk>", "<eos>", *"0123456789", *OPERATORS, "]")  # protocol s4: a symbol's id is its place
UNK = SYMBOLS.index("<unk>")
EOS = SYMBOLS.index("<eos>")
FIRST_DIGIT = SYMBOLS.index("0")
FIRST_OPERATOR = SYMBOLS.index(OPERATORS[0])
CLOSE = SYMBOLS.index("]")

_LONGEST_LINE = 1 << 18  # characters; the published ones have less than 60,000
_IDS = {symbol: number for number, symbol in enumerate(SYMBOLS)}


def encode(symbols: Iterable[str]) -> np.ndarray:
    """Return the ids of ``symbols`` as uint8; an unknown symbol is <unk>."""
    return np.array([_IDS.get(symbol, UNK) for symbol in symbols], np.uint8)


def decode(ids: Iterable[int]) -> list[str]:
    """Return the symbols of ``ids``."""
    return [SYMBOLS[number] for number in ids]


class Grammar(NamedTuple):
    """Distribution of the expressions; the defaults are the published ones."""

    operator_probability: float = 0.25  # of a node above the greatest depth; else it is a digit
    max_depth: int = 10  # of a digit, the root having depth 1
    max_args: int = 10  # of an operator, the fewest being 2
    min_length: int = 500  # in symbols; a kept expression is longer
    max_length: int = 2_000  # in symbols; a kept expression is shorter


class Node:
    """An operator with its arguments, each a digit or another node."""

    def __init__(self, operator: str) -> None:
        self.operator = operator
        self.arguments: list[int | Node] = []

    def value(self) -> int:
        """Evaluate: MED is the median truncated to an integer, SM the sum modulo 10."""
        values = [argument if isinstance(argument, int) else argument.value() for argument in self.arguments]
        match self.operator:
            case "[MIN":
                return min(values)
            case "[MAX":
                return max(values)
            case "[MED":
                return int(statistics.median(values))
            case _:
                return sum(values) % 10

    def depth(self) -> int:
        """Levels of this tree, a digit counting as one."""
        return 1 + max(1 if isinstance(argument, int) else argument.depth() for argument in self.arguments)


def parse(symbols: Sequence[str]) -> int | Node:
    """Return the tree of an expression in symbols (a lone digit is its own tree).

    Raises:
        TaskError: the symbols are no expression.
    """
    open_nodes: list[Node] = []
    for position, symbol in enumerate(symbols):
        done: int | Node
        if symbol in OPERATORS:
            open_nodes.append(Node(symbol))
            continue
        if symbol == "]" and open_nodes and open_nodes[-1].arguments:
            done = open_nodes.pop()
        elif len(symbol) == 1 and symbol in "0123456789":
            done = int(symbol)
        else:
            raise TaskError(f"Not a ListOps expression: unexpected {symbol!r} at symbol {position}.")
        if open_nodes:
            open_nodes[-1].arguments.append(done)
        elif position == len(symbols) - 1:
            return done
        else:
            raise TaskError(f"Not a ListOps expression: it goes on after symbol {position}.")
    raise TaskError("Not a ListOps expression: it ends inside brackets.")


def evaluate(symbols: Sequence[str]) -> int:
    """Return the value of an expression in symbols."""
    tree = parse(symbols)
    return tree if isinstance(tree, int) else tree.value()


def from_nested(source: str) -> list[str]:
    """Return the symbols of an expression in the nested text of the original files."""
    return [symbol for symbol in source.split() if symbol not in ("(", ")")]


def to_nested(tree: int | Node) -> str:
    """Write a tree in the nested text of the original files."""
    if isinstance(tree, int):
        return str(tree)
    text = tree.operator
    for argument in (*map(to_nested, tree.arguments), "]"):
        text = f"( {text} {argument} )"
    return text


def read_tsv(file: BinaryIO, where: str) -> Iterator[tuple[list[str], int]]:
    """Yield (symbols, target) of every line of a file in the original form; ``where`` names it in messages.

    Raises:
        TaskError: the file has another form.
    """
    with io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        # A longer line comes in parts, none of which is an expression and a digit: csv limits the length of a field.
        rows = csv.reader(iter(lambda: text.readline(_LONGEST_LINE), ""), delimiter="\t")
        try:
            if next(rows, None) != ["Source", "Target"]:
                raise TaskError(f"{where} is no ListOps file: its first line is not 'Source<tab>Target'.")
            for row in rows:
                if len(row) != 2 or row[1] not in tuple("0123456789"):
                    raise TaskError(f"{where}, line {rows.line_num}: expected an expression, a tab and a digit.")
                yield from_nested(row[0]), int(row[1])
        except (UnicodeDecodeError, csv.Error) as error:
            raise TaskError(f"{where} is no ListOps file ({error}): fetch it again.") from None


def write_tsv(path: str | os.PathLike[str], expressions: Iterable[tuple[Sequence[str], int]]) -> None:
    """Write (symbols, target) pairs in the original form."""
    target_path = Path(path)
    partial = target_path.with_name(target_path.name + ".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, delimiter="\t")
        rows.writerow(["Source", "Target"])
        rows.writerows([to_nested(parse(symbols)), target] for symbols, target in expressions)
    os.replace(partial, target_path)
