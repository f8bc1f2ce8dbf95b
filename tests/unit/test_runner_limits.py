"""Hangs, limits, cancelling: a run always ends, and says why."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path, PurePosixPath

import pytest

from runner.report import Outcome, Stop, TestResult
from tests.unit.runner_project import Limits, Project, need_bubblewrap, only

LEVELS = ["auto", "off"]


@pytest.fixture(autouse=True)
def bubblewrap() -> None:
    need_bubblewrap()


def test_a_test_that_hangs_is_a_timeout_with_its_stack_and_the_others_still_run(tmp_path: Path) -> None:
    calc = "def forever(n):\n    while True:\n        n += 1\n"
    test = "import calc\n\ndef test_hangs():\n    calc.forever(1)\n\ndef test_after():\n    pass\n"
    project = Project(tmp_path, {"calc.py": calc, "test_h.py": test})
    report = project.run("test_h.py", limits=Limits(test_seconds=0.5))
    result = report.results["test_h.py::test_hangs"]
    assert result.outcome is Outcome.TIMEOUT
    assert result.failure is not None
    assert result.failure.message == "still running after 0.5 s"
    assert "forever" in result.failure.detail
    assert [frame.function for frame in result.failure.frames] == ["test_hangs", "forever"]
    assert report.results["test_h.py::test_after"].outcome is Outcome.PASSED
    assert report.stop is Stop.FINISHED


def test_after_some_hangs_the_run_ends_and_the_rest_is_not_run(tmp_path: Path) -> None:
    test = (
        "import time, pytest\n@pytest.mark.parametrize('n', range(5))\ndef test_h(n):\n    time.sleep(60)\n"
    )
    report = Project(tmp_path, {"test_h.py": test}).run("test_h.py", limits=Limits(test_seconds=0.3, hangs=2))
    outcomes = [result.outcome for result in report.results.values()]
    assert outcomes == [Outcome.TIMEOUT] * 2 + [Outcome.NOT_RUN] * 3
    assert report.stop is Stop.HANGS


@pytest.mark.parametrize(
    "body",
    [
        "while True:\n        try:\n            time.sleep(9)\n        except BaseException:\n            pass",
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\n    time.sleep(60)",
    ],
    ids=["swallows", "deaf"],
)
def test_a_hang_that_the_limit_inside_cannot_end_is_killed_from_outside(tmp_path: Path, body: str) -> None:
    test = f"import signal, time\ndef test_h():\n    {body}\ndef test_after():\n    pass\n"
    report = Project(tmp_path, {"test_h.py": test}).run("test_h.py", limits=Limits(test_seconds=0.3))
    result = report.results["test_h.py::test_h"]
    assert result.outcome is Outcome.TIMEOUT
    assert result.failure is not None
    assert "test_h.py" in result.failure.detail
    assert [str(frame.path) for frame in result.failure.frames] == ["test_h.py"]
    assert report.results["test_h.py::test_after"].outcome is Outcome.NOT_RUN
    assert report.stop is Stop.HANGS


def test_an_import_that_hangs_is_a_collection_error(tmp_path: Path) -> None:
    project = Project(
        tmp_path, {"calc.py": "while True:\n    pass\n", "test_h.py": "import calc\ndef test_h(): pass\n"}
    )
    report = project.run(
        "test_h.py", limits=Limits(test_seconds=0.5), expected=frozenset({"test_h.py::test_h"})
    )
    (error,) = report.collection_errors
    assert "still running after 0.5 s" in error.failure.message
    assert error.failure.frames[-1].path == PurePosixPath("calc.py")
    assert report.results["test_h.py::test_h"].outcome is Outcome.NOT_RUN


@pytest.mark.parametrize("level", LEVELS)
def test_the_wall_clock_ends_the_run(tmp_path: Path, level: str) -> None:
    project = Project(tmp_path, {"test_h.py": "import time\ndef test_h(): time.sleep(60)\n"})
    began = time.monotonic()
    report = project.run("test_h.py", limits=Limits(wall_seconds=5), level=level)
    assert time.monotonic() - began < 8
    assert report.stop is Stop.WALL_CLOCK
    assert only(report).outcome is Outcome.TIMEOUT


def test_the_cpu_limit_ends_the_run(tmp_path: Path) -> None:
    project = Project(tmp_path, {"test_h.py": "def test_h():\n    while True: pass\n"})
    report = project.run("test_h.py", limits=Limits(cpu_seconds=2))
    assert report.stop is Stop.CPU
    assert only(report).outcome is Outcome.CRASHED


@pytest.mark.parametrize("level", LEVELS)
def test_cancelling_kills_the_whole_tree_at_once(tmp_path: Path, level: str) -> None:
    """A daemon in a session of its own included."""
    mark = f"oci-cancel-{os.getpid()}-{level}"
    test = f"""
        import subprocess, sys, time

        def test_first():
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "{mark}"], start_new_session=True)

        def test_h():
            time.sleep(60)
    """
    cancel = threading.Event()
    ended: list[float] = []

    def first_result(result: TestResult) -> None:
        threading.Timer(0.2, lambda: (ended.append(time.monotonic()), cancel.set())).start()

    report = Project(tmp_path, {"test_h.py": test}).run(
        "test_h.py", cancel=cancel, on_result=first_result, level=level
    )
    assert time.monotonic() - ended[0] < 0.5  # 0.2 s, and what a busy machine adds
    assert report.stop is Stop.CANCELLED
    assert report.results["test_h.py::test_first"].outcome is Outcome.PASSED
    assert report.results["test_h.py::test_h"].outcome is Outcome.NOT_RUN
    assert not alive(mark)


@pytest.mark.parametrize("level", LEVELS)
def test_no_process_outlives_a_run(tmp_path: Path, level: str) -> None:
    mark = f"oci-daemon-{os.getpid()}-{level}"
    test = f"""
        import os, time, subprocess, sys

        def test_daemon():
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)", "{mark}"])
                os._exit(0)
            time.sleep(0.1)
    """
    report = Project(tmp_path, {"test_d.py": test}).run("test_d.py", level=level)
    assert only(report).outcome is Outcome.PASSED
    assert not alive(mark)


def alive(mark: str) -> list[str]:
    """Processes whose command line holds the mark."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes() and path.parent.name != str(os.getpid()):
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def test_output_is_kept_from_its_end(tmp_path: Path) -> None:
    test = "import sys\ndef test_o():\n    for i in range(100000): sys.__stderr__.write('line %d\\n' % i)\n"
    project = Project(tmp_path, {"test_o.py": test})
    report = project.run("test_o.py", test_args=["-s"], limits=Limits(output_bytes=10_000))
    assert only(report).outcome is Outcome.PASSED
    assert len(report.output_tail) <= 10_000
    assert "line 99999" in report.output_tail


def test_no_descriptor_is_left_open_by_runs(tmp_path: Path) -> None:
    project = Project(tmp_path, {"test_a.py": "def test_a(): pass\n"})
    project.run("test_a.py")
    before = len(list(Path("/proc/self/fd").iterdir()))
    project.run("test_a.py", files={"b.py": ""})
    assert len(list(Path("/proc/self/fd").iterdir())) == before
