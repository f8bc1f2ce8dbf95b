"""What the model is told of a run, in each form, from real runs of pytest."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from lsp_server.evaluation.repair import run_tasks
from lsp_server.evaluation.run_folder import RunFolder
from lsp_server.evaluation.tasks import RepairTask
from lsp_server.features import work
from lsp_server.refine.feedback import Form, Wording, execution_result
from lsp_server.refine.loop import Strategy
from runner.report import Report
from runner.run import run_tests
from tests.unit.scripted import fenced
from tests.unit.test_evaluation_repair import CALC, RIGHT, TEST, WRONG, Costing, settings

VALUES = "test_calc.py::test_add\nassert -1 == 5\n+  where -1 = add(2, 3)"
OFFICIAL = "The results aren't as expected.\nInput: [2, 3]\nExpected Output: 5\nActual Output: -1"
IPYTHON = (
    f"{'-' * 75}\nAssertionError{' ' * 28}Traceback (most recent call last)\nFile test_calc.py:5, in test_add\n"
    "---> 5 assert add(2, 3) == 5\nassert -1 == 5\n+  where -1 = add(2, 3)\ntest_calc.py::test_add"
)


def report(folder: Path, code: str = CALC, test: str = TEST) -> Report:
    (folder / "calc.py").write_text(code)
    (folder / "test_calc.py").write_text(test)
    request = replace(work.test_request(folder, settings()), tests=("test_calc.py",))
    return run_tests(request, threading.Event())


@pytest.mark.parametrize(("form", "told"), [("values", VALUES), ("official", OFFICIAL), ("ipython", IPYTHON)])
def test_a_comparison(tmp_path: Path, form: Form, told: str) -> None:
    said = execution_result(report(tmp_path), (), Wording(form))
    assert said == f"{told}\n(1 of 1 tests fail)"


@pytest.mark.parametrize(
    "test",
    [
        "from calc import add\n\n\ndef test_add():\n    assert add(2, 3) > 5\n",
        "from calc import add\n\n\ndef test_add():\n    assert add(2, 3) + 1 == 5\n",
        "from calc import add\n\n\ndef test_add():\n    assert not add(2, 3)\n",
    ],
)
def test_what_the_official_words_do_not_fit_has_its_values(tmp_path: Path, test: str) -> None:
    run = report(tmp_path, test=test)
    assert execution_result(run, (), Wording("official")) == execution_result(run, (), Wording("values"))
    assert "aren't as expected" not in execution_result(run, (), Wording("official"))


@pytest.mark.parametrize("form", ["values", "official", "ipython"])
def test_an_exception_is_told_in_the_form_of_the_training_data(tmp_path: Path, form: Form) -> None:
    said = execution_result(report(tmp_path, "def add(a, b):\n    return c\n"), (), Wording(form))
    assert said.startswith(f"{'-' * 75}\nNameError{' ' * 33}Traceback (most recent call last)\n")
    assert "---> 2 return c\nNameError: name 'c' is not defined" in said


def test_the_wording_reaches_the_model(tmp_path: Path) -> None:
    """First in the question, without the tests' source; then after a wrong reply."""
    task = RepairTask("add", {"calc.py": CALC, "test_calc.py": TEST}, ("test_calc.py",), "calc.py")
    folder, engine = RunFolder.begin(tmp_path / "run", {}), Costing(fenced(WRONG), fenced(RIGHT))
    strategy = Strategy(Wording("official", show_tests=False, reason=True))
    run_tasks(
        [task], settings(), lambda: engine, folder, threading.Event(), lambda outcome: None, strategy=strategy
    )
    first, second = (messages[-1].content for messages, _ in engine.asked)
    assert OFFICIAL in first and "def test_add" not in first
    assert "Input: [2, 3]\nExpected Output: 5\nActual Output: 7" in second
    why = "First say in one or two sentences which line is wrong and why the test fails. Then give the complete `add`"
    assert why in second and "First say" not in first
    assert folder.outcomes()["add"].passed
