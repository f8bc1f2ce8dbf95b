"""Which test files go with a file: by naming convention and by import."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path, PurePosixPath

from lsp_server.refine.source import Source
from lsp_server.refine.task import Snapshot, TaskError
from runner.index import Index, holds_tests, is_test_file

TEST_FOLDERS = frozenset({"test", "tests", "testing"})
_WORKSPACES = 8
_INSTALLED = frozenset({"site-packages", "node_modules", "__pycache__", ".tox", ".nox"})
_HEAD_CHARS = 2000
_GENERATED = re.compile(
    r"@generated|\b(?:auto-?)?generated (?:by|from)\b|\bdo not (?:edit|modify)\b", re.IGNORECASE
)


def is_test_code(path: PurePosixPath, tests: Collection[str] = ()) -> bool:
    """Whether a file belongs to the tests: a test file, one that was run as such, or what lies beside them.

    Args:
        path: relative to the workspace.
        tests: pytest arguments of the run.
    """
    return (
        is_test_file(path)
        or any(folder in TEST_FOLDERS for folder in path.parts[:-1])
        or any(test.partition("::")[0] == str(path) for test in tests)
    )


def left_alone(snapshot: Snapshot, path: PurePosixPath) -> str:
    """Return why nothing in a file may be changed, in words; empty if it may be.

    Args:
        snapshot: the workspace.
        path: relative to it.

    Raises:
        TaskError: the file cannot be read.
    """
    if path.suffix != ".py":
        return "it is not a Python source file"
    for folder in path.parents[:-1]:
        if folder.name in _INSTALLED or (snapshot.workspace / folder / "pyvenv.cfg").exists():
            return f"what lies in `{folder}` is installed, not written"
    if not (snapshot.workspace / path).resolve().is_relative_to(snapshot.workspace.resolve()):
        return "it leads out of the workspace"
    for line in snapshot.document(path).text[:_HEAD_CHARS].splitlines():
        if (text := line.strip("\ufeff \t")) and not text.startswith("#"):
            break  # what comes after the first statement is about a part of the file
        if _GENERATED.search(text):
            return f"it says that it is generated: `{text[:80]}`"
    return ""


def tests_for(snapshot: Snapshot, path: PurePosixPath) -> tuple[str, ...]:
    """Return the test files that go with a file, those named after it first.

    Besides these they are the ones that import it, or a name that it defines from a package around it. Where there is
    none, they are those with the fewest imports between.

    Args:
        snapshot: the workspace.
        path: a source file, or a test file, which then goes with itself.

    Returns:
        Paths relative to the workspace, with forward slashes.
    """
    if holds_tests(path):
        return (str(path),)
    state = index_of(snapshot.workspace).state(snapshot.overlay())
    steps = state.importers([path])
    going = state.test_files(path)
    names = _names_in(snapshot, path)
    near = [test for test in going if steps.get(test, 0) <= 1]
    near += sorted(
        test
        for test, file in state.files.items()
        if holds_tests(test) and test not in near and not names.isdisjoint(name for _, name in file.imports)
    )
    return tuple(map(str, near or [test for test in going if steps[test] == steps[going[0]]]))


@lru_cache(maxsize=_WORKSPACES)
def index_of(workspace: Path) -> Index:
    """Return what keeps up with a workspace's files."""
    return Index(workspace)


def _names_in(snapshot: Snapshot, path: PurePosixPath) -> frozenset[str]:
    """Return what a file defines, as it would be imported from each package around it."""
    try:
        defined = {each.name for each in Source(snapshot.document(path).text).definitions}
    except TaskError:
        return frozenset()
    folders = path.parts[:-1]
    packages = {".".join(folders[i:j]) for j in range(1, len(folders) + 1) for i in range(j)}
    return frozenset(f"{package}.{name}" for package in packages for name in defined)


def node_ids(source: Source, path: PurePosixPath) -> dict[str, tuple[int, int]]:
    """Return the node ids of a test file's tests as they stand in its text, with their first and last line."""
    found: dict[str, tuple[int, int]] = {}
    for definition in source.definitions:
        *classes, name = definition.name.split(".")
        if (
            definition.kind == "function"
            and name.startswith("test")
            and not definition.nested
            and all(c.startswith("Test") or c.endswith(("Test", "Tests", "TestCase")) for c in classes)
        ):
            found["::".join([str(path), *classes, name])] = (definition.start, definition.end)
    return found
