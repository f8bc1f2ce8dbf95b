"""Find the interpreter that a project's tests run in."""

from __future__ import annotations

from pathlib import Path


def find_interpreter(workspace: Path, setting: str = "") -> Path:
    """Return the user's interpreter: the setting, else `.venv` or `venv` in the workspace, `VIRTUAL_ENV`, PATH.

    The first of these that has pytest is taken; if none has, the first that exists.

    Raises:
        InterpreterError: the setting names no interpreter, or none is found.
    """
    raise NotImplementedError
