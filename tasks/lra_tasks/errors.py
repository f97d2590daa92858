"""The one exception of this package, and a hint for misspelt names."""

import difflib
from collections.abc import Iterable


class TaskError(Exception):
    """Bad input or a damaged store: what is wrong and what to do, in one sentence."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` (with its leading blank) for the choice closest to ``word``, or nothing."""
    found = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f" Did you mean {found[0]!r}?" if found else ""
