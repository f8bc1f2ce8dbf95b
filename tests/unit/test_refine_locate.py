"""Where to look: which tests go with a file, which function failing tests point at, which lines may be written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pytest

from lsp_server.refine import discover
from lsp_server.refine.locate import rank, region_to_generate
from lsp_server.refine.source import Source
from lsp_server.refine.task import GenerateRequest, Snapshot, TaskError, workspace_of
from runner.report import Failure, Footprint, Frame, Outcome, Report, TestResult


def write(folder: Path, files: Mapping[str, str]) -> Snapshot:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Snapshot(folder)


@pytest.mark.parametrize(
    ("source", "name", "text"),
    [
        ("calc.py", "test_calc.py", ""),
        ("calc.py", "calc_test.py", ""),
        ("calc.py", "tests/test_calc.py", ""),
        ("calc.py", "tests/test_all.py", "import calc\n"),
        ("src/pkg/calc.py", "tests/test_all.py", "from pkg.calc import add\n"),
        ("src/pkg/calc.py", "tests/test_all.py", "from pkg import calc as c\n"),
        ("src/pkg/calc.py", "tests/test_all.py", "from pkg import add\n"),
        ("pkg/calc.py", "pkg/test_all.py", "from . import calc\n"),
        ("pkg/__init__.py", "tests/test_pkg.py", ""),
    ],
)
def test_tests_are_found_by_name_and_by_import(tmp_path: Path, source: str, name: str, text: str) -> None:
    files = {source: "def add(a, b): return a + b\n", name: text, "tests/test_other.py": "import json\n"}
    assert discover.tests_for(write(tmp_path, files), PurePosixPath(source)) == (name,)


def test_environments_and_hidden_folders_are_not_searched(tmp_path: Path) -> None:
    folders = (".hidden", "myenv/lib", "node_modules/x")
    write(tmp_path, {"calc.py": "", "myenv/pyvenv.cfg": "", **{f"{f}/test_calc.py": "" for f in folders}})
    assert discover.tests_for(Snapshot(tmp_path), PurePosixPath("calc.py")) == ()


def test_node_ids_with_their_lines() -> None:
    source = Source(
        "class TestA:\n    def test_x(self):\n        pass\n\ndef test_y():\n    pass\n\ndef helper():\n    pass\n"
    )
    assert discover.node_ids(source, PurePosixPath("tests/test_a.py")) == {
        "tests/test_a.py::TestA::test_x": (2, 3),
        "tests/test_a.py::test_y": (5, 6),
    }


CODE = "def first(x):\n    return x\n\ndef second(x):\n    y = x\n    return y\n"


def traced(**tests: tuple[bool, set[int], list[int]]) -> Report:
    """Return a report: for each test whether it passes, the lines of m.py it executed, its traceback's lines."""
    path = PurePosixPath("m.py")
    results: Mapping[str, TestResult] = {
        name: TestResult(
            name,
            Outcome.PASSED if passes else Outcome.FAILED,
            failure=None if passes else Failure("", "", tuple(Frame(path, n, "", "") for n in frames)),
            footprint=Footprint({path: frozenset(lines)}),
        )
        for name, (passes, lines, frames) in tests.items()
    }
    return Report(results)


def test_what_only_failing_tests_execute_is_ranked_first(tmp_path: Path) -> None:
    snapshot = write(tmp_path, {"m.py": CODE})
    report = traced(a=(False, {2, 5, 6}, []), b=(True, {2}, []))
    ranked = rank(snapshot, frozenset({"a"}), report)
    assert [(s.definition.name, round(s.score, 3)) for s in ranked] == [("second", 1.0), ("first", 0.707)]


def test_what_an_exception_came_through_is_ranked_first(tmp_path: Path) -> None:
    snapshot = write(tmp_path, {"m.py": CODE})
    report = traced(a=(False, {2, 5, 6}, [2]), b=(True, {2}, []))
    assert [s.definition.name for s in rank(snapshot, frozenset({"a"}), report)] == ["first", "second"]


def test_what_a_test_is_named_after_goes_before_what_all_failing_tests_happen_to_call(tmp_path: Path) -> None:
    snapshot = write(tmp_path, {"m.py": CODE})
    failing = {name: (False, {2, 5}, []) for name in ("test_1", "test_2", "test_3")}
    passing = {"test_0": (True, {2}, [])}
    for file, expected in (("test_m.py", ["second", "first"]), ("test_first.py", ["first", "second"])):
        report = traced(**{f"{file}::{name}": test for name, test in (failing | passing).items()})
        assert [s.definition.name for s in rank(snapshot, report.failed, report)] == expected


def test_ties_go_to_the_innermost_frame(tmp_path: Path) -> None:
    snapshot = write(tmp_path, {"m.py": CODE})
    report = traced(a=(False, {2, 5, 6}, [5, 2]))
    assert [s.definition.name for s in rank(snapshot, frozenset({"a"}), report)] == ["first", "second"]


def test_tests_and_conftest_are_never_suspects(tmp_path: Path) -> None:
    snapshot = write(tmp_path, {"test_m.py": CODE, "conftest.py": CODE})
    report = Report(
        {
            "a": TestResult(
                "a",
                Outcome.FAILED,
                footprint=Footprint(
                    {
                        PurePosixPath("test_m.py"): frozenset({2}),
                        PurePosixPath("conftest.py"): frozenset({2}),
                    }
                ),
            )
        }
    )
    assert rank(snapshot, frozenset({"a"}), report) == []


GENERATE = '''\
import os

# add two numbers
# and return the sum

class A:
    @property
    def stub(self):
        """Doc."""

    def full(self):
        # the rest goes here
        return 1

    # a method that says hello

VALUE = 1
'''


@pytest.mark.parametrize(
    ("line", "end", "expected"),
    [
        (8, None, (7, 9, "A.stub")),
        (7, None, (7, 9, "A.stub")),
        (9, None, (7, 9, "A.stub")),
        (3, None, (5, 4, "")),
        (4, None, (5, 4, "")),
        (12, None, (11, 13, "A.full")),
        (15, None, (16, 15, "")),
        (13, 13, (11, 13, "A.full")),
        (17, 17, (17, 17, "")),
        (7, 9, (7, 9, "A.stub")),
    ],
)
def test_the_region_to_write(line: int, end: int | None, expected: tuple[int, int, str]) -> None:
    request = GenerateRequest(Snapshot(Path("/")), PurePosixPath("m.py"), line, end)
    region = region_to_generate(Source(GENERATE), request)
    assert (region.start, region.end, region.name) == expected


@pytest.mark.parametrize("line", [1, 13, 17])
def test_no_region_where_there_is_nothing_to_write(line: int) -> None:
    with pytest.raises(TaskError, match="nothing to write"):
        region_to_generate(
            Source(GENERATE), GenerateRequest(Snapshot(Path("/")), PurePosixPath("m.py"), line)
        )


def test_an_instruction_rewrites_the_function_at_the_cursor() -> None:
    request = GenerateRequest(Snapshot(Path("/")), PurePosixPath("m.py"), 13, instruction="return two")
    assert region_to_generate(Source(GENERATE), request).name == "A.full"


def test_the_workspace_is_the_nearest_project(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    inner = tmp_path / "a" / "tests" / "test_x.py"
    assert workspace_of(inner) == tmp_path


def test_assertion_helpers_beside_the_tests_are_never_suspects(tmp_path: Path) -> None:
    snapshot = write(tmp_path, {"tests/helpers.py": CODE, "m.py": CODE})
    lines = frozenset({2})
    executed = {PurePosixPath("tests/helpers.py"): lines, PurePosixPath("m.py"): lines}
    report = Report({"a": TestResult("a", Outcome.FAILED, footprint=Footprint(executed))})
    assert [str(s.path) for s in rank(snapshot, frozenset({"a"}), report)] == ["m.py"]


@pytest.mark.parametrize(
    "body", ["pass  # TODO", "...  # noqa", "raise NotImplementedError  # later", '"""Doc."""']
)
def test_stubs_may_have_comments(body: str) -> None:
    assert Source(f"def f():\n    {body}\n").definitions[0].is_stub
