"""Run tests on a candidate: the workspace as it is on disk, with some files' text replaced, in a sandbox."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable

from runner.errors import InterpreterError, RunnerError, SandboxUnavailable
from runner.interpreter import Interpreter, describe
from runner.process import TestProcess
from runner.report import Report, Stop, TestResult
from runner.request import Limits, Sandboxing, TestRequest
from runner.sandbox import copy, probe
from runner.sandbox.launch import Launch
from runner.sandbox.limits import rlimits
from runner.tally import Tally

__all__ = [
    "InterpreterError",
    "Limits",
    "RunnerError",
    "SandboxUnavailable",
    "Sandboxing",
    "TestRequest",
    "run_tests",
]


def run_tests(
    request: TestRequest,
    cancel: threading.Event,
    on_result: Callable[[TestResult], None] = lambda result: None,
) -> Report:
    """Run the tests and return an outcome per test id.

    Args:
        request: what to run.
        cancel: when set, the whole process tree is killed within 0.2 s and the report's stop is CANCELLED.
        on_result: called as each test ends, from the calling thread.

    Raises:
        InterpreterError: the interpreter does not start, or its pytest does not.
        SandboxUnavailable: no isolation level works here.
    """
    began = time.monotonic()
    interpreter = describe(request.interpreter)
    isolation = probe.require(request.sandbox.level)

    event_read, event_write = os.pipe()
    stack_read, stack_write = os.pipe()
    launch = None
    try:
        launch = isolation.launch(request, interpreter, (event_write, stack_write))
        nonce = secrets.token_hex(16)
        order = _order(request, interpreter, launch, nonce, event_write, stack_write)
        tally = Tally(nonce, launch.workspace, on_result)
        process = TestProcess(launch, order, event_read, stack_read, request.limits)
        stop, detail = process.watch(tally, cancel)
        for path in copy.changed(launch.guarded, launch.workspace):
            tally.violate(f"{path}, which the tests are made of, was changed during the run")
    finally:
        os.close(event_read)
        os.close(stack_read)
        if launch is None:
            os.close(event_write)
            os.close(stack_write)
        else:
            launch.close_descriptors()
            if launch.temporary is not None:
                shutil.rmtree(launch.temporary, ignore_errors=True)

    report = tally.report(
        expected=request.expected,
        stop=stop,
        stop_detail=detail,
        seconds=time.monotonic() - began,
        isolation=launch.level,
        output_tail=process.output_tail(),
    )
    if tally.no_pytest:
        raise InterpreterError(_no_pytest(request, tally.no_pytest))
    if not interpreter.has_pytest and any(
        "No module named 'pytest'" in error.failure.message for error in report.collection_errors
    ):
        raise InterpreterError(_no_pytest(request))
    if not tally.greeted and stop is Stop.CRASHED:
        _raise_not_started(request, launch, process.output_tail() or detail)
    return report


def _order(
    request: TestRequest, interpreter: Interpreter, launch: Launch, nonce: str, event_fd: int, stack_fd: int
) -> bytes:
    """What the driver reads from its standard input before it imports any user code."""
    workspace = request.workspace.resolve()
    foreign = [str(prefix) for prefix in interpreter.prefixes if prefix.is_relative_to(workspace)]
    doctests = [path.as_posix() for path in request.doctest_modules]
    tests = [test.replace(os.sep, "/") for test in request.tests]
    return json.dumps(
        {
            "nonce": nonce,
            "event_fd": event_fd,
            "stack_fd": stack_fd,
            "workspace": str(launch.workspace),
            "moved": [str(workspace), str(launch.workspace)] if launch.workspace != workspace else [],
            "foreign": [path for path in foreign if path != str(workspace)],
            "tests": [*tests, *(path for path in doctests if path not in tests)],
            "doctests": doctests,
            "test_args": list(request.test_args),
            "pytest": interpreter.has_pytest,
            "trace": request.trace,
            "test_seconds": request.limits.test_seconds,
            "hangs": request.limits.hangs,
            "cache": launch.cache,
            "rlimits": rlimits(request.limits, launch.counts_processes),
        }
    ).encode()


def _no_pytest(request: TestRequest, reason: str = "") -> str:
    because = f" ({reason})" if reason else ""
    return (
        f"{request.interpreter} has no pytest{because}. Install it with `{request.interpreter} -m pip install pytest`, "
        "or set oci.interpreter to one that has it."
    )


def _raise_not_started(request: TestRequest, launch: Launch, said: str) -> None:
    last = said.strip().rpartition("\n")[2]
    if "bwrap:" in said:
        raise SandboxUnavailable(
            f"The sandbox did not start on {request.workspace}: {last}. "
            'If the folder cannot be overlaid, move the project, or set oci.sandbox.level to "off".'
        )
    raise InterpreterError(
        f"{request.interpreter} did not start at level {launch.level}: {last}. "
        "Check that it runs, or set oci.interpreter to another."
    )
