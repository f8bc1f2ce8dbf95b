"""Run tests on a candidate: the workspace as it is on disk, with some files' text replaced, in a sandbox."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from runner.report import Report, TestResult


class RunnerError(Exception):
    """Tests could not be run at all; the message says what mends it."""


class InterpreterError(RunnerError):
    """No usable interpreter, or it lacks pytest."""


class SandboxUnavailable(RunnerError):
    """No isolation level works here and the user has not switched the sandbox off."""


@dataclass(frozen=True)
class Limits:
    """What a run may use."""

    wall_seconds: float = 60.0
    test_seconds: float = 10.0
    """Time limit of one test."""
    hangs: int = 2
    """The run ends after this many tests reached their time limit; the rest are NOT_RUN."""
    cpu_seconds: int = 120
    memory_bytes: int = 4 << 30
    processes: int = 128
    file_bytes: int = 256 << 20
    output_bytes: int = 1 << 20
    """Of the process's own output that is kept (its end)."""


@dataclass(frozen=True)
class Sandboxing:
    """How much the run is kept from."""

    level: str = "auto"
    """`auto` or `strict`: the best level that works here, else SandboxUnavailable; `off`: none."""
    network: bool = False
    writable: Sequence[Path] = ()


@dataclass(frozen=True)
class TestRequest:
    """What to run, on what."""

    __test__ = False

    workspace: Path
    """Absolute path of the project's root."""
    tests: Sequence[str]
    """pytest arguments relative to the workspace: files or node ids."""
    interpreter: Path
    files: Mapping[PurePosixPath, bytes] = field(default_factory=dict)
    """Contents laid over the workspace for this run only, by path relative to it. Never written to disk there."""
    expected: frozenset[str] = frozenset()
    """Test ids that must report; each that does not is NOT_RUN."""
    trace: bool = False
    """Record the workspace lines that each test executes (slower)."""
    doctest_modules: Sequence[PurePosixPath] = ()
    """Files whose doctests are collected as well."""
    test_args: Sequence[str] = ()
    """The user's extra pytest arguments."""
    limits: Limits = field(default_factory=Limits)
    sandbox: Sandboxing = field(default_factory=Sandboxing)


def run_tests(
    request: TestRequest,
    cancel: threading.Event,
    on_result: Callable[[TestResult], None] = lambda result: None,
) -> Report:
    """Run the tests and return an outcome per test id.

    Args:
        request: what to run.
        cancel: when set, the whole process tree is killed within 0.2 s and the report's stop is CANCELLED.
        on_result: called as each test ends, from the calling thread.

    Raises:
        InterpreterError: the interpreter does not start or has no pytest.
        SandboxUnavailable: no isolation level works here.
    """
    raise NotImplementedError
