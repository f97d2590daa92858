"""What a check of a contract finds: kept, broken, or not checked."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lra_tasks.errors import one_line


class Broken(Exception):
    """A rule of a contract that is not kept, in one sentence."""


class NotChecked(Exception):
    """Why a rule does not apply here, in one sentence."""


def need(condition: Any, message: str) -> None:
    """Raise Broken with ``message`` unless ``condition`` holds."""
    if not condition:
        raise Broken(message)


@dataclass(frozen=True)
class Finding:
    """What one check has found; ``ok`` is None where it was not made."""

    check: str
    ok: bool | None
    message: str  # one sentence


def attempt(name: str, check: Callable[[], str], known: type[Exception]) -> Finding:
    """Make one check, which returns a sentence or raises.

    Args:
        name: of the check.
        check: raises Broken, NotChecked, ``known``, or whatever the code under check raises.
        known: exception whose text is a sentence for the user.
    """
    try:
        return Finding(name, True, check())
    except NotChecked as reason:
        return Finding(name, None, one_line(reason))
    except (Broken, known) as error:
        return Finding(name, False, one_line(error))
    except Exception as error:  # whatever the user's own code raises
        place = traceback.extract_tb(error.__traceback__)[-1]
        words = f"{type(error).__name__} in {place.filename}, line {place.lineno}: {error}"
        return Finding(name, False, one_line(words))
