"""Progress of a request, from the loop's events to what a client shows; without a word of the client's protocol."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from lsp_server.features import l10n
from lsp_server.refine.events import (
    AskedAgain,
    BaselineDone,
    BaselineStarted,
    Event,
    ReplyJudged,
    ReplyText,
    RoundDone,
    RoundStarted,
    TargetFound,
    TestDone,
    TestsStarted,
)

REPORT_SECONDS = 0.2
"""Least time between two reports of the same step."""
BASELINE_SHARE = 10
"""Percent of the bar that the baseline takes; the rounds share the rest."""


class Display(Protocol):
    """Where progress is shown."""

    def report(self, message: str, percentage: int) -> None:
        """Show how far the work is."""

    def end(self, message: str) -> None:
        """Show that it is over."""


class Narrator:
    """Tells a display what the loop does; called from the working thread.

    Args:
        display: where it is shown.
        loop: whose thread may use the display.
    """

    def __init__(self, display: Display, loop: asyncio.AbstractEventLoop) -> None:
        self._display = display
        self._loop = loop
        self._round, self._of = 0, 1
        self._tests, self._done = 0, 0
        self._written = 0
        self._percentage = 0
        self._last = 0.0

    def __call__(self, event: Event) -> None:
        """Take an event of the loop."""
        if isinstance(event, BaselineStarted):
            self._say(_running(len(event.tests)), 0)
        elif isinstance(event, BaselineDone):
            report = event.report
            fail = l10n.text("{0} of {1} tests fail", len(report.failed), len(report.results))
            self._say(fail, BASELINE_SHARE // 2)
        elif isinstance(event, TargetFound):
            name = event.task.region.name or l10n.text("line {0}", event.task.region.start)
            self._say(l10n.text("Working on {0} in {1}", name, event.task.document.path), BASELINE_SHARE)
        elif isinstance(event, RoundStarted):
            self._round, self._of = event.number, event.of
            self._written = 0
            self._in_round(l10n.text("the model is asked"), 0.0)
        elif isinstance(event, ReplyJudged) and event.next:
            self._written = 0
            self._in_round(l10n.text("reply {0} of {1} is sampled", event.next, event.of), 0.3)
        elif isinstance(event, AskedAgain):
            self._in_round(l10n.text("the same code as before: another reply is sampled"), 0.3)
        elif isinstance(event, ReplyText):
            self._written += len(event.text)
            written = l10n.text("{0} characters written", self._written)
            self._in_round(written, 0.3, every=REPORT_SECONDS)
        elif isinstance(event, TestsStarted):
            self._tests, self._done = event.count, 0
            self._in_round(_testing(event.count), 0.6)
        elif isinstance(event, TestDone):
            self._done += 1
            if self._round:
                total = max(self._tests, self._done)
                self._in_round(_done(self._done, total), 0.8, every=REPORT_SECONDS)
            else:
                self._say(_done_before(self._done), 0, every=REPORT_SECONDS)
        elif isinstance(event, RoundDone):
            self._in_round(f"{event.round.verdict.kind.value}. {event.round.verdict.reason}", 1.0)

    def notice(self, text: str) -> None:
        """Take a line that says what is being waited for."""
        self._say(text[:1].upper() + text[1:], self._percentage, every=REPORT_SECONDS)

    def _in_round(self, what: str, share: float, every: float = 0.0) -> None:
        done = (self._round - 1 + share) / self._of
        percentage = BASELINE_SHARE + int((100 - BASELINE_SHARE) * done)
        self._say(l10n.text("Round {0} of {1}: {2}", self._round, self._of, what), percentage, every)

    def _say(self, message: str, percentage: int, every: float = 0.0) -> None:
        now = time.monotonic()
        if now - self._last < every:
            return
        self._last = now
        self._percentage = max(self._percentage, min(percentage, 100))
        self._loop.call_soon_threadsafe(self._display.report, message, self._percentage)


def _running(files: int) -> str:
    if files == 1:
        return l10n.text("Running the tests of 1 file on the code as it is")
    return l10n.text("Running the tests of {0} files on the code as it is", files)


def _testing(tests: int) -> str:
    return l10n.text("1 test running") if tests == 1 else l10n.text("{0} tests running", tests)


def _done(tests: int, total: int) -> str:
    if total == 1:
        return l10n.text("{0} of 1 test done", tests)
    return l10n.text("{0} of {1} tests done", tests, total)


def _done_before(tests: int) -> str:
    if tests == 1:
        return l10n.text("1 test done on the code as it is")
    return l10n.text("{0} tests done on the code as it is", tests)
