"""Say why a test failed: one line, the long form cut to a budget, and the workspace's frames."""

from __future__ import annotations

import linecache
import os
from typing import Any

DETAIL_CHARS = 4000
_MESSAGE_CHARS = 300
_MAX_FRAMES = 60
FOREIGN = (os.sep + "site-packages" + os.sep, os.sep + "dist-packages" + os.sep)


def cut(text: str, budget: int = DETAIL_CHARS) -> str:
    """Return the text with its middle left out, so that at most `budget` characters remain."""
    if len(text) <= budget:
        return text
    mark = "\n... %d characters left out ...\n" % (len(text) - budget)
    keep = max(budget - len(mark), 2)
    return text[: keep // 2] + mark + text[len(text) - (keep - keep // 2) :]


class Workspace:
    """Tells the project's own files from everything else."""

    def __init__(self, root: str, foreign: list[str]) -> None:
        """Take the root and the folders in it (virtual environments) that are not the user's code."""
        self._root = os.path.join(root, "")
        self._foreign = tuple(os.path.join(path, "") for path in foreign)
        self._known: dict[str, str | None] = {}

    def relative(self, path: str) -> str | None:
        """Return the path relative to the workspace, with forward slashes, or None if the file is not the user's."""
        if path not in self._known:
            found = None
            ours = path.startswith(self._root) and not path.startswith(self._foreign)
            if ours and not any(part in path for part in FOREIGN):
                found = os.path.relpath(path, self._root).replace(os.sep, "/")
            self._known[path] = found
        return self._known[path]

    def frames(self, traceback: Any) -> list[dict[str, Any]]:
        """Return the workspace's frames of a traceback, outermost first."""
        frames = []
        while traceback is not None:
            code = traceback.tb_frame.f_code
            frames.append(self._frame(code.co_filename, traceback.tb_lineno, code.co_name))
            traceback = traceback.tb_next
        return [frame for frame in frames if frame][-_MAX_FRAMES:]

    def stack(self, frame: Any) -> list[dict[str, Any]]:
        """Return the workspace's frames of a running stack, outermost first."""
        frames = []
        while frame is not None:
            frames.append(self._frame(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
            frame = frame.f_back
        return [found for found in reversed(frames) if found][-_MAX_FRAMES:]

    def syntax_frame(self, error: BaseException) -> list[dict[str, Any]]:
        """Return where a syntax error is; nothing for other exceptions."""
        if not isinstance(error, SyntaxError) or not error.filename:
            return []
        frame = self._frame(error.filename, error.lineno or 1, "<module>")
        if frame and not frame["source"] and error.text:
            frame["source"] = error.text.strip()
        return [frame] if frame else []

    def _frame(self, path: str, line: int, function: str) -> dict[str, Any] | None:
        relative = self.relative(path)
        if relative is None:
            return None
        source = linecache.getline(path, line).strip()[:_MESSAGE_CHARS]
        return {"path": relative, "line": line, "function": function, "source": source}


def message(error: BaseException) -> str:
    """Return an exception's type and text in one line."""
    kind = type(error).__name__
    try:
        text = str(error)
    except Exception as broken:
        text = "<its text cannot be made: %s>" % type(broken).__name__
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return (kind + ": " + first if first else kind)[:_MESSAGE_CHARS]


def cause(error: BaseException) -> BaseException:
    """Return what really went wrong behind pytest's own exceptions about a file that it could not import."""
    while type(error).__name__ in ("CollectError", "ConftestImportFailure"):
        found = getattr(error, "cause", None)
        if found is None and isinstance(getattr(error, "excinfo", None), tuple):
            found = error.excinfo[1]  # type: ignore[attr-defined]
        found = found or error.__cause__ or error.__context__
        if not isinstance(found, BaseException):
            break
        error = found
    return error
