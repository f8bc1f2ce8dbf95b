"""What of the workspace a test executes and reads."""

from __future__ import annotations

import dis
import os
import sys
import threading
from typing import Any, Callable

_monitoring: Any = getattr(sys, "monitoring", None)  # Python 3.12 and later
Relative = Callable[[str], "str | None"]
_SPAWNING = frozenset(("subprocess.Popen", "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.system"))
"""Audit events after which code runs elsewhere."""
_SPAWNERS = ("multiprocessing.popen_spawn_posix", "multiprocessing.popen_forkserver")


class Footprint:
    """What was executed and read between a start and a stop."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.lines: dict[str, set[int]] = {}
        self.opened: set[str] = set()
        self.spawned = False
        self.blind = False
        """A debugger or coverage stood in the tracer's place for some time, so there is more than this."""

    def add(self, other: Footprint) -> None:
        """Take in what another has."""
        for path, lines in other.lines.items():
            self.lines.setdefault(path, set()).update(lines)
        self.opened |= other.opened
        self.spawned |= other.spawned
        self.blind |= other.blind

    def told(self, though_blind: bool = False) -> dict[str, Any] | None:
        """Return it in JSON's types; nothing if it is not all, unless that is good enough."""
        if self.blind and not though_blind:
            return None
        lines = {path: sorted(found) for path, found in self.lines.items()}
        return {"lines": lines, "opened": sorted(self.opened), "spawned": self.spawned}


class Tracer:
    """Records between `start` and `stop`."""

    def __init__(self, relative: Relative, every_line: bool) -> None:
        """Take the function that says which file of the workspace a code's file is, if any, and what is recorded.

        That is every line, or the first one of each body that is executed.
        """
        self._relative = relative
        self._every_line = every_line
        self._codes: dict[int, tuple[Any, int, frozenset[int]]] = {}
        self._left: dict[int, set[int]] = {}
        """By a code's id, its lines that were not executed yet; none where it need not be looked at any more."""
        self._footprint: Footprint | None = None
        self._tool: int | None = None
        sys.addaudithook(self._note)

    @property
    def recording(self) -> bool:
        """Whether it is between a start and a stop."""
        return self._footprint is not None

    def start(self) -> None:
        """Record from here on."""
        self._footprint = Footprint()
        self._left = {}
        if _monitoring is not None:
            self._start_monitoring()
        elif sys.gettrace() is None:
            threading.settrace(self._enter)
            sys.settrace(self._enter)

    def stop(self) -> Footprint:
        """Stop, and return what was executed and read since the start; paths are relative to the workspace."""
        found, self._footprint = self._footprint or Footprint(), None
        # These start processes without telling.
        found.spawned |= any(name in sys.modules for name in _SPAWNERS)
        if _monitoring is not None:
            if self._tool is None:
                found.blind = True
            else:
                _monitoring.set_events(self._tool, 0)
        elif sys.gettrace() == self._enter:
            sys.settrace(None)
            threading.settrace(None)
        else:
            found.blind = True
        return found

    def _note(self, event: str, details: Any) -> None:
        footprint = self._footprint
        if footprint is None:
            return
        if event == "open" and isinstance(details[0], str):
            path = self._relative(os.path.abspath(details[0]))
            if path is not None and not path.endswith(".pyc"):
                footprint.opened.add(path)
        elif event in _SPAWNING:
            footprint.spawned = True

    def _start_monitoring(self) -> None:
        if self._tool is None:
            free = (i for i in (_monitoring.COVERAGE_ID, 3, 4) if _monitoring.get_tool(i) is None)
            self._tool = next(free, None)
            if self._tool is None:
                return
            _monitoring.use_tool_id(self._tool, "oci-companion")
            _monitoring.register_callback(self._tool, _monitoring.events.LINE, self._line)
            _monitoring.register_callback(self._tool, _monitoring.events.PY_START, self._body)
        events = _monitoring.events
        _monitoring.set_events(self._tool, events.LINE if self._every_line else events.PY_START)
        _monitoring.restart_events()  # lines that an earlier test switched off

    def _line(self, code: Any, line: int) -> Any:
        path = self._relative(code.co_filename)
        if path is not None and self._footprint is not None:
            self._footprint.lines.setdefault(path, set()).add(line)
        return _monitoring.DISABLE  # once a test is enough

    def _body(self, code: Any, offset: int) -> Any:
        return self._line(code, self._lines_of(code)[0])

    def _lines_of(self, code: Any) -> tuple[int, frozenset[int]]:
        """Return the first line of a function's body, and all its lines.

        The first is not that of the `def`, but where both are one.
        """
        if id(code) not in self._codes:
            lines = {line for _, line in dis.findlinestarts(code) if line is not None}
            # That of the `def` is none that is executed with the body, but where both are one.
            lines = {line for line in lines if line > code.co_firstlineno} or {code.co_firstlineno}
            first = min(lines)
            # With the code itself, for else another one could come to have its id.
            self._codes[id(code)] = (code, first, frozenset(lines))
        return self._codes[id(code)][1:]

    def _enter(self, frame: Any, event: str, arg: Any) -> Any:
        code = frame.f_code
        left = self._left.get(id(code))
        if left is not None and not left:
            return None  # this comes with every call that the tests make: all else must be rare
        path = self._relative(code.co_filename)
        if path is None or self._footprint is None:
            self._lines_of(code)
            self._left[id(code)] = set()
            return None
        lines = self._footprint.lines.setdefault(path, set())
        first, every = self._lines_of(code)
        if not self._every_line:
            lines.add(first)
            self._left[id(code)] = set()
            return None
        if left is None:
            left = self._left[id(code)] = set(every)
        missing = left

        def each_line(frame: Any, event: str, arg: Any) -> Any:
            if event == "line":
                lines.add(frame.f_lineno)
                missing.discard(frame.f_lineno)
                if not missing:
                    return None
            return each_line

        return each_line
