"""What a request is at, for a client that shows it: in a word, and what the model writes while somebody watches."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Literal

from lsp_server.features import l10n, work
from lsp_server.features.messages import ACTIVITY, REPLY, Activity, Reply
from lsp_server.features.session import CompanionServer
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
    TestsStarted,
)

SEND_SECONDS = 0.1
"""Least time between two messages with what the model has written."""


class Watcher:
    """Tells the client what a request is at; made in the event loop's thread, called from the working one.

    Args:
        server: whose client is told.
        token: what the request is known by.
        title: what is asked for.
    """

    def __init__(self, server: CompanionServer, token: str, title: str) -> None:
        self._server = server
        self._token = token
        self._loop = asyncio.get_running_loop()
        self._transcript = Transcript(server, token, title)
        self._settings = server.settings
        self._phase = ""
        self._device: str | None = None
        """Empty if it is not ours to know."""

    def __call__(self, event: Event) -> None:
        """Take an event of the loop."""
        if isinstance(event, BaselineStarted | TestsStarted):
            self._enter("testing")
        elif isinstance(event, RoundStarted | AskedAgain | ReplyJudged | ReplyText):
            if isinstance(event, ReplyText) and self._device is None:
                # Now the model is loaded, if it is one of ours.
                self._device = work.device(self._settings)
                self._phase = "" if self._device else self._phase
            self._enter("generating")
        if text := _told(event):
            self._loop.call_soon_threadsafe(self._transcript.add, text)

    def loading(self) -> None:
        """Take that the model is waited for."""
        self._enter("loading")

    def _enter(self, phase: Literal["loading", "generating", "testing"]) -> None:
        if phase == self._phase:
            return
        self._phase = phase
        activity = Activity(self._token, phase, work.model_name(self._settings), self._device or "")
        self._loop.call_soon_threadsafe(self._server.protocol.notify, ACTIVITY, asdict(activity))


class Transcript:
    """What the model writes for one request, and what becomes of it; used by the event loop's thread only.

    The latest one is kept, so that who begins to watch sees it from its start.

    Args:
        server: whose client is told while it watches.
        token: what the request is known by.
        title: what is asked for.
    """

    def __init__(self, server: CompanionServer, token: str, title: str) -> None:
        self._server = server
        self._token = token
        self._pieces = [f"# {title}\n\n"]
        self._sent = 0
        """Pieces that the client has."""
        self._due: asyncio.TimerHandle | None = None
        server.transcript = self
        self.send_all()

    def add(self, text: str) -> None:
        """Take what comes next."""
        self._pieces.append(text)
        if self._is_watched() and self._due is None:
            self._due = asyncio.get_running_loop().call_later(SEND_SECONDS, self._send)

    def send_all(self) -> None:
        """Send it from its start to a client that watches."""
        self._sent = 0
        self._send()

    def _send(self) -> None:
        self._due = None
        if not self._is_watched():
            return
        begins, text = self._sent == 0, "".join(self._pieces[self._sent :])
        self._sent = len(self._pieces)
        self._server.protocol.notify(REPLY, asdict(Reply(self._token, text, begins)))

    def _is_watched(self) -> bool:
        return self._server.watching and self._server.transcript is self


def watch(server: CompanionServer, watching: bool) -> None:
    """Begin or cease to send what the model writes."""
    server.watching = watching
    if server.transcript is not None:
        server.transcript.send_all()


def _told(event: Event) -> str:
    """Return what an event adds to the transcript, in Markdown."""
    match event:
        case ReplyText(text):
            return text
        case BaselineDone(report):
            fail = l10n.text(
                "{0} of {1} tests fail on the code as it is.", len(report.failed), len(report.results)
            )
            return f"{fail}\n\n"
        case TargetFound(task):
            region = task.region
            name = f"`{region.name}`" if region.name else l10n.text("line {0}", region.start)
            asked = l10n.text("The model is asked for {0} in `{1}`.", name, task.document.path)
            return f"{asked}\n\n"
        case RoundStarted(number, of):
            return f"## {l10n.text('Round {0} of {1}', number, of)}\n\n"
        case AskedAgain():
            again = l10n.text("The same code as before: another reply is sampled.")
            return f"\n> {again}\n\n"
        case ReplyJudged(verdict, number, of):
            sampled = l10n.text("Reply {0} of {1} is sampled.", number, of)
            best = l10n.text("The best of {0} replies:", of)
            return f"\n> **{verdict.kind.value}**: {verdict.reason}\n\n> {sampled if number else best}\n\n"
        case TestsStarted(count):
            one = count == 1
            run = l10n.text("1 test runs on this.") if one else l10n.text("{0} tests run on this.", count)
            return f"\n> {run}\n"
        case RoundDone(round):
            return f"\n> **{round.verdict.kind.value}**: {round.verdict.reason}\n\n"
    return ""
