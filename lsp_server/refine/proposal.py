"""What comes out: rounds with their verdicts, and the edit that is offered with its receipt."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from lsp_server.engine.protocol import Message
from lsp_server.refine.task import Snapshot, Task
from runner.report import Report


class VerdictKind(StrEnum):
    """What a candidate has been shown to do."""

    VERIFIED = "verified"
    UNSANDBOXED = "passes unsandboxed"
    """All that verified asks for, but the user has switched the sandbox off."""
    PARTIAL = "partial"
    """Fewer failures and nothing newly broken."""
    UNTESTED = "not tested"
    """No test reaches the target; it imports, and its doctests pass if it has any."""
    REJECTED = "rejected"


@dataclass(frozen=True)
class Verdict:
    """The judgement of one candidate."""

    kind: VerdictKind
    reason: str
    """One sentence."""
    fixed: frozenset[str] = frozenset()
    """Wanted tests that pass now."""
    missing: frozenset[str] = frozenset()
    """Wanted tests that still fail, or never reported."""
    broken: frozenset[str] = frozenset()
    """Tests that passed before and do not pass now."""


@dataclass(frozen=True)
class Round:
    """One attempt: what the model said, the file it makes, what the tests said, and the judgement."""

    number: int
    reply: str
    candidate: str | None
    """Text of the whole file after the splice; None if the reply had no usable code."""
    report: Report | None
    """None if nothing was run."""
    verdict: Verdict
    feedback: str = ""
    """What the model is told about it; empty if it is told nothing."""
    asked: tuple[Message, ...] = ()
    """The conversation that the reply answers."""
    seconds: float = 0.0
    changed_lines: int = 0
    """Code lines of the candidate that the target did not have."""
    executed_lines: int = 0
    """Those of them that a test executed."""
    additions: tuple[str, ...] = ()
    """What the candidate has outside of the target: imports and helpers that the new code needs."""
    repeated: bool = False
    """The reply's code was the file's own, or had been tried before."""


@dataclass(frozen=True)
class Receipt:
    """What was proven about a proposal, and how."""

    verdict: Verdict
    tests_before: tuple[int, int]
    """Passed and total, on the file as it was."""
    tests_after: tuple[int, int]
    rounds: int
    seconds: float
    isolation: str
    model: str
    changed_lines: int
    executed_lines: int
    notes: tuple[str, ...] = ()
    """What a reader has to know besides: imports that were added, flaky tests."""

    def lines(self) -> list[str]:
        """Return the receipt as text, one fact a line."""
        before, after = self.tests_before, self.tests_after
        off = self.isolation == "off"
        isolation = "OFF by your setting: the code ran unprotected" if off else self.isolation
        return [
            f"{self.verdict.kind.value}: {self.verdict.reason}",
            f"tests      {before[0]} of {before[1]} passed before → {after[0]} of {after[1]} pass now",
            f"executed   {self.executed_lines} of {self.changed_lines} changed lines ran in a test",
            f"rounds     {self.rounds}, {self.seconds:.1f} s",
            f"isolation  {isolation}",
            f"model      {self.model}",
            *(f"note       {note}" for note in self.notes),
        ]


@dataclass(frozen=True)
class Proposal:
    """The edit that is offered: the best round's candidate, with its receipt."""

    task: Task
    baseline: Report
    rounds: tuple[Round, ...]
    new_text: str | None
    """Text of the whole file after the edit; None if no round gave a candidate worth showing."""
    receipt: Receipt

    @property
    def verified(self) -> bool:
        """Whether the tests have proven it."""
        return self.receipt.verdict.kind is VerdictKind.VERIFIED

    @property
    def best(self) -> Round | None:
        """The round whose candidate is offered; None if none is."""
        shown = (r for r in reversed(self.rounds) if r.candidate == self.new_text and r.report is not None)
        return next(shown, None) if self.new_text is not None else None

    def diff(self) -> str:
        """Return a unified diff of the file, empty if there is nothing to propose."""
        if self.new_text is None:
            return ""
        path = str(self.task.document.path)
        return unified_diff(self.task.document.text, self.new_text, path)


@dataclass(frozen=True)
class FeedbackRequest:
    """Go on with a proposal in the direction that the user says."""

    snapshot: Snapshot
    """The texts as they are now."""
    proposal: Proposal
    feedback: str
    """In the user's own words."""


def unified_diff(before: str, after: str, path: str) -> str:
    """Return a unified diff that `patch -p1` takes, for texts with any line ending."""
    lines = difflib.unified_diff(_lines(before), _lines(after), f"a/{path}", f"b/{path}", lineterm="\n")
    return "".join(
        line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines
    )


def _lines(text: str) -> Sequence[str]:
    """Split at line feeds only: a form feed or U+2028 does not end a line of a file."""
    parts = text.split("\n")
    return [part + "\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
