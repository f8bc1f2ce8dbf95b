"""Find the interpreter that a project's tests run in, and what a sandbox must show it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from runner.errors import InterpreterError

_DESCRIBE = """
import importlib.util, json, os, site, sys
print(json.dumps({
    "executable": sys.executable,
    "version": list(sys.version_info[:3]),
    "prefixes": [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix],
    "path": [p for p in sys.path if p],
    "user_base": site.getuserbase() if site.ENABLE_USER_SITE else "",
    "has_pytest": importlib.util.find_spec("pytest") is not None,
}))
"""
_START_SECONDS = 20.0


@dataclass(frozen=True)
class Interpreter:
    """A Python interpreter, as it describes itself."""

    executable: Path
    """What really runs (a pyenv shim, for example, is looked through)."""
    version: tuple[int, ...]
    prefixes: tuple[Path, ...]
    """Its installation, and the one that its virtual environment is based on."""
    path: tuple[Path, ...]
    """`sys.path`, with what editable installs and `PYTHONPATH` add."""
    user_base: str
    """Where `pip install --user` puts packages; empty where that is switched off."""
    has_pytest: bool


def find_interpreter(workspace: Path, setting: str = "") -> Path:
    """Return the user's interpreter: the setting, else `.venv` or `venv` in the workspace, `VIRTUAL_ENV`, PATH.

    The setting is taken as it is; of the others the first that has pytest, and if none has, the first that exists.

    Args:
        workspace: the project's root.
        setting: path of an interpreter or of a virtual environment; relative paths start at the workspace.

    Raises:
        InterpreterError: the setting names no interpreter, or none is found.
    """
    if setting:
        named = Path(setting.replace("${workspaceFolder}", str(workspace))).expanduser()
        # What `which` finds by a path starts where this process is, and runs start elsewhere.
        on_path = shutil.which(setting)
        chosen = _executable(workspace / named) or (on_path and _executable(Path(on_path).absolute())) or None
        if chosen is None:
            raise InterpreterError(
                f"The setting oci.interpreter names no Python interpreter: {setting}. "
                "Set it to the path of a python executable, or leave it empty."
            )
        return chosen
    found = list(_candidates(workspace))
    if not found:
        raise InterpreterError(
            "No Python interpreter found: no .venv or venv in the workspace, no VIRTUAL_ENV, no python on PATH. "
            "Create one with `python3 -m venv .venv && .venv/bin/pip install pytest`, or set oci.interpreter."
        )
    return next((path for path in found if _has_pytest(path)), found[0])


def describe(interpreter: Path) -> Interpreter:
    """Return what an interpreter says of itself, from a run of it (kept until the file or its packages change).

    Raises:
        InterpreterError: it does not start.
    """
    try:
        changed = last_change(interpreter)
    except OSError as error:
        raise InterpreterError(
            f"The interpreter {interpreter} cannot be read ({error.strerror}). Set oci.interpreter to one that exists."
        ) from error
    return _describe(interpreter, changed)


def last_change(interpreter: Path) -> int:
    """Return when an interpreter or its packages changed last, in nanoseconds; OSError if it does not exist."""
    return max(interpreter.stat().st_mtime_ns, *_package_times(interpreter))


@lru_cache(maxsize=32)
def _describe(interpreter: Path, changed: int) -> Interpreter:
    try:
        done = subprocess.run(
            [interpreter, "-c", _DESCRIBE],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_START_SECONDS,
            check=True,
            cwd="/",
        )
        said = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        stderr = getattr(error, "stderr", b"") or b""
        reason = stderr.decode(errors="replace").strip().rpartition("\n")[2] or str(error)
        raise InterpreterError(
            f"The interpreter {interpreter} does not start: {reason}. Repair it or set oci.interpreter to another."
        ) from error
    return Interpreter(
        executable=Path(said["executable"]),
        version=tuple(said["version"]),
        prefixes=tuple(dict.fromkeys(Path(p) for p in said["prefixes"])),
        path=tuple(Path(p) for p in said["path"]),
        user_base=said["user_base"],
        has_pytest=said["has_pytest"],
    )


def _package_times(interpreter: Path) -> Iterator[int]:
    """Change times of the folders that a package's installation touches."""
    for packages in interpreter.parent.parent.glob("lib/python3*/site-packages"):
        yield packages.stat().st_mtime_ns
    yield 0


def _candidates(workspace: Path) -> Iterator[Path]:
    homes = [workspace / ".venv", workspace / "venv"]
    if os.environ.get("VIRTUAL_ENV"):
        homes.append(Path(os.environ["VIRTUAL_ENV"]))
    on_path = [Path(found) for name in ("python3", "python") if (found := shutil.which(name))]
    for home in [*homes, *on_path]:
        if (path := _executable(home)) is not None:
            yield path


def _executable(path: Path) -> Path | None:
    """The interpreter at a path, which may also be that of a virtual environment's folder."""
    for found in (path, path / "bin" / "python", path / "Scripts" / "python.exe"):
        if found.is_file() and os.access(found, os.X_OK):
            return found
    return None


def _has_pytest(interpreter: Path) -> bool:
    try:
        return describe(interpreter).has_pytest
    except InterpreterError:
        return False
