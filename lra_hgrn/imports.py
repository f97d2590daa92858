"""Where a user's own modules are found."""

import os
import sys

from lra_hgrn.errors import UserError


def search_current_folder() -> None:
    """Let dotted paths in a configuration name modules of the folder that the program runs in.

    It is searched last: a file of the user's called queue.py must not hide Python's.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def name_of(cls: type) -> str:
    """Return the dotted path by which a class can be found again.

    Raises:
        UserError: it is defined inside a function or another class.
    """
    path = f"{cls.__module__}.{cls.__qualname__}"
    if getattr(sys.modules.get(cls.__module__), cls.__qualname__, None) is not cls:
        raise UserError(f"{path} cannot be found by this name: define the class at the top level of a module.")
    return path
