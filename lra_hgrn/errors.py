"""Exceptions that end a command with a sentence instead of a traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input: what is wrong and what to do, in one sentence. The command line prints it and exits 2."""


BUSY = 75  # exit code: EX_TEMPFAIL of sysexits.h


class Busy(UserError):
    """Another process is at work on the same run: nothing is wrong, and the command line exits with `BUSY`."""


class Stopped(Exception):
    """SIGINT or SIGTERM ended the work; what was done is saved, and the message says how to go on."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` (with its leading blank) for the choice closest to ``word``, or nothing."""
    found = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f" Did you mean {found[0]!r}?" if found else ""
