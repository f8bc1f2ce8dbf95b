"""No isolation: a copy of the workspace, so that the user's files are at least not written by the run itself."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from runner.interpreter import Interpreter
from runner.request import TestRequest
from runner.sandbox.launch import INSIDE, Launch

_LINKED = {".git", ".hg", ".svn", ".tox", ".nox", ".venv", "venv", "node_modules"}
"""Large folders that a copy refers to instead of containing."""


def launch(request: TestRequest, interpreter: Interpreter, descriptors: Iterable[int] = ()) -> Launch:
    """Return the command that runs the driver on a copy of the workspace with the request's texts in it.

    Args:
        request: what is run, and on what.
        interpreter: the user's.
        descriptors: what the driver inherits besides its standard streams.
    """
    temporary = Path(tempfile.mkdtemp(prefix="oci-companion-")).resolve()
    workspace = temporary / request.workspace.name
    try:
        _copy(request.workspace.resolve(), workspace)
        for relative, content in request.files.items():
            path = Path(os.path.realpath(workspace / relative))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    driver = [str(interpreter.executable), "-X", "faulthandler", str(INSIDE / "driver.py")]
    return Launch(
        level="off",
        command=[sys.executable, "-I", "-S", str(Path(__file__).with_name("reaper.py")), *driver],
        workspace=workspace,
        environment={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        descriptors=list(descriptors),
        cache=str(temporary / "pytest-cache"),
        temporary=temporary,
    )


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
