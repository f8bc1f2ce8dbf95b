"""The verdict: what counts as proof and what does not."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from lsp_server.refine.judge import confirm, harness_reach, judge
from lsp_server.refine.proposal import VerdictKind
from lsp_server.refine.task import Wanted
from runner.report import CollectionError, Failure, Outcome, Report, Stop, TestResult

A, B, C = "t.py::a", "t.py::b", "t.py::c"


def report(stop: Stop = Stop.FINISHED, violations: tuple[str, ...] = (), **outcomes: Outcome) -> Report:
    """Return a report on the tests a, b, c."""
    results = {f"t.py::{name}": TestResult(f"t.py::{name}", outcome) for name, outcome in outcomes.items()}
    return Report(results, stop=stop, violations=violations)


PASS, FAIL = Outcome.PASSED, Outcome.FAILED
BASELINE = report(a=FAIL, b=PASS, c=PASS)
WANTED = Wanted(frozenset({A}))


def test_verified() -> None:
    verdict = judge(BASELINE, report(a=PASS, b=PASS, c=PASS), WANTED)
    assert verdict.kind is VerdictKind.VERIFIED
    assert verdict.fixed == {A}


@pytest.mark.parametrize("outcome", [o for o in Outcome if not o.ok])
def test_nothing_but_a_pass_turns_a_wanted_test(outcome: Outcome) -> None:
    assert judge(BASELINE, report(a=outcome, b=PASS, c=PASS), WANTED).kind is VerdictKind.REJECTED


@pytest.mark.parametrize("outcome", [o for o in Outcome if not o.ok])
def test_a_test_that_passed_must_go_on_passing(outcome: Outcome) -> None:
    verdict = judge(BASELINE, report(a=PASS, b=outcome, c=PASS), WANTED)
    assert verdict.kind is VerdictKind.REJECTED
    assert verdict.broken == {B}


def test_a_test_that_does_not_report_is_broken() -> None:
    assert judge(BASELINE, report(a=PASS, c=PASS), WANTED).broken == {B}


def test_fewer_failures_are_partial() -> None:
    baseline = report(a=FAIL, b=FAIL, c=PASS)
    verdict = judge(baseline, report(a=PASS, b=FAIL, c=PASS), Wanted(frozenset({A, B})))
    assert verdict.kind is VerdictKind.PARTIAL
    assert (verdict.fixed, verdict.missing) == ({A}, {B})


@pytest.mark.parametrize("stop", [s for s in Stop if s is not Stop.FINISHED])
def test_a_run_that_did_not_end_by_itself_proves_nothing(stop: Stop) -> None:
    assert judge(BASELINE, report(stop, a=PASS, b=PASS, c=PASS), WANTED).kind is VerdictKind.REJECTED


def test_a_forged_report_proves_nothing() -> None:
    tampered = report(violations=("two reports for t.py::a",), a=PASS, b=PASS, c=PASS)
    assert judge(BASELINE, tampered, WANTED).kind is VerdictKind.REJECTED


def test_without_wanted_tests_nothing_is_ever_verified() -> None:
    verdict = judge(BASELINE, report(a=FAIL, b=PASS, c=PASS), Wanted())
    assert verdict.kind is VerdictKind.UNTESTED


def test_a_file_that_could_not_be_collected_must_have_tests_that_all_pass() -> None:
    path = PurePosixPath("t.py")
    before = Report({}, (CollectionError(path, Failure("SyntaxError", "")),))
    wanted = Wanted(files=frozenset({path}))
    assert judge(before, report(a=PASS), wanted).kind is VerdictKind.VERIFIED
    assert judge(before, report(a=PASS, b=FAIL), wanted).kind is VerdictKind.PARTIAL
    assert judge(before, Report({}), wanted).kind is VerdictKind.REJECTED
    assert judge(before, before, wanted).kind is VerdictKind.REJECTED


def test_a_flaky_test_takes_the_verdict_back() -> None:
    good = report(a=PASS, b=PASS, c=PASS)
    verdict = judge(BASELINE, good, WANTED)
    assert confirm(verdict, good, good).kind is VerdictKind.VERIFIED
    flaky = confirm(verdict, good, report(a=FAIL, b=PASS, c=PASS))
    assert flaky.kind is VerdictKind.PARTIAL
    assert "flaky" in flaky.reason


HONEST = "import sys\n\ndef f(x):\n    sys.setrecursionlimit(10)\n    return x\n"


@pytest.mark.parametrize(
    "code",
    [
        "import pytest\n",
        "from _pytest import runner\n",
        "import gc\n",
        "import inspect as i\n",
        "import sys\nsys._getframe()\n",
        "import sys as s\n",
        "from sys import modules\n",
        "import os\nos._exit(0)\n",
        "from os import _exit\n",
        "__import__('pytest')\n",
        "exec('1')\n",
        "raise SystemExit\n",
        "class Yes:\n    def __eq__(self, other):\n        return True\n",
        "class Yes:\n    __eq__ = lambda self, other: True\n",
        "().__class__.__base__.__subclasses__()\n",
        "type('A', (), {'__eq__': lambda s, o: True})()\n",
        "class A: ...\nA.__eq__ = lambda s, o: True\n",
        "class A:\n    if True:\n        def __eq__(s, o): return True\n",
        "import logging\nlogging.sys.modules\n",
        "from os import sys as s\n",
        "import builtins\n",
        "import os\ngetattr(os, '_exit')(0)\n",
        "import os as o\n",
        "x = [sys]\n",
    ],
)
def test_reaching_for_the_harness_is_seen(code: str) -> None:
    assert harness_reach(HONEST, HONEST + code)
    assert not harness_reach(HONEST + code, HONEST + code + "x = 1\n"), (
        "what the file did before is its own business"
    )


def test_honest_code_is_not_accused() -> None:
    assert not harness_reach(
        "", HONEST + "import os, math, re\nos.path.join('a')\nclass A:\n    def m(self): ...\n"
    )


def test_a_byte_order_mark_does_not_hide_anything() -> None:
    assert harness_reach(
        "\ufeffx = 1\n", "\ufeffx = 1\nclass Yes:\n    def __eq__(self, o):\n        return True\n"
    )


def test_text_that_does_not_parse_here_is_compared_word_by_word() -> None:
    newer = "type X = int | str\nx: t = f'{'a'}' if (y := 1) else (\n"
    assert harness_reach(newer, newer + "import gc\n") == "it names gc"
    assert not harness_reach("import gc\ndef f(:\n    pass\n", "import gc\ndef f():\n    pass\n")
