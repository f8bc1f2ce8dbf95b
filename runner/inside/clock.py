"""Time limits of tests and imports, from inside: an exception where the code hangs, and its stack."""

from __future__ import annotations

import faulthandler
import signal
import time
from typing import Any, Callable

_AGAIN_SECONDS = 0.2  # code that swallows the exception meets it again
_TEARDOWN_SECONDS = 1.0  # a test at its limit may still clean up


class TimeLimit(BaseException):
    """Raised where a test was at its time limit; not an Exception, so that `except Exception` lets it through."""


class SharedTimeLimit(Exception):
    """Raised instead between the tests of unittest, which lets nothing but an Exception fail a class's `setUpClass`."""


class Clock:
    """Interrupts what runs between `start` and `stop`."""

    def __init__(self, seconds: float, stack_fd: int, on_limit: Callable[[Any], None]) -> None:
        """Take the limit, the descriptor for the stack of a hang in C code, and what is told of a hang's frame."""
        self.seconds = seconds
        self._fd = stack_fd
        self._on_limit = on_limit
        self._ends = 0.0
        self._told = False
        self._raised: type[BaseException] = TimeLimit
        self._setitimer, self._monotonic = signal.setitimer, time.monotonic
        signal.signal(signal.SIGALRM, self._expired)

    def begin(self, raised: type[BaseException] = TimeLimit) -> None:
        """Give the next test its whole time; `raised` is what ends it."""
        self._ends = self._monotonic() + self.seconds
        self._told = False
        self._raised = raised

    def start(self) -> None:
        """Run the clock (again, for the next phase of a test)."""
        left = max(self._ends - self._monotonic(), _TEARDOWN_SECONDS)
        if signal.getsignal(signal.SIGALRM) != self._expired:
            signal.signal(signal.SIGALRM, self._expired)  # a test took the handler and kept it
        self._setitimer(signal.ITIMER_REAL, left, _AGAIN_SECONDS)
        faulthandler.dump_traceback_later(left + 0.5, file=self._fd)

    def stop(self) -> None:
        """Stop the clock."""
        self._setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()

    def _expired(self, number: int, frame: Any) -> None:
        if not self._told:
            self._told = True
            self._on_limit(frame)
        raise self._raised("still running after %g s" % self.seconds)
