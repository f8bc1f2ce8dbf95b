"""What came of a whole run, in a few numbers, and how texts of models and tasks are shown."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from lsp_server.evaluation.outcome import TaskOutcome
from lsp_server.evaluation.statistics import Interval, Spread, spread, wilson


@dataclass(frozen=True)
class Rate:
    """How many of how many tasks."""

    passed: int
    of: int

    @property
    def share(self) -> float:
        """Of 1; 0 of nothing."""
        return self.passed / self.of if self.of else 0.0

    @property
    def interval(self) -> Interval:
        """Wilson's, of 95 %."""
        return wilson(self.passed, self.of)


@dataclass(frozen=True)
class Summary:
    """What came of the tasks of a run."""

    passed: Rate
    passed_plus: Rate | None
    """By the larger tests, of all tasks; None where there are none."""
    by_round: tuple[Rate, ...]
    """Passed when the first round was over, the second, …; as many as any task took."""
    claims: int
    """Of how many tasks that were said to pass the tests were run outside of our code, too."""
    wrong_claims: tuple[str, ...]
    """Ids of those whose tests fail there; there must be none."""
    untried: tuple[str, ...]
    """Ids of the tasks that could not be tried; they count as not passed."""
    tokens: Spread | None
    """That the model wrote for a task; None where none was tried."""
    seconds: Spread | None
    """That a task took; None where none was tried."""
    all_tokens: int
    """That the model wrote for all tasks."""
    all_seconds: float
    """That all tasks took, one after the other."""


def summarise(outcomes: Collection[TaskOutcome]) -> Summary:
    """Return what came of the tasks of a run."""
    of = len(outcomes)
    tried = [outcome for outcome in outcomes if not outcome.error]
    rounds = max((attempt.round for outcome in outcomes for attempt in outcome.attempts), default=0)
    return Summary(
        passed=Rate(sum(outcome.passed for outcome in outcomes), of),
        passed_plus=(
            Rate(sum(outcome.passed_plus is True for outcome in outcomes), of)
            if any(outcome.passed_plus is not None for outcome in outcomes)
            else None
        ),
        by_round=tuple(
            Rate(sum(outcome.passed_by_round(number) for outcome in outcomes), of)
            for number in range(1, rounds + 1)
        ),
        claims=sum(outcome.outside is not None for outcome in outcomes),
        wrong_claims=tuple(outcome.id for outcome in outcomes if outcome.outside is False),
        untried=tuple(outcome.id for outcome in outcomes if outcome.error),
        tokens=spread([outcome.tokens for outcome in tried]),
        seconds=spread([outcome.seconds for outcome in tried]),
        all_tokens=sum(outcome.tokens for outcome in outcomes),
        all_seconds=sum(outcome.seconds for outcome in outcomes),
    )


def differing(manifests: Collection[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """Return what runs differ in: each manifest's value by its dotted name, None where a manifest has none."""
    flat = [_flat(manifest) for manifest in manifests]
    names = sorted({name for each in flat for name in each})
    rows = {name: tuple(each.get(name) for each in flat) for name in names}
    return {name: values for name, values in rows.items() if any(value != values[0] for value in values)}


def shown(value: Any) -> str:
    """Return a value of a manifest in words; nothing where there is none."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def visible(text: str) -> str:
    """Return text whose control characters, marks of direction and lone surrogates are seen and do nothing.

    Args:
        text: by a model or of a task; its line ends stay.
    """
    return "".join(char if char.isprintable() or char == "\n" else _picture(char) for char in text)


def _picture(char: str) -> str:
    if unicodedata.category(char) == "Zs" or char == "\t":
        return " "
    code = ord(char)
    return chr(0x2400 + code) if code < 0x20 else "\N{SYMBOL FOR DELETE}" if code == 0x7F else "\ufffd"


def _flat(manifest: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in manifest.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
