"""Repair tasks: a project with a bug, the tests that show it, and where it was; read from and written to JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from cattrs import transform_error
from cattrs.errors import BaseValidationError
from cattrs.preconf.json import make_converter

from lsp_server.evaluation.git import check_out
from lsp_server.evaluation.json_lines import json_lines, read_data
from lsp_server.evaluation.run_folder import EvaluationError


class NoTask(Exception):
    """What was taken for a repair task is none; the message says why."""


@dataclass(frozen=True)
class Base:
    """A commit that a task's files are laid over, where a project is too large to be written down."""

    repository: str
    """Absolute path of a git repository on this machine."""
    commit: str


@dataclass(frozen=True)
class RepairTask:
    """A project with a bug."""

    id: str
    files: Mapping[str, str]
    """Texts by path relative to the project's root; with a base, those that differ from it."""
    tests: tuple[str, ...]
    """pytest arguments; the first file's failing tests are what is to be repaired."""
    target: str
    """The file that has the bug. It is not told: it has to be found."""
    solution: Mapping[str, str] = field(default_factory=dict)
    """Texts that make the tests pass."""
    base: Base | None = None


def read_tasks(path: Path) -> list[RepairTask]:
    """Return the tasks of a file, `.jsonl` or `.jsonl.gz`; keys that a task does not have are passed over.

    Raises:
        EvaluationError: it cannot be read, or a line is no task.
    """
    tasks = []
    for line in json_lines(path, read_data(path)):
        which = f"Line {line.number} of {path}"
        try:
            task = make_converter().structure(line.value, RepairTask)
        except BaseValidationError as error:
            raise EvaluationError(
                f"{which} is no repair task: {'; '.join(transform_error(error))}"
            ) from error
        except (ValueError, TypeError) as error:
            raise EvaluationError(f"{which} is no repair task: {error}") from error
        for each in (*task.files, *task.solution, task.target, *task.tests):
            if PurePosixPath(each).is_absolute() or ".." in PurePosixPath(each).parts:
                raise EvaluationError(f"{which} names {each}, which is outside of the project.")
        if not task.tests:
            raise EvaluationError(f"{which} names no tests.")
        tasks.append(task)
    if not tasks:
        raise EvaluationError(f"{path} holds no task.")
    if len({task.id for task in tasks}) < len(tasks):
        raise EvaluationError(f"{path} has two tasks of one id.")
    return tasks


def write_tasks(path: Path, tasks: Iterable[RepairTask]) -> int:
    """Write tasks to a file, one JSON object a line, as they come; return how many there were.

    Raises:
        EvaluationError: it cannot be written.
    """
    converter = make_converter()
    count = 0
    try:
        with path.open("w", encoding="utf-8") as file:
            for task in tasks:
                file.write(json.dumps(converter.unstructure(task)) + "\n")
                file.flush()
                count += 1
    except OSError as error:
        raise EvaluationError(f"{path} cannot be written: {error.strerror}") from error
    return count


def lay_out(task: RepairTask, folder: Path) -> None:
    """Write a task's project into an empty folder.

    Raises:
        EvaluationError: its base cannot be had, or a file of it cannot be written.
    """
    if task.base is not None:
        check_out(Path(task.base.repository), task.base.commit, folder)
    for path, text in task.files.items():
        file = folder / path
        if not file.resolve().is_relative_to(folder.resolve()):
            raise EvaluationError(f"{task.id}: {path} leads out of the project by a link.")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode("utf-8"))
        except (OSError, UnicodeError) as error:
            raise EvaluationError(f"{task.id}: {path} cannot be written: {error}") from error
