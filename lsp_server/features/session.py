"""What the server knows between two messages: settings, work under way, proposals that wait."""

from __future__ import annotations

import asyncio
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from lsp_server import __version__
from lsp_server.features.handshake import NAME
from lsp_server.refine.proposal import Proposal
from lsp_server.settings import Settings

if TYPE_CHECKING:
    from pygls.server import ServerErrors

    from lsp_server.features.ahead import Ready
    from lsp_server.features.diagnostics import Shown
    from lsp_server.features.on_save import Watched
    from lsp_server.features.outside import Outside
    from lsp_server.features.watching import Transcript

_SNAKE = re.compile(r"([A-Z])")
KEPT_PROPOSALS = 20
"""Proposals that were not applied and can still be; the oldest goes when there is one more."""


@dataclass
class Work:
    """A request that is being worked on."""

    token: str
    uri: str
    cancel: threading.Event = field(default_factory=threading.Event)
    task: asyncio.Task[None] | None = None


class CompanionServer(LanguageServer):
    """The language server with its state; all of it is touched by the event loop's thread only."""

    def __init__(self) -> None:
        # Whole texts: pygls places partial changes by `str.splitlines`, which ends lines at form feeds and U+2028
        # where the protocol does not, and a text that is off by a line would be tested and edited wrongly.
        super().__init__(NAME, __version__, types.TextDocumentSyncKind.Full)
        self.settings = Settings()
        self.trusted = True
        """Whether the client says that the workspace's code may be run."""
        self.reviews = False
        """Whether the client shows proposals itself, and says which of them to apply."""
        self.complaints: list[str] = []
        """What is wrong with the settings, in sentences."""
        self.told: set[str] = set()
        """Complaints about settings that the user has seen."""
        self.configured: asyncio.Task[None] | None = None
        """The latest request for the client's settings."""
        self.works: dict[str, Work] = {}
        """By token."""
        self.offers: set[asyncio.Task[None]] = set()
        """Proposals that the user is being asked about."""
        self.watching = False
        """Whether the client shows what the model writes."""
        self.transcript: Transcript | None = None
        """What the model has written for the latest request."""
        self.restored: set[str] = set()
        """Tokens of proposals that an earlier session has left: what else has changed since is not known."""
        self.proposals: dict[str, Proposal] = {}
        """Proposals that were not applied, by token, the oldest first."""

        self.watched: dict[Path, Watched] = {}
        """Workspaces whose tests are run on save, by root."""
        self.outside: Outside | None = None
        """What is noticed of changes that the editor does not make; None before `initialized`."""
        self.closed: set[str] = set()
        """Folders that the client had open, by uri."""
        self.outlining: dict[str, asyncio.TimerHandle] = {}
        """Buffers whose outline is made in the next pause, by uri."""
        self.shown: dict[str, Shown] = {}
        """What diagnostics show, by uri."""
        self.ahead: asyncio.Task[None] | None = None
        """The repair that is made unasked."""
        self.ahead_cancel = threading.Event()
        self.ready: Ready | None = None
        """The latest repair that was made unasked."""

        self.archivist = ThreadPoolExecutor(1, thread_name_prefix="archive")
        """Writes proposals down, one after the other."""

        self.shut_down = False
        """The client has asked for `shutdown`."""
        self.leaving = False
        """The client has said goodbye: nothing more can be sent."""
        self.temporary: list[Path] = []
        """Folders to be deleted at the end."""

    def supports(self, *path: str) -> Any:
        """Return what the client declares, such as `supports("window", "workDoneProgress")`; None if nothing."""
        value: Any = self.client_capabilities
        for name in path:
            value = getattr(value, _SNAKE.sub(r"_\1", name).lower(), None)
        return value

    def report_server_error(self, error: Exception, source: ServerErrors) -> None:
        """Show an error of ours, unless the way to the client is what is broken."""
        if not self.leaving:
            super().report_server_error(error, source)

    def say(self, message: str, kind: types.MessageType = types.MessageType.Info) -> None:
        """Show the user a message."""
        self.window_show_message(types.ShowMessageParams(type=kind, message=f"OCI: {message}"))

    def log(self, message: str) -> None:
        """Put a line into the editor's log of this server."""
        self.window_log_message(types.LogMessageParams(type=types.MessageType.Info, message=message))

    def keep(self, token: str, proposal: Proposal) -> list[str]:
        """Keep a proposal so that it can be applied later; return the tokens of those that had to go for it."""
        self.proposals[token] = proposal
        gone = list(self.proposals)[:-KEPT_PROPOSALS]
        for oldest in gone:
            del self.proposals[oldest]
        return gone

    def cancel_all(self) -> None:
        """Stop all work: the model at its next token, the tests at once."""
        self.end_runs()
        for work in self.works.values():
            work.cancel.set()

    def end_runs(self) -> None:
        """Stop what runs unasked: tests after a save, and repairs made ahead."""
        self.ahead_cancel.set()
        for watched in self.watched.values():
            watched.cancel.set()

    def close(self) -> None:
        """Stop all work and delete what was written for the user to look at."""
        self.cancel_all()
        if self.outside is not None:
            self.outside.close()
        self.archivist.shutdown()
        for folder in self.temporary:
            shutil.rmtree(folder, ignore_errors=True)
