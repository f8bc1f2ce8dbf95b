"""Notices what changes in folders, whoever changes it; ignored folders are not looked into.

Each folder that counts has one inotify watch, and all of them one thread, which sleeps until the kernel wakes it.
watchdog's own recursive watches would go into environments and node_modules as well, and one thread a folder is no
better, so its inotify descriptor is used directly.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path

from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchDescriptor,
)

from lsp_server.refine.ignored import GITIGNORE, Ignored

_MASK = Mask(
    InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_CREATE
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_MOVE
    | InotifyConstants.IN_DELETE_SELF
    | InotifyConstants.IN_MOVE_SELF
    | InotifyConstants.IN_ONLYDIR
    | InotifyConstants.IN_DONT_FOLLOW
)
REMEDY = {
    errno.ENOSPC: "sudo sysctl fs.inotify.max_user_watches=524288",
    errno.EMFILE: "sudo sysctl fs.inotify.max_user_instances=1024",
}
"""What lifts a limit of the kernel's, by the error that tells of it."""


log = logging.getLogger(__name__)


class Change(Enum):
    """What was noticed."""

    FILE = auto()
    """A file was written, made, moved or deleted."""
    BESIDE = auto()
    """Something happened in a folder that is watched by itself, such as an environment's packages."""
    ANY = auto()
    """Anything may have changed: events were lost, or a whole folder went away."""
    FULL = auto()
    """A folder that appeared is not watched: the kernel grants no more watches."""
    GONE = auto()
    """The root is no longer there."""


Told = Callable[[Change, Path], None]
"""Called from the watching thread, for each event."""


class FolderWatch:
    """Watches the folders below a root, and some others, until it is closed.

    Args:
        root: absolute.
        others: roots below it that are watched on their own.
        told: what happens, and to which path.

    Raises:
        OSError: the kernel grants no more watches, or the root is not there; see `REMEDY`.
    """

    def __init__(self, root: Path, others: Collection[Path], told: Told) -> None:
        self._root = root
        self._others = frozenset(others)
        self._told = told
        self._lock = threading.RLock()
        self._paths: dict[WatchDescriptor, Path] = {}
        self._beside: dict[WatchDescriptor, Path] = {}
        self._known: set[Path] = set()
        """Paths of both."""
        self._ignored = Ignored(root)
        self._id = CallbackId(id(self))
        self._inotify = InotifyFD()
        self._inotify.start()
        try:
            self._add(root, self._paths, _MASK & ~InotifyConstants.IN_DONT_FOLLOW)
            self._add_below(root)
        except OSError:
            self.close()
            raise

    @property
    def count(self) -> int:
        """How many folders are watched."""
        return len(self._paths) + len(self._beside)

    def watch_beside(self, folders: Collection[Path]) -> None:
        """Watch these folders as well, each by itself, and no longer those of an earlier call.

        Args:
            folders: absolute; those that are not there are left out.
        """
        with self._lock:
            for watch, path in [*self._beside.items()]:
                if path not in folders:
                    self._known.discard(self._beside.pop(watch))
                    self._inotify.remove_callbacks([(watch, self._id)])
            for folder in folders:
                with suppress(OSError):  # it may not be there yet
                    self._add(folder, self._beside, _MASK & ~InotifyConstants.IN_DONT_FOLLOW)

    def close(self) -> None:
        """Give all watches back, and end the thread."""
        self._told = lambda change, path: None
        self._inotify.stop()
        if threading.current_thread() is not self._inotify:
            self._inotify.join()

    def on_event(self, event: InotifyEvent) -> None:
        """Take an event of the kernel's."""
        try:
            self._take(event)
        except Exception:  # the thread must go on: nothing would be noticed any more
            log.exception("a change from outside was not looked at")

    def _take(self, event: InotifyEvent) -> None:
        with self._lock:
            folder = self._paths.get(event.wd)
            if folder is None:
                if event.wd in self._beside and event.name not in (b"", b"__pycache__"):
                    self._told(Change.BESIDE, self._beside[event.wd])
                return
        if event.is_move_self or event.is_delete_self:
            if folder == self._root:
                self._told(Change.GONE, folder)
            return
        path = folder / os.fsdecode(event.name)
        if not event.is_directory:
            if path.name == GITIGNORE:
                self._ignored = Ignored(self._root)
            if path.name == "pyvenv.cfg" and folder != self._root:
                self._forget(folder)  # it has become an environment
                self._told(Change.BESIDE, folder)
            elif not event.is_create:  # what is written to it comes with its closing
                self._told(Change.FILE, path)
        elif event.is_create or event.is_moved_to:
            self._appeared(path)
        elif event.is_moved_from:
            self._forget(path)
            self._told(Change.ANY, path)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """Take note that a watched folder is no more."""
        with self._lock:
            path = self._paths.pop(wd, None) or self._beside.pop(wd, None)
            self._known.discard(path or self._root)
        if path == self._root:
            self._told(Change.GONE, path)

    def on_queue_overflow(self) -> None:
        """Look again at everything: the kernel has dropped events."""
        try:
            self._add_below(self._root)
        except OSError:
            self._told(Change.FULL, self._root)
        self._told(Change.ANY, self._root)

    def _appeared(self, folder: Path) -> None:
        if folder.name in (".venv", "venv") or os.path.exists(folder / "pyvenv.cfg"):  # noqa: PTH110 - raises
            self._told(Change.BESIDE, folder)
        if self._ignored(folder) or folder in self._others:
            return
        try:
            self._add(folder, self._paths)
            self._add_below(folder, tell=True)
        except OSError as error:
            if error.errno in REMEDY:
                self._told(Change.FULL, folder)

    def _add_below(self, folder: Path, *, tell: bool = False) -> None:
        for at, folders, files in os.walk(folder):
            below = [Path(at, name) for name in folders]
            taken = [each for each in below if not self._ignored(each) and each not in self._others]
            folders[:] = [each.name for each in taken if not each.is_symlink()]
            for name in folders:
                try:
                    self._add(Path(at, name), self._paths)
                except OSError as error:
                    if error.errno in REMEDY:
                        raise
            for name in files if tell else ():
                self._told(Change.FILE, Path(at, name))

    def _add(self, folder: Path, into: dict[WatchDescriptor, Path], mask: int = _MASK) -> None:
        with self._lock:  # so that none of its events is met by nobody
            if folder not in self._known:
                into[self._inotify.add_callback(os.fsencode(folder), Mask(mask), self, self._id)] = folder
                self._known.add(folder)

    def _forget(self, folder: Path) -> None:
        with self._lock:
            gone = [watch for watch, path in self._paths.items() if path.is_relative_to(folder)]
            for watch in gone:
                self._known.discard(self._paths.pop(watch))
        self._inotify.remove_callbacks([(watch, self._id) for watch in gone])
