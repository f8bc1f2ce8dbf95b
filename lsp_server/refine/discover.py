"""Which test files go with a file: by naming convention and by import."""

from __future__ import annotations

import ast
import os
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from lsp_server.refine.source import Source
from lsp_server.refine.task import Snapshot, TaskError

IGNORED_FOLDERS = frozenset(
    {"__pycache__", "node_modules", "site-packages", "build", "dist", "venv", "env", ".venv", ".tox", ".nox"}
)
TEST_FOLDERS = frozenset({"test", "tests", "testing"})
MOST_FILES = 20_000
"""Files looked at in a workspace; past that, tests are found among the first ones only."""


def is_test_file(path: PurePosixPath) -> bool:
    """Whether pytest's default naming makes it a test file, or it configures tests."""
    return path.suffix == ".py" and (
        path.name.startswith("test_") or path.stem.endswith("_test") or path.name == "conftest.py"
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


def tests_for(snapshot: Snapshot, path: PurePosixPath) -> tuple[str, ...]:
    """Return the test files that go with a file, those named after it first.

    Args:
        snapshot: the workspace.
        path: a source file, or a test file, which then goes with itself.

    Returns:
        Paths relative to the workspace, with forward slashes.
    """
    if is_test_file(path):
        return (str(path),)
    stem = path.parent.name if path.stem == "__init__" else path.stem
    by_name: list[str] = []
    by_import: list[str] = []
    for test in _test_files(snapshot.workspace):
        if test.stem in (f"test_{stem}", f"{stem}_test"):
            by_name.append(str(test))
        elif _imports(snapshot, test, path):
            by_import.append(str(test))
    return (*sorted(by_name), *sorted(by_import))


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


def _test_files(workspace: Path) -> Iterator[PurePosixPath]:
    looked_at = 0
    for folder, folders, files in os.walk(workspace):
        folders[:] = sorted(
            f
            for f in folders
            if f not in IGNORED_FOLDERS
            and not f.startswith(".")
            and not os.path.exists(os.path.join(folder, f, "pyvenv.cfg"))  # noqa: PTH110, PTH118
        )
        for name in sorted(files):
            looked_at += 1
            path = PurePosixPath(Path(folder, name).relative_to(workspace).as_posix())
            if is_test_file(path) and name != "conftest.py":
                yield path
        if looked_at > MOST_FILES:
            return


def _imports(snapshot: Snapshot, test: PurePosixPath, path: PurePosixPath) -> bool:
    """Whether a test file imports the module that `path` is."""
    try:
        text = snapshot.document(test).text
    except TaskError:
        return False
    parts = list(path.with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    if not any(part in text for part in parts[-2:]):  # cheap, and true of nearly all files
        return False
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    # The import root is unknown (src layouts, sys.path settings): every suffix of the path may be the module's name.
    modules = {".".join(parts[i:]) for i in range(len(parts))}
    packages = {".".join(parts[i:-1]) for i in range(len(parts) - 1)}
    defined: set[str] | None = None
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            if any(alias.name in modules for alias in node.names):
                return True
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module in modules or (node.level and not module and parts[-1] in {a.name for a in node.names}):
                return True
            if module in packages:
                if defined is None:
                    defined = {d.name for d in Source(snapshot.document(path).text).definitions}
                if any(a.name == parts[-1] or a.name in defined for a in node.names):
                    return True
    return False
