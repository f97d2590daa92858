"""One short text for each token of a document, for people."""

import numpy as np

from lra_tasks import LRATask
from lra_tasks.documents import DocumentTask
from lra_tasks.listops import ListOps
from lra_tasks.listops_text import FIRST_DIGIT, SYMBOLS
from lra_tasks.tokens import SPECIALS

_VISIBLE = {"\n": "↵", "\t": "→", "<eos>": "∎", "<unk>": "�", "<pad>": "␀"}


def symbols_of(task: LRATask, document: np.ndarray) -> list[str]:
    """Return what each step of a document of tokens stands for: a symbol, a character, or its id."""
    table = _table(task)
    if table is None:
        return [str(number) for number in document.tolist()]
    return [_seen(table[number]) if number < len(table) else "�" for number in document.tolist()]


def _table(task: LRATask) -> list[str] | None:
    google = task.protocol == "google"
    if isinstance(task, ListOps):
        return ["<pad>", *SYMBOLS[FIRST_DIGIT:], "<unk>"] if google else list(SYMBOLS)
    if isinstance(task, DocumentTask):
        return ["<pad>", *map(chr, range(256))] if google else [*SPECIALS, *task.store.notes["characters"]]
    return None


def _seen(symbol: str) -> str:
    symbol = _VISIBLE.get(symbol, symbol)
    return symbol if symbol.isprintable() else "·"
