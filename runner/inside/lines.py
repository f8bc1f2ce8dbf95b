"""Which lines of the workspace a test executes."""

import sys
import threading
from typing import Any, Callable, Dict, Optional, Set

Relative = Callable[[str], Optional[str]]


class Tracer:
    """Records executed lines between `start` and `stop`; records nothing where a debugger or coverage is at work."""

    def __init__(self, relative: "Relative") -> None:
        """Take the function that says which file of the workspace a code's file is, if any."""
        self._relative = relative
        self._lines = {}  # type: Dict[str, Set[int]]
        self._tool = None  # type: Optional[int]

    def start(self) -> None:
        """Record from here on."""
        self._lines = {}
        if sys.version_info >= (3, 12):
            self._start_monitoring()
        elif sys.gettrace() is None:
            threading.settrace(self._enter)
            sys.settrace(self._enter)

    def stop(self) -> "Dict[str, Set[int]]":
        """Stop, and return the lines by file, relative to the workspace."""
        if sys.version_info >= (3, 12):
            if self._tool is not None:
                sys.monitoring.set_events(self._tool, 0)
        elif sys.gettrace() == self._enter:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
        return self._lines

    def _start_monitoring(self) -> None:
        monitoring = sys.monitoring
        if self._tool is None:
            tool = next((i for i in (monitoring.COVERAGE_ID, 3, 4) if monitoring.get_tool(i) is None), None)
            if tool is None:
                return
            monitoring.use_tool_id(tool, "oci-companion")
            monitoring.register_callback(tool, monitoring.events.LINE, self._line)
            self._tool = tool
        monitoring.set_events(self._tool, monitoring.events.LINE)
        monitoring.restart_events()  # lines that an earlier test switched off

    def _line(self, code: Any, line: int) -> Any:
        path = self._relative(code.co_filename)
        if path is not None:
            self._lines.setdefault(path, set()).add(line)
        return sys.monitoring.DISABLE  # once a test is enough

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
