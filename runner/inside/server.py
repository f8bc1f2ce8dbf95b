"""A pytest session that has loaded its plugins and conftests, and forks for each run."""

from __future__ import annotations

import array
import contextlib
import ctypes
import gc
import importlib
import importlib.util
import json
import os
import socket
import struct
import sys
import tempfile
import threading
import warnings
from typing import Any, Iterator, Sequence

import pytest

from .failure import Workspace, message
from .plugin import Plugin, leave_out
from .session import Ending, arguments, begin, is_library, wanted

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""System call numbers of Landlock, the same on all architectures."""
_VERSION, _PATH_BENEATH = 1, 1
_REFER, _SIGNALS = 1 << 13, 2
_WRITABLE = ("/tmp", "/dev/shm")
_PRELOAD = b'{"preload"'
"""What an order that is for the server begins with."""
_TAKEN, _HANDED_OVER = b"t", b"h"
"""What a child says of its order: that it runs it, or that it is the server's."""
_POPULATE_WRITE = 23
"""MADV_POPULATE_WRITE of madvise, the same on all architectures."""
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MOST_COPIED = 256 << 20
"""Bytes of a mapping; no Python objects live in larger ones."""


def serve(order: dict[str, Any]) -> None:
    """Load what an order names, then fork for each run that is asked for; returns in none of the processes.

    Args:
        order: `control_fd`, `workspace`, `foreign`, `tests`, `test_args`, `cache`, `preload`, `kept`.
    """
    server = Server(order)
    try:
        status = int(pytest.main(arguments(order) + order["tests"], plugins=[server]))
        if server.run is not None:
            server.run.finish(status)
        why = "with status %d" % status
    except BaseException as error:
        if server.run is not None:
            server.run.fail(message(error))
        why = "by " + message(error)
    server.say({"unfit": "pytest was ended %s before it collected anything" % why})
    server.ending.exit()


class Server:
    """The session's plugin, and the other end of `runner.warm.WarmProcess`."""

    def __init__(self, order: dict[str, Any]) -> None:
        """Take what does not change between the runs."""
        self.ending = Ending()
        self.run: Any = None
        """In a child: its run."""
        self._order = order
        self._workspace = Workspace(order["workspace"], order["foreign"])
        self._control = socket.socket(fileno=order["control_fd"])
        os.set_inheritable(order["control_fd"], False)
        self._libc = ctypes.CDLL(None)
        self._written = self._writings()
        self._opened = _descriptors()
        self._read: set[str] | None = set()
        """The files that were opened while this process loads; None: it has loaded."""
        sys.addaudithook(self._note_open)

    def _note_open(self, event: str, details: Any) -> None:
        if event == "open" and self._read is not None and isinstance(details[0], str):
            self._read.add(os.path.abspath(details[0]))

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_load_initial_conftests(self, early_config: Any, args: list[str]) -> Iterator[None]:
        leave_out(early_config, args)
        yield

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: Any) -> None:
        unfit = self._preload(self._order["preload"]) or self._unfit(session.config)
        if unfit:
            self.say({"unfit": unfit})
            self.ending.exit()
        self.say({"loaded": self._loaded(session.config)})
        self._read = None
        # Registering reads each of its hooks' signatures; a child then gives it what to run.
        plugin = Plugin.__new__(Plugin)
        session.config.pluginmanager.register(plugin, "oci-companion")
        run, descriptors = self._until_child(session.config)
        self.run = Run(run, descriptors, self)
        self.run.enter(session, plugin)

    def say(self, what: dict[str, Any]) -> None:
        """Answer the parent."""
        self._control.sendall((json.dumps(what) + "\n").encode())

    def _landlock(self) -> int:
        """Return the version that the kernel has."""
        return int(self._libc.syscall(_CREATE_RULESET, None, 0, _VERSION))

    def _keep_out(self) -> None:
        """Keep this process from the memory of those that outlive it, and, where the kernel can, from their signals.

        That comes with any Landlock domain; the one right that a domain has to name is to move files, and it is
        allowed everywhere.
        """
        attributes = struct.pack("=Q", _REFER)
        if self._landlock() >= 6:
            attributes = struct.pack("=QQQ", _REFER, 0, _SIGNALS)
        ruleset = self._libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
        root = os.open("/", os.O_PATH)
        rule = struct.pack("=Qi", _REFER, root)
        failed = ruleset < 0 or self._libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
        if failed or self._libc.syscall(_RESTRICT_SELF, ruleset, 0):
            raise OSError("Landlock did not take a rule")
        os.close(root)
        os.close(ruleset)

    def _until_child(self, config: Any) -> tuple[dict[str, Any], list[int]]:
        """Obey the parent; returns in the children only, with what each has to run and its descriptors.

        A child is forked before there is something to run, and waits for that itself: what a fork costs, it has paid
        by then.
        """
        gc.collect()
        gc.freeze()  # so that collections in children do not touch, and copy, every page
        while True:
            order, descriptors = self._hear()
            if "preload" in order:
                unfit = self._preload(order["preload"]) or self._unfit(config)
                gc.freeze()
                self.say({"unfit": unfit} if unfit else {"preloaded": True})
                continue
            sys.stdout.flush()
            sys.stderr.flush()
            passed_on, pass_on = os.pipe()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of threads, which `_unfit` has looked at
                child = os.fork()
            if child == 0:
                os.close(passed_on)
                return self._become_child(order, descriptors, pass_on)
            os.close(pass_on)
            for each in descriptors:
                os.close(each)
            if "fork" in order:
                self.say({"forked": True})
            status = os.waitpid(child, 0)[1]
            passed = os.read(passed_on, 1)
            os.close(passed_on)
            if passed == _HANDED_OVER:
                continue
            ended = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            self.say({"status": ended})
            if passed != _TAKEN:
                os._exit(0)  # what it was to run is still to be heard, and nobody waits for that any more

    def _become_child(
        self, order: dict[str, Any], descriptors: list[int], pass_on: int
    ) -> tuple[dict[str, Any], list[int]]:
        """Let go of what is the server's; return what is to be run, once that is known, and its descriptors."""
        os.setsid()  # what kills its process group kills its own
        self._keep_out()
        if "fork" in order:
            with contextlib.suppress(OSError, ValueError):  # a kernel may not tell which pages there are
                self._own_memory()
            if self._control.recv(len(_PRELOAD), socket.MSG_PEEK) == _PRELOAD:
                os.write(pass_on, _HANDED_OVER)
                os._exit(0)
            order, descriptors = self._hear()
        os.write(pass_on, _TAKEN)
        os.close(pass_on)  # before any user's code, which could hand over nothing
        self._control.close()
        return order, descriptors

    def _own_memory(self) -> None:
        """Copy the pages that are shared with the server, as a run would have to one by one.

        Only those that are in use: some libraries have gigabytes reserved. Kernels before Linux 5.14 cannot, and copy
        while the tests run.
        """
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            fields = [line.split(None, 2)[:2] for line in maps]
        with open("/proc/self/pagemap", "rb") as pagemap:
            for addresses, permissions in fields:
                if not permissions.startswith("rw") or permissions[3] != "p":
                    continue
                begin, end = (int(each, 16) for each in addresses.split("-"))
                if end - begin > _MOST_COPIED:
                    continue
                pagemap.seek(8 * (begin // _PAGE))
                entries = array.array("Q", pagemap.read(8 * ((end - begin) // _PAGE)))
                for first, last in _present(entries):
                    start, size = begin + first * _PAGE, (last - first) * _PAGE
                    self._libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), _POPULATE_WRITE)

    def _hear(self) -> tuple[dict[str, Any], list[int]]:
        text, descriptors = b"", array.array("i")
        while not text.endswith(b"\n"):
            data, attached, _, _ = self._control.recvmsg(1 << 16, socket.CMSG_SPACE(4 * descriptors.itemsize))
            for level, kind, content in attached:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    descriptors.frombytes(content)
            if not data:
                os._exit(0)  # the parent has gone
            text += data
        return json.loads(text), list(descriptors)

    def _preload(self, names: list[str]) -> str:
        """Import modules that are not the user's; return what makes this process unfit to be forked then."""
        before = list(sys.modules.values())
        for name in names:
            try:
                if name in sys.modules:
                    continue
                spec = importlib.util.find_spec(name)
                if spec is None or spec.origin is None or not is_library(spec.origin):
                    continue
                importlib.import_module(name)
            except BaseException:
                continue  # as the tests may find out for themselves
        known = set(map(id, before))  # by identity, for multiprocessing gives the main module a second name
        for module in list(sys.modules.values()):
            path = None if id(module) in known else getattr(module, "__file__", None)
            if isinstance(path, str) and not is_library(path):
                return "a package imports modules that are none of a package"
        return ""

    def _unfit(self, config: Any) -> str:
        """Return why this process may not be forked, if so."""
        if self._landlock() < 2:
            return "the kernel has no Landlock, or that of before Linux 5.19, to keep a run from what outlives it"
        if threading.active_count() > 1:
            return "a plugin or a conftest has started threads"
        if len(os.listdir("/proc/self/task")) > 1 and not _only_blas():
            return "a package has started threads"
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            if any(line.split(None, 2)[1] == "rw-s" for line in maps):
                return "a plugin or a conftest has memory that forks would share"
        if self._shares_files(config):
            return "a plugin or a conftest keeps files or sockets open"
        if self._writings() != self._written:
            return "a plugin or a conftest writes files when it is loaded"
        return ""

    def _writings(self) -> Any:
        """What tells whether something was written, to the workspace or elsewhere."""
        free = os.statvfs(self._order["workspace"]).f_ffree
        # What the sandbox shows there of the machine is none of it.
        kept = (*self._order["kept"], self._order["workspace"])
        found = []
        for top in _WRITABLE:
            for folder, folders, names in os.walk(top):
                folders[:] = [name for name in folders if not os.path.join(folder, name).startswith(kept)]
                found += [os.path.join(folder, name) for name in folders + names]
        return free, sorted(found)

    def _shares_files(self, config: Any) -> bool:
        """Whether descriptors lead to what forks would share, besides pytest's own, which each replaces."""
        own = {os.fstat(each.tmpfile.fileno()).st_ino for each in _captures(config)}
        standard = {os.readlink("/proc/self/fd/%d" % fd) for fd in range(3)}
        for fd, link in _descriptors().items():
            if self._opened.get(fd) == link or link in standard or link.startswith("/dev/"):
                continue
            if os.fstat(fd).st_ino not in own:
                return True
        return False

    def _loaded(self, config: Any) -> list[str]:
        """Return the workspace's files that this process has read."""
        paths = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
        paths.append(str(config.inipath) if config.inipath else None)
        paths += self._read or ()
        # Those of the workspace relative to it, others, such as a project beside it, as they are.
        return sorted(
            self._workspace.relative(path) or path
            for path in set(paths)
            if isinstance(path, str) and self._may_change(path)
        )

    def _may_change(self, path: str) -> bool:
        if path.endswith(".pyc") or is_library(path):
            return False
        if self._workspace.relative(path) is not None:
            return True
        return os.path.isfile(path) and not path.startswith(
            ("/proc/", "/dev/", "/run/oci-companion/", "/etc/", "/usr/")
        )


class Run:
    """One run, in its own child."""

    def __init__(self, order: dict[str, Any], descriptors: list[int], server: Server) -> None:
        """Take what to run, and the descriptors for events, stacks and output."""
        self._order, self._server = order, server
        self._channel: Any = None
        order["event_fd"], order["stack_fd"], self._output_fd = descriptors

    def enter(self, session: Any, plugin: Plugin) -> None:
        """Make of a copied session one of this run, and of a plugin that was only registered one that reports."""
        os.chdir(self._order["workspace"])  # of this run, for it has been mounted anew
        config = session.config
        for each in _captures(config):
            # The objects stay, for conftests may hold them; what they write to is this run's own.
            with tempfile.TemporaryFile(buffering=0) as fresh:
                os.dup2(fresh.fileno(), each.tmpfile.fileno(), inheritable=False)
            os.dup2(self._output_fd, each.targetfd_save, inheritable=False)
        os.dup2(self._output_fd, 1)
        os.dup2(self._output_fd, 2)
        os.close(self._output_fd)
        importlib.invalidate_caches()
        before = set(sys.modules)
        self._channel = begin(self._order)
        files, workspace, options = wanted(self._order, self._channel)
        if not files:
            self.finish(4)
        plugin.__init__(self._channel, workspace, **options)  # type: ignore[misc]
        plugin.before = before
        plugin.pytest_sessionstart(session)
        plugin.start_tracing()
        config.args[:] = files

    def finish(self, status: int) -> None:
        """Report how pytest ended, and end the process."""
        self._server.ending.end(self._channel, lambda: status)

    def fail(self, error: str) -> None:
        """Report what pytest could not handle, and end the process."""
        if self._channel is not None:
            self._server.ending.report(self._channel, {"status": 3, "error": error})
        self._server.ending.exit()


def _present(entries: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield where runs of pages that are in memory begin, and where they end, by their entries in pagemap."""
    first = None
    for number, entry in enumerate(entries):
        if entry >> 63:
            first = number if first is None else first
        elif first is not None:
            yield first, number
            first = None
    if first is not None:
        yield first, len(entries)


def _only_blas() -> bool:
    """Whether the threads may be those of OpenBLAS, which ends them before a fork and starts them anew after it."""
    names = set()
    for task in os.listdir("/proc/self/task"):
        with open("/proc/self/task/%s/comm" % task, encoding="utf-8", errors="replace") as comm:
            names.add(comm.read())
    if len(names) > 1:  # OpenBLAS gives its threads no name of their own
        return False
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        return "openblas" in maps.read()


def _captures(config: Any) -> list[Any]:
    """Return what pytest captures the descriptors of standard output and error with, if it does."""
    manager = config.pluginmanager.getplugin("capturemanager")
    capturing = getattr(manager, "_global_capturing", None)
    found = [getattr(capturing, name, None) for name in ("out", "err")]
    return [each for each in found if hasattr(each, "targetfd_save")]


def _descriptors() -> dict[int, str]:
    """Return this process's open descriptors, and what they lead to."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink("/proc/self/fd/" + name)
        except OSError:
            continue  # that of the listing itself
    return found
