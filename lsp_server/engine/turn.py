"""Whose turn it is to compute: one at a time, requests by hand before those in the background."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

CANCEL_POLL = 0.1
"""Seconds between two looks at `cancel` while waiting."""


@dataclass(order=True)
class Ticket:
    """A place in the queue; the smallest is next."""

    background: bool
    number: int
    cancel: threading.Event = field(compare=False)
    holds: bool = field(default=False, compare=False)


class Turn:
    """A lock that is handed over in order of urgency, then of arrival."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[Ticket] = []
        self._taken = False
        self._numbers = itertools.count()

    @contextmanager
    def wait(self, background: bool, cancel: threading.Event) -> Iterator[Ticket | None]:
        """Wait for the turn and hold it inside the block; None, and no turn, if `cancel` was set first.

        Args:
            background: let every other kind of request go first.
            cancel: ends the waiting.
        """
        ticket = Ticket(background, next(self._numbers), cancel)
        try:
            yield ticket if self._take(ticket) else None
        finally:
            self._leave(ticket)

    def give_way(self, ticket: Ticket) -> bool:
        """Let whoever is more urgent go first, then take the turn again; False: cancelled meanwhile."""
        with self._changed:
            if not any(other < ticket for other in self._waiting):
                return True
        self._leave(ticket)
        return self._take(ticket)

    def _take(self, ticket: Ticket) -> bool:
        with self._changed:
            self._waiting.append(ticket)
            try:
                while self._taken or min(self._waiting) is not ticket:
                    if ticket.cancel.is_set():
                        return False
                    self._changed.wait(CANCEL_POLL)
                self._taken = ticket.holds = True
                return True
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _leave(self, ticket: Ticket) -> None:
        with self._changed:
            if ticket.holds:
                self._taken = ticket.holds = False
                self._changed.notify_all()
