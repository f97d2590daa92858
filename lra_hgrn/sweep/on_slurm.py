"""Cells as jobs of Slurm, by submitit: each goes back into the queue when it is preempted or its time is over."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from lra_hgrn.config.compose import parse_value
from lra_hgrn.errors import UserError
from lra_hgrn.suite import Job
from lra_hgrn.sweep import process
from lra_hgrn.sweep.claims import FOLDER
from lra_hgrn.sweep.launcher import Ended

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

CLUSTERS = ("slurm", "local")
DEFAULTS = {"name": "lra", "timeout_min": 24 * 60}  # submitit would take five minutes
MOST = 500  # cells that wait in the queue or are at work at one time; a claim of each is an open file
FAREWELL = 120.0  # seconds in which cells that are told to stop save their state
SECONDS_BETWEEN_LOOKS = 2.0
_SHARED = ("name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node")


class OnSlurm:
    """Give cells to Slurm, one job each; the folder of the runs is one that its nodes see.

    Args:
        runs: folder of the runs.
        parameters: of each job by submitit's names, such as ``partition``, ``timeout_min``, ``gpus_per_node``; or
            ``cluster=local``, to try it out with processes of this machine in the place of Slurm's jobs.
        retries: how often a cell goes on whose time was over, or which was stopped.
    """

    at_once = False

    def __init__(self, runs: Path, parameters: Mapping[str, Any], retries: int) -> None:
        self.folder = runs.resolve() / FOLDER / "slurm"
        self.parameters = {**DEFAULTS, **parameters}
        self.cluster = self.parameters.pop("cluster", CLUSTERS[0])
        if self.cluster not in CLUSTERS:
            raise UserError(f"--slurm cluster={self.cluster} is unknown: it is {' or '.join(CLUSTERS)}.")
        self.retries = retries
        self._jobs: dict[str, Any] = {}  # submitit's, by the name of ours
        self._looked = 0.0

    def __enter__(self) -> "OnSlurm":
        try:
            import submitit
        except ImportError:
            raise UserError("--launcher slurm needs the extra: pip install 'lra-hgrn[slurm]'") from None
        timeouts = {f"{cluster}_max_num_timeout": self.retries for cluster in CLUSTERS}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._executor = submitit.AutoExecutor(self.folder, self.cluster, **timeouts)
        except OSError as error:
            raise UserError(f"Cannot write to {self.folder}: {error.strerror}; choose another --runs.") from None
        except RuntimeError:
            raise UserError(
                "There is no Slurm here (no srun): run this on a machine of its cluster, or try it out with "
                "--slurm cluster=local."
            ) from None
        given = {name if name in _SHARED else f"slurm_{name}": value for name, value in self.parameters.items()}
        try:
            self._executor.update_parameters(**given)
        except (NameError, AssertionError, ValueError, TypeError) as error:
            raise UserError(f"--slurm: {' '.join(str(error).split())}") from None
        return self

    def __exit__(self, *error: object) -> None: ...

    def has_room(self) -> bool:
        return len(self._jobs) < MOST

    def start(self, job: Job, directory: Path) -> None:
        import submitit

        try:
            self._jobs[job.name] = self._executor.submit(Cell((job.model, job.task, *job.words), directory.resolve()))
        except submitit.core.utils.FailedJobError as error:
            raise UserError(f"Slurm refuses the job of {job.name}: {' '.join(str(error).split())}") from None

    def ended(self) -> list[Ended]:
        if time.monotonic() < self._looked + SECONDS_BETWEEN_LOOKS:
            return []
        self._looked = time.monotonic()
        over = [name for name, one in self._jobs.items() if one.done()]
        return [self._ended(name, self._jobs.pop(name)) for name in over]

    def _ended(self, name: str, one: Any) -> Ended:
        try:
            code = one.result()
        except Exception as error:  # whatever the job raised, or submitit that knows no result
            return Ended(name, None, f"job {one.job_id}: {' '.join(str(error).split())} (see {one.paths.stderr})")
        for left in self.folder.glob(f"{one.job_id}_*"):  # what it was told and what it answered
            left.unlink(missing_ok=True)
        return Ended(name, code)

    def stop(self) -> None:
        for one in self._jobs.values():
            if self.cluster == "slurm":
                one.cancel(check=False)
            elif not one.done():
                os.kill(int(one.job_id), signal.SIGTERM)  # submitit's own way kills a process after a second
        deadline = time.monotonic() + FAREWELL
        while time.monotonic() < deadline and not all(one.done() for one in self._jobs.values()):
            time.sleep(process.LOOK)


class Cell:
    """What a job does: train a cell, going on with what is there of it, and return the exit code."""

    def __init__(self, words: tuple[str, ...], directory: Path) -> None:
        self.words, self.directory = words, directory
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        self._process = process.start(self.words, self.directory)
        # submitit takes no notice of the signal by which a job is cancelled.
        signal.signal(signal.SIGTERM, self._pass_on)
        return process.follow(self._process)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def checkpoint(self) -> "DelayedSubmission":
        """Have the cell save its state, and return what is to go on: called when the job is to leave its node."""
        from submitit.helpers import DelayedSubmission

        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            # Not wait: this may interrupt another call of it, whose lock it would wait for.
            with contextlib.suppress(ChildProcessError):  # it has ended
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(Cell(self.words, self.directory))


def parameters(words: list[str]) -> dict[str, Any]:
    """Read ``key=value`` words of ``--slurm``.

    Raises:
        UserError: a word is none.
    """
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key.isidentifier() and equals):
            raise UserError(f"--slurm takes key=value, such as --slurm partition=gpu, not {word!r}.")
        found[key] = parse_value(value)
    return found
