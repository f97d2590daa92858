"""Exceptions that end a command with a sentence instead of a traceback."""

from lra_tasks.errors import nearest as nearest
from lra_tasks.errors import one_line


class UserError(Exception):
    """Bad input: what is wrong and what to do, in one sentence. The command line prints it and exits 2.

    A message may quote what stands in a file of somebody else: it is made one line that any terminal can show.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


BUSY = 75  # exit code: EX_TEMPFAIL of sysexits.h


class Busy(UserError):
    """Another process is at work on the same run: nothing is wrong, and the command line exits with `BUSY`."""


class Stopped(Exception):
    """SIGINT or SIGTERM ended the work; what was done is saved, and the message says how to go on."""
