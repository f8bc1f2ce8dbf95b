"""What the loop tells while it works, for whoever shows progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lsp_server.refine.proposal import Round, Verdict
from lsp_server.refine.task import Task
from runner.report import Report, TestResult


@dataclass(frozen=True)
class BaselineStarted:
    """The tests are about to run on the file as it is."""

    tests: tuple[str, ...]


@dataclass(frozen=True)
class BaselineDone:
    """The baseline is known."""

    report: Report


@dataclass(frozen=True)
class TargetFound:
    """The task is known: which part of which file is going to change."""

    task: Task


@dataclass(frozen=True)
class RoundStarted:
    """The model is asked for a reply."""

    number: int
    of: int


@dataclass(frozen=True)
class ReplyText:
    """A piece of the streamed reply."""

    text: str


@dataclass(frozen=True)
class AskedAgain:
    """The reply had the same code as before, so another one is sampled."""


@dataclass(frozen=True)
class ReplyJudged:
    """A reply of a round has failed, and the round's next one is asked for, or an earlier one was better."""

    verdict: Verdict
    next: int
    """The number of the next one, from 2; 0 if there is none."""
    of: int


@dataclass(frozen=True)
class TestsStarted:
    """A candidate's tests are about to run."""

    __test__ = False

    count: int


@dataclass(frozen=True)
class TestDone:
    """One test of the running baseline or candidate has ended."""

    __test__ = False

    result: TestResult


@dataclass(frozen=True)
class RoundDone:
    """A round has its verdict."""

    round: Round


Event = (
    BaselineStarted
    | BaselineDone
    | TargetFound
    | RoundStarted
    | ReplyText
    | AskedAgain
    | ReplyJudged
    | TestsStarted
    | TestDone
    | RoundDone
)
Listener = Callable[[Event], None]
