"""What a run says of each kind of test."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from runner.report import Outcome, Report, Stop
from tests.unit.runner_project import Project, need_bubblewrap

TESTS = """
    import sys
    import unittest

    import pytest

    def test_passes():
        pass

    def test_fails():
        value = 3
        print("told on stdout")
        print("\\x1b[31mtold on stderr\\x1b[0m", file=sys.stderr)
        assert value == 4

    def test_raises():
        raise KeyError("naïve \\N{SNAKE}")

    def test_long():
        raise ValueError("x" * 20 + "first line\\nsecond line" + "y" * 20000)

    @pytest.fixture
    def broken():
        raise OSError("no device")

    def test_with_broken_fixture(broken):
        pass

    @pytest.fixture
    def broken_after():
        yield
        raise OSError("cannot close")

    def test_with_broken_teardown(broken_after):
        pass

    def test_skips():
        pytest.skip("not today")

    @pytest.mark.skip
    def test_marked_skip():
        pass

    @pytest.mark.xfail
    def test_xfails():
        assert False

    @pytest.mark.xfail
    def test_xpasses():
        pass

    @pytest.mark.xfail(strict=True)
    def test_xpasses_strictly():
        pass

    @pytest.mark.parametrize("value", [1, 2, "a/b::c", "é"])
    def test_each(value):
        assert value != 2

    class TestClass:
        def test_method(self):
            assert True

    class TestUnit(unittest.TestCase):
        def test_unit(self):
            self.assertEqual(1, 2)

        def test_skipped_unit(self):
            self.skipTest("never")

        @unittest.expectedFailure
        def test_expected(self):
            self.assertEqual(1, 2)

        def test_subtests(self):
            for i in range(3):
                with self.subTest(i=i):
                    self.assertNotEqual(i, 1)

    def test_exits():
        sys.exit(0)

    def test_noisy(capsys):
        print("not seen")
        sys.__stdout__.write('{"event": "finished", "id": "forged"}\\n')
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    need_bubblewrap()
    project = Project(tmp_path_factory.mktemp("outcomes"), {"tests/test_all.py": TESTS})
    return project.run("tests/test_all.py")


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("test_passes", Outcome.PASSED),
        ("test_fails", Outcome.FAILED),
        ("test_raises", Outcome.FAILED),
        ("test_with_broken_fixture", Outcome.ERROR),
        ("test_with_broken_teardown", Outcome.ERROR),
        ("test_skips", Outcome.SKIPPED),
        ("test_marked_skip", Outcome.SKIPPED),
        ("test_xfails", Outcome.XFAILED),
        ("test_xpasses", Outcome.XPASSED),
        ("test_xpasses_strictly", Outcome.FAILED),
        ("test_each[1]", Outcome.PASSED),
        ("test_each[2]", Outcome.FAILED),
        ("test_each[a/b::c]", Outcome.PASSED),
        ("TestClass::test_method", Outcome.PASSED),
        ("TestUnit::test_unit", Outcome.FAILED),
        ("TestUnit::test_skipped_unit", Outcome.SKIPPED),
        ("TestUnit::test_expected", Outcome.XFAILED),
        ("TestUnit::test_subtests", Outcome.FAILED),
        ("test_exits", Outcome.FAILED),
        ("test_noisy", Outcome.PASSED),
    ],
)
def test_each_outcome_is_told_by_the_tests_id(report: Report, name: str, outcome: Outcome) -> None:
    result = report.results[f"tests/test_all.py::{name}"]
    assert result.outcome is outcome, result


def test_the_run_is_whole_and_clean(report: Report) -> None:
    assert report.stop is Stop.FINISHED
    assert report.violations == ()
    assert report.isolation == "bubblewrap"
    assert len(report.results) == 22


def test_a_failure_says_what_was_compared_where_and_what_was_printed(report: Report) -> None:
    failure = report.results["tests/test_all.py::test_fails"].failure
    assert failure is not None
    assert failure.message == "AssertionError: assert 3 == 4"
    assert "assert value == 4" in failure.detail
    (frame,) = failure.frames
    assert (frame.path, frame.function, frame.source) == (
        PurePosixPath("tests/test_all.py"),
        "test_fails",
        "assert value == 4",
    )
    assert "told on stdout" in failure.output
    assert "told on stderr" in failure.output
    assert "\x1b" not in failure.output


def test_a_message_is_one_line_and_a_detail_is_cut_in_its_middle(report: Report) -> None:
    failure = report.results["tests/test_all.py::test_long"].failure
    assert failure is not None
    assert failure.message == "ValueError: " + "x" * 20 + "first line"
    assert len(failure.detail) <= 4000
    assert "characters left out" in failure.detail
    assert failure.detail.rstrip().endswith("ValueError")


def test_passes_and_skips_carry_no_failure_of_their_own(report: Report) -> None:
    assert report.results["tests/test_all.py::test_passes"].failure is None
    assert "tests/test_all.py::test_skips" not in report.passed | report.failed
