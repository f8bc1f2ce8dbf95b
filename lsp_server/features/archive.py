"""Proposals on disk: kept as they are made, decided as the user decides, and there again in the next session."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lsp_server.features import documents
from lsp_server.features.session import CompanionServer

if TYPE_CHECKING:
    from lsp_server.refine.proposal import Proposal
    from lsp_server.refine.sessions import Decision, Session

T = TypeVar("T")

log = logging.getLogger(__name__)


def keep(server: CompanionServer, token: str, proposal: Proposal) -> None:
    """Write a proposal down; returns at once."""
    from lsp_server.refine.sessions import Sessions  # not before it is needed

    workspace = proposal.task.snapshot.workspace
    _later(server, lambda: Sessions(workspace).put(token, proposal))


def decide(server: CompanionServer, token: str, proposal: Proposal, decision: Decision) -> None:
    """Write down what the user has decided, and with their consent the conversation; returns at once."""
    from lsp_server.refine.sessions import Sessions

    workspace = proposal.task.snapshot.workspace
    _later(server, lambda: Sessions(workspace).decide(token, decision))
    if server.settings.collectSessions:
        from lsp_server.refine.collection import collect

        _later(server, lambda: collect(proposal, decision))


async def sessions(server: CompanionServer, decision: Decision | None = None) -> list[tuple[Path, Session]]:
    """Return what was proposed in the opened folders, the latest first, with each one's workspace.

    Raises:
        SessionsError: it cannot be read.
    """
    from lsp_server.refine.sessions import Sessions

    def read() -> list[tuple[Path, Session]]:
        found = [(root, each) for root in documents.opened(server) for each in Sessions(root).list(decision)]
        return sorted(found, key=lambda pair: -pair[1].created)

    return await _now(server, read)


async def proposal(server: CompanionServer, token: str) -> Proposal | None:
    """Return a proposal that waits, or one of the opened folders' earlier ones; None if there is none.

    Raises:
        SessionsError: it cannot be read.
    """
    if token in server.proposals:
        return server.proposals[token]
    from lsp_server.refine.sessions import Sessions

    def read() -> Proposal | None:
        found = (Sessions(root).proposal(token) for root in documents.opened(server))
        return next((each for each in found if each is not None), None)

    return await _now(server, read)


async def _now(server: CompanionServer, read: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(server.archivist, read)


def _later(server: CompanionServer, write: Callable[[], None]) -> None:
    def safely() -> None:
        try:
            write()
        except Exception as error:  # a full disk must not cost the proposal itself
            log.error("a proposal could not be kept: %s", error)

    server.archivist.submit(safely)
