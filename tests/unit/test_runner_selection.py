"""Which tests run, under the project's own configuration, and what is said of those that do not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from runner.report import Outcome, Stop
from runner.run import InterpreterError
from tests.unit.runner_project import WITHOUT_PLUGINS, Project, need_bubblewrap, only

TWO = "import pytest\n\ndef test_a():\n    pass\n\n@pytest.mark.parametrize('n', [1, 2])\ndef test_b(n):\n    pass\n"


@pytest.fixture(autouse=True)
def bubblewrap() -> None:
    need_bubblewrap()


def test_single_ids_parametrised_ones_and_ids_that_no_longer_exist(tmp_path: Path) -> None:
    project = Project(tmp_path, {"test_two.py": TWO, "test_other.py": TWO})
    wanted = ("test_two.py::test_a", "test_two.py::test_b[2]", "test_two.py::test_gone", "gone.py")
    report = project.run(*wanted, expected=frozenset({"test_two.py::test_a", "test_two.py::test_gone"}))
    assert {test: result.outcome for test, result in report.results.items()} == {
        "test_two.py::test_a": Outcome.PASSED,
        "test_two.py::test_b[2]": Outcome.PASSED,
        "test_two.py::test_gone": Outcome.NOT_RUN,
    }
    failure = report.results["test_two.py::test_gone"].failure
    assert failure is not None
    assert "no test with this id was collected" in failure.message
    assert "gone.py" in report.stop_detail
    assert report.stop is Stop.FINISHED


def test_a_syntax_error_in_the_candidate_is_a_collection_error_that_points_at_it(tmp_path: Path) -> None:
    project = Project(
        tmp_path, {"calc.py": "", "test_c.py": "import calc\ndef test_c(): pass\n", "test_two.py": TWO}
    )
    report = project.run(
        "test_c.py",
        "test_two.py",
        files={"calc.py": "x = 1\ndef add(a, b:\n    pass\n"},
        expected=frozenset({"test_c.py::test_c"}),
    )
    (error,) = report.collection_errors
    assert error.path == PurePosixPath("test_c.py")
    assert error.failure.message.startswith("SyntaxError: ")
    assert [(str(frame.path), frame.line) for frame in error.failure.frames] == [
        ("test_c.py", 1),
        ("calc.py", 2),
    ]
    assert report.results["test_c.py::test_c"].outcome is Outcome.NOT_RUN
    assert report.results["test_two.py::test_a"].outcome is Outcome.PASSED


@pytest.mark.parametrize("leave", ["raise SystemExit(0)", "raise KeyboardInterrupt", "import no_such_module"])
def test_an_import_that_fails_or_leaves_is_a_collection_error(tmp_path: Path, leave: str) -> None:
    project = Project(tmp_path, {"test_c.py": f"{leave}\ndef test_c(): pass\n", "test_two.py": TWO})
    report = project.run("test_c.py", "test_two.py")
    (error,) = report.collection_errors
    assert error.failure.frames[-1].line == 1
    assert report.results["test_two.py::test_a"].outcome is Outcome.PASSED


@pytest.mark.parametrize("folder", ["", "tests/"])
def test_a_conftest_that_fails_is_a_collection_error(tmp_path: Path, folder: str) -> None:
    project = Project(tmp_path, {f"{folder}conftest.py": "\n1 / 0\n", "tests/test_two.py": TWO})
    report = project.run("tests/test_two.py", expected=frozenset({"tests/test_two.py::test_a"}))
    (error,) = report.collection_errors
    assert error.path == PurePosixPath(f"{folder}conftest.py")
    assert error.failure.message == "ZeroDivisionError: division by zero"
    assert error.failure.frames[-1].line == 2
    assert report.results["tests/test_two.py::test_a"].outcome is Outcome.NOT_RUN


def test_options_of_a_plugin_that_is_missing_are_reported_in_pytests_words(tmp_path: Path) -> None:
    project = Project(
        tmp_path, {"pytest.ini": "[pytest]\naddopts = --no-such-option=1\n", "test_two.py": TWO}
    )
    report = project.run("test_two.py", expected=frozenset({"test_two.py::test_a"}))
    assert "unrecognized arguments: --no-such-option=1" in report.stop_detail
    assert report.results["test_two.py::test_a"].outcome is Outcome.NOT_RUN


def test_the_projects_addopts_markers_and_patterns_hold_but_every_test_reports(tmp_path: Path) -> None:
    ini = "[pytest]\naddopts = -x -m 'not slow' --ff\npython_functions = check_*\nmarkers =\n    slow: takes long\n"
    test = "import pytest\ndef check_a(): assert 0\ndef check_b(): pass\n@pytest.mark.slow\ndef check_c(): pass\n"
    project = Project(tmp_path, {"pytest.ini": ini, "test_x.py": test})
    report = project.run("test_x.py")
    assert set(report.results) == {"test_x.py::check_a", "test_x.py::check_b"}
    assert report.passed == {"test_x.py::check_b"}


def test_ids_of_a_package_with_its_own_root_are_relative_to_the_workspace(tmp_path: Path) -> None:
    project = Project(
        tmp_path, {"services/api/pytest.ini": "[pytest]\n", "services/api/tests/test_two.py": TWO}
    )
    report = project.run("services/api/tests/test_two.py::test_a")
    assert only(report).id == "services/api/tests/test_two.py::test_a"
    assert only(report).outcome is Outcome.PASSED


def test_doctests_of_the_given_files_only(tmp_path: Path) -> None:
    good = 'def one():\n    """\n    >>> one()\n    1\n    """\n    return 1\n'
    project = Project(tmp_path, {"good.py": good, "other.py": good.replace("1\n", "2\n"), "test_two.py": TWO})
    report = project.run(
        "test_two.py",
        files={"good.py": good.replace("return 1", "return 3")},
        doctest_modules=[PurePosixPath("good.py")],
    )
    assert report.results["good.py::good.one"].outcome is Outcome.FAILED
    assert len(report.results) == 4


def test_lines_are_told_for_each_test_and_only_of_the_users_files(tmp_path: Path) -> None:
    calc = """\
        import threading

        def sign(n):
            if n < 0:
                return -1
            return 1

        def in_thread():
            thread = threading.Thread(target=sign, args=(-1,))
            thread.start()
            thread.join()
    """
    test = """\
        import json
        import calc

        def test_plus():
            json.dumps([calc.sign(1)])

        def test_minus():
            calc.sign(-1)

        def test_thread():
            calc.in_thread()
    """
    project = Project(tmp_path, {"calc.py": calc, "test_calc.py": test})
    report = project.run("test_calc.py", trace="lines")
    path = PurePosixPath("calc.py")
    lines = {test.partition("::")[2]: result.executed for test, result in report.results.items()}
    assert lines["test_plus"][path] == {4, 6}
    assert lines["test_minus"][path] == {4, 5}
    assert lines["test_thread"][path] == {4, 5, 9, 10, 11}
    assert all(set(found) <= {path, PurePosixPath("test_calc.py")} for found in lines.values())
    assert not any(result.executed for result in project.run("test_calc.py").results.values())


def test_tracing_gives_up_where_another_tracer_is_at_work(tmp_path: Path) -> None:
    conftest = "import sys\nsys.settrace(lambda *a: None)\n"
    if sys.version_info >= (3, 12):
        pytest.skip("sys.monitoring has room for several")
    project = Project(tmp_path, {"conftest.py": conftest, "test_two.py": TWO})
    report = project.run("test_two.py::test_a", trace="lines")
    assert only(report).outcome is Outcome.PASSED
    assert only(report).executed == {}


def test_an_interpreter_without_pytest_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / ".venv"], check=True)
    python = tmp_path / ".venv" / "bin" / "python"
    with pytest.raises(InterpreterError) as caught:
        Project(tmp_path, {"test_two.py": "import pytest\n"}).run("test_two.py", interpreter=python)
    assert f"{python} -m pip install pytest" in str(caught.value)


def test_user_arguments_reach_pytest(tmp_path: Path) -> None:
    project = Project(tmp_path, {"test_two.py": TWO})
    assert (
        only(project.run("test_two.py", test_args=[*WITHOUT_PLUGINS, "-k", "test_a"])).id
        == "test_two.py::test_a"
    )


@pytest.mark.parametrize("level", ["strict", "warm", "landlock", "off"])
def test_import_folders_come_before_what_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    """As an editable install would name another copy of the same package."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "shop.py").write_text("where = 'elsewhere'\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    test = "import shop\n\ndef test_it():\n    assert shop.where == 'here'\n"
    project = Project(tmp_path / "project", {"lib/shop.py": "where = 'here'\n", "tests/test_shop.py": test})
    elsewhere = (tmp_path / "elsewhere",)
    assert project.run("tests/test_shop.py", level=level, readable=elsewhere).failed
    here = [PurePosixPath("lib")]
    assert project.run("tests/test_shop.py", level=level, readable=elsewhere, import_folders=here).passed
