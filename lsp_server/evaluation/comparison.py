"""Two runs over the same tasks, compared task by task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lsp_server.evaluation.outcome import TaskOutcome
from lsp_server.evaluation.run_folder import EvaluationError, RunFolder
from lsp_server.evaluation.statistics import Interval, Pairs, Spread, mcnemar, paired_difference
from lsp_server.evaluation.summary import Rate, Summary, differing, shown, summarise, visible


@dataclass(frozen=True)
class PairedOutcomes:
    """Which tasks either run passed."""

    pairs: Pairs
    only_a: tuple[str, ...]
    """Ids of the tasks that the first run alone passed."""
    only_b: tuple[str, ...]
    """Ids of the tasks that the second run alone passed."""

    @cached_property
    def interval(self) -> Interval:
        """Of the difference of the pass rates, the second's less the first's: Newcombe's, of 95 %."""
        return paired_difference(self.pairs)

    @cached_property
    def p(self) -> float:
        """McNemar's, exact, of both sides."""
        return mcnemar(self.pairs)


@dataclass(frozen=True)
class Comparison:
    """Two runs over the tasks that both have."""

    names: tuple[str, str]
    differs: Mapping[str, tuple[Any, ...]]
    """What is being compared: the manifests' dotted names whose values differ, with both values."""
    missing: tuple[int, int]
    """How many tasks only the first has, and only the second; they are left out."""
    a: Summary
    b: Summary
    """Of the tasks that both have."""
    passed: PairedOutcomes
    passed_plus: PairedOutcomes | None
    """By the larger tests; None where either run has none."""

    @property
    def wrong_claims(self) -> tuple[str, ...]:
        """Ids of the tasks of either run that were said to pass and do not; there must be none."""
        return tuple(dict.fromkeys([*self.a.wrong_claims, *self.b.wrong_claims]))


def compare(a: RunFolder, b: RunFolder, other_data: bool = False) -> Comparison:
    """Compare two runs over the tasks that both have.

    Args:
        a: what it is compared with.
        b: what is of interest: differences and ratios are its own less, or over, the first's.
        other_data: their data may differ.

    Raises:
        EvaluationError: they are of different data, or have no task in common; or one of them cannot be read.
    """
    if not other_data and a.manifest.get("data") != b.manifest.get("data"):
        raise EvaluationError(
            f"{a.path} and {b.path} are of different data, so that a task's outcomes may differ for that reason alone: "
            "compare them with --other-data if the tasks with the same name are the same."
        )
    first, second = a.outcomes(), b.outcomes()
    common = [task for task in first if task in second]
    if not common:
        raise EvaluationError(f"{a.path} and {b.path} have no task in common.")
    of_a, of_b = [first[task] for task in common], [second[task] for task in common]
    name_a, name_b = run_names((a, b))
    summary_a, summary_b = summarise(of_a), summarise(of_b)
    has_plus = summary_a.passed_plus is not None and summary_b.passed_plus is not None
    return Comparison(
        names=(name_a, name_b),
        differs=differing((a.manifest, b.manifest)),
        missing=(len(first) - len(common), len(second) - len(common)),
        a=summary_a,
        b=summary_b,
        passed=_paired(of_a, of_b, lambda outcome: outcome.passed),
        passed_plus=_paired(of_a, of_b, lambda outcome: outcome.passed_plus is True) if has_plus else None,
    )


def run_names(runs: Sequence[RunFolder]) -> tuple[str, ...]:
    """Return what runs are called: their folders' names, with as much before them as tells them apart."""
    paths = [run.path.resolve().parts for run in runs]
    for length in range(1, max(map(len, paths), default=1) + 1):
        names = tuple("/".join(parts[-length:]) for parts in paths)
        if len(set(names)) == len(names):
            return names
    return tuple(f"{'/'.join(parts[-1:])} ({number})" for number, parts in enumerate(paths, 1))


def comparison_record(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON has it; rates and differences are of 1."""
    return {
        "runs": list(comparison.names),
        "differs": {name: list(values) for name, values in comparison.differs.items()},
        "tasks": comparison.passed.pairs.of,
        "only_in": list(comparison.missing),
        "passed": _paired_record(comparison.passed, comparison.a.passed, comparison.b.passed),
        "passed_plus": (
            _paired_record(comparison.passed_plus, comparison.a.passed_plus, comparison.b.passed_plus)
            if comparison.passed_plus and comparison.a.passed_plus and comparison.b.passed_plus
            else None
        ),
        "by_round": [[rate.share for rate in side.by_round] for side in (comparison.a, comparison.b)],
        "tokens": _spread_record(comparison.a.tokens, comparison.b.tokens),
        "seconds": _spread_record(comparison.a.seconds, comparison.b.seconds),
        "wrong_claims": [list(comparison.a.wrong_claims), list(comparison.b.wrong_claims)],
        "untried": [list(comparison.a.untried), list(comparison.b.untried)],
    }


def show_comparison(console: Console, comparison: Comparison) -> None:
    """Print a comparison for a reader who has not seen either run.

    Args:
        console: where to.
        comparison: what to print.
    """
    for letter, name in zip("AB", comparison.names, strict=True):
        console.print(Text.assemble((letter, "bold"), f"  {visible(name)}"))
    console.print()
    console.print(_differences(comparison))
    console.print()
    console.print(_measures(comparison))
    console.print("In brackets: 95 % confidence intervals (Wilson; of differences Newcombe).", style="dim")
    for letter, missing in zip("AB", comparison.missing, strict=True):
        if missing:
            console.print(f"Left out, as only {letter} has them: {tasks(missing)}.", highlight=False)
    for what, paired in (("", comparison.passed), (" the larger tests", comparison.passed_plus)):
        if paired is not None:
            _say_paired(console, paired, what)
    if comparison.wrong_claims:
        console.print(
            _ids("Said to pass, but its tests fail outside of our code", comparison.wrong_claims, "bold red")
        )


def ratio(a: Spread | None, b: Spread | None) -> float | None:
    """Return the second median over the first; None where there is none."""
    return b.median / a.median if a is not None and b is not None and a.median else None


def tasks(number: int) -> str:
    """Return so many tasks in words."""
    return f"{number} task{'' if number == 1 else 's'}"


def p_shown(p: float) -> str:
    """Return a probability as it is printed."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _paired(
    of_a: Sequence[TaskOutcome], of_b: Sequence[TaskOutcome], passed: Callable[[TaskOutcome], bool]
) -> PairedOutcomes:
    both, only_a, only_b = 0, [], []
    for one, other in zip(of_a, of_b, strict=True):
        match passed(one), passed(other):
            case True, True:
                both += 1
            case True, False:
                only_a.append(one.id)
            case False, True:
                only_b.append(one.id)
    neither = len(of_a) - both - len(only_a) - len(only_b)
    return PairedOutcomes(Pairs(both, len(only_a), len(only_b), neither), tuple(only_a), tuple(only_b))


def _paired_record(paired: PairedOutcomes, a: Rate, b: Rate) -> dict[str, Any]:
    return {
        "rates": [
            {"passed": rate.passed, "rate": rate.share, "interval": [rate.interval.low, rate.interval.high]}
            for rate in (a, b)
        ],
        "difference": paired.pairs.difference,
        "interval": [paired.interval.low, paired.interval.high],
        "p": paired.p,
        "only_a": list(paired.only_a),
        "only_b": list(paired.only_b),
    }


def _spread_record(a: Spread | None, b: Spread | None) -> dict[str, Any]:
    return {
        "medians": [side and side.median for side in (a, b)],
        "quartiles": [side and [side.low, side.high] for side in (a, b)],
        "ratio": ratio(a, b),
    }


def _differences(comparison: Comparison) -> Table | Text:
    if not comparison.differs:
        return Text("The manifests say the same: this is a repetition.")
    table = Table(box=None, header_style="bold")
    for column in ("what differs", "A", "B"):
        table.add_column(column, overflow="fold")
    for name, values in comparison.differs.items():
        table.add_row(*(Text(visible(each)) for each in (name, *map(shown, values))))
    return table


def _measures(comparison: Comparison) -> Table:
    a, b = comparison.a, comparison.b
    table = Table(box=None, header_style="bold")
    table.add_column(f"of {tasks(comparison.passed.pairs.of)}", no_wrap=True)
    for column in ("A", "B", "B against A"):
        table.add_column(column, justify="right")
    table.add_row("passed", _rate(a.passed), _rate(b.passed), _difference(comparison.passed))
    if comparison.passed_plus and a.passed_plus and b.passed_plus:
        table.add_row(
            "the larger tests, too",
            _rate(a.passed_plus),
            _rate(b.passed_plus),
            _difference(comparison.passed_plus),
        )
    for number in range(max(len(a.by_round), len(b.by_round))):
        rounds = [_rate((side.by_round or (side.passed,))[: number + 1][-1]) for side in (a, b)]
        table.add_row(f"passed by round {number + 1}", *rounds, "")
    for title, of_a, of_b, digits in (
        ("tokens, median", a.tokens, b.tokens, 0),
        ("seconds, median", a.seconds, b.seconds, 1),
    ):
        factor = ratio(of_a, of_b)
        medians = [f"{side.median:,.{digits}f}" if side else "" for side in (of_a, of_b)]
        table.add_row(title, *medians, "" if factor is None else f"× {factor:.2f}")
    checked = [
        f"{len(side.wrong_claims)} of {side.claims}" if side.claims else "none checked" for side in (a, b)
    ]
    table.add_row("said to pass, does not", *checked, "")
    if a.untried or b.untried:
        table.add_row("could not be tried", str(len(a.untried)), str(len(b.untried)), "")
    return table


def _rate(rate: Rate) -> str:
    interval = rate.interval
    return f"{rate.passed}, {rate.share:.1%} ({interval.low * 100:.1f}–{interval.high * 100:.1f})"


def _difference(paired: PairedOutcomes) -> str:
    low, high = (f"{each * 100:+.1f}" for each in (paired.interval.low, paired.interval.high))
    return f"{paired.pairs.difference * 100:+.1f} points ({low} to {high})"


def _say_paired(console: Console, paired: PairedOutcomes, what: str) -> None:
    console.print()
    for letter, ids in (("A", paired.only_a), ("B", paired.only_b)):
        console.print(_ids(f"Only {letter} passed{what}", ids, "bold"))
    console.print(
        f"McNemar's exact p: {p_shown(paired.p)}, how likely so uneven a split is if neither run were better.",
        highlight=False,
    )


def _ids(title: str, ids: Sequence[str], style: str) -> Text:
    of = f" ({len(ids)}): " if ids else ": none"
    return Text.assemble((title, style), of, visible(", ".join(ids)))
