"""A copy of the workspace, for the levels that cannot lay an overlay over it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from runner.request import TestRequest
from runner.sandbox import show

Marks = tuple[int, int, int]
"""Device, inode and time of the last change (nanoseconds), which no program can set back."""

_LINKED = {".git", ".hg", ".svn", ".tox", ".nox", ".venv", "venv", "node_modules"}
"""Large folders that a copy refers to instead of containing."""


def make(request: TestRequest) -> tuple[Path, Path]:
    """Copy a request's workspace, with its texts in it, into a new temporary folder; return that folder, and the copy."""
    temporary = Path(tempfile.mkdtemp(prefix="oci-companion-")).resolve()
    made = temporary / request.workspace.name
    try:
        _copy(request.workspace.resolve(), made)
        for relative, content in request.files.items():
            path = Path(os.path.realpath(made / relative))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return temporary, made


def guard(made: Path, tests: Iterable[str]) -> dict[Path, Marks]:
    """Note the tests, and what configures them, in a copy as it was made."""
    return {path: _marks(path) for path in show.test_files(made, tests)}


def changed(guarded: Mapping[Path, Marks], made: Path) -> list[PurePosixPath]:
    """Return which guarded files were written, replaced or removed since, if only for a moment."""
    return sorted(
        PurePosixPath(path.relative_to(made)) for path, marks in guarded.items() if _marks(path) != marks
    )


def _marks(path: Path) -> Marks:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_dev, found.st_ino, found.st_ctime_ns)


def _copy(source: Path, target: Path) -> None:
    target.mkdir()
    for entry in os.scandir(source):
        path = target / entry.name
        if entry.is_symlink():
            path.symlink_to(Path(entry.path).readlink())
        elif entry.is_dir():
            if entry.name in _LINKED or Path(entry.path, "pyvenv.cfg").exists():
                path.symlink_to(entry.path)
            elif entry.name != "__pycache__":
                _copy(Path(entry.path), path)
        elif entry.is_file():
            shutil.copy2(entry.path, path)
