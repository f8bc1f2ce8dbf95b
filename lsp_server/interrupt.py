"""Ctrl+C in a terminal: the first asks to stop, the second ends the program."""

from __future__ import annotations

import signal
import threading


def cancel_on_interrupt() -> threading.Event:
    """Return an event that Ctrl+C sets; a second Ctrl+C ends the program at once."""
    cancel = threading.Event()

    def interrupt(number: int, frame: object) -> None:
        if cancel.is_set():
            raise KeyboardInterrupt
        cancel.set()

    signal.signal(signal.SIGINT, interrupt)
    return cancel
