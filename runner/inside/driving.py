"""What every way of running tests shares: what is wanted, what is told, and where a test hung."""

from __future__ import annotations

from typing import Any

from .channel import Channel
from .clock import Clock, TimeLimit
from .failure import Workspace, cut
from .lines import Footprint, Tracer


class Driving:
    """A run's order, as its tests are collected and run."""

    def __init__(
        self,
        channel: Channel,
        workspace: Workspace,
        root: str,
        keep: list[str],
        doctests: list[str],
        first: list[str],
        limits: tuple[float, int, int],
        tracer: Tracer | None,
    ) -> None:
        """Take where to report, what to run, and its limits: seconds a test, the descriptor for stacks, hangs."""
        seconds, stack_fd, hangs = limits
        self.channel = channel
        self.workspace = workspace
        self.root = root
        self.doctests = doctests
        self.tracer = tracer
        self.shared = {"": Footprint()}
        """What was executed for several tests: by fixtures that a file's tests share, by the file's path; and while
        files were collected, and by fixtures that files share."""
        self.clock = Clock(seconds, stack_fd, self._hung)
        self.hang: dict[str, Any] | None = None
        self._keep = keep
        self._first = {test: place for place, test in enumerate(first)}
        self._hangs_left = hangs

    def wanted(self, test: str) -> bool:
        """Return whether a test was asked for, itself or by its class, file or folder."""
        return not self._keep or any(
            test == keep or test.startswith((keep + "::", keep + "[", keep + "/")) for keep in self._keep
        )

    def place(self, test: str) -> int:
        """Return a test's place in the order in which those wanted first are run; all others share the last."""
        return self._first.get(test, len(self._first))

    def start_tracing(self) -> None:
        """Record what is executed from here on, if that is wanted."""
        if self.tracer is not None:
            self.tracer.start()

    def stop_tracing(self) -> Footprint:
        """Return what was executed since the start."""
        if self.tracer is None or not self.tracer.recording:
            return Footprint()
        return self.tracer.stop()

    def share(self, footprint: Footprint, path: str = "") -> None:
        """Take in what concerns all tests of a file, or all tests of the run."""
        self.shared.setdefault(path, Footprint()).add(footprint)

    def tell_shared(self) -> None:
        """Report what tests share, at the end of the run."""
        if self.tracer is not None:
            self.share(self.stop_tracing())  # where something was broken off
            told = {path: footprint.told() for path, footprint in self.shared.items()}
            self.channel.send("shared", footprints=told)

    def begin_collecting(self, path: str) -> None:
        """Tell that a file is imported from here on, and run the clock."""
        self.channel.send("collecting", path=path)
        self.hang = None
        self.clock.begin()
        self.clock.start()

    def note_hang(self, failure: dict[str, Any]) -> None:
        """Put into a failure where its test hung."""
        assert self.hang is not None
        failure["message"] = str(TimeLimit("still running after %g s" % self.clock.seconds))
        failure["detail"] = cut(self.hang["stack"] + "\n\n" + failure["detail"])
        failure["frames"] = self.hang["frames"] or failure["frames"]
        self._hangs_left -= 1

    def hung_too_often(self) -> bool:
        """Return whether the run is to end after this test, and tell so."""
        if self.hang is None or self._hangs_left > 0:
            return False
        self.channel.send("too_many_hangs")
        return True

    def _hung(self, frame: Any) -> None:
        frames = self.workspace.stack(frame)
        lines = ["  %s:%d in %s\n    %s" % (f["path"], f["line"], f["function"], f["source"]) for f in frames]
        self.hang = {"frames": frames, "stack": "It hung at:\n" + "\n".join(lines)}
