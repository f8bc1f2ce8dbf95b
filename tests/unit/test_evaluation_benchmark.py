"""The official scripts' loop, with replies and scores that are written beforehand."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lsp_server.engine.client import Cost
from lsp_server.engine.protocol import ContextTooLong, Message, Sampling
from lsp_server.evaluation.benchmark import Feedback, Plan, run, samples, solve
from lsp_server.evaluation.problems import Problem
from lsp_server.evaluation.run_folder import RunFolder
from lsp_server.evaluation.scoring import Score, Version

PROBLEM = Problem("Tiny/1", "def add(a, b):\n", "add", "    return a + b\n", b"{}\n")
GOOD = Score("good", "pass", "pass", True)
BAD = Score("bad", "fail", "fail", False, 'File "<string>", line 1\nNameError: x')
EMPTY = Score("", "fail", "fail", False, "Please rename your function")


class Replies:
    """An engine that numbers its replies."""

    model, prompt_tokens = "scripted", 4096

    def __init__(self, cancel_at: int = 0, too_long_at: int = 0) -> None:
        self.asked: list[Sequence[Message]] = []
        self.last_cost: Cost | None = None
        self._cancel_at, self._too_long_at = cancel_at, too_long_at

    def count(self, messages: Sequence[Message], cancel: threading.Event) -> int | None:
        return None

    def stream(
        self, messages: Sequence[Message], sampling: Sampling, cancel: threading.Event
    ) -> Iterator[str]:
        self.asked.append(messages)
        if len(self.asked) == self._too_long_at:
            raise ContextTooLong("too long")
        if len(self.asked) == self._cancel_at:
            cancel.set()
        self.last_cost = Cost(10, 0, 5)
        yield f"reply {len(self.asked)}"


class Scores:
    """A scorer that says what it is told to."""

    def __init__(self, *scores: Score) -> None:
        self.left = list(scores)
        self.checks: list[Version | None] = []

    def score(self, problem: Problem, reply: str, check: Version | None, cancel: threading.Event) -> Score:
        self.checks.append(check)
        return self.left.pop(0)


def plan(rounds: int = 2, feedback: Feedback = "execution", version: Version = "plus") -> Plan:
    return Plan("humaneval", version, feedback, rounds, "official")


def work(scorer: Any, engine: Replies | None = None, **options: Any) -> Any:
    return solve(plan(**options), PROBLEM, engine or Replies(), None, scorer, threading.Event())


def test_a_pass_ends_it() -> None:
    engine = Replies()
    outcome = work(Scores(GOOD), engine)
    assert len(engine.asked) == 1
    assert (outcome.passed, outcome.passed_plus, outcome.round) == (True, True, 1)
    assert (outcome.attempts[0].prompt_tokens, outcome.attempts[0].reply_tokens) == (10, 5)


def test_rounds_end_it() -> None:
    engine = Replies()
    outcome = work(Scores(BAD, BAD, BAD), engine, rounds=3)
    assert len(engine.asked) == 3
    assert [each.reason for each in outcome.attempts] == ["NameError: x"] * 3
    assert not outcome.passed


def test_the_check_decides_about_further_rounds_and_the_evaluator_about_the_result() -> None:
    strict = Score("strict", "pass", "pass", False, "TypeError")
    engine = Replies()
    outcome = work(Scores(strict, strict), engine)
    assert len(engine.asked) == 2
    assert outcome.passed


def test_the_first_round_may_leave_no_code() -> None:
    engine = Replies()
    outcome = work(Scores(EMPTY, GOOD), engine)
    assert len(engine.asked) == 2
    assert outcome.passed


def test_a_later_round_without_code_ends_it_and_the_first_code_counts() -> None:
    engine = Replies()
    outcome = work(Scores(BAD, EMPTY, GOOD), engine, rounds=3)
    assert len(engine.asked) == 2
    assert list(samples([outcome])) == [{"task_id": "Tiny/1", "solution": "bad"}]


@pytest.mark.parametrize(("feedback", "check"), [("none", None), ("execution", "base")])
def test_the_check_is_asked_for_where_it_is_needed(feedback: Feedback, check: Version | None) -> None:
    scorer = Scores(GOOD)
    work(scorer, feedback=feedback, version="base")
    assert scorer.checks == [check]


def test_a_prompt_that_does_not_fit_ends_the_task_with_what_there_is() -> None:
    outcome = work(Scores(BAD, GOOD), Replies(too_long_at=2))
    assert not outcome.error and outcome.attempts[-1].reason == "round 2: too long"
    assert not outcome.passed
    assert len(outcome.attempts) == 1


def test_what_was_begun_when_it_was_stopped_is_dropped(tmp_path: Path) -> None:
    folder = RunFolder.begin(tmp_path / "run", {})
    second = Problem("Tiny/2", "", "add", "", b"")
    cancel, engine, scorer = threading.Event(), Replies(cancel_at=2), Scores(GOOD, GOOD)
    done = list(run(plan(), [PROBLEM, second], folder, lambda: engine, None, scorer, cancel))  # type: ignore[arg-type]
    assert [each.id for each in done] == ["Tiny/1"]
    assert list(folder.outcomes()) == ["Tiny/1"]


def test_several_problems_at_once(tmp_path: Path) -> None:
    """Both replies are waited for together: neither comes before both were asked for."""
    both = threading.Barrier(2, timeout=60)

    class Waiting(Replies):
        def stream(self, *arguments: Any) -> Iterator[str]:
            both.wait()
            yield from super().stream(*arguments)

    problems = [PROBLEM, Problem("Tiny/2", "", "add", "", b"")]
    folder, scorer, cancel = RunFolder.begin(tmp_path / "run", {}), Scores(GOOD, GOOD), threading.Event()
    done = list(run(plan(), problems, folder, Waiting, None, scorer, cancel, jobs=2))  # type: ignore[arg-type]
    assert {each.id for each in done} == {"Tiny/1", "Tiny/2"} and not cancel.is_set()
