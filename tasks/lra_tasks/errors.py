"""The one exception of this package, a hint for misspelt names, and words that may come from anyone in a message."""

import difflib
import re
from collections.abc import Iterable

LONGEST = 1_000  # characters of a message that are kept
_BREAKS = re.compile(r"[\t-\r\x1c-\x1f\x85\u2028\u2029]\s*")
# What moves a terminal's cursor or colours it, turns the direction of writing, or has no place in UTF-8.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class TaskError(Exception):
    """Bad input or a damaged store: what is wrong and what to do, in one sentence.

    A message may quote what stands in a file of somebody else: it is made one line that any terminal can show.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` (with its leading blank) for the choice closest to ``word``, or nothing."""
    found = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f" Did you mean {found[0]!r}?" if found else ""


def is_clean(text: str) -> bool:
    """Whether a text can be shown as it is: no control characters but line feed and tab, nothing that is no UTF-8."""
    return _CONTROL.search(text) is None


def cleaned(text: str) -> str:
    """Return a text with a “�” in the place of every character that :func:`is_clean` refuses."""
    return _CONTROL.sub("�", text)


def one_line(value: object, longest: int = LONGEST) -> str:
    """Return the text of anything as one clean line, the middle left out where it is longer than ``longest``."""
    try:
        text = str(value)
    except ValueError:  # an integer of more digits than Python writes
        text = "a number of thousands of digits"
    if len(text) > longest:
        half = longest // 2
        text = f"{text[:half]} … {text[-half:]}"
    return cleaned(_BREAKS.sub(" ", text.strip()))


def shown(value: object, longest: int = 100) -> str:
    """Return what :func:`repr` says of a value of somebody else's, as :func:`one_line`."""
    try:
        return one_line(repr(value), longest)
    except (ValueError, RecursionError):
        return f"{type(value).__name__} too long or too deep to be shown"
