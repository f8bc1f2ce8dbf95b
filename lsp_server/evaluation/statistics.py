"""What pass rates, their differences and times say, and how sure that is."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Z = 1.959963984540054
"""The normal distribution's 97.5 % quantile: every interval here is one of 95 %."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval of 95 %."""

    low: float
    high: float


@dataclass(frozen=True)
class Pairs:
    """What came of the same tasks in two runs, counted."""

    both: int
    only_a: int
    only_b: int
    neither: int

    @classmethod
    def counted(cls, passed: Iterable[tuple[bool, bool]]) -> Pairs:
        """Count tasks by whether each passed in the first run, and in the second."""
        found = Counter(passed)
        return cls(found[True, True], found[True, False], found[False, True], found[False, False])

    @property
    def of(self) -> int:
        """All tasks."""
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def a(self) -> int:
        """Those that passed in the first run."""
        return self.both + self.only_a

    @property
    def b(self) -> int:
        """Those that passed in the second run."""
        return self.both + self.only_b

    @property
    def difference(self) -> float:
        """The second run's pass rate less the first's."""
        return (self.only_b - self.only_a) / self.of if self.of else 0.0


@dataclass(frozen=True)
class Spread:
    """Where the middle of some measurements lies."""

    low: float
    """First quartile."""
    median: float
    high: float
    """Third quartile."""


def wilson(passed: int, of: int) -> Interval:
    """Return the interval of a proportion; all from 0 to 1 where nothing was counted.

    E. B. Wilson: Probable inference, the law of succession, and statistical inference. J. Am. Stat. Assoc. 22 (1927)
    209–212; method 3 in R. G. Newcombe, Stat. Med. 17 (1998) 857–872, without a correction for continuity.

    Args:
        passed: how many had it.
        of: of how many.

    Raises:
        ValueError: `passed` is not between 0 and `of`.
    """
    if not 0 <= passed <= of:
        raise ValueError(f"{passed} of {of} is no proportion")
    if not of:
        return Interval(0.0, 1.0)
    rate = passed / of
    centre = rate + Z**2 / (2 * of)
    half = Z * math.sqrt(rate * (1 - rate) / of + Z**2 / (4 * of**2))
    scale = 1 + Z**2 / of
    return Interval(
        0.0 if passed == 0 else (centre - half) / scale, 1.0 if passed == of else (centre + half) / scale
    )


def mcnemar(pairs: Pairs) -> float:
    """Return the probability of so uneven a split, or a more uneven one, if neither run were better.

    The exact test, on both sides, of Q. McNemar: Note on the sampling error of the difference between correlated
    proportions or percentages. Psychometrika 12 (1947) 153–157: of the tasks that one run alone passed, as many are
    the first's as a fair coin gives.
    """
    of = pairs.only_a + pairs.only_b
    fewer = min(pairs.only_a, pairs.only_b)
    # Whole numbers until the end: 1 << of is beyond a float's range from 1024 on.
    ways = sum(math.comb(of, count) for count in range(fewer + 1))
    return min(2 * ways / (1 << of), 1.0)


def paired_difference(pairs: Pairs) -> Interval:
    """Return the interval of the difference (the second run's pass rate less the first's).

    R. G. Newcombe: Improved confidence intervals for the difference between binomial proportions based on paired data.
    Stat. Med. 17 (1998) 2635–2650, method 10: Wilson's intervals of both rates, squared and added, with the
    correlation of the pairs, corrected for continuity.
    """
    if not pairs.of:
        return Interval(-1.0, 1.0)
    first, second = wilson(pairs.a, pairs.of), wilson(pairs.b, pairs.of)
    rate_a, rate_b = pairs.a / pairs.of, pairs.b / pairs.of
    correlation = _correlation(pairs)
    down = _added(rate_b - second.low, first.high - rate_a, correlation)
    up = _added(second.high - rate_b, rate_a - first.low, correlation)
    return Interval(pairs.difference - down, pairs.difference + up)


def spread(values: Sequence[float]) -> Spread | None:
    """Return the median and the quartiles; None of nothing.

    Quartiles are those of R. J. Hyndman and Y. Fan, Am. Stat. 50 (1996) 361–365, type 7: R's and numpy's own.
    """
    if not values:
        return None
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))


def _correlation(pairs: Pairs) -> float:
    """Return phi, with Newcombe's correction for continuity."""
    margins = pairs.a * (pairs.of - pairs.a) * pairs.b * (pairs.of - pairs.b)
    if not margins:
        return 0.0
    product = pairs.both * pairs.neither - pairs.only_a * pairs.only_b
    corrected = max(product - pairs.of / 2, 0.0) if product > 0 else product
    return corrected / math.sqrt(margins)


def _added(one: float, other: float, correlation: float) -> float:
    return math.sqrt(max(one**2 - 2 * correlation * one * other + other**2, 0.0))
