"""What earlier runs have told of each test, and so which tests a change concerns, in which order to run them."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from runner.index import MODULE, Parts, State, configures, digest_of, parts_of
from runner.report import ALL, Footprint, Outcome, Report, Stop, TestResult

_MOST_BYTES = 16 << 20
_UNKNOWN_SECONDS = 1.0
"""What a file is taken to need that was never run."""
Read = Callable[[PurePosixPath], bytes]
"""Returns a file's content as it is now; raises OSError if it has none."""


@dataclass(frozen=True)
class Selection:
    """Tests to run, in the order in which they are worth it."""

    tests: tuple[str, ...]
    """pytest arguments relative to the workspace: ids, and files of which all tests are wanted."""
    first: tuple[str, ...] = ()
    """Ids among them that failed last, shortest first: `TestRequest.first`."""
    left_out: tuple[str, ...] = ()
    """What did not fit the time budget."""


@dataclass(frozen=True)
class _Seen:
    """What a run's tests were run on."""

    files: Mapping[PurePosixPath, bytes]
    """Digest of each file of the workspace."""
    parts: Mapping[PurePosixPath, Parts | None]
    """Of the files whose functions tell tests apart; None: it was no Python."""
    data: Mapping[PurePosixPath, bytes]
    """Digests of the other files that tests read; empty: there was none, or the test made it."""


@dataclass(frozen=True)
class _Known:
    """What is known of one test."""

    result: TestResult
    seen: _Seen
    whole: frozenset[PurePosixPath]
    """Files of which anything may concern it."""
    functions: Mapping[PurePosixPath, frozenset[str]]
    """What concerns it of others."""
    data: frozenset[PurePosixPath]
    executed: Mapping[PurePosixPath, frozenset[str]] = field(default_factory=dict)
    """The functions that it executed itself."""


class History:
    """The latest result of each test of a workspace, and what it depended on.

    It serves to be quick after an edit, never to prove anything. What it cannot see: what a process that a test starts
    reads besides Python files; what a test relies on that an earlier one has executed, where neither a fixture nor a
    decorator with `cache` in its name says so; what is looked for without being opened (a folder's listing, whether a
    file exists, databases); and anything outside the workspace.
    May be used from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._loading: dict[PurePosixPath, tuple[Footprint, State]] = {}
        """By a folder of tests, what was executed when its conftests were loaded, and more; the forks do not see it."""

    def note(self, report: Report, asked: Collection[str], state: State, read: Read) -> None:
        """Take in a run.

        Args:
            report: what it told.
            asked: its pytest arguments. Tests that these mean and that are no more are forgotten.
            state: the workspace as it was when the run began.
            read: gives the texts that the run has seen. A file that is no longer what `state` has is noticed.
        """
        noting = _Noting(report, self._shared(report, state), state, read)
        uncollected = {str(error.path) for error in report.collection_errors}
        # Before the lock is held, which what an editor asks for meanwhile waits for.
        noted = {i: noting.known(r) for i, r in report.results.items() if r.outcome is not Outcome.NOT_RUN}
        with self._lock:
            for test in [*self._known] if report.stop is Stop.FINISHED else []:
                gone = test not in report.results and any(_means(each, test) for each in asked)
                if gone or test.partition("::")[0] in uncollected:
                    del self._known[test]
            self._known |= noted

    def _shared(self, report: Report, state: State) -> dict[PurePosixPath, Footprint]:
        """Return what a run's tests share, with that part of it which a fork does not see."""
        shared = dict(report.shared)
        if ALL not in shared:
            return shared
        folders = {PurePosixPath(test.partition("::")[0]).parent for test in report.results}
        with self._lock:
            if not report.warm:
                self._loading |= dict.fromkeys(folders, (shared[ALL], state))
                return shared
            for folder in folders:
                loading, then = self._loading.get(folder, (None, state))
                if loading is None or any(
                    path not in state.files or state.files[path].digest != then.files[path].digest
                    for path in loading.executed
                    if path in then.files
                ):
                    del shared[ALL]
                    return shared
                shared[ALL] = _union(shared[ALL], loading)
        return shared

    def forget_missing(self, state: State) -> None:
        """Drop the tests of files that are no longer there."""
        with self._lock:
            for test in [*self._known]:
                if PurePosixPath(test.partition("::")[0]) not in state.files:
                    del self._known[test]

    def results(self) -> dict[str, TestResult]:
        """Return the latest result of each test."""
        with self._lock:
            return {test: known.result for test, known in self._known.items()}

    def read(self) -> frozenset[PurePosixPath]:
        """Return the files that tests have read as data, with those that they looked for in vain."""
        with self._lock:
            return frozenset[PurePosixPath]().union(*(known.data for known in self._known.values()))

    def of_file(self, path: PurePosixPath) -> dict[str, TestResult]:
        """Return the latest results of one test file's tests."""
        prefix = f"{path}::"
        return {test: result for test, result in self.results().items() if test.startswith(prefix)}

    def covering(self, path: PurePosixPath) -> dict[str, dict[str, TestResult]]:
        """Return the functions of a file that tests have executed in their latest traced run, each with these tests.

        Args:
            path: relative to the workspace.
        """
        with self._lock:
            known = dict(self._known)
        found: dict[str, dict[str, TestResult]] = {}
        for test, each in known.items():
            if each.result.footprint is not None and path in each.result.executed:
                for name in each.executed.get(path, frozenset()) - {MODULE}:
                    found.setdefault(name, {})[test] = each.result
        return found

    def stale(self, state: State, read: Read) -> frozenset[str]:
        """Return the tests whose latest result may no longer be theirs.

        Args:
            state: the workspace as it is now.
            read: gives the texts of now.
        """
        with self._lock:
            known = dict(self._known)
        now = _Now(state, read)
        return frozenset(test for test, each in known.items() if now.concerns(each))

    def select(
        self,
        changed: Collection[PurePosixPath],
        state: State,
        read: Read,
        seconds: float = float("inf"),
    ) -> Selection:
        """Return the tests to run after an edit: what it may concern, and what was never run of what goes with it.

        Failing ones come first, then the shortest.

        Args:
            changed: files that were edited, or are asked about.
            state: the workspace as it is now.
            read: gives the texts of now.
            seconds: time budget, by how long the tests took last; the first one is always taken.
        """
        stale = self.stale(state, read)
        results = self.results()
        going = {each: place for path in changed for place, each in enumerate(state.test_files(path))}
        by_file: dict[PurePosixPath, set[str]] = {path: set() for path in going}
        for test in results:
            by_file.setdefault(PurePosixPath(test.partition("::")[0]), set()).add(test)
        offers: list[_Offer] = []
        for path, tests in by_file.items():
            if path not in state.files:
                continue
            concerned = tests & stale
            if path in going:  # why a test fails may be nothing that is in the workspace
                concerned |= {test for test in tests if results[test].outcome.fails}
            if concerned == tests:  # its new tests are found as well
                known = [results[test] for test in tests]
                offers.append(_Offer.of(str(path), known, going.get(path, 0)))
            else:
                offers += (_Offer.of(test, [results[test]]) for test in concerned)
        offers.sort()
        taken: list[str] = []
        spent = 0.0
        for offer in offers:
            if taken and spent + offer.seconds > seconds:
                break
            taken.append(offer.test)
            spent += offer.seconds
        failed = sorted(
            (result.seconds, test)
            for test, result in results.items()
            if result.outcome.fails and (test in taken or test.partition("::")[0] in taken)
        )
        return Selection(
            tuple(taken),
            tuple(test for _, test in failed),
            tuple(offer.test for offer in offers[len(taken) :]),
        )


@dataclass(frozen=True, order=True)
class _Offer:
    """One argument for pytest, ordered by worth."""

    passes: bool
    seconds: float
    place: int
    """Among the files that go with what was edited, the nearest first."""
    test: str

    @classmethod
    def of(cls, test: str, results: Collection[TestResult], place: int = 0) -> _Offer:
        """Make one of what is known of its tests."""
        seconds = sum(result.seconds for result in results) if results else _UNKNOWN_SECONDS
        return cls(not any(result.outcome.fails for result in results), seconds, place, test)


class _Noting:
    """Finds out what each test of a report depended on."""

    def __init__(
        self, report: Report, shared: Mapping[PurePosixPath, Footprint], state: State, read: Read
    ) -> None:
        self._state, self._read = state, read
        self._shared = shared
        self._parts: dict[PurePosixPath, Parts | None] = {}
        self._data: dict[PurePosixPath, bytes] = {}
        digests = {path: file.digest for path, file in state.files.items()}
        self._all = frozenset(digests)
        self._seen = _Seen(digests, self._parts, self._data)
        self._elsewhere = self._imported_elsewhere(report)

    def known(self, result: TestResult) -> _Known:
        """Return what is known of a test."""
        file = PurePosixPath(result.id.partition("::")[0])
        imported = self._state.imported(file)
        if result.footprint is None or ALL not in self._shared:
            for path in imported:
                self._parts_of(path)
            return _Known(result, self._seen, imported, {}, frozenset())
        footprints = [result.footprint, self._shared[ALL]]
        if file in self._shared:
            footprints.append(self._shared[file])
        data = self._files(frozenset[PurePosixPath]().union(*(each.opened for each in footprints)))
        if any(each.spawned for each in footprints):
            return _Known(result, self._seen, self._all, {}, data)
        functions = {path: frozenset({MODULE}) for path in imported | self._elsewhere}
        whole = set()
        for path, lines in (pair for each in footprints for pair in each.executed.items()):
            parts = self._parts_of(path)
            if parts is None:
                whole.add(path)
            else:
                functions[path] = functions.get(path, frozenset()) | parts.at(lines) | {MODULE}
        executed = {
            path: parts.at(lines)
            for path, lines in result.footprint.executed.items()
            if (parts := self._parts_of(path)) is not None
        }
        for path in functions:
            if (parts := self._parts_of(path)) is not None:
                functions[path] |= parts.cached
        # Python files that are read as any others are.
        opened = result.footprint.opened
        whole |= {each for each in opened if each in self._state.files and each not in functions}
        return _Known(result, self._seen, frozenset(whole), functions, data, executed)

    def _imported_elsewhere(self, report: Report) -> frozenset[PurePosixPath]:
        """Files that were executed, and that no import statement of the tests leads to."""
        files = {PurePosixPath(test.partition("::")[0]) for test in report.results}
        found = frozenset[PurePosixPath]().union(*map(self._state.imported, files))
        return frozenset(self._shared[ALL].executed if ALL in self._shared else ()) - found

    def _parts_of(self, path: PurePosixPath) -> Parts | None:
        if path not in self._parts:
            self._parts[path] = None
            file = self._state.files.get(path)
            content = _content(self._read, path)
            if file is not None and content is not None and digest_of(content) == file.digest:
                self._parts[path] = _parts(content)
        return self._parts[path]

    def _files(self, opened: frozenset[PurePosixPath]) -> frozenset[PurePosixPath]:
        """Take the digests of files that were read, besides Python's and pytest's, and return which these are."""
        others = frozenset(path for path in opened if path not in self._state.files)
        for path in others:
            if path not in self._data:
                self._data[path] = _digest(self._read, path)
        return others


class _Now:
    """Compares what tests depended on with what is there now."""

    def __init__(self, state: State, read: Read) -> None:
        self._state, self._read = state, read
        self._now = {path: file.digest for path, file in state.files.items()}
        self._changed: dict[int, dict[PurePosixPath, frozenset[str] | None]] = {}
        self._data: dict[PurePosixPath, bytes] = {}

    def concerns(self, known: _Known) -> bool:
        """Whether something that a test depended on is no longer the same."""
        file = PurePosixPath(known.result.id.partition("::")[0])
        for path, functions in self._changed_since(known.seen).items():
            if functions is not None and not functions:
                continue  # comments and layout
            if path not in known.seen.files and path in self._state.imported(file):
                return True
            if path in known.whole or (configures(path) and path.parent in file.parents):
                return True
            wanted = known.functions.get(path)
            if wanted is not None and (functions is None or wanted & functions):
                return True
        return any(self._digest(path) != known.seen.data[path] for path in known.data)

    def _changed_since(self, seen: _Seen) -> dict[PurePosixPath, frozenset[str] | None]:
        """Return the functions of each file that are no longer the same; None: all of them."""
        if id(seen) not in self._changed:
            before, now = seen.files, self._now
            self._changed[id(seen)] = {
                path: self._changed_in(seen, path)
                for path in before.keys() | now.keys()
                if path not in before or path not in now or before[path] != now[path]
            }
        return self._changed[id(seen)]

    def _changed_in(self, seen: _Seen, path: PurePosixPath) -> frozenset[str] | None:
        old = seen.parts.get(path)
        content = _content(self._read, path) if path in self._state.files else None
        new = _parts(content) if content is not None else None
        if old is None or new is None:
            return None
        names = old.digests.keys() | new.digests.keys()
        return frozenset(name for name in names if old.digests.get(name) != new.digests.get(name))

    def _digest(self, path: PurePosixPath) -> bytes:
        if path not in self._data:
            self._data[path] = _digest(self._read, path)
        return self._data[path]


def reader(workspace: Path, buffers: Mapping[PurePosixPath, bytes] | None = None) -> Read:
    """Return what reads a workspace's files, with the contents of some in front of those on disk.

    For a very large one it gives what changes with it.
    """

    def read(path: PurePosixPath) -> bytes:
        if buffers and path in buffers:
            return buffers[path]
        file = workspace / path
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path} is no file")
        if found.st_size > _MOST_BYTES:
            return repr((found.st_ino, found.st_size, found.st_mtime_ns)).encode()
        return file.read_bytes()

    return read


def _union(one: Footprint, other: Footprint) -> Footprint:
    paths = one.executed.keys() | other.executed.keys()
    none = frozenset[int]()
    return Footprint(
        {path: one.executed.get(path, none) | other.executed.get(path, none) for path in paths},
        one.opened | other.opened,
        one.spawned or other.spawned,
    )


def _content(read: Read, path: PurePosixPath) -> bytes | None:
    try:
        return read(path)
    except (OSError, ValueError):  # a path that a test made up
        return None


def _digest(read: Read, path: PurePosixPath) -> bytes:
    content = _content(read, path)
    return digest_of(content) if content is not None else b""


def _means(asked: str, test: str) -> bool:
    """Whether a pytest argument asks for a test."""
    return test == asked or test.startswith((asked + "::", asked + "[", asked.rstrip("/") + "/"))


def _parts(content: bytes) -> Parts | None:
    try:
        return parts_of(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return None
