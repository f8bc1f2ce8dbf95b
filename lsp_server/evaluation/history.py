"""A git history as repair tasks: commits that changed one source file and made failing tests pass."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lsp_server.evaluation.git import git, records, root_of
from lsp_server.evaluation.tasks import Base, NoTask, RepairTask
from lsp_server.refine.discover import is_test_code
from lsp_server.refine.source import Source
from runner.index import is_test_file


@dataclass(frozen=True)
class Commit:
    """A commit that may be a repair."""

    id: str
    subject: str
    """The first line of its message."""
    source: str
    """The one source file that it changes, relative to the repository's root."""
    tests: tuple[str, ...]
    """Test files that it changes or adds."""


def repairs(repository: Path) -> Iterator[Commit]:
    """Yield the commits that may be repairs, the latest first: one Python source file changed, and tests with it.

    Merges are left out, and so are commits that add or delete the source file.

    Args:
        repository: a folder in a git repository.

    Raises:
        EvaluationError: it is in none, or git is missing.
    """
    root = root_of(repository)
    log = (
        "log",
        "--no-merges",
        "--no-renames",
        "--name-status",
        "-z",
        "--format=%x01%H%x02%s%x03",
        "--",
        "*.py",
    )
    for entry in records(root, b"\x01", *log):
        head, _, changes = os.fsdecode(entry).partition("\x03")
        commit, _, subject = head.partition("\x02")
        parts = changes.strip("\0\n").split("\0")
        status = {path: kind.strip() for kind, path in zip(parts[::2], parts[1::2], strict=False)}
        tests = [path for path in status if is_test_file(PurePosixPath(path)) and status[path] != "D"]
        sources = [path for path in status if not is_test_code(PurePosixPath(path))]
        if tests and len(sources) == 1 and status[sources[0]] == "M":
            yield Commit(commit, subject, sources[0], tuple(tests))


def task_of(repository: Path, commit: Commit) -> RepairTask:
    """Return a commit as a task: its project as it made it, but for the source file, which is as it was before.

    Args:
        repository: a folder in its repository.
        commit: one of `repairs`.

    Raises:
        NoTask: it adds something, as a feature does: without it, no test can say what is wanted. Or its source file is
            not UTF-8 text.
        EvaluationError: the commit has no parent.
    """
    root = root_of(repository)
    before = _text(root, f"{commit.id}^", commit.source)
    after = _text(root, commit.id, commit.source)
    if added := _public(after) - _public(before):
        raise NoTask(f"it adds `{min(added)}`")
    return RepairTask(
        id=f"{commit.id[:12]} {commit.subject}",
        files={commit.source: before},
        tests=commit.tests,
        target=commit.source,
        solution={commit.source: after},
        base=Base(str(root), commit.id),
    )


def _public(text: str) -> set[str]:
    """Return the names of a file's functions and classes that others may use."""
    names = (definition.name for definition in Source(text).definitions if not definition.nested)
    return {name for name in names if not any(part.startswith("_") for part in name.split("."))}


def _text(root: Path, commit: str, path: str) -> str:
    try:
        return git(root, "show", f"{commit}:{path}").decode("utf-8")
    except UnicodeDecodeError as error:
        raise NoTask(f"{path} is not UTF-8 text") from error
