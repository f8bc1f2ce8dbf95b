"""What is asked for: the texts as the editor has them, and a request to fix or to generate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from lsp_server.refine.source import Region


class TaskError(Exception):
    """The request cannot become a task; the message says why and what to do instead."""


@dataclass(frozen=True)
class Document:
    """The text of one file at one moment."""

    path: PurePosixPath
    """Relative to the workspace."""
    text: str
    """With the file's own line endings."""
    version: int | None = None
    """The editor's version of it; None if it was read from disk."""


@dataclass(frozen=True)
class Snapshot:
    """A workspace at one moment: what is on disk, with the editor's buffers in front of it."""

    workspace: Path
    """Absolute path of the project's root."""
    buffers: Mapping[PurePosixPath, Document] = field(default_factory=dict)

    def document(self, path: PurePosixPath) -> Document:
        """Return the buffer's text if there is one, else the file's.

        Raises:
            TaskError: there is no such file, or it is not UTF-8 text.
        """
        if path in self.buffers:
            return self.buffers[path]
        try:
            return Document(path, (self.workspace / path).read_bytes().decode("utf-8"))
        except OSError as error:
            raise TaskError(f"{path} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise TaskError(f"{path} is not UTF-8 text, so it is left alone.") from error

    def overlay(self) -> dict[PurePosixPath, bytes]:
        """Return the buffers' contents, by path, for a test run."""
        return {path: document.text.encode("utf-8") for path, document in self.buffers.items()}


ROOT_MARKERS = ("pyproject.toml", "setup.cfg", "setup.py", "pytest.ini", "tox.ini", ".git")


def workspace_of(file: Path, start: Path | None = None) -> Path:
    """Return the project's root for a file that no editor has put into one.

    It is the nearest folder above with a project's marks; without any, `start` if that holds the file, else the
    folder of the file, or the one above it where the file lies in `tests` or `src`.

    Args:
        file: absolute path.
        start: where the user is.
    """
    for folder in file.parents:
        if any((folder / marker).exists() for marker in ROOT_MARKERS):
            return folder
    if start is not None and file.is_relative_to(start):
        return start
    return file.parent.parent if file.parent.name in ("test", "tests", "src") else file.parent


@dataclass(frozen=True)
class FixRequest:
    """Make failing tests pass."""

    snapshot: Snapshot
    path: PurePosixPath
    """A test file, or a source file whose tests are to be found."""
    test: str = ""
    """Node id of the one test to fix; empty: every test of `path` that fails."""
    line: int | None = None
    """Line (from 1) of a source file that the user points at: the function there is the target."""
    instruction: str = ""


@dataclass(frozen=True)
class GenerateRequest:
    """Write code at a place."""

    snapshot: Snapshot
    path: PurePosixPath
    line: int
    """Line (from 1) of the cursor, or of the selection's start."""
    end_line: int | None = None
    """Last line (from 1) of a selection; None without one."""
    instruction: str = ""


@dataclass(frozen=True)
class Complaint:
    """What another tool reports of a line."""

    tool: str
    """As its diagnostics name it: `Ruff`, `mypy`."""
    code: str
    """Such as `F821`; empty if it has none."""
    message: str
    line: int
    """From 1."""

    @property
    def text(self) -> str:
        """Code and message, in one line."""
        return " ".join(f"{self.code} {self.message}".split()).rstrip(".")


@dataclass(frozen=True)
class ComplaintRequest:
    """Change a place so that a tool no longer complains of it."""

    snapshot: Snapshot
    path: PurePosixPath
    complaint: Complaint
    instruction: str = ""


Request = FixRequest | GenerateRequest | ComplaintRequest


@dataclass(frozen=True)
class Wanted:
    """The tests that a candidate has to turn from failing to passing."""

    ids: frozenset[str] = frozenset()
    files: frozenset[PurePosixPath] = frozenset()
    """Test files that could not be collected before: every test in them is wanted, and there must be one."""

    def __bool__(self) -> bool:
        return bool(self.ids or self.files)


@dataclass(frozen=True)
class Task:
    """A request with its target found and its baseline known."""

    kind: Literal["fix", "generate"]
    snapshot: Snapshot
    document: Document
    """The file that is going to change."""
    region: Region
    """The part of it that may change."""
    tests: tuple[str, ...]
    """pytest arguments: the files and ids that are run on each candidate."""
    wanted: Wanted
    instruction: str = ""
    complaint: Complaint | None = None
    """What another tool reports, and should not any more."""
