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

from lsp_server.features import documents, work
from lsp_server.features.session import CompanionServer
from lsp_server.refine.discover import index_of
from lsp_server.refine.proposal import Proposal
from lsp_server.refine.task import FixRequest, Request, Snapshot
from runner.index import State

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ready:
    """A verified proposal that nobody has asked for yet."""

    asked: FixRequest
    proposal: Proposal
    state: State
    """The files as they were when the work on it began."""


def begin(server: CompanionServer, root: Path, changed: Collection[PurePosixPath]) -> None:
    """Work on the failing tests that go with the first of some edited files, in the background.

    Args:
        server: whose settings hold.
        root: the workspace.
        changed: files that were saved.
    """
    stop(server)
    cancel = server.ahead_cancel = threading.Event()
    server.ahead = asyncio.ensure_future(_work(server, root, sorted(changed)[0], cancel))


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


def still_true(ready: Ready, request: Request) -> bool:
    """Return whether no file has changed since the work began; looks at the disk."""
    now = index_of(request.snapshot.workspace).state(request.snapshot.overlay())
    then = ready.state.files
    return now.files.keys() == then.keys() and all(
        file.digest == then[path].digest for path, file in now.files.items()
    )


def _answers(ready: Ready, request: FixRequest) -> bool:
    """Whether a proposal is for the test, or the lines, that a request is about."""
    task = ready.proposal.task
    if request.test:
        return any(test == request.test or test.startswith(f"{request.test}[") for test in task.wanted.ids)
    if request.path != ready.asked.path and request.path != task.document.path:
        return False
    if request.line is None or request.path != task.document.path:
        return True
    return task.region.start <= request.line <= task.region.end


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
    state = index_of(snapshot.workspace).state(snapshot.overlay())
    proposal = work.propose(
        request, server.settings, cancel, lambda event: None, lambda notice: None, background=True
    )
    return Ready(request, proposal, state) if proposal.verified else None
