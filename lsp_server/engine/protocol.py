"""The seam between the refinement loop and whatever produces text."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Role = Literal["system", "user", "assistant"]

REPLY_TOKENS = 1024
"""Upper bound of a reply, unless a request has its own."""


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
    max_tokens: int = REPLY_TOKENS
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

    @property
    def prompt_tokens(self) -> int:
        """Most tokens that a prompt should have, for the model's training and for the context it is served with."""

    def count(self, messages: Sequence[Message], cancel: threading.Event) -> int | None:
        """Return how many tokens a conversation has; None if the engine does not tell, or `cancel` was set.

        Raises:
            EngineError: the engine cannot be started.
        """

    def stream(
        self, messages: Sequence[Message], sampling: Sampling, cancel: threading.Event
    ) -> Iterator[str]:
        """Yield the reply piece by piece; ends early, without an error, soon after `cancel` is set.

        Raises:
            EngineError: the endpoint is down, refuses, or breaks off; ContextTooLong if the prompt does not fit.
        """


def prompt_room(trained: int, context: int) -> int:
    """Return the most tokens that a prompt should have.

    Args:
        trained: tokens of the longest prompts in training.
        context: tokens of prompt and reply that the server takes; a small one is halved between them.
    """
    return min(trained, max(context - REPLY_TOKENS, context // 2))
