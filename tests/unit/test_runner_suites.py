"""unittest's and nose's kinds of tests, run by an interpreter that has no pytest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from runner.report import Outcome, Stop
from tests.unit.runner_project import Limits, Project

TESTS = """
    import sys
    import unittest

    from doubling import double

    class TestDouble(unittest.TestCase):
        def setUp(self):
            self.two = 2

        def test_two(self):
            self.assertEqual(double(self.two), 4)

        def test_three(self):
            print("told on stdout")
            self.assertEqual(double(3), 7)

        def test_raises(self):
            raise KeyError("naive")

        @unittest.skip("never")
        def test_skipped(self):
            raise AssertionError

        @unittest.expectedFailure
        def test_expected(self):
            self.fail()

        @unittest.expectedFailure
        def test_unexpected(self):
            pass

        def test_parts(self):
            for part in range(3):
                with self.subTest(part=part):
                    self.assertNotEqual(part, 1)

        def test_leaves(self):
            sys.exit(0)

    class TestAsync(unittest.IsolatedAsyncioTestCase):
        async def test_awaits(self):
            self.assertEqual(double(1), 2)

    class TestBroken(unittest.TestCase):
        @classmethod
        def setUpClass(cls):
            raise OSError("no device")

        def test_one(self):
            pass

    class TestPlain:
        def setup_method(self):
            self.value = 5

        def test_method(self):
            assert double(self.value) == 10

    def test_function():
        value = double(4)
        assert value == 9

    def test_with_fixture(tmp_path):
        pass

    def helper():
        raise AssertionError
"""
CODE = """
    def double(n):
        '''
        >>> double(2)
        4
        >>> double(3)
        7
        '''
        return 2 * n
"""
FILES = {"doubling.py": CODE, "tests/test_code.py": TESTS}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter without pytest."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder / "bin" / "python"


def test_each_kind_of_test_has_its_outcome(tmp_path: Path, bare: Path) -> None:
    report = Project(tmp_path, FILES).run("tests/test_code.py", interpreter=bare, test_args=(), trace="lines")
    assert report.stop is Stop.FINISHED, report
    assert {test.partition("::")[2]: result.outcome for test, result in report.results.items()} == {
        "TestDouble::test_two": Outcome.PASSED,
        "TestDouble::test_three": Outcome.FAILED,
        "TestDouble::test_raises": Outcome.FAILED,
        "TestDouble::test_skipped": Outcome.SKIPPED,
        "TestDouble::test_expected": Outcome.XFAILED,
        "TestDouble::test_unexpected": Outcome.FAILED,
        "TestDouble::test_parts": Outcome.FAILED,
        "TestDouble::test_leaves": Outcome.FAILED,
        "TestAsync::test_awaits": Outcome.PASSED,
        "TestBroken::test_one": Outcome.ERROR,
        "TestPlain::test_method": Outcome.PASSED,
        "test_function": Outcome.FAILED,
        "test_with_fixture": Outcome.FAILED,
    }
    by_name = {test.rpartition("::")[2]: result for test, result in report.results.items()}
    failures = {name: result.failure for name, result in by_name.items() if result.failure is not None}
    assert failures["test_three"].message == "AssertionError: 6 != 7"
    assert failures["test_three"].output == "told on stdout\n"
    assert "unittest/case.py" not in failures["test_three"].detail
    assert by_name["test_three"].executed[PurePosixPath("doubling.py")]
    assert "    value = 8\n" in failures["test_function"].detail
    assert failures["test_function"].frames[-1].source == "assert value == 9"
    assert "pytest's fixtures (tmp_path)" in failures["test_with_fixture"].message
    assert "no device" in failures["test_one"].message


def test_ids_are_those_that_pytest_gives(tmp_path: Path, bare: Path) -> None:
    project = Project(tmp_path, FILES)
    ours = project.run("tests", interpreter=bare, test_args=())
    theirs = project.run("tests")
    assert set(ours.results) == set(theirs.results)


def test_one_test_is_selected_and_a_missing_one_is_not_a_pass(tmp_path: Path, bare: Path) -> None:
    wanted = "tests/test_code.py::TestDouble::test_two"
    gone = "tests/test_code.py::TestDouble::test_gone"
    report = Project(tmp_path, FILES).run(
        wanted, interpreter=bare, test_args=(), expected=frozenset({wanted, gone})
    )
    assert {test: result.outcome for test, result in report.results.items()} == {
        wanted: Outcome.PASSED,
        gone: Outcome.NOT_RUN,
    }


def test_doctests_of_the_code_itself(tmp_path: Path, bare: Path) -> None:
    file = PurePosixPath("doubling.py")
    report = Project(tmp_path, FILES).run(str(file), interpreter=bare, test_args=(), doctest_modules=[file])
    assert {test: result.outcome for test, result in report.results.items()} == {
        "doubling.py::doubling.double": Outcome.FAILED
    }


def test_a_hang_is_reported_with_its_stack_and_the_rest_still_runs(tmp_path: Path, bare: Path) -> None:
    test = """
        import unittest

        class TestHangs(unittest.TestCase):
            def test_a(self):
                while True:
                    pass

            def test_b(self):
                pass
    """
    report = Project(tmp_path, {"test_h.py": test}).run(
        "test_h.py", interpreter=bare, test_args=(), limits=Limits(test_seconds=1)
    )
    hang = report.results["test_h.py::TestHangs::test_a"]
    assert hang.outcome is Outcome.TIMEOUT
    assert hang.failure is not None
    assert "in test_a" in hang.failure.detail
    assert report.results["test_h.py::TestHangs::test_b"].outcome is Outcome.PASSED


def test_a_hang_in_what_a_class_shares_is_that_class_s_alone(tmp_path: Path, bare: Path) -> None:
    test = """
        import time
        import unittest

        class TestHangs(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                wait_for_ever()

            def test_a(self):
                pass

        class TestHangsLater(unittest.TestCase):
            def test_c(self):
                pass

            @classmethod
            def tearDownClass(cls):
                wait_for_ever()

        class TestLater(unittest.TestCase):
            def test_d(self):
                pass

            @classmethod
            def tearDownClass(cls):
                raise OSError("cannot be put away")

        class TestSkips(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                raise unittest.SkipTest("not here")

            def test_e(self):
                pass

        def wait_for_ever():
            while True:
                time.sleep(1)
    """
    report = Project(tmp_path, {"test_h.py": test}).run(
        "test_h.py", interpreter=bare, test_args=(), limits=Limits(test_seconds=1, hangs=3)
    )
    assert report.stop is Stop.FINISHED
    outcomes = {test.rpartition("::")[2]: result.outcome for test, result in report.results.items()}
    assert outcomes == {
        "test_a": Outcome.TIMEOUT,
        "test_c": Outcome.TIMEOUT,
        "test_d": Outcome.ERROR,
        "test_e": Outcome.SKIPPED,
    }
    failure = report.results["test_h.py::TestHangs::test_a"].failure
    assert failure is not None
    assert "in wait_for_ever" in failure.detail
    assert [frame.function for frame in failure.frames] == ["setUpClass", "wait_for_ever"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def test_x(:\n", "SyntaxError"),
        ("import nothing_like_it\n", "nothing_like_it"),
        ("raise SystemExit\n", "SystemExit"),
    ],
)
def test_what_cannot_be_imported_is_a_collection_error(
    tmp_path: Path, bare: Path, text: str, said: str
) -> None:
    report = Project(tmp_path, {"test_x.py": text}).run("test_x.py", interpreter=bare, test_args=())
    (error,) = report.collection_errors
    assert said in error.failure.message
    assert report.stop is Stop.FINISHED


@pytest.mark.parametrize("leave", ["os._exit(0)", "raise KeyboardInterrupt"])
def test_leaving_is_no_pass(tmp_path: Path, bare: Path, leave: str) -> None:
    test = f"import os, unittest\nclass TestX(unittest.TestCase):\n    def test_x(self):\n        {leave}\n"
    report = Project(tmp_path, {"test_x.py": test}).run("test_x.py", interpreter=bare, test_args=())
    assert report.results["test_x.py::TestX::test_x"].outcome is Outcome.CRASHED


def test_packages_are_imported_by_their_own_names(tmp_path: Path, bare: Path) -> None:
    files = {
        "app/__init__.py": "",
        "app/code.py": "ONE = 1\n",
        "app/tests/__init__.py": "",
        "app/tests/test_code.py": "from ..code import ONE\ndef test_one():\n    assert ONE == 1\n",
    }
    report = Project(tmp_path, files).run("app", interpreter=bare, test_args=())
    assert report.passed == {"app/tests/test_code.py::test_one"}


def test_a_module_of_another_name_s_is_not_taken_for_the_file(tmp_path: Path, bare: Path) -> None:
    passes = "def test_one():\n    pass\n"
    fails = "def test_one():\n    assert False\n"
    quotes = '"' * 3
    doctest = f"def f():\n    {quotes}\n    >>> f()\n    1\n    {quotes}\n    return 2\n"
    files = {"a/test_x.py": passes, "b/test_x.py": fails, "src/json.py": doctest}
    project = Project(tmp_path, files)
    report = project.run("a/test_x.py", "b/test_x.py", interpreter=bare, test_args=())
    assert set(report.results) == {"a/test_x.py::test_one"}
    assert [str(error.path) for error in report.collection_errors] == ["b/test_x.py"]
    file = PurePosixPath("src/json.py")
    report = project.run(str(file), interpreter=bare, test_args=(), doctest_modules=[file])
    assert not report.passed
    assert "json is taken by" in report.collection_errors[0].failure.message
