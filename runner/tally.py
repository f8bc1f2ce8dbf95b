"""Makes a report out of a run's events, and believes none that a run could not have sent."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from runner.report import ALL, CollectionError, Failure, Footprint, Frame, Outcome, Report, Stop, TestResult

_LINE_BYTES = 16 << 20
_VIOLATIONS = 20
_NAMES, _NAME_CHARS = 2000, 200
_UNPRINTABLE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
_STACK_LINE = re.compile(r'^  File "(?P<path>.+)", line (?P<line>\d+) in (?P<function>.+)$', re.MULTILINE)


class Tally:
    """The state of one run, as its events tell it."""

    def __init__(self, nonce: str, workspace: Path, on_result: Callable[[TestResult], None]) -> None:
        """Take the mark that true lines carry, where the workspace is for the run, and what is told of each result."""
        self._mark = nonce.encode() + b" "
        self._workspace = workspace
        self._on_result = on_result
        self._partial = bytearray()
        self._skipping = False
        self._cut_off = False
        self._collected: dict[str, None] = {}
        self._results: dict[str, TestResult] = {}
        self._collection_errors: list[CollectionError] = []
        self._violations: dict[str, None] = {}
        self._missing: list[str] = []
        self._shared: dict[PurePosixPath, Footprint] = {}
        self._collecting: str | None = None
        self._since = 0.0
        self.running: str | None = None
        """The test that has started and not finished."""
        self.greeted = False
        self.no_pytest = ""
        self.too_many_hangs = False
        self.imported: list[str] = []
        """Modules besides the user's that the run has imported; a wish, for its tests could have written it."""
        self.ended: tuple[int, str] | None = None
        """pytest's exit status and what it could not handle."""

    @property
    def has_collection_errors(self) -> bool:
        """Whether a file could not be collected."""
        return bool(self._collection_errors)

    def feed(self, data: bytes) -> None:
        """Take bytes from the event pipe; what comes after the run was ended does not count."""
        if self._cut_off:
            return
        self._partial += data
        if len(self._partial) > _LINE_BYTES:
            self._partial.clear()
            self._skipping = True
            self.violate("a line of the report was longer than 16 MiB")
        if b"\n" not in data:
            return
        *lines, rest = bytes(self._partial).split(b"\n")
        self._partial = bytearray(rest)
        for line in lines:
            if self._skipping:
                self._skipping = False  # the rest of a line that was too long
            elif line.startswith(self._mark):
                self._take(line[len(self._mark) :])
            else:
                self.violate("something else than the test driver wrote to the report")

    def violate(self, what: str, test: str | None = None) -> None:
        """Note what only an attack or an accident does; the test it concerns, or that runs, is not a pass."""
        if len(self._violations) < _VIOLATIONS:
            self._violations[what] = None
        concerned = test or self.running
        if concerned is not None:
            seconds = self._results[concerned].seconds if concerned in self._results else 0.0
            failure = Failure(what, f"The run did what only a forged report does: {what}.")
            self._results[concerned] = TestResult(concerned, Outcome.ERROR, seconds, failure)

    def busy_seconds(self, now: float) -> float:
        """Return how long the test or import that is under way has taken."""
        return now - self._since if self.running is not None or self._collecting is not None else 0.0

    def end_at_limit(self, stop: Stop, why: str, stack: str) -> tuple[Stop, str]:
        """Note that the run was killed at a time limit, with the stack of what hung, if it is known."""
        frames = self._stack_frames(stack)
        failure = Failure(why, f"{why}\n{stack}".strip(), frames)
        what = self._end_what_ran(Outcome.TIMEOUT, failure)
        return stop, f"{what}: {why}" if what else why

    def end_by_force(self, stop: Stop, why: str) -> tuple[Stop, str]:
        """Note that the process ended, or was ended, before its session did."""
        what = self._end_what_ran(Outcome.CRASHED, Failure(why, why))
        return stop, f"{why}, while {what} {'ran' if '::' in what else 'was imported'}" if what else why

    def missing_detail(self) -> str:
        """Return which wanted files do not exist, in words."""
        return f"not found: {', '.join(self._missing)}" if self._missing else ""

    def report(
        self,
        *,
        expected: frozenset[str],
        stop: Stop,
        stop_detail: str,
        seconds: float,
        isolation: str,
        output_tail: str,
        warm: bool = False,
    ) -> Report:
        """Return the report; every id that was expected or collected is in it.

        Args:
            expected: ids that had to report.
            stop: why the run ended.
            stop_detail: the same in words.
            seconds: how long it took.
            isolation: the level that was in force.
            output_tail: the end of the process's own output.
            warm: it was forked from a process that serves many runs.
        """
        results = dict(self._results)
        for test in [*self._collected, *sorted(expected)]:
            if test not in results:
                results[test] = TestResult(
                    test, Outcome.NOT_RUN, failure=self._not_run(test, stop, stop_detail)
                )
        return Report(
            results=results,
            collection_errors=tuple(self._collection_errors),
            stop=stop,
            stop_detail=stop_detail,
            seconds=seconds,
            isolation=isolation,
            violations=tuple(self._violations),
            output_tail=_printable(output_tail),
            shared=self._shared,
            warm=warm,
        )

    def _not_run(self, test: str, stop: Stop, stop_detail: str) -> Failure:
        for error in self._collection_errors:
            if test.startswith(f"{error.path}::"):
                return error.failure
        if test in self._collected or stop is not Stop.FINISHED:
            why = f"not run: {stop_detail or stop}"
        else:
            why = "not found: no test with this id was collected"
        return Failure(why, why)

    def _end_what_ran(self, outcome: Outcome, failure: Failure) -> str:
        """Give the test or import that was under way its outcome; return its name, empty if there is none."""
        self._cut_off = True
        self._since = 0.0
        if self.running is not None:
            test, self.running = self.running, None
            if test not in self._results:
                self._results[test] = TestResult(test, outcome, 0.0, failure)
                self._on_result(self._results[test])
            return test
        if self._collecting is not None:
            path, self._collecting = self._collecting, None
            self._collection_errors.append(CollectionError(_relative(path), failure))
            return path
        return ""

    def _take(self, line: bytes) -> None:
        if self.ended is not None:
            self.violate("the report went on after its end")
            return
        try:
            said = json.loads(line)
            take = getattr(self, f"_on_{said.pop('event')}")
            take(**said)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            self.violate(f"a malformed line in the report ({type(error).__name__})")

    def _on_hello(self) -> None:
        self.greeted = True

    def _on_no_pytest(self, reason: str) -> None:
        self.no_pytest = _printable(reason)

    def _on_missing(self, id: str) -> None:
        self._missing.append(_printable(id))

    def _on_collecting(self, path: str) -> None:
        self._collecting, self._since = _printable(path), time.monotonic()

    def _on_collection_error(self, path: str, failure: Mapping[str, Any], hang: bool) -> None:
        self._collection_errors.append(CollectionError(_relative(path), _failure(failure)))

    def _on_collected(self, ids: list[str]) -> None:
        self._collecting = None
        self._collected = dict.fromkeys(map(str, ids))

    def _on_started(self, id: str) -> None:
        self._collecting = None
        if self.running is not None:
            self.violate("a test started before the one before it had finished", self.running)
        if id in self._results:
            self.violate("a test ran twice", id)
        elif id not in self._collected:
            self.violate("a test ran that was not collected", id)
        self.running, self._since = id, time.monotonic()

    def _on_finished(
        self,
        id: str,
        outcome: str,
        seconds: float,
        failure: Mapping[str, Any] | None,
        footprint: Mapping[str, Any] | None,
        contradiction: bool,
    ) -> None:
        if id in self._results:
            self.violate("a test reported twice, or was meddled with", id)
        elif id != self.running:
            self.violate("a test reported that had not started", id)
        elif contradiction:
            self.violate("a test raised, and yet was reported as passed", id)
        else:
            said = _failure(failure) if failure is not None else None
            if not 0 <= seconds < float("inf"):
                raise ValueError("no duration")
            self._results[id] = TestResult(id, Outcome(outcome), float(seconds), said, _footprint(footprint))
        self.running = None
        self._on_result(self._results[id])

    def _on_shared(self, footprints: Mapping[str, Any]) -> None:
        found = {_relative(path): _footprint(footprint) for path, footprint in footprints.items()}
        self._shared = {path: footprint for path, footprint in found.items() if footprint is not None}
        if len(self._shared) < len(found):
            self._shared.pop(
                ALL, None
            )  # what one file's tests share is not known, so nothing can be told apart

    def _on_too_many_hangs(self) -> None:
        self.too_many_hangs = True

    def _on_imported(self, names: list[str]) -> None:
        self.imported += [str(name)[:_NAME_CHARS] for name in names[: _NAMES - len(self.imported)]]

    def _on_end(self, status: int, error: str = "") -> None:
        self.ended = (int(status), _printable(error))
        self._collecting = None

    def _stack_frames(self, stack: str) -> tuple[Frame, ...]:
        """Workspace frames of what faulthandler wrote, which names the innermost first."""
        found = []
        for match in _STACK_LINE.finditer(stack):
            path = Path(match["path"])
            if path.is_relative_to(self._workspace) and "site-packages" not in path.parts:
                relative = PurePosixPath(path.relative_to(self._workspace))
                found.append(Frame(relative, int(match["line"]), match["function"], ""))
        return tuple(reversed(found))


def _failure(said: Mapping[str, Any]) -> Failure:
    return Failure(
        message=_printable(said["message"]).replace("\n", " "),
        detail=_printable(said["detail"]),
        frames=tuple(
            Frame(_relative(f["path"]), int(f["line"]), _printable(f["function"]), _printable(f["source"]))
            for f in said["frames"]
        ),
        output=_printable(said["output"]),
    )


def _footprint(said: Mapping[str, Any] | None) -> Footprint | None:
    if said is None:
        return None
    return Footprint(
        {_relative(path): frozenset(map(int, lines)) for path, lines in said["lines"].items()},
        frozenset(map(_relative, said["opened"])),
        bool(said["spawned"]),
    )


def _relative(path: str) -> PurePosixPath:
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts or "\0" in path:
        raise ValueError(f"not a path in the workspace: {path}")
    return relative


def _printable(text: str) -> str:
    """Without what a terminal would obey."""
    return _UNPRINTABLE.sub("", text)
