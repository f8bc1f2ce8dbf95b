"""Events for the parent: one JSON line each, on a pipe that is not standard output."""

from __future__ import annotations

import json
import os
from typing import Any


class Channel:
    """Sends events, each marked with the run's nonce.

    The nonce tells our lines from those of code that merely finds the pipe. Code that walks this process's objects
    can read it: that is what the reading of the candidate is for.
    """

    __slots__ = ("_send", "close")

    def __init__(self, fd: int, nonce: str) -> None:
        os.set_inheritable(fd, False)  # the programs that tests start do not get it
        owner = os.getpid()
        # Before user code can replace them.
        getpid, write, shut, dumps = os.getpid, os.write, os.close, json.dumps

        def send(event: dict[str, Any]) -> None:
            if getpid() != owner:
                return  # a test forked, and its child ran on into pytest
            line = memoryview((nonce + " " + dumps(event) + "\n").encode("ascii", "replace"))
            while line:
                line = line[write(fd, line) :]

        def close() -> None:
            if getpid() == owner:
                shut(fd)

        self._send = send
        self.close = close
        """Ends the report: nothing can be sent any more, and the parent sees that."""

    def send(self, event: str, **fields: Any) -> None:
        """Send one event.

        Args:
            event: its name.
            fields: what it says, in JSON's types.
        """
        fields["event"] = event
        self._send(fields)
