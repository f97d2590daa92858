"""Stopping on SIGINT and SIGTERM: during training after the step, at once otherwise."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from lra_hgrn.errors import Stopped

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """Take the two signals over for as long as the context lasts; a later second one ends the process at once.

    Schedulers and `timeout` send a signal to the process and to its group: what comes within a second is the same one.

    Python gives signals to the main thread alone: in another one, this does nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._waits = False
        self._when = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Stopping":
        self.take()
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def take(self) -> None:
        """Take the signals, also from whoever has taken them in between, as Lightning does."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            before = signal.signal(number, self._on_signal)
            self._before.setdefault(number, before)

    @contextmanager
    def after_a_step(self) -> Iterator[None]:
        """Let the work look at `requested` by itself."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            if time.monotonic() - self._when > 1.0:
                self._restore()
                os.kill(os.getpid(), number)
            return
        self.requested, self._when = True, time.monotonic()
        if not self._waits:
            raise Stopped("Stopped; the same command with --resume goes on.")
        # Not print: the signal may have come in the middle of one.
        os.write(2, b"\nlra: stopping after this step; a second signal ends the process at once\n")

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
