"""The model card's table of pass@1: `base (plus)`, with and without feedback."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lsp_server.evaluation.benchmark import Feedback
from lsp_server.evaluation.outcome import TaskOutcome
from lsp_server.evaluation.summary import Rate

LABELS: dict[Feedback, str] = {
    "execution": "+ Execution Feedback",
    "human": "+ Synth. Human Feedback",
    "oracle": "+ Synth. Human Feedback (Oracle)",
}
"""As the model card has them."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    label: str
    base: Rate
    plus: Rate

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """Name, `base (plus)`, and the interval of each."""
        return (
            self.label,
            f"{100 * self.base.share:.1f} ({100 * self.plus.share:.1f})",
            _interval(self.base),
            _interval(self.plus),
        )


def rows(model: str, feedback: Feedback, outcomes: Iterable[TaskOutcome]) -> list[Row]:
    """Return the rows that a run gives: the first round's, and the one with feedback if it had any.

    Args:
        model: its name.
        feedback: what the run had.
        outcomes: of the problems, by `benchmark.run`.
    """
    done = list(outcomes)
    first = [each.detail["rounds"][0] if each.detail["rounds"] else {} for each in done]
    base = [score.get("base") == "pass" for score in first]
    plus = [score.get("base") == score.get("plus") == "pass" for score in first]
    found = [Row(model, Rate(sum(base), len(done)), Rate(sum(plus), len(done)))]
    if feedback != "none":
        passed = Rate(sum(each.passed for each in done), len(done))
        passed_plus = Rate(sum(bool(each.passed_plus) for each in done), len(done))
        found.append(Row(LABELS[feedback], passed, passed_plus))
    return found


def header(title: str) -> tuple[str, str, str, str]:
    """Return the columns' names, the second being the data set's."""
    return "", f"{title} (+)", "95 % of base", "95 % of plus"


def markdown(title: str, table: Sequence[Row]) -> str:
    """Return a table in Markdown."""
    lines = [header(title), ("---",) * 4, *(row.cells for row in table)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _interval(rate: Rate) -> str:
    return f"{100 * rate.interval.low:.1f}–{100 * rate.interval.high:.1f}"
