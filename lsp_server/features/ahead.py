"""Repairs made ahead: after a save that leaves tests failing, so that a request to fix them is answered at once.

They wait behind everything that the user does: a request by hand or an edit ends them, and nothing is said of them.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from lsp_server.features import documents, work
from lsp_server.features.session import CompanionServer
from lsp_server.refine.discover import index_of
from lsp_server.refine.proposal import Proposal
from lsp_server.refine.task import FixRequest, Request, Snapshot
from lsp_server.settings import Settings
from runner.index import State

if TYPE_CHECKING:
    from lsp_server.refine.continuous import Finding

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ready:
    """A verified proposal that nobody has asked for yet."""

    asked: FixRequest
    proposal: Proposal
    state: State
    """The files as they were when the work on it began."""
    settings: Settings


def begin(
    server: CompanionServer, root: Path, changed: Collection[PurePosixPath], findings: Collection[Finding]
) -> None:
    """Work on tests that fail, in the background, if they go with an edited file.

    Args:
        server: whose settings hold.
        root: the workspace.
        changed: files that were saved.
        findings: what fails.
    """
    stop(server)
    failing = {finding.place.path for finding in findings if finding.tests}
    path = next((path for path in sorted(changed) if path in failing), None)
    if path is not None:
        cancel = server.ahead_cancel = threading.Event()
        server.ahead = asyncio.ensure_future(_work(server, root, path, cancel))


def stop(server: CompanionServer) -> None:
    """End the work that is under way; what is ready stays so until it no longer fits."""
    server.ahead_cancel.set()


def take(server: CompanionServer, request: Request) -> Ready | None:
    """Return what is ready for a request, which it then no longer is.

    Args:
        server: what has worked ahead.
        request: what the user asks for now.
    """
    ready = server.ready
    if ready is None or not isinstance(request, FixRequest) or request.instruction:
        return None
    if request.snapshot.workspace != ready.asked.snapshot.workspace or not _answers(ready, request):
        return None
    server.ready = None
    return ready


def still_true(
    ready: Ready, snapshot: Snapshot, settings: Settings, cancel: threading.Event
) -> Proposal | None:
    """Return a ready proposal if no Python file and no setting has changed since, and its tests pass once more.

    They are run again because they may depend on more than that: data, packages, the time.

    Args:
        ready: what was taken.
        snapshot: the texts as they are now.
        settings: the user's, now.
        cancel: ends the run.
    """
    now = index_of(snapshot.workspace).state(snapshot.overlay())
    then = ready.state.files
    if settings != ready.settings or now.files.keys() != then.keys():
        return None
    if any(file.digest != then[path].digest for path, file in now.files.items()):
        return None
    return ready.proposal if work.holds(ready.proposal, settings, cancel) else None


def _answers(ready: Ready, request: FixRequest) -> bool:
    """Whether a proposal is for the test, or the lines, that a request is about."""
    task = ready.proposal.task
    if request.test:
        return any(test == request.test or test.startswith(f"{request.test}[") for test in task.wanted.ids)
    if request.path != task.document.path:
        return request.path == ready.asked.path and request.line is None
    return request.line is None or task.region.start <= request.line <= task.region.end


async def _work(server: CompanionServer, root: Path, path: PurePosixPath, cancel: threading.Event) -> None:
    snapshot = documents.snapshot(server, root)
    request = FixRequest(snapshot, path)
    try:
        ready = await asyncio.to_thread(_propose, server, request, snapshot, cancel)
    except Exception as error:  # nobody has asked for it, so nobody is told
        log.info("no repair of %s was made ahead: %s", path, error)
        return
    if ready is not None and not cancel.is_set():
        server.ready = ready
        server.log(f"A verified repair of {ready.proposal.task.document.path} is ready: Fix with OCI.")


def _propose(
    server: CompanionServer, request: FixRequest, snapshot: Snapshot, cancel: threading.Event
) -> Ready | None:
    state, settings = index_of(snapshot.workspace).state(snapshot.overlay()), server.settings
    proposal = work.propose(
        request, settings, cancel, lambda event: None, lambda notice: None, background=True
    )
    return Ready(request, proposal, state, settings) if proposal.verified else None
