"""How long a conversation may be, and how long one is: estimated, and counted where the estimate is near the limit."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lsp_server.engine.protocol import Message

BYTES_PER_TOKEN = 3
"""A low estimate for code: four and more are usual, so that a prompt that fits by it fits."""
TURN_TOKENS = 12
"""What a chat format writes around a turn."""
FORMAT_TOKENS = 128
"""What it writes before the first: a system text of its own."""
SURE = 0.5
"""Half of the limit by the estimate is within it by any count, and twice the limit is over it."""

Count = Callable[[Sequence[Message]], int | None]
"""Counts a conversation's tokens; None if that cannot be had."""

DIGIT = re.compile(r"\d")


@dataclass(frozen=True)
class Budget:
    """The longest prompt that an engine should be given."""

    tokens: int
    count: Count = lambda messages: None
    """Asked where the estimate alone would not do."""

    def holds(self, messages: Sequence[Message], reserve: int = 0) -> bool:
        """Whether a conversation is short enough.

        Args:
            messages: the conversation.
            reserve: tokens that must be left, if that is not more than half of all.
        """
        limit = max(self.tokens - reserve, self.tokens // 2)
        guess = estimate(messages)
        if not SURE * limit < guess <= limit / SURE:
            return guess <= limit
        counted = self.count(messages)
        return (guess if counted is None else counted) <= limit


def estimate(messages: Sequence[Message]) -> int:
    """Return about how many tokens a conversation has, rather too many than too few."""
    return FORMAT_TOKENS + sum(TURN_TOKENS + text_tokens(message.content) for message in messages)


def text_tokens(text: str) -> int:
    """Return about how many tokens a text has: bytes by the usual measure, and each digit by itself."""
    digits = len(DIGIT.findall(text))
    return digits + -(-(len(text.encode("utf-8", "replace")) - digits) // BYTES_PER_TOKEN)
