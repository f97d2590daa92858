"""A process that may not outlive the one that started it: a cell at work for nobody would hold up whoever goes on."""

import ctypes
import os
import signal
import sys

VARIABLE = "LRA_STARTER"  # process id of the starter
_PR_SET_PDEATHSIG = 1


def variables() -> dict[str, str]:
    """Return the environment variables by which `python -m lra_hgrn` ends with this process."""
    return {VARIABLE: str(os.getpid())}


def end_with_starter() -> None:
    """Have SIGTERM sent to this process, on which a run saves its state, when the thread that started it has ended.

    Does nothing where nobody asked for it, or where the system is not Linux.
    """
    starter = os.environ.pop(VARIABLE, None)  # taken away: it is not meant for processes that are started from here
    if starter is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(starter):  # it ended before the line above
        os.kill(os.getpid(), signal.SIGTERM)
