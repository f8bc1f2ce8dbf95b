"""One test process, watched until it ends or has to be ended."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Protocol

from runner.report import Stop
from runner.request import Limits
from runner.sandbox.launch import Launch
from runner.sandbox.limits import Usage, kill_tree
from runner.tally import Tally

_TICK_SECONDS = 0.05
_GRACE_SECONDS = 2.5
"""What the time limit inside is given to work, before the run is killed from here."""
_CLOSING_SECONDS = 0.005
"""For a process that has said its last word to close its report; one that others hold open, too, is killed."""
_CHUNK = 1 << 16
_STACK_BYTES = 1 << 16
_EVENT_BYTES = 256 << 20
"""Of all events of one run; more is taken for an attack on this process's memory."""


class Running(Protocol):
    """A test process that runs, however it was started."""

    pid: int
    """Of the root of its tree."""
    workspace: Path
    """Where the workspace is for it."""
    temporary: Path | None
    """The folder that the workspace was copied to, if it was."""
    output_fd: int
    """What it says on its standard output and error."""

    def poll(self) -> int | None:
        """Return the exit status if it has ended, negative for a signal."""

    def end(self) -> None:
        """Kill it and everything that it has started."""

    def leave(self) -> None:
        """Let go of it once it has ended its report and closed it: nothing that it says any more counts."""


class ColdProcess:
    """A test process of its own, started for one run.

    Args:
        launch: how it is started.
        order: what the driver reads from its standard input.
    """

    def __init__(self, launch: Launch, order: bytes) -> None:
        with tempfile.TemporaryFile() as file:
            file.write(order)
            file.seek(0)
            self._process = subprocess.Popen(
                launch.command,
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=launch.descriptors,
                env={} if launch.level == "bubblewrap" else launch.environment,
                cwd=launch.workspace,
                start_new_session=True,
            )
        launch.close_descriptors()
        assert self._process.stdout is not None
        self.pid = self._process.pid
        self.workspace, self.temporary = launch.workspace, launch.temporary
        self.output_fd = os.dup(self._process.stdout.fileno())
        self._process.stdout.close()

    def poll(self) -> int | None:
        """As `Running`."""
        return self._process.poll()

    def end(self) -> None:
        """As `Running`."""
        kill_tree(self.pid)
        self._process.wait()

    leave = end


class TestProcess:
    """A running driver: gives events, is held to its limits."""

    __test__ = False

    def __init__(self, running: Running, event_fd: int, stack_fd: int, limits: Limits) -> None:
        """Take the process, the reading ends of its pipes, and its limits."""
        self._running = running
        self._event_fd = event_fd
        self._stack_fd = stack_fd
        self._limits = limits
        self._output = bytearray()
        self._stack = bytearray()
        self._event_bytes = 0
        self._events_closed = False

    def watch(self, tally: Tally, cancel: threading.Event) -> tuple[Stop, str]:
        """Wait for its end, or end it; return why it ended, with words for the user.

        Args:
            tally: is given the events.
            cancel: when set, the process tree is killed.
        """
        output_fd = self._running.output_fd
        try:
            with selectors.DefaultSelector() as selector:
                for fd in (self._event_fd, self._stack_fd, output_fd):
                    os.set_blocking(fd, False)
                    selector.register(fd, selectors.EVENT_READ)
                stop, detail = self._until_end(selector, tally, cancel)
                if tally.ended is not None:
                    self._until_closed(selector, tally)
        finally:
            if tally.ended is not None and self._events_closed:
                self._running.leave()
            else:
                self._running.end()
            self._drain(tally)
            os.close(output_fd)
        return stop, detail

    def output_tail(self) -> str:
        """Return the end of the process's own output."""
        return self._output[-self._limits.output_bytes :].decode(errors="replace")

    def _until_end(
        self, selector: selectors.BaseSelector, tally: Tally, cancel: threading.Event
    ) -> tuple[Stop, str]:
        limits, running = self._limits, self._running
        usage = Usage(running.pid, running.workspace, running.temporary, limits)
        next_tick = began = time.monotonic()
        while True:
            for key, _ in selector.select(_TICK_SECONDS):
                if not self._move(key.fd, tally):
                    selector.unregister(key.fd)
            if tally.ended is not None:
                return self._finished(tally)
            if cancel.is_set():
                return Stop.CANCELLED, "cancelled"
            now = time.monotonic()
            if now < next_tick:
                continue
            next_tick = now + _TICK_SECONDS
            if (status := running.poll()) is not None:
                self._drain(tally)
                return self._finished(tally) if tally.ended is not None else self._died(status, tally)
            if now - began > limits.wall_seconds:
                return tally.end_at_limit(
                    Stop.WALL_CLOCK, f"the run took longer than {limits.wall_seconds:g} s", ""
                )
            if tally.busy_seconds(now) > limits.test_seconds + _GRACE_SECONDS:
                why = (
                    f"still running after {limits.test_seconds:g} s, and nothing short of killing it ended it"
                )
                return tally.end_at_limit(Stop.HANGS, why, self._stack.decode(errors="replace"))
            if (excess := usage.excess()) is not None:
                return tally.end_by_force(*excess)
            if self._event_bytes > _EVENT_BYTES:
                tally.violate("the run flooded its report with more than 256 MiB")
                return tally.end_by_force(Stop.CRASHED, "killed: it flooded its report")

    def _until_closed(self, selector: selectors.BaseSelector, tally: Tally) -> None:
        """Wait, for a moment, until nobody can write to the report any more."""
        deadline = time.monotonic() + _CLOSING_SECONDS
        while not self._events_closed and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                if not self._move(key.fd, tally):
                    selector.unregister(key.fd)

    def _move(self, fd: int, tally: Tally) -> bool:
        """Take what has come on a descriptor; return whether more may come."""
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if fd == self._event_fd:
            self._event_bytes += len(data)
            self._events_closed = not data
            tally.feed(data)
        elif fd == self._stack_fd:
            self._stack = (self._stack + data)[:_STACK_BYTES]
        else:
            self._output += data
            if len(self._output) > 2 * self._limits.output_bytes + _CHUNK:
                del self._output[: -self._limits.output_bytes]
        return bool(data)

    def _drain(self, tally: Tally) -> None:
        """Take what is left in the pipes, without waiting for more."""
        for fd in (self._event_fd, self._stack_fd, self._running.output_fd):
            for _ in range(64):  # a pipe holds no more
                try:
                    data = os.read(fd, _CHUNK)
                except OSError:
                    break
                if not data:
                    break
                if fd == self._event_fd:
                    tally.feed(data)
                elif fd == self._running.output_fd:
                    self._output += data

    def _finished(self, tally: Tally) -> tuple[Stop, str]:
        assert tally.ended is not None
        status, error = tally.ended
        if tally.too_many_hangs:
            return Stop.HANGS, f"ended after {self._limits.hangs} tests that reached their time limit"
        if tally.running is not None:
            return tally.end_by_force(Stop.CRASHED, "it ended the session (KeyboardInterrupt or pytest.exit)")
        if status in (0, 1, 5) or tally.has_collection_errors:
            return Stop.FINISHED, tally.missing_detail()
        said = error or _last_error(self.output_tail()) or tally.missing_detail()
        return Stop.CRASHED, f"pytest gave up (exit status {status}): {said}"

    def _died(self, code: int, tally: Tally) -> tuple[Stop, str]:
        number = -code if code < 0 else code - 128
        name = _signal_name(number)
        if name == "SIGXCPU":
            return tally.end_by_force(Stop.CPU, f"it used more than {self._limits.cpu_seconds} s of CPU time")
        if name:
            return tally.end_by_force(Stop.CRASHED, f"the process was killed by {name} (signal {number})")
        return tally.end_by_force(Stop.CRASHED, f"the process ended itself with exit code {code}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


def _last_error(output: str) -> str:
    """pytest's own words for what it could not do."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for mark in (" error: ", "ERROR: ", "Error: "):
        if found := next((line for line in lines if mark in line and "usage:" not in line), None):
            return found
    return lines[-1] if lines else ""
