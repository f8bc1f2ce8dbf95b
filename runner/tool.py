"""Run a program of the user's, such as a linter, on a candidate, in the sandbox that tests run in."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from runner.interpreter import describe
from runner.request import TestRequest
from runner.sandbox import probe
from runner.sandbox.limits import Usage, kill_tree, rlimits

_TICK_SECONDS = 0.05
_CHUNK = 1 << 16
_MOST_BYTES = 16 << 20
_ERROR_BYTES = 4000
_HOLD = """
import json, os, resource, sys
for name, (soft, hard) in json.loads(sys.argv[1]).items():
    resource.setrlimit(getattr(resource, name), (soft, hard))
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Holds a process to limits, and becomes the program."""


@dataclass(frozen=True)
class ToolRun:
    """What a program has said."""

    status: int | None
    """Exit status, negative for a signal; None: it was ended, because of time, output or `cancel`."""
    output: str
    """Standard output."""
    error: str
    """The end of standard error."""


def run_tool(request: TestRequest, command: Sequence[str], cancel: threading.Event) -> ToolRun:
    """Run a program on the workspace with the request's texts in it; its working directory is the workspace.

    It is held to the same limits as tests are; what it writes is gone afterwards.

    Args:
        request: workspace, texts, interpreter (whose environment is readable), sandbox and time.
        command: the program and its arguments; paths in them are relative to the workspace.
        cancel: ends it.

    Raises:
        InterpreterError: the interpreter does not start.
        SandboxUnavailable: no isolation level works here.
    """
    interpreter = describe(request.interpreter)
    launch = probe.require(request.sandbox.level).launch(request, interpreter)
    held = json.dumps(rlimits(request.limits, launch.counts_processes))
    launch.program = [str(interpreter.executable), "-I", "-S", "-c", _HOLD, held, *command]
    try:
        process = subprocess.Popen(
            launch.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=launch.descriptors,
            env={} if launch.level == "bubblewrap" else launch.environment,
            cwd=launch.workspace,
            start_new_session=True,
        )
        launch.close_descriptors()
        usage = Usage(process.pid, launch.workspace, launch.temporary, request.limits)
        try:
            return _watch(process, usage, request.limits.wall_seconds, cancel)
        finally:
            kill_tree(process.pid)
            process.wait()
    finally:
        launch.close_descriptors()
        if launch.temporary is not None:
            shutil.rmtree(launch.temporary, ignore_errors=True)


def _watch(
    process: subprocess.Popen[bytes], usage: Usage, seconds: float, cancel: threading.Event
) -> ToolRun:
    assert process.stdout is not None and process.stderr is not None
    output, error = bytearray(), bytearray()
    ends = time.monotonic() + seconds
    with process.stdout, process.stderr, selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, output)
        selector.register(process.stderr, selectors.EVENT_READ, error)
        while selector.get_map():
            for key, _ in selector.select(_TICK_SECONDS):
                data = os.read(key.fd, _CHUNK)
                key.data.extend(data)
                if not data:
                    selector.unregister(key.fileobj)
            del error[:-_ERROR_BYTES]
            over = cancel.is_set() or time.monotonic() > ends or len(output) > _MOST_BYTES
            if over or usage.excess() is not None:
                return ToolRun(None, _text(output), _text(error))
    try:
        status = process.wait(max(ends - time.monotonic(), _TICK_SECONDS))
    except subprocess.TimeoutExpired:
        return ToolRun(None, _text(output), _text(error))
    return ToolRun(status, _text(output), _text(error))


def _text(data: bytearray) -> str:
    return data.decode("utf-8", "replace")
