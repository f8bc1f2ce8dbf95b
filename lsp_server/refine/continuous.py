"""A workspace's tests, run again as it changes; and what their failures say about which place."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from lsp_server.refine.discover import index_of, is_test_code, node_ids
from lsp_server.refine.locate import Suspect, rank
from lsp_server.refine.source import Source
from lsp_server.refine.task import Snapshot, TaskError
from runner.history import History, reader
from runner.index import State, configures
from runner.interpreter import describe, last_change
from runner.report import CollectionError, Failure, Frame, Outcome, Report, Stop, TestResult
from runner.request import TestRequest, Trace
from runner.run import run_tests
from runner.warm import WarmProcesses

FIRST_SECONDS = 0.5
"""Tests that take longer together are run in two goes, so that what failed last is known soon."""
MOST_CRASHES = 5
"""Tests that may end the process after each other, until the others are left alone."""
LEAST_SECONDS = 1.0
MOST_TRACED_SECONDS = 20.0
"""Where a run took longer, it is not run again only to find out which lines it executes."""
_MONITORING = (3, 12)
"""The first Python that tells at no cost which functions run."""


@dataclass(frozen=True)
class Place:
    """A line of a file."""

    path: PurePosixPath
    line: int
    """From 1."""
    text: str = ""
    """What is to be said of it."""
    tested: str = ""
    """The text of the file in which it is that line."""


@dataclass(frozen=True)
class Finding:
    """Something to be shown at a place."""

    place: Place
    tests: tuple[str, ...]
    """Node ids that it is about; empty for a file that could not be collected."""
    suspected: bool = False
    """It is where the fault may be, and not where a test saw it."""
    related: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Update:
    """What is known after a run."""

    workspace: Path
    findings: tuple[Finding, ...]
    ran: int
    """Tests that were run since the last update."""
    left_out: tuple[str, ...] = ()
    """Tests that the change may concern, and that did not fit the time budget."""


Listener = Callable[[Update], None]


class ContinuousTests:
    """The tests of one workspace with their latest results; one run at a time.

    Args:
        warm: processes that runs may be forked from.
    """

    def __init__(self, warm: WarmProcesses | None) -> None:
        self.history = History()
        self._warm = warm
        self._running = threading.Lock()
        self._way: tuple[object, ...] = ()
        """What the results hold for, besides the texts."""
        self._tested: State | None = None
        """The files as the latest run saw them."""
        self._uncollected: dict[PurePosixPath, Finding] = {}
        self._seen: dict[str, Place] = {}
        """By failing test, where it was seen to fail."""
        self._suspects: dict[str, tuple[str, Place]] = {}
        """By failing test, the function that it points to, and where that is."""

    def after_edit(
        self,
        changed: Collection[PurePosixPath],
        snapshot: Snapshot,
        request: TestRequest,
        cancel: threading.Event,
        listener: Listener,
    ) -> None:
        """Run the tests that an edit may concern; blocks for as long as that takes.

        Args:
            changed: files that were edited.
            snapshot: the texts to test.
            request: interpreter, limits and sandbox; its tests and texts are replaced. Its wall-clock limit is the
                budget for all of this.
            cancel: ends it; what was found until then stays.
            listener: told after each run, from the calling thread.

        Raises:
            RunnerError: the tests cannot be run; the message says what mends it.
        """
        with self._running:
            self._begin(request)
            deadline = time.monotonic() + request.limits.wall_seconds
            seconds = FIRST_SECONDS
            asked: set[str] = set()
            while not cancel.is_set():
                state = self._state(snapshot)
                read = reader(snapshot.workspace, snapshot.overlay())
                chosen = self.history.select({*changed, *self._uncollected}, state, read, seconds)
                tests = tuple(test for test in chosen.tests if test not in asked)
                if not tests:
                    listener(Update(snapshot.workspace, self.findings(), 0))
                    return
                asked |= set(tests)
                self._go(tests, chosen.first, state, snapshot, request, cancel, listener, deadline)
                seconds = deadline - time.monotonic()
                if not chosen.left_out:
                    return
                if seconds <= 0:
                    listener(Update(snapshot.workspace, self.findings(), 0, chosen.left_out))
                    return

    def run(
        self,
        tests: Sequence[str],
        snapshot: Snapshot,
        request: TestRequest,
        cancel: threading.Event,
        listener: Listener,
    ) -> None:
        """Run some tests whether an edit concerns them or not.

        Args:
            tests: pytest arguments relative to the workspace.
            snapshot: as `after_edit`.
            request: as `after_edit`.
            cancel: as `after_edit`.
            listener: as `after_edit`.

        Raises:
            RunnerError: as `after_edit`.
        """
        with self._running:
            self._begin(request)
            deadline = time.monotonic() + request.limits.wall_seconds
            self._go(tuple(tests), (), self._state(snapshot), snapshot, request, cancel, listener, deadline)

    def is_known(self, path: PurePosixPath, digest: bytes | None) -> bool:
        """Whether the latest run has seen a Python file with this content, or seen that there is none.

        Args:
            path: relative to the workspace.
            digest: `digest_of` its content; None: there is no such file.
        """
        tested = self._tested
        if tested is None or not (path.suffix == ".py" or configures(path)):
            return False
        file = tested.files.get(path)
        return (file.digest if file is not None else None) == digest

    def concerning(self, paths: Iterable[PurePosixPath]) -> set[PurePosixPath]:
        """Return the files that tests may depend on: they are Python's or pytest's, or tests have read them.

        Args:
            paths: relative to the workspace.
        """
        read = self.history.read()
        return {path for path in paths if path.suffix == ".py" or configures(path) or path in read}

    def tested_files(self) -> frozenset[PurePosixPath]:
        """Return the files as the latest run saw them."""
        return frozenset(self._tested.files) if self._tested is not None else frozenset()

    def test_files(self) -> frozenset[PurePosixPath]:
        """Return the test files that something is known of."""
        known = (PurePosixPath(test.partition("::")[0]) for test in self.history.results())
        return frozenset({*known, *self._uncollected})

    def holds_for(self, request: TestRequest) -> bool:
        """Whether what is known would be found again by this way of running tests.

        Raises:
            RunnerError: there is no such interpreter any more.
        """
        return _way_of(request) == self._way

    def findings(self) -> tuple[Finding, ...]:
        """Return all that is known to fail, at the places that the texts had when it failed."""
        failing = {
            test: self._seen[test]
            for test, result in self.history.results().items()
            if result.outcome.fails and test in self._seen
        }
        found = [*self._uncollected.values()]
        by_suspect: dict[tuple[PurePosixPath, str], list[str]] = {}
        for test, place in failing.items():
            related: tuple[Place, ...] = ()
            if test in self._suspects:
                name, at = self._suspects[test]
                by_suspect.setdefault((at.path, name), []).append(test)
                related = (replace(at, text=f"`{name}` is suspected"),)
            found.append(Finding(place, (test,), related=related))
        for (_, name), tests in by_suspect.items():
            _, at = self._suspects[tests[0]]
            named = ", ".join(test.partition("::")[2] for test in tests[:3])
            more = f" and {len(tests) - 3} more" if len(tests) > 3 else ""
            text = f"`{name}` may be why {named}{more} {'fails' if len(tests) == 1 else 'fail'}"
            related = tuple(failing[test] for test in tests)
            found.append(Finding(replace(at, text=text), tuple(tests), suspected=True, related=related))
        return tuple(found)

    def _begin(self, request: TestRequest) -> None:
        """Forget what is known where tests are run in another way from now on."""
        way = _way_of(request)
        if way != self._way:
            self._way, self.history = way, History()
            self._uncollected, self._seen, self._suspects = {}, {}, {}

    def _go(
        self,
        tests: tuple[str, ...],
        first: tuple[str, ...],
        state: State,
        snapshot: Snapshot,
        request: TestRequest,
        cancel: threading.Event,
        listener: Listener,
        deadline: float,
    ) -> None:
        """Run tests, tell what is known then, find out what the failing ones point to, and tell that."""
        read = reader(snapshot.workspace, snapshot.overlay())
        sources = _Sources(snapshot)
        for _ in range(MOST_CRASHES):
            left = max(deadline - time.monotonic(), LEAST_SECONDS)
            limited = replace(request, limits=replace(request.limits, wall_seconds=left))
            report = self._run(tests, first, snapshot, limited, cancel)
            if cancel.is_set():
                return
            self.history.note(report, tests, state, read)
            self._note_failures(report, sources)
            self._note_collection(tests, report, sources)
            listener(Update(snapshot.workspace, self.findings(), len(report.results)))
            again = self._localise(report, snapshot, limited, cancel, sources)
            if again is not None:
                self.history.note(again, (), state, read)
                listener(Update(snapshot.workspace, self.findings(), 0))
            # One that takes the process with it is no reason to know nothing of the others.
            tests = tuple(test for test, r in report.results.items() if r.outcome is Outcome.NOT_RUN)
            if not tests or report.stop is not Stop.CRASHED or time.monotonic() > deadline:
                return

    def _state(self, snapshot: Snapshot) -> State:
        """Return the files as they are now, and drop what is known of those that are no longer there."""
        state = index_of(snapshot.workspace).state(snapshot.overlay())
        self.history.forget_missing(state)
        self._uncollected = {path: each for path, each in self._uncollected.items() if path in state.files}
        self._tested = state
        return state

    def _run(
        self,
        tests: tuple[str, ...],
        first: tuple[str, ...],
        snapshot: Snapshot,
        request: TestRequest,
        cancel: threading.Event,
    ) -> Report:
        cheap = describe(request.interpreter).version >= _MONITORING
        trace: Trace = "functions" if cheap else "no"
        wanted = replace(request, tests=tests, first=first, files=snapshot.overlay(), trace=trace)
        return run_tests(wanted, cancel, warm=self._warm)

    def _note_failures(self, report: Report, sources: _Sources) -> None:
        for test, result in report.results.items():
            if result.outcome is not Outcome.NOT_RUN:
                self._seen.pop(test, None)
                self._suspects.pop(test, None)
                if result.outcome.fails:
                    self._seen[test] = _place(result, sources)

    def _note_collection(self, tests: Iterable[str], report: Report, sources: _Sources) -> None:
        """Keep which files could not be collected, and forget those that now could."""
        for test in tests:
            self._uncollected.pop(PurePosixPath(test.partition("::")[0]), None)
        collected = {PurePosixPath(test.partition("::")[0]) for test in report.results}
        around = {folder / "conftest.py" for path in collected for folder in path.parents}
        for path in collected | around:
            self._uncollected.pop(path, None)
        self._uncollected |= {e.path: _not_collected(e, sources) for e in report.collection_errors}

    def _localise(
        self,
        report: Report,
        snapshot: Snapshot,
        request: TestRequest,
        cancel: threading.Event,
        sources: _Sources,
    ) -> Report | None:
        """Find out what the failing tests point to, in a process of its own.

        Returns:
            What that says of tests as the first run has it, and of those that pass now; None if there was nothing to
            find out.
        """
        failing = frozenset(i for i in report.failed if report.results[i].outcome is not Outcome.NOT_RUN)
        if not failing or report.seconds > MOST_TRACED_SECONDS:
            return None
        files = tuple(dict.fromkeys(test.partition("::")[0] for test in sorted(failing)))
        wanted = replace(request, tests=files, files=snapshot.overlay(), trace="lines")
        traced = run_tests(wanted, cancel, warm=self._warm, fork=False)
        if cancel.is_set():
            return None
        for test in failing & traced.failed:
            suspects = rank(snapshot, frozenset({test}), _with_passing(traced, test), _never(files))
            if suspects:
                place = _suspected(suspects[0], report.results[test], sources)
                self._suspects[test] = (suspects[0].definition.name, place)
        known = report.results
        same = {
            test: result
            for test, result in traced.results.items()
            if result.outcome.ok or (test in known and known[test].outcome is result.outcome)
        }
        return replace(traced, results=same, collection_errors=())


def _way_of(request: TestRequest) -> tuple[object, ...]:
    """Return what results hold for besides the texts: the interpreter with its packages, and how it is used."""
    interpreter = describe(request.interpreter)
    changed = last_change(request.interpreter)
    return interpreter, changed, tuple(request.test_args), request.sandbox, request.limits


class _Sources:
    """The outlines of a snapshot's files."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._known: dict[PurePosixPath, Source | None] = {}

    def get(self, path: PurePosixPath) -> Source | None:
        """Return a file's outline; None if it cannot be read."""
        if path not in self._known:
            try:
                self._known[path] = Source(self._snapshot.document(path).text)
            except TaskError:
                self._known[path] = None
        return self._known[path]

    def text(self, path: PurePosixPath) -> str:
        """Return a file's text, empty if it cannot be read."""
        source = self.get(path)
        return source.text if source is not None else ""


def _never(files: Collection[str]) -> Callable[[PurePosixPath], bool]:
    return lambda path: is_test_code(path, files)


def _with_passing(traced: Report, test: str) -> Report:
    """Return a report of one failing test and all that pass."""
    results = {i: r for i, r in traced.results.items() if i == test or r.outcome.ok}
    return replace(traced, results=results)


def _place(result: TestResult, sources: _Sources) -> Place:
    """Return where a test's own file saw it fail: the innermost of its lines in the traceback, else its `def`."""
    path = PurePosixPath(result.id.partition("::")[0])
    failure = result.failure or Failure(str(result.outcome), "")
    text = f"{result.id.partition('::')[2]} {_verb(result.outcome)}: {_explanation(failure)}"
    own = [frame for frame in failure.frames if frame.path == path]
    if own:
        return Place(path, own[-1].line, text, sources.text(path))
    source = sources.get(path)
    ids = node_ids(source, path) if source is not None else {}
    start, _ = ids.get(result.id.partition("[")[0], (1, 1))
    return Place(path, start, text, sources.text(path))


def _verb(outcome: Outcome) -> str:
    if outcome is Outcome.TIMEOUT:
        return "does not end"
    return "ended the test process" if outcome is Outcome.CRASHED else "fails"


def _explanation(failure: Failure) -> str:
    """Return why a test fails, with the values that its assertion saw."""
    lines = [line[1:].strip() for line in failure.detail.splitlines() if line.startswith("E ")]
    wheres = [line for line in lines[1:] if line.startswith("+")]
    return "\n".join([failure.message, *(line.replace("+ ", " ", 1).strip() for line in wheres[:3])])


def _suspected(suspect: Suspect, result: TestResult, sources: _Sources) -> Place:
    """Return the line of a suspect that the traceback names, else that of its `def`."""
    frames: tuple[Frame, ...] = result.failure.frames if result.failure else ()
    definition = suspect.definition
    inside = [
        f.line for f in frames if f.path == suspect.path and definition.start <= f.line <= definition.end
    ]
    line = inside[-1] if inside else definition.header
    return Place(suspect.path, line, tested=sources.text(suspect.path))


def _not_collected(error: CollectionError, sources: _Sources) -> Finding:
    """Return where a file could not be imported: the innermost workspace line of the traceback."""
    frames = error.failure.frames
    text = f"{error.path} cannot be collected: {error.failure.message}"
    if not frames:
        return Finding(Place(error.path, 1, text, sources.text(error.path)), ())
    inner = frames[-1]
    own = [frame for frame in frames if frame.path == error.path]
    related: tuple[Place, ...] = ()
    if own and own[-1] != inner:
        related = (Place(error.path, own[-1].line, "imported here", sources.text(error.path)),)
    return Finding(Place(inner.path, inner.line, text, sources.text(inner.path)), (), related=related)
