"""What a sandbox shows of the machine, whatever makes it: the system's programs, the interpreter, the tests."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from runner.interpreter import Interpreter

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
ETC = (
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/alternatives",
    "/etc/mime.types",
    "/etc/fonts",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/ca-certificates",
    "/nix/store",
)
ETC_NETWORK = ("/etc/resolv.conf", "/etc/hosts", "/etc/services")
_READ_ONLY = (
    "test_*.py",
    "*_test.py",
    "conftest.py",
    "__init__.py",
    "pytest.ini",
    "tox.ini",
    "pyproject.toml",
    "setup.cfg",
)
_SKIPPED_FOLDERS = {".git", ".hg", ".venv", "venv", "node_modules", "__pycache__", ".tox", ".nox"}
_KEPT_VARIABLES = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "PYTHONPATH", "PYTHONHASHSEED", "PYTHONUTF8")


def interpreter_paths(interpreter: Interpreter, workspace: Path) -> list[Path]:
    """Return the interpreter's installation and what its import path leads to, besides the system's folders."""
    return _outermost(_needed(interpreter), workspace)


def _needed(interpreter: Interpreter) -> Iterator[Path]:
    broad = {Path("/"), Path("/home"), Path("/tmp"), Path("/root"), Path.home(), *Path.home().parents}
    for prefix in interpreter.prefixes:
        for path in {prefix, prefix.resolve()}:
            if path in broad:  # an environment made in the home folder itself must not show the rest of it
                yield from (path / name for name in ("bin", "lib", "lib64", "pyvenv.cfg"))
            else:
                yield path
    for path in interpreter.path:
        for real in {path, path.resolve()}:
            if real not in broad:
                yield real


def _outermost(paths: Iterable[Path], workspace: Path) -> list[Path]:
    """Existing paths that neither the system's folders, nor the workspace, nor one of the others shows already."""
    chosen: list[Path] = []
    for path in sorted({Path(os.path.normpath(path)) for path in paths}):
        if path.exists() and not within(path, [*map(Path, SYSTEM), workspace, *chosen]):
            chosen.append(path)
    return chosen


def within(path: Path, folders: Iterable[Path]) -> bool:
    """Return whether a path is one of some folders, or below one."""
    return any(path.is_relative_to(folder) for folder in folders)


def test_files(workspace: Path, tests: Iterable[str]) -> set[Path]:
    """Return the files of the tests, and those that configure them, which no candidate may write.

    Args:
        workspace: real path.
        tests: as `TestRequest.tests`.
    """
    found: set[Path] = set()
    for test in tests:
        start = workspace / test.partition("::")[0]
        if not start.exists() or not start.is_relative_to(workspace) or ".." in start.parts:
            continue
        folder = start if start.is_dir() else start.parent
        if start.is_file():
            found.add(start)
        else:
            for at, folders, names in os.walk(start):
                folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS]
                found |= {Path(at, name) for name in names if _is_protected(name)}
        for above in [folder, *folder.parents]:
            found |= {path for path in above.iterdir() if _is_protected(path.name)}
            if above == workspace:
                break
    return {path.resolve() for path in found if path.is_file() and path.resolve().is_relative_to(workspace)}


def _is_protected(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in _READ_ONLY)


def environment(
    interpreter: Interpreter, home: str, temporary: str, import_folders: Iterable[Path] = ()
) -> dict[str, str]:
    """Return all that the test process has of an environment.

    Args:
        interpreter: the user's.
        home, temporary: the folders that `HOME` and `TMPDIR` name.
        import_folders: what `PYTHONPATH` begins with.
    """
    own = interpreter.executable.parent
    found = {
        "PATH": os.pathsep.join(dict.fromkeys([str(own), "/usr/local/bin", "/usr/bin", "/bin"])),
        "HOME": home,
        "TMPDIR": temporary,
        "USER": "user",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if (own.parent / "pyvenv.cfg").is_file():
        found["VIRTUAL_ENV"] = str(own.parent)
    if interpreter.user_base:
        found["PYTHONUSERBASE"] = interpreter.user_base
    found |= {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return found | python_path(import_folders)


def python_path(import_folders: Iterable[Path]) -> dict[str, str]:
    """Return `PYTHONPATH` with some folders in front of what this process has in it; nothing if there are none."""
    folders = [*map(str, import_folders), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(folders)} if folders else {}
