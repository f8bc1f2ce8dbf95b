"""One test process, watched until it ends or has to be ended."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time

from runner.report import Stop
from runner.request import Limits
from runner.sandbox.launch import Launch
from runner.sandbox.limits import Usage, kill_tree
from runner.tally import Tally

_TICK_SECONDS = 0.05
_GRACE_SECONDS = 2.5
"""What the time limit inside is given to work, before the run is killed from here."""
_CHUNK = 1 << 16
_STACK_BYTES = 1 << 16
_EVENT_BYTES = 256 << 20
"""Of all events of one run; more is taken for an attack on this process's memory."""


class TestProcess:
    """The driver's process: takes its order, gives events, is held to its limits."""

    __test__ = False

    def __init__(self, launch: Launch, order: bytes, event_fd: int, stack_fd: int, limits: Limits) -> None:
        """Take how to start it, the order for its standard input, the pipes' reading ends, and its limits."""
        self._launch = launch
        self._order = memoryview(order)
        self._event_fd = event_fd
        self._stack_fd = stack_fd
        self._limits = limits
        self._output = bytearray()
        self._stack = bytearray()
        self._event_bytes = 0

    def watch(self, tally: Tally, cancel: threading.Event) -> tuple[Stop, str]:
        """Run it to its end; return why it ended, with words for the user.

        Args:
            tally: is given the events.
            cancel: when set, the process tree is killed.
        """
        began = time.monotonic()
        process = subprocess.Popen(
            self._launch.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=self._launch.descriptors,
            env={} if self._launch.level == "bubblewrap" else self._launch.environment,
            cwd=self._launch.workspace,
            start_new_session=True,
        )
        self._launch.close_descriptors()
        assert process.stdin is not None and process.stdout is not None
        try:
            with selectors.DefaultSelector() as selector:
                for fd in (self._event_fd, self._stack_fd, process.stdout.fileno()):
                    os.set_blocking(fd, False)
                    selector.register(fd, selectors.EVENT_READ)
                os.set_blocking(process.stdin.fileno(), False)
                selector.register(process.stdin.fileno(), selectors.EVENT_WRITE)
                stop, detail = self._until_end(process, selector, tally, cancel, began)
        finally:
            kill_tree(process.pid)
            process.wait()
            self._drain(process.stdout.fileno(), tally)
            process.stdout.close()
            process.stdin.close()
        return stop, detail

    def output_tail(self) -> str:
        """Return the end of the process's own output."""
        return self._output[-self._limits.output_bytes :].decode(errors="replace")

    def _until_end(
        self,
        process: subprocess.Popen[bytes],
        selector: selectors.BaseSelector,
        tally: Tally,
        cancel: threading.Event,
        began: float,
    ) -> tuple[Stop, str]:
        limits = self._limits
        usage = Usage(process.pid, self._launch, limits)
        next_tick = began
        while True:
            for key, _ in selector.select(_TICK_SECONDS):
                if not self._move(key.fd, process, tally):
                    selector.unregister(key.fd)
            if tally.ended is not None:
                return self._finished(tally)
            if cancel.is_set():
                return Stop.CANCELLED, "cancelled"
            now = time.monotonic()
            if now < next_tick:
                continue
            next_tick = now + _TICK_SECONDS
            if process.poll() is not None:
                assert process.stdout is not None
                self._drain(process.stdout.fileno(), tally)
                return (
                    self._finished(tally)
                    if tally.ended is not None
                    else self._died(process.returncode, tally)
                )
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

    def _move(self, fd: int, process: subprocess.Popen[bytes], tally: Tally) -> bool:
        """Move what can be moved on a descriptor now; return whether more may come."""
        assert process.stdin is not None
        try:
            if fd == process.stdin.fileno():
                self._order = self._order[os.write(fd, self._order) :]
                if self._order:
                    return True
                os.dup2(self._event_fd, fd)  # ends the driver's input; the file object stays valid to close
                return False
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if fd == self._event_fd:
            self._event_bytes += len(data)
            tally.feed(data)
        elif fd == self._stack_fd:
            self._stack = (self._stack + data)[:_STACK_BYTES]
        else:
            self._output += data
            if len(self._output) > 2 * self._limits.output_bytes + _CHUNK:
                del self._output[: -self._limits.output_bytes]
        return bool(data)

    def _drain(self, output_fd: int, tally: Tally) -> None:
        """Take what is left in the pipes, without waiting for more."""
        for fd in (self._event_fd, self._stack_fd, output_fd):
            for _ in range(64):  # a pipe holds no more
                try:
                    data = os.read(fd, _CHUNK)
                except OSError:
                    break
                if not data:
                    break
                if fd == self._event_fd:
                    tally.feed(data)
                elif fd == output_fd:
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
