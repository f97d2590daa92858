"""Run what is missing of a suite, wherever there is a place for it."""

import signal
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from filelock import FileLock

from lra_hgrn.errors import BUSY, Stopped, UserError
from lra_hgrn.results.files import LOCK
from lra_hgrn.results.record import Record
from lra_hgrn.suite import Job, Suite
from lra_hgrn.sweep.cells import failure, further, is_final, missing
from lra_hgrn.sweep.claims import claim
from lra_hgrn.sweep.display import Display
from lra_hgrn.sweep.launcher import STOPPED, Ended, Launcher
from lra_hgrn.sweep.process import LOOK
from lra_tasks.holdings import is_at_work

PATIENCE = 2.0  # seconds between two looks at cells that other processes are at work on


def sweep(suite: Suite, runs: Path, launcher: Launcher, reseed: int = 0) -> list[str]:
    """Run what is missing and return one sentence for each cell that failed.

    Several sweeps may work on one folder of runs: a cell that another process is at work on is left until the end, and
    taken up if it has no result by then.

    Args:
        suite: the suite.
        runs: folder of its runs.
        launcher: what finds a place for each cell.
        reseed: how many further seeds are tried in the place of one that is lost.

    Raises:
        Stopped: on SIGINT or SIGTERM, after the cells at work have saved their state.
        UserError: the folder of the runs cannot be written, or the launcher cannot be used.
    """
    return _Sweep(suite, runs, launcher, reseed).run()


class _Sweep:
    def __init__(self, suite: Suite, runs: Path, launcher: Launcher, reseed: int) -> None:
        self.suite, self.runs, self.launcher, self.reseed = suite, runs, launcher, reseed
        self.queue = deque(missing(suite, runs, reseed))
        self.elsewhere: list[Job] = []  # other processes are at work on them
        self.working: dict[str, tuple[Job, FileLock]] = {}
        self.known = {job.name for job in self.queue}
        self.stops: Counter[str] = Counter()
        self.failures: list[str] = []
        total = len({*self.known, *(job.name for job in suite.jobs)})
        self.show = Display(total, total - len(self.queue))
        self.look, self.told = 0.0, False

    def run(self) -> list[str]:
        if not self.queue:
            with self.show:
                return []
        with self.launcher, _interrupted_by_sigterm(), self.show:
            try:
                while self.queue or self.working or self.elsewhere:
                    self._start()
                    self._end()
                    self._wait()
            except KeyboardInterrupt:
                self.show.note("stopping after this step ...")
                self.launcher.stop()
                raise Stopped("Stopped; the same command goes on.") from None
            except BaseException:
                self.launcher.stop()
                raise
            finally:
                for _, held in self.working.values():
                    held.release()
        return self.failures

    def _start(self) -> None:
        while self.queue and self.launcher.has_room():
            job = self.queue.popleft()
            held = claim(job, self.runs)
            if held is None:
                self.elsewhere.append(job)
                continue
            record = job.record(self.runs)
            if is_final(record):  # another sweep was faster
                held.release()
                self._finish(job, record, None)
                continue
            self.working[job.name] = job, held
            self.launcher.start(job, job.directory(self.runs))
            if self.launcher.at_once:
                self.show.start(job)

    def _end(self) -> None:
        for ended in self.launcher.ended():
            job, held = self.working.pop(ended.name)
            held.release()
            if ended.code == BUSY:
                self.show.leave(job)
                self.elsewhere.append(job)
            elif ended.code == STOPPED and self.stops[job.name] < self.launcher.retries:
                self.stops[job.name] += 1
                self.show.leave(job)
                self.queue.append(job)
            else:
                self._take(job, ended)

    def _take(self, job: Job, ended: Ended) -> None:
        record, said = None, ""
        try:
            record = job.record(self.runs)
        except UserError as error:
            said = str(error)
        if not said and not is_final(record) and ended.code != 0:
            said = failure(ended, job.directory(self.runs))
        self._finish(job, record, said or None)

    def _finish(self, job: Job, record: Record | None, said: str | None) -> None:
        self.failures += [said] if said else []
        self.show.finish(job, record, said)
        following = further(self.suite, job, record, self.reseed)
        if following is not None and following.name not in self.known:
            self.known.add(following.name)
            self.show.more()
            self.queue.append(following)

    def _wait(self) -> None:
        for job in [*(job for job, _ in self.working.values()), *self.elsewhere]:
            self.show.follow(job, job.directory(self.runs))
        time.sleep(LOOK)
        if self.elsewhere and not self.queue and time.monotonic() >= self.look:
            free = [job for job in self.elsewhere if self._is_free(job)]
            self.elsewhere = [job for job in self.elsewhere if job not in free]
            self.queue.extend(free)
            if self.elsewhere and not self.working and not self.told:
                self.told = True
                self.show.note("waiting for cells that other processes are at work on ...")
            self.look = time.monotonic() + PATIENCE

    def _is_free(self, job: Job) -> bool:
        held = claim(job, self.runs)
        if held is not None:
            held.release()
        return held is not None and not is_at_work(job.directory(self.runs) / LOCK)


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
