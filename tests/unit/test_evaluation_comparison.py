"""Two runs compared over the tasks that both have."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lsp_server import comparison_commands
from lsp_server.evaluation.comparison import (
    Comparison,
    compare,
    comparison_record,
    p_shown,
    run_names,
    show_comparison,
)
from lsp_server.evaluation.outcome import Attempt, TaskOutcome
from lsp_server.evaluation.run_folder import EvaluationError, RunFolder
from lsp_server.evaluation.summary import Rate, differing, summarise, visible

Make = Callable[..., RunFolder]
MANIFEST = {"kind": "bench", "data": "sha256:1", "model": "small", "options": {"rounds": 3, "seed": 0}}


def outcome(
    name: str,
    passed: bool,
    *tokens: int,
    plus: bool | None = None,
    outside: bool | None = None,
    seconds: float = 2.0,
    error: str = "",
) -> TaskOutcome:
    """One with as many rounds as token counts, the last of which passed if the task did."""
    attempts = tuple(
        Attempt(number, passed and number == len(tokens), 10, count, 1.0, "" if passed else "assert 1 == 2")
        for number, count in enumerate(tokens, 1)
    )
    return TaskOutcome(name, attempts, passed, plus, outside, seconds, error)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(name: str, *outcomes: TaskOutcome, **more: Any) -> RunFolder:
        run = RunFolder.begin(tmp_path / name, {**MANIFEST, **more})
        for each in outcomes:
            run.add(each)
        return run

    return make


@pytest.fixture
def runs(make: Make) -> tuple[RunFolder, RunFolder]:
    """Over t1 … t6; either has one of its own."""
    one = make(
        "one",
        outcome("t1", True, 10, plus=True),
        outcome("t2", True, 20, plus=True, seconds=4.0),
        outcome("t3", False, 30, plus=False, seconds=6.0),
        outcome("t4", False, 40, seconds=8.0),
        outcome("t5", False, 50, seconds=10.0),
        outcome("t6", False, error="it has no tests"),
        outcome("mine", True, 1000),
        options={"rounds": 1, "seed": 0},
    )
    other = make(
        "other",
        outcome("t3", True, 60, 20, plus=True),
        outcome("t2", False, 60, 60, 60, plus=False),
        outcome("t1", True, 10, plus=False, outside=True),
        outcome("t4", True, 10, 20, 30, plus=False, outside=False),
        outcome("t5", True, 10, 20, plus=True),
        outcome("t6", False, 90),
        outcome("theirs", True, 1000),
        outcome("theirs too", True, 1000),
        model="large",
    )
    return one, other


def printed(comparison: Comparison, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    show_comparison(console, comparison)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_tasks_that_one_run_alone_has_are_left_out_and_counted(runs: tuple[RunFolder, RunFolder]) -> None:
    comparison = compare(*runs)
    assert comparison.missing == (1, 2)
    assert (comparison.a.passed, comparison.b.passed) == (Rate(2, 6), Rate(4, 6))
    text = printed(comparison)
    assert "of 6 tasks" in text
    assert "Left out, as only A has them: 1 task." in text
    assert "Left out, as only B has them: 2 tasks." in text


def test_tasks_are_paired_by_id_whatever_their_order(runs: tuple[RunFolder, RunFolder]) -> None:
    passed = compare(*runs).passed
    assert (passed.only_a, passed.only_b) == (("t2",), ("t3", "t4", "t5"))
    pairs = passed.pairs
    assert (pairs.both, pairs.only_a, pairs.only_b, pairs.neither) == (1, 1, 3, 1)
    assert pairs.difference == pytest.approx(2 / 6)
    assert passed.p == pytest.approx(10 / 16)
    assert passed.interval.low < 0 < 2 / 6 < passed.interval.high


def test_runs_turned_around_say_the_opposite(runs: tuple[RunFolder, RunFolder]) -> None:
    there, back = compare(*runs).passed, compare(*reversed(runs)).passed
    assert (there.only_a, there.only_b) == (back.only_b, tuple(sorted(back.only_a)))
    assert there.pairs.difference == -back.pairs.difference
    assert there.p == back.p


def test_the_larger_tests_are_compared_where_both_have_them(
    runs: tuple[RunFolder, RunFolder], make: Make
) -> None:
    comparison = compare(*runs)
    assert comparison.passed_plus is not None
    # A task without a verdict has not passed them: leaving it out would flatter the run.
    assert (comparison.a.passed_plus, comparison.b.passed_plus) == (Rate(2, 6), Rate(2, 6))
    assert (comparison.passed_plus.only_a, comparison.passed_plus.only_b) == (("t1", "t2"), ("t3", "t5"))
    without = make("without", outcome("t1", True, 1))
    assert compare(runs[0], without).passed_plus is None
    assert "larger" not in printed(compare(runs[0], without))


def test_tokens_and_seconds_are_medians_of_what_was_tried(runs: tuple[RunFolder, RunFolder]) -> None:
    record = comparison_record(compare(*runs))
    assert record["tokens"] == {
        "medians": [30, 70.0],
        "quartiles": [[20, 40], [37.5, 87.5]],
        "ratio": pytest.approx(70 / 30),
    }
    assert record["seconds"]["medians"] == [6.0, 2.0]
    assert record["seconds"]["ratio"] == pytest.approx(1 / 3)
    assert record["untried"] == [["t6"], []]
    assert "× 0.33" in printed(compare(*runs))


def test_nothing_tried_has_no_medians(make: Make) -> None:
    one = make("one", outcome("t1", False, error="no model"))
    other = make("other", outcome("t1", True, 5))
    record = comparison_record(compare(one, other))
    assert record["tokens"] == {"medians": [None, 5], "quartiles": [None, [5, 5]], "ratio": None}
    assert record["by_round"] == [[], [1.0]]
    assert "could not be tried" in printed(compare(one, other))


def test_what_differs_is_named(runs: tuple[RunFolder, RunFolder], make: Make) -> None:
    comparison = compare(*runs)
    assert comparison.differs == {"model": ("small", "large"), "options.rounds": (1, 3)}
    lines = printed(comparison).splitlines()
    assert any(line.split() == ["model", "small", "large"] for line in lines)
    assert any(line.split() == ["options.rounds", "1", "3"] for line in lines)
    again = make("again", outcome("t1", True, 1), options={"rounds": 1, "seed": 0})
    assert "repetition" in printed(compare(runs[0], again))


@pytest.mark.parametrize(
    ("one", "other", "differs"),
    [
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1}, {}, {"a": (1, None)}),
        ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"c": 3, "d": 2}}}, {"a.b.c": (1, 3)}),
        ({"a": {"b": 1}}, {"a": 2}, {"a": (None, 2), "a.b": (1, None)}),
        ({"a": {}}, {}, {"a": ({}, None)}),
        ({"a": [1, 2]}, {"a": [2, 1]}, {"a": ([1, 2], [2, 1])}),
    ],
)
def test_differences_are_named_down_to_the_value(
    one: Mapping[str, Any], other: Mapping[str, Any], differs: Mapping[str, Any]
) -> None:
    assert differing([one, other]) == differs


def test_runs_of_other_data_are_refused_unless_told(make: Make) -> None:
    one = make("one", outcome("t1", True, 1))
    other = make("other", outcome("t1", False, 1), data="sha256:2")
    with pytest.raises(EvaluationError, match=r"different data.*--other-data"):
        compare(one, other)
    assert compare(one, other, other_data=True).passed.only_a == ("t1",)


def test_runs_without_a_common_task_are_refused(make: Make) -> None:
    with pytest.raises(EvaluationError, match="no task in common"):
        compare(make("one", outcome("t1", True, 1)), make("other", outcome("t2", True, 1)))


def test_a_wrong_claim_is_named_and_ends_with_1(
    runs: tuple[RunFolder, RunFolder], capsys: pytest.CaptureFixture[str]
) -> None:
    comparison = compare(*runs)
    assert comparison.wrong_claims == ("t4",)
    assert (comparison.a.claims, comparison.b.claims) == (0, 2)
    text = printed(comparison)
    assert "Said to pass, but its tests fail outside of our code (1): t4" in text
    assert any(line.split()[-5:] == ["none", "checked", "1", "of", "2"] for line in text.splitlines())
    assert _run("compare", *(str(run.path) for run in runs)) == 1
    assert "t4" in capsys.readouterr().out


def test_a_comparison_is_json(
    make: Make, runs: tuple[RunFolder, RunFolder], capsys: pytest.CaptureFixture[str]
) -> None:
    without = make("without", outcome("t1", True, 5), outcome("t3", True, 5))
    assert _run("compare", str(runs[0].path), str(without.path), "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["runs"], record["tasks"], record["only_in"]) == (["one", "without"], 2, [5, 0])
    assert (record["passed"]["only_b"], record["passed"]["p"], record["passed_plus"]) == (["t3"], 1.0, None)
    assert record["passed"]["rates"][0]["rate"] == 0.5
    assert record["wrong_claims"] == [[], []]


def test_other_data_can_be_told_on_the_command_line(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    one = make("one", outcome("t1", True, 1))
    other = make("other", outcome("t1", True, 1), data="sha256:2")
    assert _run("compare", str(one.path), str(other.path), "--other-data") == 0
    assert "sha256:2" in capsys.readouterr().out


def test_a_run_of_fewer_rounds_keeps_its_rate(runs: tuple[RunFolder, RunFolder]) -> None:
    rows = [line for line in printed(compare(*runs)).splitlines() if "by round" in line]
    assert [row.split()[4:6] for row in rows] == [["2,", "33.3%"]] * 3
    assert [row.split()[7] for row in rows] == ["1,", "3,", "4,"]


def test_texts_of_tasks_do_nothing_to_the_terminal(make: Make) -> None:
    hostile = "[red]\x1b[31m\u202e"
    one = make("one", outcome(hostile, True, 1), note="\x1b]0;x\x07")
    other = make("other", outcome(hostile, False, 1))
    text = printed(compare(one, other))
    assert "\x1b" not in text
    assert "[red]␛[31m\ufffd" in text


@given(st.text())
def test_what_is_shown_can_be_printed_and_is_as_long(text: str) -> None:
    shown = visible(text)
    assert len(shown) == len(text)
    assert all(char.isprintable() or char in "\n\ufffd" for char in shown)
    shown.encode("utf-8")


def test_printable_text_is_shown_as_it_is() -> None:
    assert visible("ü 汉字 🐍\nx") == "ü 汉字 🐍\nx"
    assert visible("\x00\x1f\x7f\t\u00a0\u2028\ud800") == "␀␟␡  \ufffd\ufffd"


@pytest.mark.parametrize(("p", "expected"), [(1.0, "1.000"), (0.04, "0.040"), (0.00099, "< 0.001")])
def test_a_probability_is_short(p: float, expected: str) -> None:
    assert p_shown(p) == expected


def test_runs_are_told_apart_by_name(tmp_path: Path) -> None:
    a, b, c = (RunFolder(tmp_path / name, {}) for name in ("x/run", "y/run", "z"))
    assert run_names([a, c]) == ("run", "z")
    assert run_names([a, b]) == ("x/run", "y/run")
    assert run_names([a, a]) == ("run (1)", "run (2)")
    assert run_names([]) == ()


def test_a_summary_of_nothing() -> None:
    summary = summarise([])
    assert (summary.passed, summary.by_round, summary.tokens) == (Rate(0, 0), (), None)
    assert summary.passed.share == 0.0


def _run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    actions = parser.add_subparsers()
    comparison_commands.add_compare(actions)
    comparison_commands.add_report(actions)
    options = parser.parse_args(arguments)
    status = options.run(options)
    assert isinstance(status, int)
    return status
