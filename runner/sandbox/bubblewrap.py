"""The bubblewrap level: an overlay at the workspace's real path, and nothing else of the user's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from runner.interpreter import Interpreter
from runner.request import TestRequest
from runner.sandbox import seccomp, show
from runner.sandbox.launch import INSIDE, Launch

_INSIDE_AT = "/run/oci-companion/inside"
LOWER = "/run/oci-companion/workspace"
"""Where a sandbox that serves many runs has the workspace as it is on disk, read-only."""
_HOME_AT = "/tmp/home"
_TMP_BYTES = 1 << 30


def launch(
    bwrap: Path,
    request: TestRequest,
    interpreter: Interpreter,
    descriptors: Iterable[int] = (),
    *,
    serving: bool = False,
) -> Launch:
    """Return the command that runs the driver in bubblewrap.

    Args:
        bwrap: a bubblewrap with overlay support.
        request: what is run, and on what.
        interpreter: the user's.
        descriptors: what the driver inherits besides its standard streams.
        serving: it will serve many runs, each with an overlay of its own, which `renew` makes; the request's texts are
            left to that.
    """
    workspace = request.workspace.resolve()
    environment = show.environment(
        interpreter, _HOME_AT, "/tmp", [workspace / each for each in request.import_folders]
    )
    driver = [str(interpreter.executable), "-X", "faulthandler", f"{_INSIDE_AT}/driver.py"]
    made = Launch(
        "bubblewrap", [], driver, workspace, environment, list(descriptors), counts_processes=_ucounts()
    )
    arguments = [
        *_namespaces(request.sandbox.network),
        *_root(request.sandbox.network, made.descriptors),
        *_bound("--ro-bind-try", request.sandbox.readable),
        *_interpreter(interpreter, workspace),
        *("--overlay-src", str(workspace), "--tmp-overlay", str(workspace)),
        *_bound("--bind", request.sandbox.writable),
        *(() if serving else _protected(workspace, request.tests)),
        *(() if serving else _files(workspace, request.files, made.descriptors)),
        *(("--ro-bind", str(workspace), LOWER) if serving else ()),
        *("--ro-bind", str(INSIDE), _INSIDE_AT),
        *("--remount-ro", "/", "--chdir", str(workspace), "--clearenv"),
    ]
    if request.workspace != workspace and request.workspace.is_symlink():
        arguments[-4:-4] = ["--symlink", str(workspace), str(request.workspace)]
    if (filter_program := seccomp.program(seccomp.OWN_NETWORK)) is not None:
        arguments += ["--seccomp", str(_memory_file(filter_program, made.descriptors))]
    for name, value in environment.items():
        arguments += ["--setenv", name, value]
    options = _memory_file(
        b"".join(os.fsencode(argument) + b"\0" for argument in arguments), made.descriptors
    )
    made.wrapper = [str(bwrap), "--args", str(options), "--"]
    return made


def _namespaces(network: bool) -> list[str]:
    return [
        *("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"),
        *("--cap-drop", "ALL", "--hostname", "localhost"),
        *(["--share-net"] if network else []),
    ]


def _root(network: bool, descriptors: list[int]) -> Iterator[str]:
    """Arguments for a root with the system's programs and libraries, and private /proc, /dev and /tmp."""
    for name in show.SYSTEM:
        path = Path(name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), name)
        elif path.is_dir():
            yield from ("--ro-bind", name, name)
    for name in show.ETC + (show.ETC_NETWORK if network else ()):
        yield from ("--ro-bind-try", os.path.realpath(name), name)
    for path in sorted(Path("/etc").glob("python3*")):
        yield from ("--ro-bind", str(path), str(path))
    uid, gid = os.getuid(), os.getgid()
    texts = {
        "/etc/passwd": f"user:x:{uid}:{gid}:user:{_HOME_AT}:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        "/etc/group": f"user:x:{gid}:\nnogroup:x:65534:\n",
        "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    }
    if not network:
        texts["/etc/hosts"] = "127.0.0.1 localhost\n::1 localhost\n"
    for name, text in texts.items():
        yield from ("--ro-bind-data", str(_memory_file(text.encode(), descriptors)), name)
    # Where the companion runs as root, the sandbox's user still is the machine's root to /proc/sys, whatever its
    # capabilities.
    yield from ("--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev")
    yield from ("--size", str(_TMP_BYTES), "--tmpfs", "/dev/shm", "--remount-ro", "/dev")
    yield from (
        "--perms",
        "1777",
        "--size",
        str(_TMP_BYTES),
        "--tmpfs",
        "/tmp",
        "--perms",
        "0700",
        "--dir",
        _HOME_AT,
    )


def _interpreter(interpreter: Interpreter, workspace: Path) -> Iterator[str]:
    """Arguments that show the interpreter's installation and what its import path leads to, read-only."""
    for path in show.interpreter_paths(interpreter, workspace):
        yield from ("--ro-bind", str(path), str(path))
    for link in _links(interpreter.executable):
        if not show.within(link, [*map(Path, show.SYSTEM), *interpreter.prefixes, workspace]):
            yield from ("--symlink", str(link.readlink()), str(link))


def below_tmp(request: TestRequest, interpreter: Interpreter) -> list[str]:
    """Return what a sandbox shows below /tmp besides the workspace, and has to show again when /tmp is replaced."""
    workspace = request.workspace.resolve()
    readable = [path.resolve() for path in request.sandbox.readable if path.exists()]
    shown = [*show.interpreter_paths(interpreter, workspace), *_links(interpreter.executable), *readable]
    if request.workspace != workspace:
        shown.append(request.workspace)
    kept = [path for path in shown if path.is_relative_to("/tmp") and not path.is_relative_to(workspace)]
    # What lies in another of them comes with it.
    outermost = [path for path in kept if not any(other in path.parents for other in kept)]
    return [str(path) for path in dict.fromkeys(outermost)]


def _links(executable: Path) -> Iterator[Path]:
    """The symbolic links that an executable's path goes through."""
    for _ in range(40):
        if not executable.is_symlink():
            return
        yield executable
        executable = executable.parent / executable.readlink()


def _bound(how: str, paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        yield from (how, str(path.resolve()), str(path.resolve()))


def _protected(workspace: Path, tests: Iterable[str]) -> Iterator[str]:
    """Arguments that make the tests, and what configures them, read-only inside the overlay."""
    for path in sorted(show.test_files(workspace, tests)):
        yield from ("--ro-bind", str(path), str(path))


def _files(workspace: Path, files: Mapping[PurePosixPath, bytes], descriptors: list[int]) -> Iterator[str]:
    """Arguments that lay the request's texts over the workspace, and hide bytecode made from the texts on disk."""
    for relative, content in files.items():
        path = Path(os.path.realpath(workspace / relative))
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        yield from ("--perms", f"{mode:04o}")
        yield from ("--ro-bind-data", str(_memory_file(content, descriptors)), str(path))
        # Python takes bytecode for current if time (whole seconds) and size agree; a text typed within the second
        # in which the file was saved could be mistaken for it.
        for stale in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            yield from ("--ro-bind", "/dev/null", str(stale))


def _memory_file(content: bytes, descriptors: list[int]) -> int:
    fd = os.memfd_create("oci-companion")
    descriptors.append(fd)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _ucounts() -> bool:
    """Whether RLIMIT_NPROC counts a user namespace's processes alone (Linux 5.14 and later)."""
    release = os.uname().release.split(".")
    return sys.platform == "linux" and (int(release[0]), int(release[1])) >= (5, 14)
