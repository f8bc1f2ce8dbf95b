"""What a run is asked for: the tests, the text they run on, and what they may use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

Trace = Literal["no", "functions", "lines"]


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
    """`auto`: the best level that works here, else SandboxUnavailable; `strict`, or `bubblewrap`, or `landlock`: that
    one, strict being bubblewrap; `off`: none."""
    network: bool = False
    readable: Sequence[Path] = ()
    """Files and folders that tests may read, besides the system, the interpreter and the workspace; those that are
    not there are left out."""
    writable: Sequence[Path] = ()
    """Folders that tests may write to; what they write there stays."""


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
    first: Sequence[str] = ()
    """Test ids that pytest runs before all others, in this order."""
    trace: Trace = "no"
    """Record what of the workspace each test executes and reads: its lines (slow before Python 3.12), or the first
    line of each function's body."""
    doctest_modules: Sequence[PurePosixPath] = ()
    """Files whose doctests are collected as well."""
    test_args: Sequence[str] = ()
    """The user's extra pytest arguments."""
    import_folders: Sequence[PurePosixPath] = ()
    """Folders of the workspace, relative to it, that imports look in before any that the environment names."""
    limits: Limits = field(default_factory=Limits)
    sandbox: Sandboxing = field(default_factory=Sandboxing)
