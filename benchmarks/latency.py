"""How long is it from an edit to the tests' result, warm and sandboxed, beside a cold pytest and what editors do?

Each project is edited and its one test file run, by each way in turn. Then come 1,000 candidates in a row, forked from
one process, with a look at what is left of them.

    python benchmarks/latency.py [--runs 30] [--candidates 1000] [--vscode-python FOLDER]

The interpreter that runs this needs pytest and numpy. FOLDER is `python_files` of vscode-python's repository, with which
its Test Explorer's own way is measured as well: its script, told the tests by a file, reporting to a pipe.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import psutil

from runner.report import Report
from runner.request import TestRequest
from runner.run import run_tests
from runner.warm import WarmProcesses

PROJECTS = {
    "trivial": ("", "return a + b"),
    "numpy": ("import numpy as np\n\n", "return int(np.add(a, b))"),
}
TEST = """from calc import add

def test_add():
    assert add(1, 2) == 3

def test_zero():
    assert add(0, 0) == 0
"""


def main() -> int:
    """Measure the projects, then the candidates."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--interpreter", type=Path, default=Path(sys.executable))
    parser.add_argument("--vscode-python", type=Path, help="its python_files")
    options = parser.parse_args()
    # As users have it: pytest keeps the tests as it has rewritten them beside them, and all ways read that.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for name, (head, body) in PROJECTS.items():
        with tempfile.TemporaryDirectory() as folder:
            _project(name, Path(folder).resolve(), head, body, options)
    with tempfile.TemporaryDirectory() as folder:
        _many(Path(folder).resolve(), options)
    return 0


def _project(name: str, root: Path, head: str, body: str, options: argparse.Namespace) -> None:
    (root / "test_calc.py").write_text(TEST)
    calc = root / "calc.py"
    calc.write_text(f"{head}def add(a, b):\n    {body}\n")
    warm = WarmProcesses()
    request = TestRequest(root, ("test_calc.py",), options.interpreter)
    began = time.perf_counter()
    run_tests(request, threading.Event(), warm=warm)
    first = time.perf_counter() - began
    warm.settle()
    started = time.perf_counter() - began - first
    run_tests(request, threading.Event(), warm=warm)
    warm.settle()
    memory = _memory()

    def forked() -> None:
        _passed(run_tests(request, threading.Event(), warm=warm), forked=True)

    def own() -> None:
        _passed(run_tests(request, threading.Event()), forked=False)

    pytest = [options.interpreter, "-m", "pytest", "-q", "test_calc.py"]
    ways: dict[str, Callable[[], object]] = {
        "warm, sandboxed": forked,
        "cold, sandboxed": own,
        "python -m pytest": lambda: subprocess.run(pytest, cwd=root, check=True, capture_output=True),
    }
    if options.vscode_python:
        ways["vscode-python"] = _vscode(root, options)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(options.runs):
        calc.write_text(f"{head}def add(a, b):\n    # edit {number}\n    {body}\n")
        for way, run in ways.items():
            began = time.perf_counter()
            run()
            seconds[way].append(time.perf_counter() - began)
    warm.close()
    print(f"{name}: the process that forks takes {memory / 1e6:.0f} MB and {started:.2f} s to come up")
    reference = statistics.median(seconds["warm, sandboxed"])
    for way, found in seconds.items():
        p50, p95 = statistics.median(found), statistics.quantiles(found, n=20)[-1]
        print(
            f"  {way:18} p50 {p50 * 1e3:6.0f} ms   p95 {p95 * 1e3:6.0f} ms   x {p50 / reference:.1f}",
            flush=True,
        )


def _vscode(root: Path, options: argparse.Namespace) -> Callable[[], object]:
    ids, pipe = root / "ids.txt", root / "pipe"
    script = options.vscode_python / "vscode_pytest" / "run_pytest_script.py"
    environment = {
        **os.environ,
        "RUN_TEST_IDS_PIPE": str(ids),
        "TEST_RUN_PIPE": str(pipe),
        "PYTHONPATH": str(options.vscode_python),
    }

    def run() -> None:
        ids.write_text("test_calc.py::test_add\ntest_calc.py::test_zero")  # it removes the file
        command = [options.interpreter, script, f"--rootdir={root}"]
        subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True)
        assert pipe.read_text().count('"passed"') or pipe.read_text().count('"success"'), pipe.read_text()

    return run


def _many(root: Path, options: argparse.Namespace) -> None:
    """So many candidates of one file in a row, every other one wrong, from one process that forks."""
    (root / "test_calc.py").write_text(TEST)
    (root / "calc.py").write_text("def add(a, b):\n    return a - b\n")
    warm = WarmProcesses()
    run_tests(TestRequest(root, ("test_calc.py",), options.interpreter), threading.Event(), warm=warm)
    warm.settle()
    seconds, held = [], []
    for number in range(options.candidates):
        sign = "+" if number % 2 else "-"
        text = f"# candidate {number}\ndef add(a, b):\n    return a {sign} b\n".encode()
        request = TestRequest(
            root, ("test_calc.py",), options.interpreter, files={PurePosixPath("calc.py"): text}
        )
        began = time.perf_counter()
        report = run_tests(request, threading.Event(), warm=warm)
        seconds.append(time.perf_counter() - began)
        assert report.warm, "it did not run in a fork"
        assert len(report.passed) == (2 if number % 2 else 1), report
        warm.settle()
        if number in (options.candidates // 10, options.candidates - 1):
            held.append(_held())
    warm.close()
    print(
        f"{options.candidates} candidates in a row: {sum(seconds):.1f} s, p50 {statistics.median(seconds) * 1e3:.0f} ms"
    )
    for what, after_some, after_all in zip(("processes", "descriptors", "mounts", "MB"), *held, strict=True):
        print(f"  {what:12} after a tenth of them {after_some}, after all {after_all}")


def _passed(report: Report, *, forked: bool) -> None:
    assert report.warm is forked, "it ran otherwise than it was to"
    assert len(report.passed) == 2, report


def _held() -> tuple[int, int, int, int]:
    """Processes, descriptors and mounts of this process and all below it, and their memory in MB."""
    own = psutil.Process()
    family = [own, *own.children(recursive=True)]
    descriptors = sum(each.num_fds() for each in family)
    mounts = sum(len(Path(f"/proc/{each.pid}/mountinfo").read_text().splitlines()) for each in family[1:])
    return len(family), descriptors, mounts, round(_memory() / 1e6)


def _memory() -> int:
    """Bytes that the processes below this one hold, with what they share counted once."""
    return sum(int(each.memory_full_info().pss) for each in psutil.Process().children(recursive=True))


if __name__ == "__main__":
    sys.exit(main())
