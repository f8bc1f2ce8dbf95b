"""A page about one or several runs, for a reader who has not seen them: one file, without scripts or network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from lsp_server.evaluation import plot
from lsp_server.evaluation.comparison import Comparison, compare, p_shown, ratio, run_names, tasks
from lsp_server.evaluation.outcome import TaskOutcome
from lsp_server.evaluation.report_page import PAGE
from lsp_server.evaluation.run_folder import RunFolder
from lsp_server.evaluation.statistics import Interval, Spread
from lsp_server.evaluation.summary import Rate, Summary, differing, shown, summarise, visible

_LONGEST_REASON = 600
"""In characters; a longer one is cut."""


@dataclass(frozen=True)
class Verdict:
    """What is said of a task."""

    sign: str
    words: str
    style: str
    """The class that colours it."""


@dataclass(frozen=True)
class Row:
    """A task in a run's table."""

    id: str
    verdict: Verdict
    rounds: int
    """That were tried."""
    tokens: int
    seconds: float
    reason: str
    """Why it did not pass; empty if it did."""


@dataclass(frozen=True)
class Run:
    """A run as the page shows it."""

    name: str
    summary: Summary
    rows: tuple[Row, ...]
    manifest: str
    """JSON."""


def report(folders: Sequence[RunFolder]) -> str:
    """Return the page about runs, as HTML.

    Args:
        folders: the runs; the later ones are compared with the first where they are of the same data.

    Raises:
        EvaluationError: one of them cannot be read.
    """
    outcomes = [list(folder.outcomes().values()) for folder in folders]
    runs = [
        Run(
            name,
            summarise(each),
            tuple(map(_row, each)),
            json.dumps(folder.manifest, indent=2, ensure_ascii=False),
        )
        for name, folder, each in zip(run_names(folders), folders, outcomes, strict=True)
    ]
    differs = differing([folder.manifest for folder in folders])
    return _template().render(
        runs=runs,
        rounds=max((len(run.summary.by_round) for run in runs), default=0),
        by_round=plot.by_round([run.summary.by_round for run in runs]),
        by_tokens=plot.by_tokens(outcomes),
        comparisons=_comparisons(folders, outcomes),
        differs=differs,
        other_data="data" in differs or any(name.startswith("data.") for name in differs),
    )


def verdict(outcome: TaskOutcome) -> Verdict:
    """Return what is said of a task."""
    if outcome.outside is False:
        return Verdict("‼", "said to pass, does not", "wrong")
    if outcome.error:
        return Verdict("–", "not tried", "untried")
    if not outcome.passed:
        return Verdict("✗", "not passed", "failed")
    if outcome.passed_plus is False:
        return Verdict("◐", "base tests only", "partial")
    return Verdict("✓", "passed", "passed")


def _comparisons(folders: Sequence[RunFolder], outcomes: Sequence[Sequence[TaskOutcome]]) -> list[Comparison]:
    first, *others = folders
    ids = [{outcome.id for outcome in each} for each in outcomes]
    return [
        compare(first, other)
        for other, tasks_of_other in zip(others, ids[1:], strict=True)
        if other.manifest.get("data") == first.manifest.get("data") and tasks_of_other & ids[0]
    ]


def _row(outcome: TaskOutcome) -> Row:
    said = verdict(outcome)
    match said.style:
        case "passed":
            reason = ""
        case "partial":
            reason = "fails the larger tests"
        case "wrong":
            reason = "its tests fail outside of our code"
        case _:
            reason = outcome.error or (outcome.attempts[-1].reason if outcome.attempts else "")
    if len(reason) > _LONGEST_REASON:
        reason = f"{reason[:_LONGEST_REASON]} …"
    rounds = max((attempt.round for attempt in outcome.attempts), default=0)
    return Row(outcome.id, said, rounds, outcome.tokens, outcome.seconds, reason)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters |= {
        "percent": lambda share: f"{share * 100:.1f} %",
        "points": lambda share: f"{share * 100:+.1f}".replace("-", "−"),
        "interval": _interval,
        "span": _span,
        "p": p_shown,
        "shown": shown,
        "tasks": tasks,
    }
    environment.globals |= {"ratio": ratio, "plot": plot}
    return environment.from_string(PAGE)


def _finalize(value: Any) -> Any:
    """What every expression of the page goes through before it is escaped."""
    return visible(value) if type(value) is str else value  # not the page's own markup


def _interval(of: Rate | Interval) -> str:
    interval = of.interval if isinstance(of, Rate) else of
    return f"{interval.low * 100:.1f} – {interval.high * 100:.1f} %"


def _span(spread: Spread, digits: int) -> str:
    return f"{spread.low:,.{digits}f} – {spread.high:,.{digits}f}"
