"""Runs a command and keeps whatever it orphans below this process, so that the parent can find and kill it all."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main(command: list[str], prepare: Callable[[], None] = lambda: None) -> int:
    """Run a command, reap every process that ends below it, and return its exit status (128 + signal).

    Args:
        command: what to run.
        prepare: called in its process first; an OSError keeps it from running.
    """
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    child = os.fork()
    if child == 0:
        try:
            prepare()
            os.execv(command[0], command)
        except OSError as error:
            os.write(2, f"the test process could not be started: {error}\n".encode())
            os._exit(126)
    os.closerange(3, 1024)  # the test process alone holds the pipes
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
