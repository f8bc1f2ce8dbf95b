"""Run tests on a candidate: the workspace as it is on disk, with some files' text replaced, in a sandbox."""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.errors import InterpreterError, RunnerError, SandboxUnavailable
from runner.interpreter import Interpreter, describe
from runner.process import ColdProcess, TestProcess
from runner.report import Report, Stop, TestResult
from runner.request import Limits, Sandboxing, TestRequest
from runner.sandbox import copy, probe
from runner.sandbox.limits import rlimits
from runner.tally import Tally
from runner.warm import WarmProcess, WarmProcesses

__all__ = [
    "InterpreterError",
    "Limits",
    "RunnerError",
    "SandboxUnavailable",
    "Sandboxing",
    "TestRequest",
    "run_tests",
]


log = logging.getLogger(__name__)


def run_tests(
    request: TestRequest,
    cancel: threading.Event,
    on_result: Callable[[TestResult], None] = lambda result: None,
    warm: WarmProcesses | None = None,
    *,
    fork: bool = True,
) -> Report:
    """Run the tests and return an outcome per test id.

    Args:
        request: what to run.
        cancel: when set, the whole process tree is killed within 0.2 s and the report's stop is CANCELLED.
        on_result: called as each test ends, from the calling thread.
        warm: processes that may be forked for this run, and learn from it; None: one of its own.
        fork: False: not for this one, which gets one of its own all the same.

    Raises:
        InterpreterError: the interpreter does not start, or its pytest does not.
        SandboxUnavailable: no isolation level works here.
    """
    began = time.monotonic()
    interpreter = describe(request.interpreter)
    isolation = probe.require(request.sandbox.level)
    served = warm.take(request, interpreter, isolation) if warm is not None and fork else None
    run = None
    if warm is not None and served is not None:
        try:
            run = _warm(request, interpreter, served, cancel, on_result)
        except BaseException:
            warm.discard(served)
            raise
        if not run.tally.greeted and run.stop is not Stop.CANCELLED:
            log.info("a test process could not be forked (%s); the run gets one of its own", run.detail)
            warm.discard(served)
            run = served = None
    if run is None:
        run = _cold(request, interpreter, isolation, cancel, on_result, learn=warm is not None)
    if warm is not None:
        warm.note(request, interpreter, isolation, served, run.tally.imported)
    tally = run.tally
    report = tally.report(
        expected=request.expected,
        stop=run.stop,
        stop_detail=run.detail,
        seconds=time.monotonic() - began,
        isolation=isolation.level,
        output_tail=run.output,
        warm=served is not None,
    )
    if tally.no_pytest:
        raise InterpreterError(_no_pytest(request, tally.no_pytest))
    if not interpreter.has_pytest and any(
        "No module named 'pytest'" in error.failure.message for error in report.collection_errors
    ):
        raise InterpreterError(_no_pytest(request))
    if not tally.greeted and run.stop is Stop.CRASHED:
        _raise_not_started(request, isolation.level, run.output or run.detail)
    return report


@dataclass
class _Run:
    """What a run has left."""

    tally: Tally
    stop: Stop
    detail: str
    output: str


def _cold(
    request: TestRequest,
    interpreter: Interpreter,
    isolation: probe.Isolation,
    cancel: threading.Event,
    on_result: Callable[[TestResult], None],
    *,
    learn: bool,
) -> _Run:
    """Run in a process of its own."""
    launch = None
    with _Pipes() as pipes:
        try:
            launch = isolation.launch(request, interpreter, (pipes.event_write, pipes.stack_write))
            nonce = secrets.token_hex(16)
            order = _order(request, interpreter, launch.workspace, launch.cache, nonce)
            order |= {"event_fd": pipes.event_write, "stack_fd": pipes.stack_write, "learn": learn}
            order["rlimits"] = rlimits(request.limits, launch.counts_processes)
            tally = Tally(nonce, launch.workspace, on_result)
            pipes.written_elsewhere()  # by the launch, which closes them as the process runs
            process = TestProcess(
                ColdProcess(launch, json.dumps(order).encode()),
                pipes.event_read,
                pipes.stack_read,
                request.limits,
            )
            stop, detail = process.watch(tally, cancel)
            for path in copy.changed(launch.guarded, launch.workspace):
                tally.violate(f"{path}, which the tests are made of, was changed during the run")
        finally:
            if launch is not None:
                launch.close_descriptors()
                if launch.temporary is not None:
                    shutil.rmtree(launch.temporary, ignore_errors=True)
    return _Run(tally, stop, detail, process.output_tail())


def _warm(
    request: TestRequest,
    interpreter: Interpreter,
    served: WarmProcess,
    cancel: threading.Event,
    on_result: Callable[[TestResult], None],
) -> _Run:
    """Run in a child of a process that has everything loaded."""
    with _Pipes() as pipes:
        nonce = secrets.token_hex(16)
        order = _order(request, interpreter, served.workspace, served.cache, nonce)
        order["rlimits"] = rlimits(request.limits, served.counts_processes)
        tally = Tally(nonce, served.workspace, on_result)
        running = served.fork(request, order, (pipes.event_write, pipes.stack_write))
        pipes.close_writing()
        process = TestProcess(running, pipes.event_read, pipes.stack_read, request.limits)
        stop, detail = process.watch(tally, cancel)
    return _Run(tally, stop, detail, process.output_tail())


class _Pipes:
    """The pipes for a run's events and stacks."""

    def __init__(self) -> None:
        self.event_read, self.event_write = os.pipe()
        self.stack_read, self.stack_write = os.pipe()
        self._open = {self.event_read, self.event_write, self.stack_read, self.stack_write}

    def __enter__(self) -> _Pipes:
        return self

    def __exit__(self, *error: object) -> None:
        while self._open:
            os.close(self._open.pop())

    def close_writing(self) -> None:
        """Close this process's copies, so that the end of the other's is seen."""
        for fd in (self.event_write, self.stack_write):
            os.close(fd)
        self.written_elsewhere()

    def written_elsewhere(self) -> None:
        """Leave the writing ends to who has taken them over."""
        self._open -= {self.event_write, self.stack_write}


def _order(
    request: TestRequest, interpreter: Interpreter, at: Path, cache: str, nonce: str
) -> dict[str, Any]:
    """What the driver is told before it imports any user code, besides its descriptors and limits.

    Args:
        request: what is run, and on what.
        interpreter: the user's.
        at: where the workspace is for the test process.
        cache: pytest's cache folder for it.
        nonce: the mark of true events.
    """
    workspace = request.workspace.resolve()
    foreign = [str(prefix) for prefix in interpreter.prefixes if prefix.is_relative_to(workspace)]
    doctests = [path.as_posix() for path in request.doctest_modules]
    tests = [test.replace(os.sep, "/") for test in request.tests]
    return {
        "nonce": nonce,
        "workspace": str(at),
        "moved": [str(workspace), str(at)] if at != workspace else [],
        "foreign": [path for path in foreign if path != str(workspace)],
        "tests": [*tests, *(path for path in doctests if path not in tests)],
        "doctests": doctests,
        "first": list(request.first),
        "test_args": list(request.test_args),
        "pytest": interpreter.has_pytest,
        "trace": request.trace,
        "test_seconds": request.limits.test_seconds,
        "hangs": request.limits.hangs,
        "cache": cache,
    }


def _no_pytest(request: TestRequest, reason: str = "") -> str:
    because = f" ({reason})" if reason else ""
    return (
        f"{request.interpreter} has no pytest{because}. Install it with `{request.interpreter} -m pip install pytest`, "
        "or set oci.interpreter to one that has it."
    )


def _raise_not_started(request: TestRequest, level: str, said: str) -> None:
    last = said.strip().rpartition("\n")[2]
    if "bwrap:" in said:
        raise SandboxUnavailable(
            f"The sandbox did not start on {request.workspace}: {last}. "
            'If the folder cannot be overlaid, move the project, or set oci.sandbox.level to "off".'
        )
    raise InterpreterError(
        f"{request.interpreter} did not start at level {level}: {last}. "
        "Check that it runs, or set oci.interpreter to another."
    )
