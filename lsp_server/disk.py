"""Requests about files as they are on disk, and proposals written there: where no editor holds the texts."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path, PurePosixPath

from lsp_server.refine.proposal import Proposal
from lsp_server.refine.task import FixRequest, GenerateRequest, Snapshot, TaskError, workspace_of
from runner.index import is_test_file


def fix_request(
    named: str,
    workspace: Path | None = None,
    start: Path | None = None,
    *,
    line: int | None = None,
    instruction: str = "",
) -> FixRequest:
    """Return the request to repair what `PATH[::TEST]` names.

    Args:
        named: a source file, a test file, or one test.
        workspace: the project's root; None: it is found from the file.
        start: the folder that paths are relative to; None: the current one.
        line: line (from 1) of a source file, whose function is the target.
        instruction: what the user says about it.

    Raises:
        TaskError: there is no such file in the workspace, or it holds no tests and one is named.
    """
    file, _, test = named.partition("::")
    snapshot, path = located(file, workspace, start)
    if test and not is_test_file(path):
        raise TaskError(f"{path} is not a test file, so {named} names no test: write TEST_FILE::TEST.")
    return FixRequest(snapshot, path, f"{path}::{test}" if test else "", line, instruction)


def generate_request(
    file: str,
    line: int,
    workspace: Path | None = None,
    start: Path | None = None,
    *,
    end_line: int | None = None,
    instruction: str = "",
) -> GenerateRequest:
    """Return the request to write the code at a line.

    Args:
        file: a source file.
        line: line (from 1) of a stub, a docstring or a comment, or the first of a selection.
        workspace: as `fix_request`.
        start: as `fix_request`.
        end_line: last line (from 1) of a selection.
        instruction: what the user says about it.

    Raises:
        TaskError: there is no such file in the workspace.
    """
    snapshot, path = located(file, workspace, start)
    return GenerateRequest(snapshot, path, line, end_line, instruction)


def located(
    file: str, workspace: Path | None = None, start: Path | None = None
) -> tuple[Snapshot, PurePosixPath]:
    """Return a file's workspace as it is on disk, and where it is in it.

    Args:
        file: its path; links are followed, so that none leads out of the workspace.
        workspace: as `fix_request`.
        start: as `fix_request`.

    Raises:
        TaskError: there is no such file in the workspace.
    """
    start = start or Path.cwd()
    absolute = (start / file).resolve()
    if not absolute.is_file():
        raise TaskError(f"There is no file {file}.")
    root = workspace.resolve() if workspace else workspace_of(absolute, start)
    if not absolute.is_relative_to(root):
        raise TaskError(f"{file} is not in the workspace {root}.")
    return Snapshot(root), PurePosixPath(absolute.relative_to(root).as_posix())


def write(proposal: Proposal) -> str:
    """Write a verified proposal; return why it was not written, or nothing.

    Args:
        proposal: what was made of the file as it was.
    """
    path = (proposal.task.snapshot.workspace / proposal.task.document.path).resolve()
    if not proposal.verified or proposal.new_text is None:
        return "only what is verified is written"
    try:
        if path.read_bytes() != proposal.task.document.text.encode("utf-8"):
            return f"{proposal.task.document.path} has changed meanwhile"
        _replace_file(path, proposal.new_text.encode("utf-8"))
    except OSError as error:
        return f"{proposal.task.document.path} cannot be written: {error.strerror}"
    return ""


def _replace_file(path: Path, content: bytes) -> None:
    """Write a file so that it has, whatever happens, either its old or its new content."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        shutil.copymode(path, name)
        os.replace(name, path)  # noqa: PTH105 - the name is a string
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
