"""Changes that the editor does not make, such as a branch switch, a formatter, new packages: tests run as after a save.

watchdog is asked, and not the client's `workspace/didChangeWatchedFiles`, which some clients do not have, and which
tells nothing of environments, of git's lock, and of what has become of thousands of files together.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.uris import to_fs_path

from lsp_server.features import configuration, documents, l10n, on_save, work
from lsp_server.features.model_folder import ModelFolder
from lsp_server.features.session import CompanionServer
from lsp_server.refine.task import Snapshot
from runner.errors import RunnerError
from runner.index import digest_of, source_files

if TYPE_CHECKING:
    from lsp_server.refine.continuous import ContinuousTests
    from lsp_server.refine.watch import Change, FolderWatch

QUIET_SECONDS = 0.3
"""How long nothing may happen before what happened is looked at; what is saved in the editor is told of by then."""
PACKAGES_QUIET_SECONDS = 1.5
"""The same for environments, whose packages are installed one after the other."""
MOST_SECONDS = 20.0
"""What goes on for longer is looked at while it does."""

log = logging.getLogger(__name__)


@dataclass
class _Noticed:
    """What has happened in a folder and was not looked at yet."""

    files: set[Path] = field(default_factory=set)
    anything: bool = False
    environment: bool = False
    full: bool = False
    gone: bool = False

    def __bool__(self) -> bool:
        return bool(self.files) or self.anything or self.environment or self.full or self.gone


class Outside:
    """Watches the opened folders while tests are run unasked.

    Args:
        server: whose folders and settings hold.
    """

    def __init__(self, server: CompanionServer) -> None:
        self._server = server
        self._folders: dict[Path, _Folder] = {}
        self._model = ModelFolder(server)
        self._follower: asyncio.Task[None] | None = None
        self._behind = False

    def follow(self) -> None:
        """Watch what is to be watched by now, and nothing else."""
        self._behind = True
        if self._follower is None or self._follower.done():
            self._follower = asyncio.ensure_future(self._follow())

    async def _follow(self) -> None:
        server = self._server
        await configuration.settled(server)
        while self._behind:
            self._behind = False
            opened = {folder for folder in documents.opened(server) if folder.is_dir()}
            runs = server.trusted and server.settings.onSave != "off" and not server.shut_down
            wanted = opened if runs else set()
            for root in self._folders.keys() - wanted:
                self._drop(root, known=root in opened)
            for root in wanted - self._folders.keys():
                folder = self._folders[root] = _Folder(server, root, self._drop)
                await folder.start([other for other in wanted if other != root])
            await self._model.follow()

    def _drop(self, root: Path, *, known: bool = False) -> None:
        """Watch a folder no more; what is known of it goes as well, unless it stays open."""
        if (folder := self._folders.pop(root, None)) is not None:
            folder.close()
            if not known:
                on_save.forget(self._server, root)

    def text_changed(self, uri: str) -> None:
        """Take note that the editor may have read a file again that was changed on disk."""
        for folder in self._folders.values():
            folder.text_changed(uri)

    def close(self) -> None:
        """Watch nothing any more; no thread is left."""
        for folder in self._folders.values():
            folder.close()
        self._folders.clear()
        self._model.close()


def begin(server: CompanionServer) -> None:
    """Watch the opened folders from now on, as far as the settings have it."""
    server.outside = Outside(server)
    server.outside.follow()


def follow(server: CompanionServer) -> None:
    """Act upon new settings."""
    if server.outside is not None:
        server.outside.follow()


def folders_changed(server: CompanionServer, params: types.DidChangeWorkspaceFoldersParams) -> None:
    """Act upon folders that were opened or closed."""
    server.closed |= {documents.same_uri(folder.uri) for folder in params.event.removed}
    server.closed -= {documents.same_uri(folder.uri) for folder in params.event.added}
    follow(server)


class _Folder:
    """One opened folder: what was noticed in it, and what follows from that."""

    def __init__(self, server: CompanionServer, root: Path, gone: Callable[[Path], None]) -> None:
        self._server = server
        self._root = root
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._noticed = _Noticed()
        self._last = 0.0
        self._watch: FolderWatch | None = None
        self._closed = False
        self._settling: asyncio.Task[None] | None = None
        self._waiting: set[Path] = set()
        """Files that differ from the editor's buffer, which may be about to read them again."""

    async def start(self, others: Collection[Path]) -> None:
        """Begin to watch.

        Args:
            others: further opened folders, which are watched by themselves.
        """
        if sys.platform != "linux":
            self._server.log("Changes made outside of the editor are noticed on Linux only.")
            return
        try:
            watch = await asyncio.to_thread(self._begin, others)
        except OSError as error:
            self._say_why_not(error)
            return
        if self._closed:
            watch.close()
            return
        self._watch = watch
        folders = "1 folder" if watch.count == 1 else f"{watch.count} folders"
        self._server.log(f"Watching {folders} of {self._root} for changes from outside.")

    def _begin(self, others: Collection[Path]) -> FolderWatch:
        from lsp_server.refine.watch import FolderWatch  # not before it is needed

        watch = FolderWatch(self._root, others, self._take)
        watch.watch_beside(_environments(self._root))
        return watch

    def close(self) -> None:
        """Stop watching."""
        self._closed = True
        if self._settling is not None and not self._loop.is_closed():
            self._settling.cancel()
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def text_changed(self, uri: str) -> None:
        """Look again at a file that a buffer differs from."""
        path = Path(to_fs_path(uri) or "") if self._waiting else Path()
        if path in self._waiting:
            self._waiting.discard(path)
            with self._lock:
                self._noticed.files.add(path)
            self._settle()

    def _take(self, change: Change, path: Path) -> None:
        """Note a change; called from the watching thread."""
        from lsp_server.refine.watch import Change

        with self._lock:
            first = not self._noticed
            if change is Change.FILE:
                self._noticed.files.add(path)
            self._noticed.anything |= change is Change.ANY
            self._noticed.environment |= change is Change.BESIDE
            self._noticed.full |= change is Change.FULL
            self._noticed.gone |= change is Change.GONE
            self._last = self._loop.time()
        if first and not self._closed:
            with suppress(RuntimeError):  # the server has ended
                self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        if not self._closed and (self._settling is None or self._settling.done()):
            self._settling = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        """Wait for quiet, then run what is concerned; again, if something has happened meanwhile."""
        while self._noticed:
            await self._quiet()
            with self._lock:
                noticed, self._noticed = self._noticed, _Noticed()
            try:
                await self._handle(noticed)
            except Exception:
                log.exception("changes from outside could not be looked at")

    async def _quiet(self) -> None:
        began = self._loop.time()
        while True:
            quiet = PACKAGES_QUIET_SECONDS if self._noticed.environment else QUIET_SECONDS
            left = self._last + quiet - self._loop.time()
            if self._loop.time() - began > MOST_SECONDS:
                return
            if left <= 0:
                if not await asyncio.to_thread(_is_git_at_work, self._root):
                    return
                left = QUIET_SECONDS
            await asyncio.sleep(left)

    async def _handle(self, noticed: _Noticed) -> None:
        if noticed.full:
            self._say_full()
        if noticed.gone or not self._root.is_dir():
            self._gone(self._root)
            return
        server = self._server
        watched = server.watched.get(self._root)
        running = watched is not None and watched.task is not None and not watched.task.done()
        if running and server.settings.sandbox.level == "off":
            return  # the tests themselves write here
        tests = watched.tests if watched is not None else None
        changed: set[PurePosixPath] = set()
        if noticed.environment:
            changed |= await asyncio.to_thread(self._after_packages, tests)
        if noticed.files or noticed.anything:
            snapshot = documents.snapshot(server, self._root)
            saved = dict(watched.saved) if watched is not None else {}
            found = await asyncio.to_thread(_changed, snapshot, noticed, saved, tests)
            changed |= found[0]
            self._waiting |= {self._root / path for path in found[1]}
        if changed and not self._closed:
            server.log(f"Changed outside of the editor: {_named(changed)}.")
            on_save.changed_outside(server, self._root, changed)

    def _after_packages(self, tests: ContinuousTests | None) -> frozenset[PurePosixPath]:
        """Watch the environments that there are now; return the test files whose results another interpreter gave."""
        if self._watch is not None:
            self._watch.watch_beside(_environments(self._root))
        if tests is None:
            return frozenset()
        try:
            request = work.test_request(self._root, self._server.settings)
            return frozenset() if tests.holds_for(request) else tests.test_files()
        except RunnerError:
            return tests.test_files()  # the run will say what is the matter

    def _say_why_not(self, error: OSError) -> None:
        from lsp_server.refine.watch import REMEDY

        remedy = REMEDY.get(error.errno or 0)
        if remedy is None:
            log.warning("%s is not watched: %s", self._root, error)
        else:
            self._tell(
                l10n.text(
                    "Changes made outside of the editor are not noticed: {0}. {1} lifts it.",
                    error.strerror,
                    remedy,
                )
            )

    def _say_full(self) -> None:
        import errno

        from lsp_server.refine.watch import REMEDY

        self._tell(
            l10n.text(
                "Changes made outside of the editor are not noticed in new folders: "
                "inotify watch limit reached. {0} lifts it.",
                REMEDY[errno.ENOSPC],
            )
        )

    def _tell(self, message: str) -> None:
        if message not in self._server.told:
            self._server.told.add(message)
            self._server.say(message, types.MessageType.Warning)


def _changed(
    snapshot: Snapshot,
    noticed: _Noticed,
    saved: dict[PurePosixPath, bytes],
    tests: ContinuousTests | None,
) -> tuple[set[PurePosixPath], set[PurePosixPath]]:
    """Return the files whose content no run has seen, and those that the editor may be about to read again."""
    root = snapshot.workspace
    files = {PurePosixPath(path.relative_to(root).as_posix()) for path in noticed.files}
    if noticed.anything and tests is not None:
        files |= {*tests.tested_files(), *source_files(root)}
    files = {path for path in files if path.suffix == ".py"} if tests is None else tests.concerning(files)
    changed, waiting = set(), set()
    for path in files:
        try:
            now: bytes | None = digest_of((root / path).read_bytes())
        except OSError:
            now = None
        if path in snapshot.buffers:
            if now == saved.get(path):
                continue
            if now != digest_of(snapshot.buffers[path].text.encode("utf-8")):
                waiting.add(path)  # the editor has the say
                continue
        if tests is None or not tests.is_known(path, now):
            changed.add(path)
    return changed, waiting


def _environments(root: Path) -> list[Path]:
    """Return the folders that change as environments for a workspace are made, and as packages are installed."""
    homes = [root / ".venv", root / "venv"]
    if os.environ.get("VIRTUAL_ENV"):
        homes.append(Path(os.environ["VIRTUAL_ENV"]))
    packages = [folder for home in homes for folder in home.glob("lib/python3*/site-packages")]
    return [*homes, *(home / "bin" for home in homes), *packages]


def _is_git_at_work(root: Path) -> bool:
    from lsp_server.refine.ignored import git_folder

    folder = git_folder(root)
    return folder is not None and (folder / "index.lock").exists()


def _named(paths: Collection[PurePosixPath]) -> str:
    first = ", ".join(map(str, sorted(paths)[:3]))
    return f"{first} and {len(paths) - 3} more" if len(paths) > 3 else first
