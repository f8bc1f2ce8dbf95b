"""The model card's table."""

from __future__ import annotations

from typing import Any

from lsp_server.evaluation.outcome import TaskOutcome
from lsp_server.evaluation.summary import Rate
from lsp_server.evaluation.table import markdown, rows


def outcome(name: str, *rounds: str) -> TaskOutcome:
    """An outcome by its rounds: `+` passed all, `b` the base tests only, `-` none."""
    scores: list[dict[str, Any]] = [
        {"base": "fail" if each == "-" else "pass", "plus": "pass" if each == "+" else "fail"}
        for each in rounds
    ]
    last = rounds[-1] if rounds else "-"
    return TaskOutcome(name, (), last != "-", last == "+", detail={"rounds": scores})


def test_rows_of_the_first_round_and_of_the_last() -> None:
    outcomes = [outcome("1", "+"), outcome("2", "-", "b"), outcome("3", "b", "+"), outcome("4")]
    first, last = rows("a-model", "execution", outcomes)
    assert (first.label, first.base, first.plus) == ("a-model", Rate(2, 4), Rate(1, 4))
    assert (last.label, last.base, last.plus) == ("+ Execution Feedback", Rate(3, 4), Rate(2, 4))
    assert len(rows("a-model", "none", outcomes)) == 1


def test_markdown() -> None:
    text = markdown("HumanEval", rows("a-model", "oracle", [outcome("1", "-", "+"), outcome("2", "b", "b")]))
    assert text == (
        "|  | HumanEval (+) | 95 % of base | 95 % of plus |\n"
        "| --- | --- | --- | --- |\n"
        "| a-model | 50.0 (0.0) | 9.5–90.5 | 0.0–65.8 |\n"
        "| + Synth. Human Feedback (Oracle) | 100.0 (50.0) | 34.2–100.0 | 9.5–90.5 |\n"
    )
