"""Sections of a Markdown page that are written by the suite between two comments; all other text is the author's.

A section begins with a line ``<!-- lra report SUITE ... -->``, the command line that it is made by, and ends
with ``<!-- end of lra report -->``.
"""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

from lra_hgrn.errors import UserError

_BEGIN = re.compile(r"<!-- lra report (?P<words>.*?) ?-->")
END = "<!-- end of lra report -->"
LARGEST = 1 << 24  # bytes of a page


def begin(words: list[str]) -> str:
    """Return the line that a section with these words begins with."""
    return f"<!-- lra report {shlex.join(words)} -->"


def read_page(page: Path) -> str:
    """Read a page.

    Raises:
        UserError: it is not there, too large or no text.
    """
    try:
        if page.stat().st_size > LARGEST:
            raise UserError(f"{page} has more than {LARGEST:,} bytes: a page of results has less.")
        with page.open(encoding="utf-8", newline="") as file:  # the author's ends of lines stay
            return file.read()
    except FileNotFoundError:
        raise UserError(
            f"There is no page {page}: write one with a line {begin(['SUITE'])} and a line {END}, between which the "
            "suite's results are written."
        ) from None
    except OSError as error:
        raise UserError(f"Cannot read {page}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UserError(f"{page} is not UTF-8 text: give a Markdown page.") from None


def rewritten(text: str, page: Path, write: Callable[[list[str]], str]) -> str:
    """Return the text of a page with the content of every section replaced.

    Args:
        text: the page.
        page: its path, for messages.
        write: makes the content of a section from the words of its command line.

    Raises:
        UserError: there is no section, one has no end, or its words cannot be understood.
    """
    lines, kept, end = text.split("\n"), [], 0
    starts = {number: match for number, line in enumerate(lines) if (match := _BEGIN.fullmatch(line.strip()))}
    if not starts:
        raise UserError(f"{page} has no section: begin one with a line {begin(['SUITE'])} and end it with {END}.")
    for number, match in starts.items():
        try:
            close = next(i for i in range(number + 1, len(lines)) if lines[i].strip() == END or i in starts)
        except StopIteration:
            close = number
        if close == number or close in starts:
            raise UserError(f"{page}, line {number + 1}: this section has no end; write {END} below it.")
        try:
            words = shlex.split(match["words"])
        except ValueError as error:
            raise UserError(f"{page}, line {number + 1}: {error} in the section's command line.") from None
        kept += [*lines[end : number + 1], "", write(words).strip("\n"), ""]
        end = close
    return "\n".join([*kept, *lines[end:]])
