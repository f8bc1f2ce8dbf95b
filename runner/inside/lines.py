"""Which lines of the workspace a test executes."""

from __future__ import annotations

import sys
import threading
from typing import Any, Callable

_monitoring: Any = getattr(sys, "monitoring", None)  # Python 3.12 and later
Relative = Callable[[str], "str | None"]


class Tracer:
    """Records executed lines between `start` and `stop`; records nothing where a debugger or coverage is at work."""

    def __init__(self, relative: Relative) -> None:
        """Take the function that says which file of the workspace a code's file is, if any."""
        self._relative = relative
        self._lines: dict[str, set[int]] = {}
        self._tool: int | None = None

    def start(self) -> None:
        """Record from here on."""
        self._lines = {}
        if _monitoring is not None:
            self._start_monitoring()
        elif sys.gettrace() is None:
            threading.settrace(self._enter)
            sys.settrace(self._enter)

    def stop(self) -> dict[str, set[int]]:
        """Stop, and return the lines by file, relative to the workspace."""
        if _monitoring is not None:
            if self._tool is not None:
                _monitoring.set_events(self._tool, 0)
        elif sys.gettrace() == self._enter:
            sys.settrace(None)
            threading.settrace(None)
        return self._lines

    def _start_monitoring(self) -> None:
        if self._tool is None:
            free = (i for i in (_monitoring.COVERAGE_ID, 3, 4) if _monitoring.get_tool(i) is None)
            self._tool = next(free, None)
            if self._tool is None:
                return
            _monitoring.use_tool_id(self._tool, "oci-companion")
            _monitoring.register_callback(self._tool, _monitoring.events.LINE, self._line)
        _monitoring.set_events(self._tool, _monitoring.events.LINE)
        _monitoring.restart_events()  # lines that an earlier test switched off

    def _line(self, code: Any, line: int) -> Any:
        path = self._relative(code.co_filename)
        if path is not None:
            self._lines.setdefault(path, set()).add(line)
        return _monitoring.DISABLE  # once a test is enough

    def _enter(self, frame: Any, event: str, arg: Any) -> Any:
        path = self._relative(frame.f_code.co_filename)
        if path is None:
            return None
        lines = self._lines.setdefault(path, set())

        def each_line(frame: Any, event: str, arg: Any) -> Any:
            if event == "line":
                lines.add(frame.f_lineno)
            return each_line

        return each_line
