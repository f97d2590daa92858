"""The one exception that ends a command with a sentence instead of a traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input: what is wrong and what to do, in one sentence. The command line prints it and exits 2."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` (with its leading blank) for the choice closest to ``word``, or nothing."""
    found = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f" Did you mean {found[0]!r}?" if found else ""
