"""What a run may use, and how it is ended: limits set inside, a watch from outside, and the death of the whole tree."""

from __future__ import annotations

import mmap
import os
import signal
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from runner.report import Stop
from runner.request import Limits

_KILL_SECONDS = 2.0
"""At most, for a tree that forks as fast as it is killed; any other is gone within a few milliseconds."""
_EXITING = 4
"""PF_EXITING of include/linux/sched.h."""
_OWN_PROCESSES = 4
"""bubblewrap's own, or the reaper, and the process that forks where one serves many runs."""


def rlimits(limits: Limits, count_processes: bool) -> dict[str, tuple[int, int]]:
    """Return the limits that the test process sets on itself, soft and hard, by their name in `resource`.

    Memory is RLIMIT_DATA: address space (RLIMIT_AS) also counts what is only reserved, as thread arenas, jemalloc
    and CUDA do, and would stop honest tests.

    Args:
        limits: what the run may use.
        count_processes: whether the kernel counts the sandbox's processes apart from the user's other ones.
    """
    table = {
        "RLIMIT_CORE": (0, 0),
        "RLIMIT_CPU": (limits.cpu_seconds, limits.cpu_seconds + 1),
        "RLIMIT_DATA": (limits.memory_bytes, limits.memory_bytes),
        "RLIMIT_FSIZE": (limits.file_bytes, limits.file_bytes),
    }
    if count_processes:
        table["RLIMIT_NPROC"] = (limits.processes, limits.processes)
    return table


def descendants(pid: int) -> list[int]:
    """Return the processes below one, in no particular order."""
    found: list[int] = []
    todo = [pid]
    while todo:
        for child in _children(todo.pop()):
            found.append(child)
            todo.append(child)
    return found


class Usage:
    """What a running tree of processes uses, against its limits.

    It catches what limits of a single process cannot: many processes of moderate size, and files in memory.
    """

    def __init__(self, pid: int, workspace: Path, temporary: Path | None, limits: Limits) -> None:
        """Take the root of the tree, where its workspace is, in which folder if it is a copy, and what it may use."""
        self._pid = pid
        self._workspace, self._temporary = workspace, temporary
        self._limits = limits
        self._free = _free_bytes(temporary) if temporary else 0

    def excess(self) -> tuple[Stop, str] | None:
        """Return what is over its limit, with words for the user, or None."""
        below = descendants(self._pid)
        if len(below) > self._limits.processes + _OWN_PROCESSES:
            return Stop.CRASHED, f"killed: it had more than {self._limits.processes} processes"
        memory = self._limits.memory_bytes
        if resident_bytes(below) > memory and proportional_bytes(below) > memory:
            return Stop.MEMORY, f"killed: it used more than {memory / (1 << 30):.2g} GiB of memory"
        if below and self._written_bytes(below[-1]) > memory:
            return Stop.MEMORY, f"killed: it wrote more than {memory / (1 << 30):.2g} GiB of files"
        return None

    def _written_bytes(self, pid: int) -> int:
        """How much was written: over the workspace, which is kept in memory; or, of a copy, how much less is free."""
        if self._temporary is not None:
            return self._free - _free_bytes(self._temporary)
        try:
            found = os.statvfs(f"/proc/{pid}/root{self._workspace}")
            outside = os.statvfs(self._workspace)
        except OSError:
            return 0  # not mounted yet, or ended
        if found.f_fsid == outside.f_fsid:
            return 0  # the process still sees this machine's own file system
        return (found.f_blocks - found.f_bfree) * found.f_frsize


def _free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bfree * found.f_frsize


def proportional_bytes(pids: list[int]) -> int:
    """Return the memory that some processes hold, with what they share counted once; slower than resident_bytes."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue  # it has ended
        total += sum(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Pss:"))
    return total


def resident_bytes(pids: list[int]) -> int:
    """Return the memory that some processes hold, with what they share counted once for each."""
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * mmap.PAGESIZE
        except (OSError, IndexError):
            continue  # it has ended
    return total


def is_exiting(pid: int) -> bool:
    """Return whether a process runs none of its code any more: every thread of it is on its way out, or gone."""
    for thread in _threads(pid):
        try:
            state, *_, flags = (thread / "stat").read_bytes().rpartition(b")")[2].split()[:7]
        except (OSError, ValueError):
            continue  # it has gone meanwhile
        if state not in (b"Z", b"X") and not int(flags) & _EXITING:
            return False
    return True


def kill_tree(pid: int) -> None:
    """Kill a process and everything below it, the descendants first so that none is orphaned while it still forks."""
    kill_below(pid)
    _kill(pid)


def kill_below(pid: int, spared: Collection[int] = ()) -> bool:
    """Kill everything below a process, but some; return whether all of it is gone."""
    deadline = time.monotonic() + _KILL_SECONDS
    while below := [each for each in descendants(pid) if each not in spared]:
        if time.monotonic() > deadline:
            return False
        for each in below:
            _kill(each)
        time.sleep(0.001)
    return True


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # it has ended, and its number may be another's


def _threads(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def _children(pid: int) -> Iterator[int]:
    for thread in _threads(pid):
        try:
            yield from map(int, (thread / "children").read_bytes().split())
        except OSError:
            continue
