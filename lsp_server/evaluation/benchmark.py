"""A benchmark of EvalPlus with rounds of feedback: what the official scripts do, task by task."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Literal

from lsp_server.engine.protocol import ContextTooLong, Engine, Message, Sampling
from lsp_server.evaluation import official
from lsp_server.evaluation.dialogue import Dialogue, Prompts, begin
from lsp_server.evaluation.meter import CostingEngine, MeteredEngine
from lsp_server.evaluation.outcome import Attempt, TaskOutcome
from lsp_server.evaluation.problems import Dataset, Problem
from lsp_server.evaluation.run_folder import RunFolder
from lsp_server.evaluation.scoring import Score, Scorer, Version
from lsp_server.evaluation.workers import work_on

Feedback = Literal["none", "execution", "human", "oracle"]

SAMPLING = Sampling(temperature=0.0, max_tokens=official.REPLY_TOKENS)
"""Greedy."""


@dataclass(frozen=True)
class Plan:
    """What a run does with every problem."""

    dataset: Dataset
    version: Version
    """Inputs that the check between rounds has; both are scored in the end."""
    feedback: Feedback
    rounds: int
    prompts: Prompts

    @property
    def benchmark(self) -> str:
        """The name that it is asked for by."""
        return self.dataset + "+" * (self.version == "plus")


def run(
    plan: Plan,
    problems: Sequence[Problem],
    folder: RunFolder,
    engine: Callable[[], CostingEngine],
    author: Callable[[], Engine] | None,
    scorer: Scorer,
    cancel: threading.Event,
    jobs: int = 1,
) -> Iterator[TaskOutcome]:
    """Work on the problems that the folder has no outcome of, and yield what comes of each once it is written down.

    Args:
        plan: what is done.
        problems: in the order in which they are worked on; the scorer knows what they should return.
        folder: where outcomes are kept.
        engine: makes the model that is measured, one for each problem.
        author: makes who writes the feedback of `human` and `oracle`.
        scorer: EvalPlus.
        cancel: ends it; what was begun is dropped.
        jobs: problems at once; the limits of EvalPlus are times by the clock.

    Raises:
        EngineError: a model does not answer.
        EvaluationError, RunnerError: a solution cannot be scored.
    """
    done = folder.outcomes()

    def work(problem: Problem) -> TaskOutcome:
        return solve(plan, problem, engine(), author() if author else None, scorer, cancel)

    left = (each for each in problems if each.id not in done)
    with closing(work_on(left, work, jobs, cancel)) as outcomes:
        for outcome in outcomes:
            if cancel.is_set():
                return
            folder.add(outcome)
            yield outcome


def solve(
    plan: Plan,
    problem: Problem,
    engine: CostingEngine,
    author: Engine | None,
    scorer: Scorer,
    cancel: threading.Event,
) -> TaskOutcome:
    """Work on one problem; the arguments and errors are those of `run`, with an engine and an author themselves."""
    metered, began = MeteredEngine(engine), time.monotonic()
    dialogue = begin(plan.prompts, plan.dataset, problem)
    attempts: list[Attempt] = []
    scores: list[Score] = []
    error = ""
    check = None if plan.feedback == "none" else plan.version
    try:
        while not cancel.is_set():
            asked = time.monotonic()
            reply = "".join(metered.stream(dialogue.messages, SAMPLING, cancel))
            dialogue.replied(reply)
            if cancel.is_set():
                break
            score = scorer.score(problem, reply, check, cancel)
            scores.append(score)
            passed = score.passed if score.checked is None else score.checked
            cost = metered.replies[-1]
            attempts.append(
                Attempt(
                    len(attempts) + 1,
                    passed,
                    cost.prompt_tokens,
                    cost.reply_tokens,
                    time.monotonic() - asked,
                    _line(score.feedback) if not passed else "",
                    score.passed,
                )
            )
            # The official loop also ends where a later round leaves no code.
            if passed or len(attempts) == plan.rounds or not (score.solution or len(attempts) == 1):
                break
            _tell(plan, problem, dialogue, score, author, cancel)
    except ContextTooLong as told:
        if attempts:  # the last reply stands
            attempts[-1] = replace(attempts[-1], reason=f"round {len(attempts) + 1}: {told}")
        else:
            error = str(told)
    last = _answer(scores)
    return TaskOutcome(
        problem.id,
        tuple(attempts),
        last.passed,
        last.passed_plus,
        seconds=time.monotonic() - began,
        error=error,
        detail={"rounds": [asdict(score) for score in scores]},
        conversation=tuple(dialogue.turns),
    )


def samples(outcomes: Iterable[TaskOutcome]) -> Iterator[dict[str, str]]:
    """Yield what was scored in EvalPlus' form, `{"task_id", "solution"}`."""
    for outcome in outcomes:
        scores = [Score(**row) for row in outcome.detail["rounds"]]
        yield {"task_id": outcome.id, "solution": _answer(scores).solution}


def _answer(scores: Sequence[Score]) -> Score:
    """The last round's; but without code in a later round, the official script's answer is that of the first."""
    if not scores:
        return Score("", "fail", "fail")
    return scores[-1] if scores[-1].solution else scores[0]


def _tell(
    plan: Plan,
    problem: Problem,
    dialogue: Dialogue,
    score: Score,
    author: Engine | None,
    cancel: threading.Event,
) -> None:
    """Add what is said of a failed round to its dialogue."""
    if plan.feedback in ("none", "execution"):
        dialogue.executed(score.feedback)
        return
    assert author is not None
    question: list[Message] = official.ask_author(
        problem, score.solution, score.feedback, oracle=plan.feedback == "oracle"
    )
    dialogue.guided("".join(author.stream(question, SAMPLING, cancel)))


def _line(text: str) -> str:
    """A feedback in a line: what kind of error it is."""
    lines = text.strip().splitlines()
    if not lines:
        return "the solution was ended"
    return (lines[-1] if lines[0].startswith("File ") else " ".join(lines))[:200]
