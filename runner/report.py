"""What a test run says: an outcome per test id, with the detail of each failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath


class Outcome(StrEnum):
    """How one test ended."""

    PASSED = "passed"
    FAILED = "failed"
    """The test body raised (an assertion, or any other exception)."""
    ERROR = "error"
    """A fixture or the collection failed."""
    SKIPPED = "skipped"
    XFAILED = "xfailed"
    XPASSED = "xpassed"
    """Expected to fail and passed; where the project is strict about that, pytest says FAILED."""
    TIMEOUT = "timeout"
    """It was still running at its time limit."""
    CRASHED = "crashed"
    """The process ended while it ran (a signal, `os._exit`, a memory limit)."""
    NOT_RUN = "not run"
    """It was asked for, or collected, and never reported."""

    @property
    def ok(self) -> bool:
        """Whether this outcome counts as a pass."""
        return self in (Outcome.PASSED, Outcome.XFAILED, Outcome.XPASSED)

    @property
    def fails(self) -> bool:
        """Whether this outcome counts as a failure (a skipped test neither passes nor fails)."""
        return not self.ok and self is not Outcome.SKIPPED


class Stop(StrEnum):
    """Why a run ended."""

    FINISHED = "finished"
    WALL_CLOCK = "wall-clock limit"
    HANGS = "too many hanging tests"
    CPU = "CPU limit"
    MEMORY = "memory limit"
    CRASHED = "test process ended early"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Frame:
    """One line of a traceback, inside the workspace."""

    path: PurePosixPath
    """Relative to the workspace."""
    line: int
    """Counted from 1."""
    function: str
    source: str
    """Text of that line, stripped."""


@dataclass(frozen=True)
class Failure:
    """Why a test did not pass."""

    message: str
    """One line: the exception's type and text, or what the runner saw ("still running after 10 s")."""
    detail: str
    """pytest's long representation, or the stack at the time limit; cut from the middle to a budget."""
    frames: tuple[Frame, ...] = ()
    """Workspace frames of the traceback, outermost first."""
    output: str = ""
    """Captured stdout and stderr, cut from the middle."""


ALL = PurePosixPath()
"""Stands for every test file, in `Report.shared`."""


@dataclass(frozen=True)
class Footprint:
    """What of the workspace was executed and read; paths are relative to it."""

    executed: Mapping[PurePosixPath, frozenset[int]] = field(default_factory=dict)
    """Lines, from 1."""
    opened: frozenset[PurePosixPath] = frozenset()
    spawned: bool = False
    """Other processes were started; what they execute is not known."""


@dataclass(frozen=True)
class TestResult:
    """The outcome of one test."""

    __test__ = False  # not a test class, whatever its name says to pytest

    id: str
    """pytest's node id, relative to the workspace, with forward slashes."""
    outcome: Outcome
    seconds: float = 0.0
    failure: Failure | None = None
    footprint: Footprint | None = None
    """None: the run was not traced, or another tracer was at work."""

    @property
    def executed(self) -> Mapping[PurePosixPath, frozenset[int]]:
        """Lines (from 1) of workspace files that this test executed, as far as known."""
        return self.footprint.executed if self.footprint is not None else {}


@dataclass(frozen=True)
class CollectionError:
    """A test file (or conftest) that could not be collected."""

    path: PurePosixPath
    """The file pytest was collecting, relative to the workspace."""
    failure: Failure


@dataclass(frozen=True)
class Report:
    """The result of one run."""

    results: Mapping[str, TestResult]
    """By test id: every collected test, and every expected id (as NOT_RUN if it never reported)."""
    collection_errors: tuple[CollectionError, ...] = ()
    stop: Stop = Stop.FINISHED
    stop_detail: str = ""
    """In words, for the user: "killed by signal 9 while test_x ran"."""
    seconds: float = 0.0
    isolation: str = "off"
    """Isolation level that was in force: "bubblewrap", "landlock" or "off"."""
    violations: tuple[str, ...] = ()
    """What the run did that only an attack or an accident does, such as a forged or repeated report."""
    output_tail: str = ""
    """End of the process's own output, for errors that have no test to belong to."""
    shared: Mapping[PurePosixPath, Footprint] = field(default_factory=dict)
    """Of what ran for several tests: fixtures that a file's tests share, by its path; and under `ALL`, the collection
    and fixtures that files share; in a fork (`warm`) without the conftests, which were loaded before. What is not known
    is missing."""
    warm: bool = False
    """It ran in a fork of a process that had plugins and conftests loaded, and not in a process of its own."""

    @property
    def passed(self) -> frozenset[str]:
        """Ids of the tests whose outcome counts as a pass."""
        return frozenset(i for i, r in self.results.items() if r.outcome.ok)

    @property
    def failed(self) -> frozenset[str]:
        """Ids of the tests that did not pass (skipped ones are neither)."""
        return frozenset(i for i, r in self.results.items() if r.outcome.fails)
