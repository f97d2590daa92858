"""Cells on this machine, one at a time."""

import subprocess
from pathlib import Path

from lra_hgrn.suite import Job
from lra_hgrn.sweep import process
from lra_hgrn.sweep.launcher import Ended


class Local:
    """One cell at a time, in a process of its own, so that it cannot take the others down with it."""

    at_once = True
    retries = 0  # whoever stops a cell here sees it

    def __init__(self) -> None:
        self._name = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Local":
        return self

    def __exit__(self, *error: object) -> None: ...

    def has_room(self) -> bool:
        return self._process is None

    def start(self, job: Job, directory: Path) -> None:
        self._name, self._process = job.name, process.start([job.model, job.task, *job.words], directory)

    def ended(self) -> list[Ended]:
        if self._process is None or self._process.poll() is None:
            return []
        code, self._process = self._process.returncode, None
        return [Ended(self._name, code)]

    def stop(self) -> None:
        if self._process is not None:
            process.stop(self._process)
