"""Where the lines, marks and ticks of a report's two plots are drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lsp_server.evaluation.outcome import TaskOutcome
from lsp_server.evaluation.summary import Rate

WIDTH, HEIGHT = 480, 330
LEFT, RIGHT, TOP, BOTTOM = 68, WIDTH - 24, 14, HEIGHT - 52
"""Of the area between the axes, in the drawing's units; y grows downwards."""
_MOST_TICKS = 8
_NICE = tuple(int(first + "0" * zeros) for zeros in range(12) for first in "125")
"""What an axis may begin with, end with or name."""
_REACH = 6.0
"""From a mark's middle to its edge."""


@dataclass(frozen=True)
class Tick:
    """A place on an axis, and what is written there."""

    at: float
    label: str


@dataclass(frozen=True)
class Bar:
    """A confidence interval."""

    x: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """What is drawn of one run."""

    run: int
    """From 0: it chooses colour, dashes and mark."""
    path: str
    """SVG's path data."""
    marks: tuple[str, ...]
    """Path data of the marks upon it."""
    bars: tuple[Bar, ...]
    description: str
    """The same in words, without the run's name."""


@dataclass(frozen=True)
class Plot:
    """One drawing."""

    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]


def by_round(runs: Sequence[Sequence[Rate]]) -> Plot | None:
    """Return the plot of the share of tasks passed when so many rounds were over; None where nothing was tried.

    Args:
        runs: each one's rates, the first round's first.
    """
    rounds = max(map(len, runs), default=0)
    if not rounds:
        return None
    band = (RIGHT - LEFT) / rounds
    apart = min(18.0, band / (len(runs) + 1))  # side by side, else their intervals hide each other
    lines = []
    for run, rates in enumerate(runs):
        if not rates:
            continue
        beside = (run - (len(runs) - 1) / 2) * apart
        xs = [LEFT + (number + 0.5) * band + beside for number in range(len(rates))]
        points = list(zip(xs, (_y(rate.share) for rate in rates), strict=True))
        bars = tuple(
            Bar(_round(x), _y(rate.interval.low), _y(rate.interval.high))
            for x, rate in zip(xs, rates, strict=True)
        )
        said = ", ".join(
            f"{rate.share:.1%} after round {number} ({rate.interval.low:.1%} to {rate.interval.high:.1%})"
            for number, rate in enumerate(rates, 1)
        )
        lines.append(Line(run, _steps(points), tuple(mark(run, *point) for point in points), bars, said))
    ticks = tuple(Tick(_round(LEFT + (number - 0.5) * band), str(number)) for number in range(1, rounds + 1))
    return Plot(ticks, _percents(), tuple(lines))


def by_tokens(runs: Sequence[Sequence[TaskOutcome]]) -> Plot | None:
    """Return the plot of the share of tasks passed within so many written tokens each; None where none was passed.

    Args:
        runs: each one's outcomes.
    """
    most = max((outcome.tokens for outcomes in runs for outcome in outcomes), default=0)
    passed = [sorted(each.tokens for each in outcomes if each.passed) for outcomes in runs]
    counted = [tokens for costs in passed for tokens in costs if tokens > 0]
    if not counted:
        return None
    low = max(number for number in _NICE if number <= min(counted))
    high = min(number for number in _NICE if number > most)  # beyond what is drawn

    def x(tokens: float) -> float:
        share = math.log(max(tokens, low) / low) / math.log(high / low)
        return _round(LEFT + share * (RIGHT - LEFT))

    lines = []
    for run, (costs, outcomes) in enumerate(zip(passed, runs, strict=True)):
        if not outcomes:
            continue
        points = [(float(LEFT), _y(0))]
        points += [(x(cost), _y(number / len(outcomes))) for number, cost in enumerate(costs, 1)]
        points.append((float(RIGHT), points[-1][1]))
        # One mark in the middle of those passed: at the curves' ends the marks of equal runs would hide each other.
        marks = (mark(run, *points[(len(costs) + 1) // 2]),) if costs else ()
        lines.append(Line(run, _steps(points), marks, (), _costs_said(costs, len(outcomes))))
    ticks = tuple(Tick(x(tokens), f"{tokens:,}") for tokens in _nice(low, high))
    return Plot(ticks, _percents(), tuple(lines))


def mark(run: int, x: float, y: float) -> str:
    """Return the path of a run's mark: a circle, a square, a triangle or a diamond.

    Args:
        run: whose, from 0.
        x, y: its middle, in the drawing's units.
    """
    r = _REACH
    match run % 4:
        case 0:
            r *= 0.85
            return f"M{x - r:g} {y:g}a{r:g} {r:g} 0 1 0 {2 * r:g} 0a{r:g} {r:g} 0 1 0 {-2 * r:g} 0z"
        case 1:
            r *= 0.8
            return f"M{x - r:g} {y - r:g}h{2 * r:g}v{2 * r:g}h{-2 * r:g}z"
        case 2:
            return f"M{x:g} {y - r:g}L{x + r:g} {y + 0.8 * r:g}H{x - r:g}z"
        case _:
            return f"M{x:g} {y - r:g}L{x + r:g} {y:g}L{x:g} {y + r:g}L{x - r:g} {y:g}z"


def _steps(points: Sequence[tuple[float, float]]) -> str:
    """Return a path that keeps each point's height until the next."""
    (x, y), *others = points
    return f"M{_round(x):g} {y:g}" + "".join(f"H{_round(x):g}V{y:g}" for x, y in others)


def _y(share: float) -> float:
    return _round(BOTTOM - share * (BOTTOM - TOP))


def _round(at: float) -> float:
    return round(at, 1)


def _percents() -> tuple[Tick, ...]:
    return tuple(Tick(_y(percent / 100), f"{percent} %") for percent in range(0, 101, 20))


def _costs_said(costs: Sequence[int], of: int) -> str:
    if not costs:
        return "no task passed"
    half = costs[(len(costs) - 1) // 2]
    return f"{len(costs) / of:.1%} passed, half of those within {half:,} tokens, all within {costs[-1]:,}"


def _nice(low: int, high: int) -> list[int]:
    """Return the numbers in a range that an axis names; powers of ten alone where the others are too many."""
    found = [number for number in _NICE if low <= number <= high]
    return found if len(found) <= _MOST_TICKS else [number for number in found if str(number).startswith("1")]
