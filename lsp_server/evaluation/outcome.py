"""What came of one task of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lsp_server.engine.protocol import Message


@dataclass(frozen=True)
class Attempt:
    """One reply of the model, and what its own check said of it."""

    round: int
    """From 1; the samples of one round share it."""
    passed: bool
    """By the check that the loop goes by: base tests, or our verdict."""
    prompt_tokens: int
    reply_tokens: int
    """Tokens that the model wrote."""
    seconds: float
    """From asking to the check's end."""
    reason: str = ""
    """Why it did not pass, in a line."""
    reported: bool | None = None
    """Whether the task would be reported as passed had this been the last reply; None: as `passed`."""


@dataclass(frozen=True)
class TaskOutcome:
    """What came of one task."""

    id: str
    attempts: tuple[Attempt, ...]
    """In the order in which they were made."""
    passed: bool
    """What is reported: passed by the benchmark's own evaluator, or verified by us."""
    passed_plus: bool | None = None
    """Passed the larger tests, too (EvalPlus); None where there are none."""
    outside: bool | None = None
    """Of a claimed repair: whether its tests pass outside of our code; None where nothing was claimed."""
    seconds: float = 0.0
    error: str = ""
    """Why the task could not be tried; empty if it was."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """What the kind of evaluation has to say besides: the solution's text, a diff, the failure."""
    conversation: tuple[Message, ...] = ()
    """Every message of the last conversation, the last reply included."""

    @property
    def tokens(self) -> int:
        """Tokens that the model wrote for the task."""
        return sum(attempt.reply_tokens for attempt in self.attempts)

    @property
    def round(self) -> int | None:
        """The round in which it passed; None if it did not."""
        return self.attempts[-1].round if self.passed and self.attempts else None

    def passed_by_round(self, number: int) -> bool:
        """Return whether it would be reported as passed had the run ended after so many rounds."""
        made = [attempt for attempt in self.attempts if attempt.round <= number]
        if not made or len(made) == len(self.attempts):
            return self.passed and bool(made)
        return made[-1].passed if made[-1].reported is None else made[-1].reported

    def passed_within(self, tokens: int) -> bool:
        """Return whether it had passed before the model had written more than so many tokens."""
        return self.passed and self.tokens <= tokens
