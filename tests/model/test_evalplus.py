"""EvalPlus itself, in its environment and in the sandbox: scores, and what the official check says of solutions."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lsp_server.evaluation import problems, scoring
from lsp_server.evaluation.problems import Dataset, Problem
from lsp_server.evaluation.run_folder import EvaluationError
from lsp_server.evaluation.scoring import Score, Scorer, Version
from lsp_server.models import export_env, store
from lsp_server.models.pip import PipFailed
from tests import tiny_benchmark as tiny

GO_ON = threading.Event()
POLY: dict[str, Any] = {
    **tiny.ADD,
    "task_id": "Tiny/3",
    "prompt": 'def find_zero(xs: list):\n    """Return a root."""\n',
    "entry_point": "find_zero",
    "canonical_solution": "    return -xs[0] / xs[1]\n",
    "base_input": [[[2.0, 1.0]]],
    "plus_input": [[[4.0, 2.0]]],
    "atol": 1e-4,
}
SHUFFLED: dict[str, Any] = {
    **tiny.SQUARE,
    "task_id": "Mbpp/90002",
    "entry_point": "check_str",
    "canonical_solution": "\ndef check_str(text):\n    return text or None\n",
    "base_input": [["a"], [""]],
    "plus_input": [["b"]],
}


@pytest.fixture(scope="module")
def python() -> Path:
    """EvalPlus' environment, made by the companion's own code if it is not there."""
    return export_env.ensure(scoring.ENVIRONMENT, print, GO_ON)


def known(python: Path, folder: Path, dataset: Dataset, row: dict[str, Any]) -> tuple[Scorer, Problem]:
    (problem,) = problems.read(dataset, tiny.write(folder / "problem.jsonl", row)).all
    scorer = Scorer(python, dataset)
    scorer.know([problem], GO_ON)
    return scorer, problem


def score(
    python: Path,
    folder: Path,
    row: dict[str, Any],
    code: str,
    check: Version | None = "base",
    dataset: Dataset = "humaneval",
) -> Score:
    scorer, problem = known(python, folder, dataset, row)
    return scorer.score(problem, f"Sure!\n```python\n{code}\n```\nThat is it.", check, GO_ON)


@pytest.mark.parametrize(
    ("dataset", "row"),
    [
        ("humaneval", tiny.ADD),
        ("humaneval", tiny.HALVE),
        ("mbpp", tiny.SQUARE),
        ("mbpp", SHUFFLED),
    ],
)
def test_canonical_solutions_pass(
    python: Path, tmp_path: Path, dataset: Dataset, row: dict[str, Any]
) -> None:
    code = tiny.solved(row)
    found = score(python, tmp_path, row, code, None, dataset)
    assert (found.base, found.plus) == ("pass", "pass")
    assert found.passed_plus
    assert found.checked is None
    assert f"def {row['entry_point']}(" in found.solution
    assert "Sure" not in found.solution


def test_what_passes_the_base_tests_only(python: Path, tmp_path: Path) -> None:
    code = tiny.attempt(tiny.ADD, "    return abs(a) + b if a < 1000 else 0\n")
    base = score(python, tmp_path, tiny.ADD, code, "base")
    assert (base.base, base.plus, base.checked, base.feedback) == ("pass", "fail", True, "")
    plus = score(python, tmp_path, tiny.ADD, code, "plus")
    assert not plus.checked
    assert plus.feedback == (
        "The results aren't as expected.\nInput: [-1, 1]\nExpected Output: 0\nActual Output: 2"
    )


def test_wrong_answers_of_both_kinds_of_inputs_are_joined(python: Path, tmp_path: Path) -> None:
    code = tiny.attempt(tiny.ADD, "    return None\n")
    assert score(python, tmp_path, tiny.ADD, code, "plus").feedback == (
        "The results aren't as expected.\nInput: [2, 3]\nExpected Output: 5\nActual Output: None\n"
        "The results aren't as expected.\nInput: [-1, 1]\nExpected Output: 0\nActual Output: None"
    )


def test_the_text_ends_after_500_characters(python: Path, tmp_path: Path) -> None:
    code = tiny.attempt(tiny.ADD, "    return 'x' * 1000\n")
    feedback = score(python, tmp_path, tiny.ADD, code).feedback
    head = "The results aren't as expected.\nInput: [2, 3]\nExpected Output: 5\nActual Output: "
    assert feedback == (head + "x" * 1000)[:500]


def test_large_numbers_are_written_out_only_where_they_are_wrong(python: Path, tmp_path: Path) -> None:
    row = {**tiny.ADD, "canonical_solution": "    return 10 ** 5000\n"}
    assert score(python, tmp_path, row, tiny.solved(row)).checked
    feedback = score(python, tmp_path, row, tiny.attempt(row, "    return 10 ** 5000 + 1\n")).feedback
    assert feedback.startswith("The results aren't as expected.\nInput: [2, 3]\nExpected Output: 1000")


def test_a_text_of_more_bytes_than_that_is_lost(python: Path, tmp_path: Path) -> None:
    code = tiny.attempt(tiny.ADD, "    return 'ä' * 1000\n")
    found = score(python, tmp_path, tiny.ADD, code)
    assert (found.checked, found.feedback) == (False, "")


def test_an_exception(python: Path, tmp_path: Path) -> None:
    code = "def add(a, b):\n    return helper(a)\ndef helper(a):\n    return a + undefined\n"
    assert score(python, tmp_path, tiny.ADD, code).feedback == (
        'File "<string>", line 2, in add\n'
        '  File "<string>", line 4, in helper\n'
        "NameError: name 'undefined' is not defined"
    )


def test_an_exception_when_the_module_is_loaded(python: Path, tmp_path: Path) -> None:
    code = "import missing_module\ndef add(a, b):\n    return a + b\n"
    assert score(python, tmp_path, tiny.ADD, code, "plus").feedback == (
        "File \"<string>\", line 1, in <module>\nModuleNotFoundError: No module named 'missing_module'"
    )


def test_a_failed_assertion_of_its_own_is_told_without_a_traceback(python: Path, tmp_path: Path) -> None:
    code = tiny.attempt(tiny.ADD, "    assert a < 0, 'a must be negative'\n    return a\n")
    assert score(python, tmp_path, tiny.ADD, code).feedback == "a must be negative"


def test_arguments_are_shown_as_they_were_left(python: Path, tmp_path: Path) -> None:
    code = tiny.attempt(tiny.HALVE, "    values.clear()\n    return values\n")
    assert score(python, tmp_path, tiny.HALVE, code).feedback == (
        "The results aren't as expected.\nInput: [[]]\nExpected Output: [0.5, 1.5]\nActual Output: []"
    )


def test_floats_need_to_be_near_only(python: Path, tmp_path: Path) -> None:
    code = tiny.attempt(tiny.HALVE, "    return [value / 2 + 1e-9 for value in values]\n")
    found = score(python, tmp_path, tiny.HALVE, code, "plus")
    assert found.checked
    assert found.passed_plus


def test_a_timeout(python: Path, tmp_path: Path) -> None:
    code = tiny.attempt(tiny.ADD, "    while True:\n        a += 1\n    return a\n")
    found = score(python, tmp_path, tiny.ADD, code)
    assert (found.base, found.feedback) == ("fail", "Execution timed out.")


def test_one_that_swallows_its_timeout_is_ended(python: Path, tmp_path: Path) -> None:
    body = "    while True:\n        try:\n            while True:\n                a += 1\n        except Exception:\n"
    code = tiny.attempt(tiny.ADD, f"{body}            pass\n    return a\n")
    began = time.monotonic()
    found = score(python, tmp_path, tiny.ADD, code)
    assert (found.base, found.checked, found.feedback) == ("timeout", False, "")
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("code", ["def plus(a, b):\n    return a + b\n", "I cannot do that."])
def test_a_missing_function(python: Path, tmp_path: Path, code: str) -> None:
    found = score(python, tmp_path, tiny.ADD, code)
    assert (found.base, found.plus) == ("fail", "fail")
    assert found.feedback == "Please rename your function to add as there is no function named add."


def test_no_root_is_right(python: Path, tmp_path: Path) -> None:
    """Of `find_zero`, EvalPlus 0.3.1 counts no result at all; the official check takes the result for coefficients."""
    found = score(python, tmp_path, POLY, tiny.solved(POLY), "plus")
    assert not found.passed
    assert not found.checked
    assert found.feedback == "TypeError: Invalid output type, output must be an iterable."


def test_a_hostile_solution_harms_none_but_itself(python: Path, tmp_path: Path) -> None:
    victim = Path.home() / "oci-benchmark-was-here"
    truth = python.parent.parent / "truth"
    scorer, problem = known(python, tmp_path, "humaneval", tiny.ADD)
    before = {file: file.read_bytes() for file in truth.glob("*.pkl")}
    files = [str(victim), *(str(file) for file in before), str(Path(scoring.__file__))]
    code = f"""import ctypes
import os
def add(a, b):
    for name in {files!r}:
        try:
            with open(name, "w") as file:
                file.write("owned")
        except OSError:
            pass
    ctypes.CDLL(None).kill(ctypes.CDLL(None).getppid(), 9)
    ctypes.CDLL(None).kill(-1, 9)
    return a + b
"""
    found = scorer.score(problem, f"```python\n{code}```", "base", GO_ON)
    assert not found.passed
    assert not found.checked
    assert not victim.exists()
    assert {file: file.read_bytes() for file in truth.glob("*.pkl")} == before
    assert "owned" not in Path(scoring.__file__).read_text()
    assert scorer.score(problem, tiny.solved(tiny.ADD), "base", GO_ON).passed_plus


def test_a_solution_cannot_report_its_own_score(python: Path, tmp_path: Path) -> None:
    forged = '{"check": {"passed": true, "feedback": ""}, "base": "pass", "plus": "pass"}\\n'
    code = f"""import os
def add(a, b):
    for number in range(1, 4):
        try:
            os.write(number, b'{forged}')
        except OSError:
            pass
    return None
"""
    found = score(python, tmp_path, tiny.ADD, code)
    assert (found.base, found.plus, found.checked) == ("fail", "fail", False)


def test_expected_outputs_are_computed_once(python: Path, tmp_path: Path) -> None:
    row = {**tiny.ADD, "base_input": [[time.time_ns(), 1]]}
    scorer, problem = known(python, tmp_path, "humaneval", row)
    asked: list[int] = []
    scorer.know([problem], GO_ON, asked.append)
    assert asked == []


def test_a_canonical_solution_that_does_not_run_is_named(python: Path, tmp_path: Path) -> None:
    row = {**tiny.ADD, "task_id": "Tiny/4", "canonical_solution": "    return nothing\n"}
    with pytest.raises(EvaluationError, match=r"canonical solution of Tiny/4: NameError: .*nothing"):
        known(python, tmp_path, "humaneval", row)


def test_offline_the_environment_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(store.HOME_VARIABLE, str(tmp_path))
    for name in ("PIP_NO_INDEX", "PIP_ISOLATED"):
        monkeypatch.setenv(name, "1")
    with pytest.raises(
        PipFailed, match=r"could not install EvalPlus' environment: (.|\n)*Connect to the package"
    ):
        Scorer.prepare("humaneval", lambda step: None, GO_ON)
    assert not list(tmp_path.rglob("complete.json"))
