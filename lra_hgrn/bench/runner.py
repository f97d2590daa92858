"""Processes that take turns: each works when it is told to and waits while another is being measured."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from lra_hgrn.results.files import last_line

VARIABLE = "LRA_TURNS"  # "READ,WRITE": the descriptors on which a process is told to go on, and answers


class Runner:
    """A process that works in turns.

    It finds two open descriptors in `VARIABLE`. From the first it reads a line before each turn; after the turn it
    writes one line of JSON, an object, to the second. Its standard output and error go to a log.

    Args:
        command: what `sys.executable` runs.
        log: file for its output.
        variables: environment variables that it has besides this process's.
        cwd: folder in which it starts; None: this one.
    """

    def __init__(
        self, command: Sequence[str], log: Path, variables: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self.log = log
        told, tell = os.pipe()
        heard, answer = os.pipe()
        environment = {**os.environ, **(variables or {}), VARIABLE: f"{told},{answer}"}
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(told, answer),
                env=environment,
                cwd=cwd,
                start_new_session=True,  # Ctrl-C reaches this process only, which then ends the others
            )
        os.close(told)
        os.close(answer)
        self._tell: BinaryIO = os.fdopen(tell, "wb", buffering=0)
        self._hear: BinaryIO = os.fdopen(heard, "rb")

    def turn(self, order: str = "go") -> dict[str, Any] | None:
        """Let it work for one turn and return its answer; None if it has ended.

        Args:
            order: the line that it reads; what may stand in it is up to the process.
        """
        try:
            self._tell.write(f"{order}\n".encode())
        except BrokenPipeError:
            return None
        line = self._hear.readline()
        return json.loads(line) if line.endswith(b"\n") else None  # it may die within its answer

    def last_line(self) -> str:
        """Return the last line of its log."""
        return last_line(self.log)

    def finish(self) -> int:
        """Let it go on by itself, wait for its end and return its exit status, negative for the number of a signal.

        It finds the end of the file where it asks for its next turn.
        """
        self._tell.close()
        status = self.process.wait()
        self._hear.close()
        return status

    def kill(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.close()

    def close(self) -> int:
        """End the process if it still runs; return its exit status, negative for the number of a signal."""
        self._tell.close()  # at the next turn it finds the end of the file
        self._hear.close()
        try:
            return self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self.close()
        else:
            self.kill()


def turns() -> tuple[BinaryIO, BinaryIO]:
    """In a process that a `Runner` started: return the files to read a line from before a turn, and to answer to."""
    told, answer = map(int, os.environ[VARIABLE].split(","))
    return os.fdopen(told, "rb"), os.fdopen(answer, "wb", buffering=0)
