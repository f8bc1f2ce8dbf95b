"""On save: the tests that an edit may concern are run, and what fails is shown."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from lsprotocol import types

from lsp_server.features import ahead, code_lens, configuration, diagnostics, documents, l10n, work
from lsp_server.features.session import CompanionServer
from lsp_server.refine.task import TaskError
from runner.index import digest_of

if TYPE_CHECKING:
    from lsp_server.refine.continuous import ContinuousTests, Update

DEBOUNCE_SECONDS = 0.15
"""How long further saves are waited for."""

log = logging.getLogger(__name__)


@dataclass
class Watched:
    """A workspace whose tests are run as it changes."""

    tests: ContinuousTests
    changed: set[PurePosixPath] = field(default_factory=set)
    """Files whose change no run has taken in yet."""
    cancel: threading.Event = field(default_factory=threading.Event)
    """Ends the run that is under way."""
    task: asyncio.Task[None] | None = None
    asked: list[str] = field(default_factory=list)
    """Tests that the user wants to be run, and that were not yet."""
    saved: dict[PurePosixPath, bytes] = field(default_factory=dict)
    """Digests of what the editor has saved."""
    told: str = ""
    """Why its tests could not be run, as the user has been told."""


def saved(server: CompanionServer, params: types.DidSaveTextDocumentParams) -> None:
    """Run the tests that a saved file may concern, instead of those that are running."""
    if not server.trusted:
        return
    try:
        root, path = documents.locate(server, params.text_document.uri)
    except TaskError:
        return
    if not documents.is_opened(server, root):
        return  # what is trusted are the folders that were opened
    watched = _watched(server, root)
    watched.changed.add(path)
    if (document := documents.open_document(server, params.text_document.uri)) is not None:
        watched.saved[path] = digest_of(document.source.encode("utf-8"))
    if server.outside is not None:
        server.outside.follow()  # the folder may have been deleted, and be there again
    _begin(server, root, watched)


def changed_outside(server: CompanionServer, root: Path, changed: Collection[PurePosixPath]) -> None:
    """Run the tests that files may concern which the editor has not saved.

    Args:
        server: whose settings hold.
        root: the workspace, which is opened and trusted.
        changed: its files.
    """
    watched = _watched(server, root)
    watched.changed.update(changed)
    _begin(server, root, watched)


def forget(server: CompanionServer, root: Path) -> None:
    """End the runs of a workspace, and take back what is shown of it.

    Args:
        server: whose client shows it.
        root: the workspace, which is closed or no longer there.
    """
    if (watched := server.watched.pop(root, None)) is not None:
        watched.cancel.set()
    diagnostics.clear(server, root)


def run(server: CompanionServer, root: Path, tests: Sequence[str]) -> None:
    """Run some tests of a workspace; what is running is broken off, and made up for afterwards.

    Args:
        server: whose settings hold, and whose client is shown what fails.
        root: the workspace.
        tests: pytest arguments relative to it.
    """
    watched = _watched(server, root)
    watched.asked += [test for test in tests if test not in watched.asked]
    _begin(server, root, watched)


def _watched(server: CompanionServer, root: Path) -> Watched:
    watched = server.watched.get(root)
    if watched is None:
        from lsp_server.refine.continuous import (
            ContinuousTests,  # not before it is needed: it is slow to load
        )

        watched = server.watched[root] = Watched(ContinuousTests(work.warm_processes()))
    return watched


def _begin(server: CompanionServer, root: Path, watched: Watched) -> None:
    ahead.stop(server)
    watched.cancel.set()
    previous, watched.cancel = watched.task, threading.Event()
    watched.task = asyncio.ensure_future(_run(server, root, watched, watched.cancel, previous))


def settings_changed(server: CompanionServer) -> None:
    """Take back what is shown where nothing is to be run unasked any more."""
    if server.settings.onSave == "off" and server.watched:
        server.end_runs()
        diagnostics.clear(server)


async def _run(
    server: CompanionServer,
    root: Path,
    watched: Watched,
    cancel: threading.Event,
    previous: asyncio.Task[None] | None,
) -> None:
    try:
        if not watched.asked:
            await asyncio.sleep(DEBOUNCE_SECONDS)
        if previous is not None and not previous.done():
            await asyncio.wait([previous])
        await configuration.settled(server)
        if not cancel.is_set():  # else a later save takes this one along
            await _work(server, root, watched, cancel)
    except Exception as error:
        if root.is_dir():
            _tell(server, watched, error)
    finally:
        # Also when the server ends: the thread goes on until it sees this.
        cancel.set()


async def _work(server: CompanionServer, root: Path, watched: Watched, cancel: threading.Event) -> None:
    on_save = server.settings.onSave
    asked, changed = tuple(watched.asked), set(watched.changed) if on_save != "off" else set()
    if not asked and not changed:
        return
    loop = asyncio.get_running_loop()
    snapshot = documents.snapshot(server, root)
    left_out: set[PurePosixPath] = set()

    def listener(update: Update) -> None:
        left_out.update(PurePosixPath(test.partition("::")[0]) for test in update.left_out)
        loop.call_soon_threadsafe(_show, server, cancel, update)

    request = await asyncio.to_thread(work.test_request, root, server.settings)
    if asked:
        await asyncio.to_thread(watched.tests.run, asked, snapshot, request, cancel, listener)
        if not cancel.is_set():
            watched.asked = [test for test in watched.asked if test not in asked]
    if changed and not cancel.is_set():
        await asyncio.to_thread(watched.tests.after_edit, changed, snapshot, request, cancel, listener)
    watched.told = ""
    if cancel.is_set():
        return
    watched.changed = (watched.changed - changed) | left_out
    if on_save == "refine" and changed and not server.works:
        ahead.begin(server, root, changed, watched.tests.findings())


def _show(server: CompanionServer, cancel: threading.Event, update: Update) -> None:
    if cancel.is_set():
        return
    failing = sum(1 for finding in update.findings if not finding.suspected)
    if update.ran:
        server.log(f"Ran {_count(update.ran, 'test')}: {_count(failing, 'problem')}.")
    if update.left_out:
        server.log(f"Not run, for they take too long together: {', '.join(update.left_out[:5])}")
    diagnostics.show(server, update)
    code_lens.refresh(server)


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'s' * (number != 1)}"


def _tell(server: CompanionServer, watched: Watched, error: Exception) -> None:
    """Say once why tests cannot be run: the next save would only say it again."""
    if not work.is_told(error):
        log.error("the tests could not be run after a save", exc_info=error)
    if str(error) != watched.told:
        watched.told = str(error)
        server.say(l10n.text("The tests were not run: {0}", error), types.MessageType.Warning)
