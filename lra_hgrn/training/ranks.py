"""Start the other processes of a run that shares its batches, and watch them.

They are started here and not by Lightning, which would run the command line again in each of them: so a run of several
processes is also to be had from Python, and a process that fails says why.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Literal

from lra_hgrn.config import Config, plain
from lra_hgrn.results.files import last_line
from lra_hgrn.training import processes

Mode = Literal["execute", "validate"]  # methods of a run
PATIENCE = 10.0  # seconds in which a process notices by itself that another one has failed


def log_of(directory: Path, rank: int) -> Path:
    """Return where a process other than the first writes what it has to say; removed where all goes well."""
    return directory / f"rank{rank}.txt"


class Ranks:
    """The processes 1, 2, ... of a run, of which this one is process 0; use as a context manager.

    Each of them ends with this one, however it ends: it reads a pipe that closes then.
    """

    def __init__(self, config: Config, directory: Path, mode: Mode, size: int) -> None:
        self.order = json.dumps({"config": plain(config), "directory": str(directory.resolve()), "mode": mode})
        self.directory = directory
        self.size = size
        self._processes: list[subprocess.Popen[str]] = []
        self._logs: list[IO[bytes]] = []
        self._over = threading.Event()
        self._before: dict[str, str | None] = {}

    def __enter__(self) -> "Ranks":
        if self.size > 1:
            shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(self.size)}
            shared |= {"LOCAL_WORLD_SIZE": str(self.size), "NODE_RANK": "0"}
            for rank in range(1, self.size):
                self._start(rank, {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
            own = {**shared, "RANK": "0", "LOCAL_RANK": "0"}
            self._before = {name: os.environ.get(name) for name in own}
            os.environ.update(own)
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def _start(self, rank: int, variables: dict[str, str]) -> None:
        log = log_of(self.directory, rank).open("wb")
        self._logs.append(log)
        paths = os.pathsep.join(path for path in sys.path if path)
        process = subprocess.Popen(
            [sys.executable, "-m", "lra_hgrn.training.rank"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            text=True,
            env={**os.environ, **variables, "PYTHONPATH": paths},
        )
        self._processes.append(process)
        assert process.stdin is not None
        process.stdin.write(self.order + "\n")
        process.stdin.flush()

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._over.set()
        processes.leave()
        for name, value in self._before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        for process in self._processes:
            if kind is not None:  # or it ends by itself
                assert process.stdin is not None
                process.stdin.close()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()
        for log in self._logs:
            log.close()
            if kind is None:
                with contextlib.suppress(OSError):
                    os.unlink(log.name)

    def failure(self) -> str | None:
        """Return what the first process that failed says; None if none did."""
        for rank, process in enumerate(self._processes, start=1):
            with contextlib.suppress(subprocess.TimeoutExpired):
                if process.wait(2.0):
                    return f"Process {rank} failed: {last_line(log_of(self.directory, rank))}"
        return None

    def _watch(self) -> None:
        """End this process where another one has failed, and this one waits for it in vain."""
        while not self._over.wait(0.5):
            if any(process.poll() for process in self._processes):
                if not self._over.wait(PATIENCE):
                    os.write(2, f"lra: {self.failure()}\n".encode())
                    os._exit(1)
                return


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
