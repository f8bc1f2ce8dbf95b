"""A git history as repair tasks: commits that changed one source file and made failing tests pass."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lsp_server.evaluation.run_folder import EvaluationError
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
    log = ["log", "--no-merges", "--no-renames", "--name-status", "-z", "--format=%x01%H%x02%s%x03"]
    for entry in _git(root, *log).split("\x01")[1:]:
        head, _, changes = entry.partition("\x03")
        commit, _, subject = head.partition("\x02")
        parts = changes.strip("\0\n").split("\0")
        status = {path: kind.strip() for kind, path in zip(parts[::2], parts[1::2], strict=False)}
        code = [path for path in status if path.endswith(".py")]
        tests = [p for p in code if is_test_file(PurePosixPath(p)) and status[p] != "D"]
        sources = [p for p in code if not is_test_code(PurePosixPath(p))]
        if tests and len(sources) == 1 and status[sources[0]] == "M":
            yield Commit(commit, subject, sources[0], tuple(tests))


def task_of(repository: Path, commit: Commit) -> RepairTask:
    """Return a commit as a task: its project as it made it, but for the source file, which is as it was before.

    Args:
        repository: a folder in its repository.
        commit: one of `repairs`.

    Raises:
        NoTask: it adds something, as a feature does: without it, no test can say what is wanted.
        EvaluationError: a file is no UTF-8 text, or the commit has no parent.
    """
    root = root_of(repository)
    before = _git(root, "show", f"{commit.id}^:{commit.source}")
    after = _git(root, "show", f"{commit.id}:{commit.source}")
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


def root_of(repository: Path) -> Path:
    """Return the root of the git repository that a folder is in.

    Raises:
        EvaluationError: it is in none, or git is missing.
    """
    return Path(_git(repository, "rev-parse", "--show-toplevel").rstrip("\n"))


def _git(repository: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, check=False)
    except FileNotFoundError as error:
        raise EvaluationError("git is not installed, or not on PATH: a history cannot be read.") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise EvaluationError(f"git {arguments[0]} in {repository}: {said}")
    try:
        return done.stdout.decode("utf-8")
    except UnicodeDecodeError as error:
        raise EvaluationError(f"git {' '.join(arguments)} gives no UTF-8 text") from error
