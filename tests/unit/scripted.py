"""A test double for the engine: replies that are written beforehand, to drive the loop through rare cases."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

from lsp_server.engine.protocol import Message, Sampling


class ScriptedEngine:
    """Answers with the given replies, in turn, and keeps what it was asked.

    Args:
        replies: each a text, or a function that is called for its text.
    """

    model = "scripted"
    prompt_tokens = 4096

    def __init__(self, *replies: str | Callable[[], str]) -> None:
        self.replies = list(replies)
        self.asked: list[tuple[list[Message], Sampling]] = []

    def count(self, messages: Sequence[Message], cancel: threading.Event) -> int | None:
        """Cannot tell."""
        return None

    def stream(
        self, messages: Sequence[Message], sampling: Sampling, cancel: threading.Event
    ) -> Iterator[str]:
        """Yield the next reply, word by word, until `cancel` is set."""
        self.asked.append((list(messages), sampling))
        reply = self.replies.pop(0)
        for word in (reply if isinstance(reply, str) else reply()).split(" "):
            if cancel.is_set():
                return
            yield word + " "


def fenced(code: str) -> str:
    """Return a reply that holds this code."""
    return f"Here it is.\n```python\n{code}\n```\n"
