"""The seam between the refinement loop and whatever produces text."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True)
class Sampling:
    """How the next tokens are chosen."""

    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 0.95
    seed: int | None = None
    max_tokens: int = 1024
    """Upper bound of the reply, in tokens."""


class EngineError(Exception):
    """The engine could not answer; the message says what mends it."""


class ContextTooLong(EngineError):
    """The conversation has more tokens than the model takes."""


class Engine(Protocol):
    """Messages in, text out. It has no idea what the text is for."""

    @property
    def model(self) -> str:
        """Id of the model that answers, as the catalog or the endpoint names it."""

    def stream(
        self, messages: Sequence[Message], sampling: Sampling, cancel: threading.Event
    ) -> Iterator[str]:
        """Yield the reply piece by piece; ends early, without an error, soon after `cancel` is set.

        Raises:
            EngineError: the endpoint is down, refuses, or breaks off; ContextTooLong if the prompt does not fit.
        """
