"""Where a user's own modules are found."""

import os
import sys


def search_current_folder() -> None:
    """Let dotted paths in a configuration name modules of the folder that the program runs in.

    It is searched last: a file of the user's called queue.py must not hide Python's.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
