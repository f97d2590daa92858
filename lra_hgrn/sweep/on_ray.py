"""Cells on a Ray cluster that is there already: one task a cell, which asks for CPUs and a part of a GPU."""

import contextlib
import logging
import os
import secrets
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lra_hgrn.errors import UserError
from lra_hgrn.results.files import write_whole
from lra_hgrn.suite import Job
from lra_hgrn.sweep import errand, process
from lra_hgrn.sweep.claims import FOLDER
from lra_hgrn.sweep.launcher import Ended

if TYPE_CHECKING:
    from lra_hgrn.sweep.errand import Answer, Errand

MOST = 500  # cells that wait in the cluster's queue or are at work at one time; a claim of each is an open file
# A worker of Ray that ends would kill its cell; without that, the cell saves its state (`lra_hgrn.starter`).
GENTLE = {"RAY_kill_child_processes_on_worker_exit": "0"}
SAID = "ray.txt"  # what Ray has to say, beside the claims
FAREWELL = 120.0  # seconds in which cells that are told to stop save their state


class OnRay:
    """Give cells to a Ray cluster, which starts each where there is a place and again where a node is lost.

    Args:
        runs: folder of the runs.
        address: of the cluster; None: ``RAY_ADDRESS``, or the cluster of this machine.
        cpus, gpus: what a cell takes of a node; several cells share a GPU if each takes a part of it.
        retries: how often a cell goes on whose node was lost.
    """

    at_once = False

    def __init__(self, runs: Path, address: str | None, cpus: float, gpus: float, retries: int) -> None:
        self.runs, self.cpus, self.gpus, self.retries = runs, cpus, gpus, retries
        for option, amount in (("--cpus", cpus), ("--gpus", gpus)):
            if amount > 1 and not amount.is_integer():
                raise UserError(f"{option}: beyond 1 Ray takes whole numbers, not {amount:g}.")
        self.address = address or os.environ.get("RAY_ADDRESS") or "auto"
        self.secret = secrets.token_hex(16)
        self.token = runs / FOLDER / f"{self.secret[:16]}.token"
        self._stack = contextlib.ExitStack()
        self._cells: dict[Any, tuple[Job, Path]] = {}  # by the reference to their answer

    def __enter__(self) -> "OnRay":
        try:
            import ray
        except ImportError:
            raise UserError("--launcher ray needs the extra: pip install 'lra-hgrn[ray]'") from None
        try:
            _check_port(self.address)
            ray.init(
                address=self.address, log_to_driver=False, logging_level=logging.ERROR, runtime_env={"env_vars": GENTLE}
            )
        except (OSError, ValueError, RuntimeError) as error:
            where = "on this machine" if self.address == "auto" else f"at {self.address}"
            raise UserError(
                f"No Ray cluster can be used {where} ({_first_line(error)}): `ray start --head` starts one, and "
                "--address names another."
            ) from None
        try:
            write_whole(self.token, self.secret)
            said = self._stack.enter_context(self.token.with_name(SAID).open("a", buffering=1))
        except OSError as error:
            raise UserError(f"Cannot write to {self.token.parent}: {error.strerror}; choose another --runs.") from None
        self._stack.callback(self.token.unlink, missing_ok=True)
        # Ray prints pages on a node that is lost, through the bars.
        self._stack.enter_context(contextlib.redirect_stdout(said))
        self._tell_what_lacks(ray.nodes())
        self._task = ray.remote(_work).options(
            num_cpus=self.cpus, num_gpus=self.gpus, max_retries=self.retries, scheduling_strategy="SPREAD"
        )
        return self

    def _tell_what_lacks(self, nodes: list[dict[str, Any]]) -> None:
        there = [node["Resources"] for node in nodes if node["Alive"]]
        if not any(one.get("CPU", 0) >= self.cpus and one.get("GPU", 0) >= self.gpus for one in there):
            print(
                f"lra: no node of the cluster has {self.cpus:g} CPUs and {self.gpus:g} GPUs: the cells wait until one "
                "has joined it",
                file=sys.stderr,
            )

    def __exit__(self, *error: object) -> None:
        import ray

        ray.shutdown()
        self._stack.close()

    def has_room(self) -> bool:
        return len(self._cells) < MOST

    def start(self, job: Job, directory: Path) -> None:
        given = errand.errand((job.model, job.task, *job.words), directory, self.token, self.secret)
        self._cells[self._task.remote(given, self.gpus)] = job, directory

    def ended(self) -> list[Ended]:
        import ray

        ready, _ = ray.wait([*self._cells], num_returns=len(self._cells), timeout=0) if self._cells else ([], [])
        return [self._ended(reference, *self._cells.pop(reference)) for reference in ready]

    def _ended(self, reference: Any, job: Job, directory: Path) -> Ended:
        import ray
        from ray.exceptions import RayError, RayTaskError

        try:
            answer = ray.get(reference)
        except RayTaskError as error:
            if isinstance(error.cause, UserError):
                return Ended(job.name, None, str(error.cause))
            return Ended(job.name, None, f"{_first_line(error.cause)}. Every node needs this version of lra-hgrn.")
        except RayError as error:
            return Ended(job.name, None, f"its node was lost too often ({_first_line(error)})")
        try:
            return Ended(job.name, errand.receive(answer, directory))
        except (UserError, OSError) as error:
            return Ended(job.name, None, f"what came back from {answer.host} cannot be used: {error}")

    def stop(self) -> None:
        import ray

        for reference in self._cells:
            ray.cancel(reference, force=False)
        if self._cells:
            ray.wait([*self._cells], num_returns=len(self._cells), timeout=FAREWELL)


def _work(given: "Errand", gpus: float) -> "Answer":
    """Train one cell on the node that this is called on."""
    # A cell that was given no GPU may see none: others were given it.
    variables = {} if gpus else {"CUDA_VISIBLE_DEVICES": ""}
    return errand.run(given, variables, process.follow)


def _check_port(address: str) -> None:
    """Raise OSError or ValueError where nobody listens at HOST:PORT: Ray would try for ever."""
    place = address.rpartition("//")[2]  # ray://HOST:PORT is a way to write it
    if place == "auto":
        return
    host, colon, port = place.rpartition(":")
    if not (colon and port.isdecimal()):
        raise ValueError("an address is HOST:PORT")
    socket.create_connection((host, int(port)), timeout=10).close()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].strip().rstrip(".")
