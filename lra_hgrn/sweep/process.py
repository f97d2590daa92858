"""The process of one cell: every launcher starts it alike, with its output in a log, and it ends with its starter."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lra_hgrn.errors import UserError
from lra_hgrn.starter import variables as starter

LOG = "log.txt"
LOOK = 0.2  # seconds between two looks at what may have changed


def start(
    words: Sequence[str], directory: Path, cwd: Path | None = None, variables: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start `lra train` in a process that gets SIGTERM if this one ends.

    Args:
        words: what follows ``lra train``.
        directory: of the run, made if missing; the process writes into its ``log.txt``.
        cwd: where it runs, if not here.
        variables: of its environment, over this process's.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        log = (directory / LOG).open("ab")
    except OSError as error:
        raise UserError(f"Cannot write to {directory}: {error.strerror}; choose another --runs.") from None
    with log:
        # A session of its own: Ctrl-C reaches the starter only, which passes it on once.
        return subprocess.Popen(
            [sys.executable, "-m", "lra_hgrn", "train", *words, "--output", str(directory), "--resume"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=cwd,
            env={**os.environ, **(variables or {}), **starter()},
            start_new_session=True,
        )


def follow(process: subprocess.Popen[bytes]) -> int:
    """Wait for a cell and return its exit code; what interrupts the wait makes the cell save its state first."""
    try:
        while process.poll() is None:
            time.sleep(LOOK)
    except BaseException:
        stop(process)
        raise
    return process.returncode


def stop(process: subprocess.Popen[bytes]) -> None:
    """Have a cell save its state and wait until it has; a second interrupt ends it at once."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait()
    except KeyboardInterrupt:
        process.kill()
        process.wait()
