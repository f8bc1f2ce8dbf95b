"""The Landlock level: a copy of the workspace, and a process that confines itself before it becomes the driver.

For machines on which bubblewrap may not make namespaces. It is not as tight: see `LIMITS`.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from runner.interpreter import Interpreter
from runner.request import TestRequest
from runner.sandbox import copy, seccomp, show
from runner.sandbox.confine import CREATE_RULESET, VERSION
from runner.sandbox.launch import INSIDE, Launch

LEAST_ABI = 3
"""The first that can keep files from being cut short (Linux 6.2)."""
LIMITS = (
    "other processes' command lines can be read",
    "modes and times of the user's files can be changed, but not what is in them",
    "there are no sockets, not even on loopback, unless the network is allowed",
    "there is no shared memory, so no locks of multiprocessing",
)
"""What this level does not cover, or does not allow to honest tests."""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_BOOT = (
    "import sys; sys.path[:0] = [sys.argv[1]]; from runner.sandbox.confine import main; main(sys.argv[2:])"
)


def abi() -> int:
    """Return the version of Landlock that the kernel has; 0: none."""
    found = ctypes.CDLL(None, use_errno=True).syscall(CREATE_RULESET, None, 0, VERSION)
    return max(0, int(found))


def launch(request: TestRequest, interpreter: Interpreter, descriptors: Iterable[int] = ()) -> Launch:
    """Return the command that runs the driver, confined, on a copy of the workspace with the request's texts in it.

    Args:
        request: what is run, and on what.
        interpreter: the user's.
        descriptors: what the driver inherits besides its standard streams.
    """
    temporary, workspace = copy.make(request)
    for name in ("home", "tmp"):
        (temporary / name).mkdir()
    families = seccomp.INTERNET if request.sandbox.network else ()
    filter_program = seccomp.program(families)
    policy = {
        "read": [str(path) for path in _readable(request, interpreter)],
        "write": [str(temporary), *(str(path.resolve()) for path in request.sandbox.writable), *_DEVICES],
        "filter": (filter_program or b"").hex(),
    }
    driver = [str(interpreter.executable), "-X", "faulthandler", str(INSIDE / "driver.py")]
    return Launch(
        level="landlock",
        wrapper=[sys.executable, "-I", "-S", "-c", _BOOT, str(INSIDE.parents[1]), json.dumps(policy)],
        program=driver,
        workspace=workspace,
        environment=show.environment(
            interpreter,
            str(temporary / "home"),
            str(temporary / "tmp"),
            [workspace / each for each in request.import_folders],
        ),
        descriptors=list(descriptors),
        cache=str(temporary / "pytest-cache"),
        temporary=temporary,
        guarded=copy.guard(workspace, request.tests),
    )


def _readable(request: TestRequest, interpreter: Interpreter) -> Iterator[Path]:
    original = request.workspace.resolve()
    candidates = [
        *map(Path, show.SYSTEM + show.ETC + (show.ETC_NETWORK if request.sandbox.network else ())),
        *(Path("/etc") / name for name in ("passwd", "group", "nsswitch.conf", "hosts")),
        *Path("/etc").glob("python3*"),
        *show.interpreter_paths(interpreter, original),
        *(path.resolve() for path in request.sandbox.readable),
        # The copy refers to large folders of it, such as environments, instead of containing them.
        original,
        INSIDE,
        Path("/proc"),
    ]
    return (path for path in candidates if path.exists())
