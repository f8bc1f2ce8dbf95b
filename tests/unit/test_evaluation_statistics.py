"""Intervals and tests against published examples, and what must hold of any counts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.evaluation.statistics import (
    Interval,
    Pairs,
    Spread,
    mcnemar,
    paired_difference,
    spread,
    wilson,
)

counts = st.integers(0, 300)
tables = st.builds(Pairs, counts, counts, counts, counts)


@pytest.mark.parametrize(
    ("passed", "of", "low", "high"),
    [
        # Newcombe, Stat. Med. 17 (1998) 857–872, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_is_the_published_one(passed: int, of: int, low: float, high: float) -> None:
    interval = wilson(passed, of)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@given(counts, counts)
def test_wilsons_interval_holds_the_rate_and_mirrors_its_complement(passed: int, failed: int) -> None:
    of = passed + failed
    interval, mirrored = wilson(passed, of), wilson(failed, of)
    assert 0 <= interval.low <= interval.high <= 1
    if of:
        assert interval.low <= passed / of <= interval.high
        assert interval.high - interval.low < 1
    assert interval.low == pytest.approx(1 - mirrored.high, abs=1e-12)


def test_nothing_counted_says_nothing() -> None:
    assert wilson(0, 0) == Interval(0.0, 1.0)
    assert paired_difference(Pairs(0, 0, 0, 0)) == Interval(-1.0, 1.0)
    assert mcnemar(Pairs(0, 0, 0, 0)) == 1.0
    assert Pairs(0, 0, 0, 0).difference == 0.0
    assert spread([]) is None


@pytest.mark.parametrize(("passed", "of"), [(-1, 3), (4, 3)])
def test_what_is_no_proportion_is_refused(passed: int, of: int) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        wilson(passed, of)


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [
        # statsmodels' test_mcnemar_exact, whose values are VassarStats'.
        (121, 59, 0.000004),
        (70, 59, 0.378688),
        (80, 59, 0.089452),
        (30, 60, 0.00206),
        (10, 30, 0.002221),
        (10, 10, 1.0),
    ],
)
def test_mcnemars_p_is_the_one_of_other_implementations(only_a: int, only_b: int, p: float) -> None:
    assert mcnemar(Pairs(101, only_a, only_b, 33)) == pytest.approx(p, abs=5.1e-7)


def test_mcnemars_p_is_the_published_one() -> None:
    # Fagerland, Lydersen, Laake, Stat. Med. 33 (2014) 2850–2875: airway hyper-responsiveness, 18/256.
    assert mcnemar(Pairs(1, 1, 7, 12)) == 18 / 256


@given(tables)
def test_mcnemars_p_is_a_probability_and_knows_no_order(pairs: Pairs) -> None:
    p = mcnemar(pairs)
    assert 0 <= p <= 1
    assert p == mcnemar(Pairs(pairs.both, pairs.only_b, pairs.only_a, pairs.neither))
    assert p == mcnemar(Pairs(0, pairs.only_a, pairs.only_b, 0))


@given(st.integers(0, 400), st.integers(1, 400))
def test_a_more_uneven_split_is_less_likely(fewer: int, more: int) -> None:
    if fewer < more:
        assert mcnemar(Pairs(0, fewer, more, 0)) > mcnemar(Pairs(0, fewer, more + 1, 0))


@pytest.mark.parametrize(
    ("both", "only_b", "only_a", "neither", "low", "high"),
    [
        # Newcombe, Stat. Med. 17 (1998) 2635–2650, method 10: the worked example, and rows of table III.
        (12, 9, 2, 21, 0.0112, 0.2954),
        (36, 12, 2, 0, 0.0569, 0.3404),
        (54, 0, 0, 0, -0.0664, 0.0664),
        (0, 30, 0, 0, 0.8395, 1.0000),
    ],
)
def test_the_paired_difference_is_the_published_one(
    both: int, only_b: int, only_a: int, neither: int, low: float, high: float
) -> None:
    interval = paired_difference(Pairs(both, only_a, only_b, neither))
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


def test_thousands_of_pairs_do_not_overflow() -> None:
    # Of 4000 the normal distribution says 0.0266 with a correction for continuity: z = (2070 − 1930 − 1) / √4000.
    assert mcnemar(Pairs(0, 2070, 1930, 0)) == pytest.approx(math.erfc(139 / math.sqrt(8000)), rel=1e-3)


def test_the_paired_difference_is_the_published_one_where_the_pairs_speak_against_each_other() -> None:
    # Fagerland, Lydersen, Laake, Stat. Med. 33 (2014) 2850–2875, table V: -0.507 to -0.026 before less after.
    interval = paired_difference(Pairs(1, 7, 1, 12))
    assert (round(interval.low, 3), round(interval.high, 3)) == (-0.507, -0.026)


@given(tables)
def test_the_paired_difference_is_within_bounds_and_turns_with_the_runs(pairs: Pairs) -> None:
    interval = paired_difference(pairs)
    turned = paired_difference(Pairs(pairs.both, pairs.only_b, pairs.only_a, pairs.neither))
    assert -1 - 1e-12 <= interval.low <= pairs.difference <= interval.high <= 1 + 1e-12
    assert interval.low == pytest.approx(-turned.high, abs=1e-12)


@given(tables)
def test_counts_of_pairs_add_up(pairs: Pairs) -> None:
    assert pairs.of == pairs.both + pairs.only_a + pairs.only_b + pairs.neither
    assert (pairs.b - pairs.a) / max(pairs.of, 1) == pytest.approx(pairs.difference)
    assert Pairs.counted([(True, True)] * 3 + [(True, False)] * 2 + [(False, False)]) == Pairs(3, 2, 0, 1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # numpy.percentile's documentation and R's quantile(1:10): type 7.
        ([10, 7, 4, 3, 2, 1], Spread(2.25, 3.5, 6.25)),
        (range(1, 11), Spread(3.25, 5.5, 7.75)),
        ([4.0], Spread(4.0, 4.0, 4.0)),
    ],
)
def test_quartiles_are_numpys(values: list[float], expected: Spread) -> None:
    assert spread(list(values)) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_quartiles_are_in_order_and_among_the_values(values: list[float]) -> None:
    found = spread(values)
    assert found is not None
    assert min(values) <= found.low <= found.median <= found.high <= max(values) or math.isclose(
        found.low, found.high
    )
