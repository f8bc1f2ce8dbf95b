"""Processes that have a project's plugins and conftests loaded, and fork for each run of its tests."""

from __future__ import annotations

import array
import base64
import json
import logging
import os
import queue
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from runner.index import CONFIGURATION
from runner.interpreter import Interpreter, last_change
from runner.request import TestRequest
from runner.sandbox import bubblewrap, show
from runner.sandbox.limits import descendants, is_exiting, kill_below, kill_tree
from runner.sandbox.probe import Isolation

MOST = 2
"""Processes that are kept; each takes 40 MB and what the project's plugins take."""
IDLE_SECONDS = 600.0
"""After which an unused one is ended."""
_START_SECONDS = 60.0
_ANSWER_SECONDS = 5.0
_ENDING_SECONDS = 0.005
"""For a child that has said its last word to end by itself, which is sooner than it can be killed."""
_LEAVING_SECONDS = 0.002
"""For a child that has closed its report to be on its way out."""
_SIZE_BYTES = 1 << 30

log = logging.getLogger(__name__)


class Unfit(Exception):
    """A project's tests cannot be run in forks; the message says why."""


class WarmProcess:
    """A sandboxed process that has loaded what comes before collection, and forks for each run.

    Each child gets a fresh overlay of the workspace as it then is, and a fresh /tmp and /dev/shm. The process itself has
    read the files on disk only, never a candidate's.

    Args:
        request: whose tests it is for.
        interpreter: the user's.
        bwrap: of the isolation level.
        preload: modules that the tests import, besides the user's own.

    Raises:
        Unfit: it cannot be forked, or does not come up.
    """

    def __init__(
        self, request: TestRequest, interpreter: Interpreter, bwrap: Path, preload: Sequence[str]
    ) -> None:
        self.workspace = request.workspace.resolve()
        self._interpreter = request.interpreter
        self.read = frozenset(_configuration(request))
        self._network = request.sandbox.network
        self._state = before = self._seen()
        began = time.time_ns()
        self.preloaded = set(preload)
        self.healthy = True
        """Whether nothing of the last run is left in it, as far as is known."""
        self._left: WarmRun | None = None
        """The last run, if it has not been ended yet."""
        self._forked_ahead = False
        self._control, theirs = socket.socketpair()
        self._control.settimeout(_START_SECONDS)
        self._said = b""
        launch = bubblewrap.launch(bwrap, request, interpreter, (), serving=True)
        self.cache, self.counts_processes = launch.cache, launch.counts_processes
        order = {
            "control_fd": theirs.fileno(),
            "workspace": str(self.workspace),
            "foreign": [str(path) for path in interpreter.prefixes if path.is_relative_to(self.workspace)],
            "tests": list(dict.fromkeys(test.partition("::")[0] for test in request.tests)),
            "test_args": list(request.test_args),
            "cache": launch.cache,
            "preload": list(preload),
            "kept": bubblewrap.below_tmp(request, interpreter),
        }
        with tempfile.TemporaryFile() as file, theirs:
            file.write(json.dumps(order).encode())
            file.seek(0)
            self._process = subprocess.Popen(
                launch.command,
                stdin=file,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[*launch.descriptors, theirs.fileno()],
                env={},
                cwd=self.workspace,
                start_new_session=True,
            )
            launch.close_descriptors()
        self._renewer: subprocess.Popen[str] | None = None
        try:
            self._become_ready(request, interpreter)
            if before != self._seen() or any(changed > began for changed in self._changes()):
                raise Unfit("what it loads was changed meanwhile")
            self.read |= self._loaded
            self._state = self._seen()
            self.fork_ahead()
        except BaseException:
            self.close()
            raise

    def _become_ready(self, request: TestRequest, interpreter: Interpreter) -> None:
        try:
            said = self._answer()
        except OSError as error:
            raise Unfit(f"it did not come up ({error})") from error
        if "unfit" in said:
            raise Unfit(said["unfit"])
        self._loaded = {PurePosixPath(path) for path in said["loaded"]}
        below = descendants(self._process.pid)
        if len(below) != 2:  # bubblewrap's inner process, and the one that forks
            raise Unfit("a plugin or a conftest starts other programs when it is loaded")
        self._own = frozenset(below)
        self._renewer = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(show.__file__).with_name("renew.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        enter = {
            "pid": below[-1],
            "workspace": str(self.workspace),
            "lower": bubblewrap.LOWER,
            "kept": bubblewrap.below_tmp(request, interpreter),
            "size": _SIZE_BYTES,
        }
        if failure := self._renew(enter):
            raise Unfit(f"the kernel does not let it be given a fresh overlay ({failure})")
        protected = sorted(map(str, show.test_files(self.workspace, request.tests)))
        if failure := self._renew({"files": {}, "protected": protected}) or self._renew({}):
            raise Unfit(f"it cannot be given a fresh overlay ({failure})")
        self._control.settimeout(_ANSWER_SECONDS)
        self._posture = self._seen_by_kernel()

    @property
    def current(self) -> bool:
        """Whether it runs, and what it has read is still what is on disk."""
        return self._process.poll() is None and self._state == self._seen()

    def suits(self, files: Mapping[PurePosixPath, bytes]) -> bool:
        """Return whether texts leave alone what it has read already, and lie in the workspace."""
        for path, content in files.items():
            if self._real(path).is_absolute():
                return False
            # A conftest below the tests' folders may have been loaded with them.
            read = path in self.read or path.name == "conftest.py"
            if read and _content(self.workspace / path) != content:
                return False
        return True

    def fork(self, request: TestRequest, order: dict[str, Any], pipes: Sequence[int]) -> WarmRun:
        """Start a run in a child.

        Args:
            request: what is run, and on what.
            order: what the driver is told.
            pipes: writing ends for events and stacks.
        """
        output_read, output_write = os.pipe()
        try:
            files = {self._real(path): base64.b64encode(text) for path, text in request.files.items()}
            protected = show.test_files(self.workspace, request.tests)
            protected |= {self.workspace / path for path in files}
            failure = self._renew(
                {
                    "files": {str(path): text.decode() for path, text in files.items()},
                    "protected": sorted(map(str, protected)),
                }
            )
            failure = failure or self._lost_child()
            if not failure:
                attached = array.array("i", [*pipes, output_write])
                text = (json.dumps(order) + "\n").encode()
                sent = self._control.sendmsg(
                    [text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, attached.tobytes())]
                )
                self._control.sendall(text[sent:])
        except OSError as error:
            failure = str(error)
        finally:
            os.close(output_write)
        return WarmRun(self, output_read, failure)

    def fork_ahead(self) -> bool:
        """Have the next run's child forked before it is known what that will be; return whether that can be had."""
        try:
            self._control.sendall(b'{"fork": true}\n')
        except OSError:
            return False
        self._forked_ahead = True
        return True

    def _lost_child(self) -> str:
        """Return why the child that was forked ahead is not there any more; empty if it is, or none was."""
        if not self._forked_ahead:
            return ""
        self._forked_ahead = False
        if "forked" not in self._answer():
            return "no child could be forked ahead"
        ended = select.select([self._control], [], [], 0)[0] or self._said
        return "the child that was forked ahead has ended" if ended else ""

    def preload(self, names: Sequence[str]) -> None:
        """Import modules, to be forked with.

        Raises:
            Unfit: it cannot be forked any more.
        """
        self.preloaded |= set(names)
        if lost := self._lost_child():
            raise Unfit(lost)
        self._control.settimeout(_START_SECONDS)
        try:
            self._control.sendall((json.dumps({"preload": list(names)}) + "\n").encode())
            said = self._answer()
        except OSError as error:
            raise Unfit(f"what the tests import could not be loaded ({error})") from error
        finally:
            self._control.settimeout(_ANSWER_SECONDS)
        if "unfit" in said:
            raise Unfit(said["unfit"])
        if set(descendants(self._process.pid)) != self._own:
            raise Unfit("a package starts other programs when it is imported")
        self.fork_ahead()

    def close(self) -> None:
        """End it and everything in its sandbox."""
        self._control.close()
        kill_tree(self._process.pid)
        self._process.wait()
        if self._renewer is not None:
            assert self._renewer.stdin is not None and self._renewer.stdout is not None
            with suppress(OSError):  # it may have ended, with something unread
                self._renewer.stdin.close()
            self._renewer.stdout.close()
            self._renewer.wait()

    # For its runs

    @property
    def pid(self) -> int:
        """Of the root of its tree."""
        return self._process.pid

    def status(self, seconds: float) -> int | None:
        """Return the exit status of the child if it has ended, waiting for that as long; negative for a signal."""
        self._control.settimeout(seconds)
        try:
            return int(self._answer()["status"])
        except (TimeoutError, BlockingIOError):
            return None
        except (OSError, KeyError):
            return -9  # the process that forks was killed, and the child with it
        finally:
            self._control.settimeout(_ANSWER_SECONDS)

    def end_run(self) -> bool:
        """Kill what is left of a run; return whether nothing of it remains, and this process does."""
        if not kill_below(self._process.pid, self._own) or self._process.poll() is not None:
            return False
        return set(descendants(self._process.pid)) == self._own

    def leave_run(self, run: WarmRun) -> bool:
        """Have a run ended when this process is cleaned; return whether that can wait, for nothing of it runs."""
        deadline = time.monotonic() + _LEAVING_SECONDS
        # Twice, for what is given another parent between two looks can be missed by one of them.
        while not all(self._runs_nothing() for _ in range(2)):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.0001)  # it may want this very processor
        self._left = run
        return True

    def _runs_nothing(self) -> bool:
        return all(is_exiting(pid) for pid in descendants(self._process.pid) if pid not in self._own)

    def clean(self) -> bool:
        """Drop what a run has written, and end what it has left; return whether nothing of it remains."""
        if self._left is not None:
            self._left.end()
            self._left = None
        try:
            left = "processes" if not self.healthy else self._renew({}) or self._left_in_kernel()
        except OSError as error:
            left = str(error)
        if left:
            log.info("a test process is not used again: the run has left %s", left)
        return not left

    def _left_in_kernel(self) -> str:
        """Return what a run has left that is neither file nor process."""
        if self._posture != self._seen_by_kernel():
            return "other limits or priorities to what outlives it"
        for table in () if self._network else ("tcp", "tcp6"):
            path = Path(f"/proc/{min(self._own)}/net/{table}")
            if path.exists() and len(path.read_bytes().splitlines()) > 1:
                return "connections"
        return ""

    def _seen_by_kernel(self) -> list[Any]:
        """What a process of the same user can change of another, even where it cannot reach into it."""
        return [
            (
                Path(f"/proc/{pid}/limits").read_bytes(),
                Path(f"/proc/{pid}/oom_score_adj").read_bytes(),
                os.getpriority(os.PRIO_PROCESS, pid),
                os.sched_getaffinity(pid),
                os.sched_getscheduler(pid),
            )
            for pid in sorted(self._own)
        ]

    def _real(self, path: PurePosixPath) -> Path:
        """Where a path of the workspace leads, relative to it; absolute if that is outside."""
        real = Path(os.path.realpath(self.workspace / path))
        return real.relative_to(self.workspace) if real.is_relative_to(self.workspace) else real

    def _renew(self, order: dict[str, Any]) -> str:
        """Order the renewer; return what went wrong."""
        assert self._renewer is not None
        assert self._renewer.stdin is not None and self._renewer.stdout is not None
        try:
            self._renewer.stdin.write(json.dumps(order) + "\n")
            self._renewer.stdin.flush()
            said = self._renewer.stdout.readline()
        except OSError as error:
            return str(error)
        return said.strip() if said else "it ended"

    def _answer(self) -> dict[str, Any]:
        while b"\n" not in self._said:
            data = self._control.recv(1 << 16)
            if not data:
                raise OSError("it ended")
            self._said += data
        line, _, self._said = self._said.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        return said

    def _seen(self) -> tuple[Any, ...]:
        """What tells whether that which it has read has changed."""
        try:
            packages = last_change(self._interpreter)
        except OSError:
            packages = 0
        marks = ((path, _marks(self.workspace / path)) for path in sorted(self.read))
        return packages, _identity(self.workspace), *marks

    def _changes(self) -> Iterator[int]:
        """When each file that it has read was changed last, in nanoseconds."""
        for path in self._loaded:
            if (marks := _marks(self.workspace / path)) is not None:
                yield marks[-1]


class WarmRun:
    """A run in a child of a warm process; `runner.process.Running`."""

    def __init__(self, served: WarmProcess, output_fd: int, failure: str) -> None:
        """Take the process, where the child's output is read, and why there is no child, if so."""
        self._served = served
        self._failed = bool(failure)
        self._status = 1 if failure else None
        self.pid, self.workspace = served.pid, served.workspace
        self.temporary: Path | None = None
        self.output_fd = output_fd

    def poll(self) -> int | None:
        """As `Running`."""
        if self._status is None:
            self._status = self._served.status(0)
        return self._status

    def end(self) -> None:
        """As `Running`."""
        served = self._served
        if self._status is None:
            self._status = served.status(_ENDING_SECONDS)
        deadline = time.monotonic() + _ANSWER_SECONDS
        # The order may not have been taken yet: only when the child is known to have ended, none will begin.
        while (gone := served.end_run()) and self._status is None and time.monotonic() < deadline:
            self._status = served.status(0.01)
        served.healthy = gone and not self._failed and self._status is not None

    def leave(self) -> None:
        """As `Running`."""
        if not self._served.leave_run(self):
            self.end()


@dataclass(frozen=True)
class _Key:
    """What a process that serves many runs is for."""

    workspace: Path
    interpreter: Path
    folders: tuple[str, ...]
    """Of the tests: their conftests are loaded at the start."""
    test_args: tuple[str, ...]
    network: bool
    readable: tuple[Path, ...]
    import_folders: tuple[PurePosixPath, ...]


@dataclass
class _Used:
    """A process that a run has just given back, and that has to be cleaned before the next."""

    served: WarmProcess
    renew: Callable[[], None]
    """Starts another in its place."""
    preload: list[str]
    """What it should load besides."""
    claimed: bool = False
    """Whether somebody is at it."""
    done: threading.Event = field(default_factory=threading.Event)


class WarmProcesses:
    """The processes of some projects, started in the background after the first run of each.

    Args:
        most: how many are kept.
        idle_seconds: after which an unused one is ended.
    """

    def __init__(self, most: int = MOST, idle_seconds: float = IDLE_SECONDS) -> None:
        self._most, self._idle_seconds = most, idle_seconds
        self._lock = threading.Lock()
        self._idle: dict[_Key, tuple[WarmProcess, float]] = {}
        self._used: dict[_Key, _Used] = {}
        self._unfit: dict[_Key, tuple[Any, float]] = {}
        self._starting: set[_Key] = set()
        self._learned: dict[_Key, dict[str, None]] = {}
        self._to_do = 0
        """Tasks that the worker has not done yet."""
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None
        self._closed = False

    def take(
        self, request: TestRequest, interpreter: Interpreter, isolation: Isolation
    ) -> WarmProcess | None:
        """Return a process to fork for a request, until it is given back by `note`; None: there is none now."""
        if (key := _key(request, interpreter, isolation)) is None:
            return None
        with self._lock:
            used = self._used.get(key)
        if used is not None:
            self._clean(key, used)
            used.done.wait(_ANSWER_SECONDS)
        with self._lock:
            found, _ = self._idle.pop(key, (None, 0.0))
        if found is None:
            return None
        if not found.current:
            self._later(found.close)
            return None
        if not found.suits(request.files):
            self._keep(key, found)
            return None
        return found

    def note(
        self,
        request: TestRequest,
        interpreter: Interpreter,
        isolation: Isolation,
        served: WarmProcess | None,
        imported: Sequence[str],
    ) -> None:
        """Learn from a run, take its process back, and start one in the background where there was none.

        What the run has written is dropped in the background, too: by the next one of its kind, if that comes first.

        Args:
            request: what was run.
            interpreter: the user's.
            isolation: the level that was in force.
            served: what `take` has returned.
            imported: modules that the tests imported besides the user's own.
        """
        if (key := _key(request, interpreter, isolation)) is None:
            return
        assert isolation.bwrap is not None
        bwrap = isolation.bwrap
        with self._lock:
            learned = self._learned.setdefault(key, {})
            learned.update(dict.fromkeys(imported))
            names = list(learned)

        def start() -> None:
            self._start(key, request, interpreter, bwrap, names)

        if served is None:
            start()
        else:
            used = _Used(served, start, [name for name in names if name not in served.preloaded])
            with self._lock:
                self._used[key] = used
            self._later(lambda: self._clean(key, used))

    def settle(self) -> None:
        """Wait until what was begun in the background is done, and what that has begun."""
        while self._to_do and not self._closed:
            time.sleep(0.01)

    def discard(self, served: WarmProcess) -> None:
        """Take a process back that is not to be used again."""
        self._later(served.close)

    def close(self) -> None:
        """End all processes, and start no more."""
        with self._lock:
            self._closed = True
            worker = self._worker
        if worker is not None:
            self._tasks.put(None)
            worker.join()

    def _clean(self, key: _Key, used: _Used) -> None:
        """Make a process that was used fit for the next run, if nobody does it already."""
        with self._lock:
            if used.claimed:
                return
            used.claimed = True
        served, clean = used.served, False
        try:
            clean = served.clean() and served.fork_ahead()
        finally:
            if clean and not used.preload:
                self._keep(key, served)
            with self._lock:  # kept before: who comes meanwhile finds it in one of the two
                if self._used.get(key) is used:
                    del self._used[key]
            if not clean:
                self._later(served.close)
                used.renew()
            elif used.preload:
                self._later(lambda: self._preload(key, served, used.preload))
            used.done.set()

    def _start(
        self, key: _Key, request: TestRequest, interpreter: Interpreter, bwrap: Path, names: list[str]
    ) -> None:
        state = _marks_of(request)
        with self._lock:
            known, since = self._unfit.get(key, (None, 0.0))
            if known == state and time.monotonic() - since < self._idle_seconds:
                return
            if key in self._starting or key in self._idle or key in self._used:
                return
            self._starting.add(key)

        def start() -> None:
            if self._closed:
                return
            try:
                self._keep(key, WarmProcess(request, interpreter, bwrap, names))
            except (Unfit, OSError) as error:
                log.info("tests in %s run in processes of their own: %s", key.workspace, error)
                self._unfit[key] = (state, time.monotonic())
            finally:
                self._starting.discard(key)

        self._later(start)

    def _preload(self, key: _Key, served: WarmProcess, names: list[str]) -> None:
        try:
            served.preload(names)
        except (Unfit, OSError) as error:
            log.info("a test process is not used again: %s", error)
            served.close()
        else:
            self._keep(key, served)

    def _keep(self, key: _Key, served: WarmProcess) -> None:
        surplus: list[WarmProcess] = []
        with self._lock:
            if self._closed:
                surplus.append(served)
            else:
                if (twin := self._idle.pop(key, None)) is not None:
                    surplus.append(twin[0])
                self._idle[key] = (served, time.monotonic())
                while len(self._idle) > self._most:
                    surplus.append(self._idle.pop(next(iter(self._idle)))[0])
        for each in surplus:
            self._later(each.close)

    def _later(self, task: Callable[[], None]) -> None:
        """Let the worker do something; it alone starts processes, for they die with the thread that started them."""
        with self._lock:
            if self._worker is None and not self._closed:
                self._worker = threading.Thread(target=self._work, name="warm test processes", daemon=True)
                self._worker.start()
            self._to_do += 1
        self._tasks.put(task)

    def _work(self) -> None:
        while True:
            try:
                task = self._tasks.get(timeout=self._idle_seconds)
            except queue.Empty:
                self._expire(time.monotonic() - self._idle_seconds)
                continue
            if task is None:
                break
            self._do(task)
        # What was to do when they were closed leaves processes to be ended.
        while not self._tasks.empty():
            if (task := self._tasks.get()) is not None:
                self._do(task)
        self._expire(float("inf"))

    def _do(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception:
            log.exception("a warm test process could not be kept")
        finally:
            with self._lock:
                self._to_do -= 1

    def _expire(self, before: float) -> None:
        with self._lock:
            old = [key for key, (_, used) in self._idle.items() if used <= before]
            ended = [self._idle.pop(key)[0] for key in old]
        for each in ended:
            each.close()


def _key(request: TestRequest, interpreter: Interpreter, isolation: Isolation) -> _Key | None:
    """What a process for a request is kept under; None: it needs one of its own."""
    if isolation.bwrap is None or not interpreter.has_pytest or not request.tests or request.sandbox.writable:
        return None
    return _Key(
        request.workspace.resolve(),
        request.interpreter,
        tuple(sorted(map(str, _folders(request)))),
        tuple(request.test_args),
        request.sandbox.network,
        tuple(path for path in request.sandbox.readable if path.exists()),
        tuple(request.import_folders),
    )


def _folders(request: TestRequest) -> set[PurePosixPath]:
    """Where the tests are, relative to the workspace."""
    workspace = request.workspace.resolve()
    paths = {PurePosixPath(test.partition("::")[0]) for test in request.tests}
    return {path if (workspace / path).is_dir() else path.parent for path in paths}


def _configuration(request: TestRequest) -> Iterator[PurePosixPath]:
    """What pytest reads before it collects, if it is there."""
    for folder in _folders(request):
        for each in (folder, *folder.parents):
            yield from (each / name for name in CONFIGURATION)


def _marks_of(request: TestRequest) -> tuple[Any, ...]:
    workspace = request.workspace.resolve()
    paths = sorted(set(_configuration(request)))
    return last_change(request.interpreter), *((path, _marks(workspace / path)) for path in paths)


def _marks(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _identity(folder: Path) -> tuple[int, int]:
    """What tells a folder from another that has taken its place."""
    try:
        found = folder.stat()
    except OSError:
        return (0, 0)
    return found.st_dev, found.st_ino


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
