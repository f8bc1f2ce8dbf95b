"""A candidate that takes too much: memory, processes, files, output."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from runner.report import Outcome, Report, Stop
from tests.unit.runner_project import Limits, Project, need_bubblewrap, only

MIB = 1 << 20


Attack = Callable[..., Report]


@pytest.fixture(params=["strict", "warm", "landlock"])
def attack(request: pytest.FixtureRequest, tmp_path: Path) -> Attack:
    """Runs a function's body as a test, at an isolation level."""
    need_bubblewrap()

    def run(body: str, limits: Limits, test_args: list[str] | None = None) -> Report:
        candidate = f"import mmap, os, subprocess, sys, time\n\ndef attack():\n{body}"
        test = "import candidate\ndef test_c(): candidate.attack()\n"
        project = Project(tmp_path, {"candidate.py": "", "test_c.py": test})
        extra = {"test_args": test_args} if test_args is not None else {}
        return project.run(
            "test_c.py", files={"candidate.py": candidate}, limits=limits, level=request.param, **extra
        )

    return run


def test_memory_of_one_process(attack: Attack) -> None:
    report = attack("    return len(bytearray(3 << 30))\n", Limits(memory_bytes=512 * MIB))
    assert only(report).outcome is Outcome.FAILED
    assert only(report).failure.message == "MemoryError"


def test_memory_of_many_processes_together(attack: Attack) -> None:
    body = """\
    for _ in range(20):
        if os.fork() == 0:
            data = b"x" * (60 << 20)
            time.sleep(60)
    time.sleep(60)
"""
    report = attack(body, Limits(memory_bytes=300 * MIB))
    assert report.stop is Stop.MEMORY
    assert only(report).outcome is Outcome.CRASHED


def test_shared_memory(attack: Attack) -> None:
    body = """\
    kept = []
    while True:
        kept.append(mmap.mmap(-1, 16 << 20))
        kept[-1].write(b"x" * (16 << 20))
        time.sleep(0.002)
"""
    report = attack(body, Limits(memory_bytes=200 * MIB))
    assert report.stop is Stop.MEMORY


def test_files_that_fill_the_overlay(attack: Attack) -> None:
    body = """\
    for n in range(10_000):
        with open("file%d" % n, "wb") as file:
            file.write(b"x" * (4 << 20))
        time.sleep(0.002)
"""
    report = attack(body, Limits(memory_bytes=200 * MIB))
    assert report.stop is Stop.MEMORY
    assert "files" in report.stop_detail


def test_one_large_file(attack: Attack) -> None:
    body = """\
    with open("large", "wb") as file:
        file.truncate(2 << 30)
"""
    report = attack(body, Limits(file_bytes=8 * MIB))
    assert only(report).outcome is Outcome.FAILED
    assert "File too large" in only(report).failure.message


def test_a_fork_bomb(attack: Attack) -> None:
    mark = f"bomb{os.getpid()}"
    body = f"""\
    import ctypes
    ctypes.CDLL(None).prctl(15, {mark.encode()!r})  # PR_SET_NAME, which its children have, too
    while True:
        try:
            os.fork()
        except OSError:
            pass
"""
    most, watching = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not watching.wait(0.02):
            most = max(most, _named(mark))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    try:
        report = attack(body, Limits(processes=50, test_seconds=3))
        assert time.monotonic() - began < 20
    finally:
        watching.set()
        watcher.join()
    # Where the kernel's own limit does not hold it, it is killed within a tenth of a second, and may not be caught alive.
    assert most > 5 or "more than 50 processes" in report.stop_detail, "there was no bomb"
    assert only(report).outcome in (Outcome.CRASHED, Outcome.TIMEOUT)
    deadline = time.monotonic() + 5
    while _named(mark):
        assert time.monotonic() < deadline, "some have survived"
        time.sleep(0.1)


def _named(name: str) -> int:
    """How many processes have a name."""
    return sum(process.info["name"] == name for process in psutil.process_iter(["name"]))


@pytest.mark.parametrize("test_args", [["-s"], []], ids=["to the pipe", "captured"])
def test_endless_output(attack: Attack, test_args: list[str]) -> None:
    """1 GB, of which this process keeps no more than was asked for."""
    body = """\
    line = b"x" * (1 << 20)
    for _ in range(1000):
        os.write(1, line)
"""
    own = psutil.Process(os.getpid())
    before = own.memory_info().rss
    report = attack(body, Limits(output_bytes=10_000, file_bytes=32 * MIB), test_args)
    assert len(report.output_tail) <= 10_000
    assert own.memory_info().rss - before < 100 * MIB
    assert only(report).outcome is (Outcome.PASSED if test_args else Outcome.FAILED)


def test_deep_recursion_and_a_segmentation_fault(attack: Attack) -> None:
    report = attack("    import ctypes; ctypes.string_at(0)\n", Limits())
    assert only(report).outcome is Outcome.CRASHED
    assert "SIGSEGV" in report.stop_detail
    report = attack("    attack()\n", Limits())
    assert only(report).failure.message.startswith("RecursionError")
