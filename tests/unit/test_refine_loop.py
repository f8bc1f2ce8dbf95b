"""The loop with the real runner, driven through its cases by scripted replies."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from textwrap import dedent

import pytest

from lsp_server.engine.protocol import Message
from lsp_server.refine.budget import estimate
from lsp_server.refine.events import Event, ReplyJudged, ReplyText, RoundDone, TestsStarted
from lsp_server.refine.loop import Cancelled, NothingToFix, Options, Strategy, refine, refine_further
from lsp_server.refine.proposal import FeedbackRequest, Proposal, VerdictKind
from lsp_server.refine.task import Document, FixRequest, GenerateRequest, Snapshot, TaskError
from runner.request import Limits, Sandboxing
from tests.unit.scripted import ScriptedEngine, fenced

NO_PLUGINS = ("-p", "no:hypothesispytest", "-p", "no:asyncio", "-p", "no:pytest-lsp", "-p", "no:anyio")
"""The plugins of this project's own environment cost each run of the tests in it a second."""
OPTIONS = Options(
    Path(sys.executable), test_args=NO_PLUGINS, limits=Limits(test_seconds=2.0, wall_seconds=30.0)
)

CALC = """\
def add(a, b):
    return a - b


def double(a):
    return 2 * a
"""
TEST_CALC = """\
from calc import add, double


def test_add():
    assert add(2, 3) == 5


def test_double():
    assert double(4) == 8
"""
RIGHT = "def add(a, b):\n    return a + b\n"
WRONG = "def add(a, b):\n    return a * b\n"


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a project's files and returns its folder."""

    def write(**files: str) -> Path:
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(dedent(text).encode())
        return tmp_path

    return write


def fix(
    folder: Path, path: str, *replies: str, test: str = "", **changes: object
) -> tuple[Proposal, ScriptedEngine]:
    """Run a fix with scripted replies, and check that it left the files alone."""
    engine = ScriptedEngine(*replies)
    before = contents(folder)
    request = FixRequest(Snapshot(folder), PurePosixPath(path), test)
    proposal = refine(request, engine, options(**changes), threading.Event(), lambda event: None)
    assert contents(folder) == before
    return proposal, engine


def generate(
    folder: Path, path: str, line: int, *replies: str, **request: object
) -> tuple[Proposal, ScriptedEngine]:
    """Run a generate with scripted replies, and check that it left the files alone."""
    engine = ScriptedEngine(*replies)
    before = contents(folder)
    asked = GenerateRequest(Snapshot(folder), PurePosixPath(path), line, **request)  # type: ignore[arg-type]
    proposal = refine(asked, engine, OPTIONS, threading.Event(), lambda event: None)
    assert contents(folder) == before
    return proposal, engine


def options(**changes: object) -> Options:
    return Options(**{**OPTIONS.__dict__, **changes})  # type: ignore[arg-type]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def last_turn(engine: ScriptedEngine) -> Message:
    return engine.asked[-1][0][-1]


def test_a_fix_in_the_first_round(project: Callable[..., Path]) -> None:
    folder = project(calc=CALC, test_calc=TEST_CALC)
    proposal, engine = fix(folder, "test_calc.py", fenced(RIGHT))
    assert proposal.verified
    assert proposal.task.region.name == "add"
    assert proposal.new_text == CALC.replace("a - b", "a + b")
    assert proposal.receipt.tests_before == (1, 2)
    assert proposal.receipt.tests_after == (2, 2)
    assert (proposal.receipt.changed_lines, proposal.receipt.executed_lines) == (1, 1)
    assert proposal.receipt.isolation == "bubblewrap"
    first = engine.asked[0][0][0].content
    assert "Execution result: \n" in first
    assert "assert -1 == 5" in first


def test_the_second_round_gets_the_failure_of_the_first(project: Callable[..., Path]) -> None:
    folder = project(calc=CALC, test_calc=TEST_CALC)
    proposal, engine = fix(folder, "calc.py", fenced(WRONG), fenced(RIGHT))
    assert proposal.verified
    assert [r.verdict.kind for r in proposal.rounds] == [VerdictKind.REJECTED, VerdictKind.VERIFIED]
    turn = last_turn(engine)
    assert turn.role == "user"
    assert turn.content.startswith("Execution result: \n")
    assert "assert 6 == 5" in turn.content


def test_what_is_asked_keeps_to_what_the_engine_takes(project: Callable[..., Path]) -> None:
    folder = project(calc=CALC + "\n\ndef other(a):\n    return a\n" * 60, test_calc=TEST_CALC)
    engine = ScriptedEngine(fenced(WRONG), fenced("def add(a, b):\n    return 0\n"), fenced(RIGHT))
    engine.prompt_tokens = 1500
    request = FixRequest(Snapshot(folder), PurePosixPath("calc.py"))
    assert refine(request, engine, OPTIONS, threading.Event(), lambda event: None).verified
    assert len(engine.asked) == 3
    for messages, _ in engine.asked:
        assert estimate(messages) <= 1500
        assert messages[0].content.startswith("The function `add` in `calc.py` has a bug")


def further(
    folder: Path, earlier: Proposal, words: str, *replies: str, **changes: object
) -> tuple[Proposal, ScriptedEngine]:
    """Go on with a proposal."""
    engine = ScriptedEngine(*replies)
    request = FeedbackRequest(Snapshot(folder), earlier, words)
    proposal = refine_further(request, engine, options(**changes), threading.Event(), lambda event: None)
    return proposal, engine


def test_the_user_s_words_go_on_with_the_conversation_and_tests_still_decide(
    project: Callable[..., Path],
) -> None:
    folder = project(calc=CALC, test_calc=TEST_CALC)
    earlier, _ = fix(folder, "test_calc.py", fenced(RIGHT))
    shorter = fenced("def add(a, b):\n    return sum((a, b))")
    proposal, engine = further(folder, earlier, "Use sum.", fenced(RIGHT), fenced(WRONG), shorter)
    assert proposal.verified
    assert proposal.new_text == CALC.replace("a - b", "sum((a, b))")
    assert proposal.receipt.rounds == 3
    assert [done.number for done in proposal.rounds] == [1, 2, 3]
    first = engine.asked[0][0]
    assert [message.role for message in first] == ["user", "assistant", "user"]
    assert first[1].content.strip() == fenced(RIGHT).strip()
    assert first[2].content.startswith("Use sum.\n\nGive the complete `add`")
    # The same code again is not what the user has asked for.
    assert "with the same code. It has to change: Use sum." in engine.asked[1][0][-1].content
    assert "assert 6 == 5" in engine.asked[2][0][-1].content
    assert proposal.best is proposal.rounds[-1]


def test_the_user_s_words_come_with_what_the_tests_said_of_an_unproven_round(
    project: Callable[..., Path],
) -> None:
    folder = project(calc=CALC, test_calc=TEST_CALC)
    earlier, _ = fix(folder, "test_calc.py", fenced(WRONG), rounds=1)
    assert not earlier.verified
    proposal, engine = further(folder, earlier, "It should add.", fenced(RIGHT))
    assert proposal.verified
    words = engine.asked[0][0][-1].content
    assert words.startswith("Execution result: \n")
    assert words.index("assert 6 == 5") < words.index("It should add.")


def test_going_on_follows_a_target_that_has_moved_and_refuses_one_that_has_changed(
    project: Callable[..., Path],
) -> None:
    folder = project(calc=CALC, test_calc=TEST_CALC)
    earlier, _ = fix(folder, "test_calc.py", fenced(RIGHT))
    moved = '"""Sums."""\n\n' + CALC
    (folder / "calc.py").write_text(moved)
    proposal, _ = further(folder, earlier, "Use sum.", fenced("def add(a, b):\n    return sum((a, b))"))
    assert proposal.verified
    assert proposal.new_text == moved.replace("a - b", "sum((a, b))")
    for mine in ("b - a", "a - b + 1"):
        (folder / "calc.py").write_text(CALC.replace("a - b", mine))
        with pytest.raises(TaskError, match="changed in the same place"):
            further(folder, earlier, "Use sum.")
    with pytest.raises(TaskError, match="Say in a sentence"):
        further(folder, earlier, " ")


def test_a_repeated_candidate_is_not_run_but_told_and_asked_again_sampled(
    project: Callable[..., Path],
) -> None:
    folder = project(calc=CALC, test_calc=TEST_CALC)
    again = fenced(WRONG.replace("return", "# once more\n    return"))
    proposal, engine = fix(folder, "calc.py", fenced(WRONG), again, fenced(RIGHT))
    assert proposal.verified
    assert len(proposal.rounds) == 2
    messages, sampling = engine.asked[-1]
    assert "You have answered this already" in messages[-1].content
    assert all(message.role == "user" for message in messages), "the repeated reply is not shown again"
    assert sampling.temperature > 0


def test_the_loop_ends_after_two_repeats(project: Callable[..., Path]) -> None:
    folder = project(calc=CALC, test_calc=TEST_CALC)
    proposal, engine = fix(folder, "calc.py", *[fenced(WRONG)] * 9, rounds=9)
    assert not proposal.verified
    assert len(proposal.rounds) == 3
    assert len(engine.asked) == 5


def test_a_round_of_several_replies_samples_after_the_first_and_goes_on_from_the_best(
    project: Callable[..., Path],
) -> None:
    tests = TEST_CALC + "\n\ndef test_add_more():\n    assert add(2, 2) == 4\n"
    folder = project(calc=CALC, test_calc=tests)
    half, best = (fenced(f"def add(a, b):\n    return {each}\n") for each in ("0", "4"))
    engine, told = ScriptedEngine(half, best, fenced(WRONG.replace("*", "//")), fenced(RIGHT)), []
    request = FixRequest(Snapshot(folder), PurePosixPath("test_calc.py"))
    settings = options(candidates=3, rounds=2)
    proposal = refine(request, engine, settings, threading.Event(), told.append)
    assert proposal.verified and proposal.receipt.rounds == 2
    asked, samplings = zip(*engine.asked, strict=True)
    assert asked[0] == asked[1] == asked[2] and "return 4" in asked[3][1].content
    assert [each.temperature > 0 for each in samplings] == [False, True, True, False]
    judged = [(each.next, each.of, each.verdict.kind) for each in told if isinstance(each, ReplyJudged)]
    rejected, partial = VerdictKind.REJECTED, VerdictKind.PARTIAL
    assert judged == [(2, 3, rejected), (3, 3, partial), (0, 3, rejected)]


def test_samples_that_repeat_the_first_reply_do_not_keep_its_failure_from_the_model(
    project: Callable[..., Path],
) -> None:
    folder = project(calc=CALC, test_calc=TEST_CALC)
    engine, told = ScriptedEngine(*[fenced(WRONG)] * 5, fenced(RIGHT)), []
    request = FixRequest(Snapshot(folder), PurePosixPath("calc.py"))
    proposal = refine(request, engine, options(candidates=3, rounds=2), threading.Event(), told.append)
    assert proposal.verified and proposal.receipt.rounds == 2
    assert "Execution result" in last_turn(engine).content
    judged = [each.next for each in told if isinstance(each, ReplyJudged)]
    assert judged == [2, 3, 0], "the last reply's verdict is told before the best one's"


def test_no_reply_is_asked_for_when_the_time_is_up(project: Callable[..., Path]) -> None:
    folder = project(calc=CALC, test_calc=TEST_CALC)
    proposal, engine = fix(folder, "calc.py", fenced(WRONG), fenced(RIGHT), candidates=3, time_limit=0.0)
    assert not proposal.verified and len(engine.asked) == 1


def test_a_failure_that_was_there_before_begins_anew_where_that_is_wanted(
    project: Callable[..., Path],
) -> None:
    folder = project(calc=CALC, test_calc=TEST_CALC)
    other = WRONG.replace("a * b", "b * a")  # other code, the same failure
    replies = fenced(WRONG), fenced(other), fenced(RIGHT)
    proposal, engine = fix(folder, "test_calc.py", *replies, strategy=Strategy(restart=True))
    assert proposal.verified and proposal.receipt.rounds == 3
    (first, greedy), (second, _), (third, sampled) = engine.asked
    assert len(second) == 3 and third == first
    assert greedy.temperature == 0 and sampled.temperature > 0


def test_without_localisation_the_whole_file_is_written_anew(project: Callable[..., Path]) -> None:
    folder = project(calc="import math\n\n\n" + CALC, test_calc=TEST_CALC)
    right = "import math\n\n\n" + CALC.replace("a - b", "int(math.fsum([a, b]))")
    proposal, engine = fix(folder, "test_calc.py", fenced(right), strategy=Strategy(localise=False))
    assert proposal.verified and proposal.new_text == right
    [([question], _)] = engine.asked
    assert "`add`" not in question.content and question.content.count("def double") == 1


def test_the_best_round_is_proposed_with_what_still_fails(project: Callable[..., Path]) -> None:
    tests = TEST_CALC + "\n\ndef test_add_more():\n    assert add(2, 2) == 4\n"
    folder = project(calc=CALC, test_calc=tests)
    half = fenced("def add(a, b):\n    return 4\n")
    replies = fenced("def add(a, b):\n    return 0\n"), half, fenced("nothing")
    proposal, _ = fix(folder, "calc.py", *replies, rounds=3)
    assert not proposal.verified
    assert proposal.receipt.verdict.kind is VerdictKind.PARTIAL
    assert proposal.receipt.verdict.missing == {"test_calc.py::test_add"}
    assert "return 4" in (proposal.new_text or "")


def test_a_candidate_that_breaks_another_test_is_rejected(project: Callable[..., Path]) -> None:
    source = "def f(x):\n    return x + 2\n"
    tests = "from m import f\ndef test_f():\n    assert f(1) == 2\ndef test_g():\n    assert f(0) == 2\n"
    folder = project(m=source, test_m=tests)
    proposal, _ = fix(folder, "m.py", fenced("def f(x):\n    return x + 1\n"), rounds=1)
    assert proposal.receipt.verdict.kind is VerdictKind.REJECTED
    assert proposal.receipt.verdict.broken == {"test_m.py::test_g"}


def test_one_named_test_is_the_only_one_wanted(project: Callable[..., Path]) -> None:
    source = CALC.replace("2 * a", "3 * a")
    folder = project(calc=source, test_calc=TEST_CALC)
    proposal, _ = fix(folder, "test_calc.py", fenced(RIGHT), test="test_calc.py::test_add")
    assert proposal.verified
    assert proposal.receipt.tests_after == (1, 2)


def test_tests_behind_a_hang_are_wanted_too(project: Callable[..., Path]) -> None:
    """The baseline ends after two hangs; what it did not come to must still pass in the end."""
    source = "def f(x):\n    while True:\n        pass\n"
    tests = "from m import f\n" + "".join(
        f"def test_{n}():\n    assert f({n}) == {n % 4}\n" for n in range(5)
    )
    folder = project(m=source, test_m=tests)
    proposal, _ = fix(
        folder, "m.py", fenced("def f(x):\n    return x\n"), fenced("def f(x):\n    return x % 4\n")
    )
    assert [r.verdict.kind for r in proposal.rounds] == [VerdictKind.PARTIAL, VerdictKind.VERIFIED]


def test_imports_that_take_long_are_not_cut_short_where_lines_are_recorded(
    project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lsp_server.refine.loop.TRACED_TEST_SECONDS", 0.2)
    folder = project(calc="import time\ntime.sleep(0.5)\n\n" + CALC, test_calc=TEST_CALC)
    proposal, _ = fix(folder, "test_calc.py", fenced(RIGHT))
    assert proposal.verified


def test_the_target_s_own_tests_have_a_say(project: Callable[..., Path]) -> None:
    """The test that was named is in one file; another file covers the function, too."""
    shop = "from calc import add\n\n\ndef test_shop():\n    assert add(2, 2) == 4\n"
    other = "from calc import add\n\n\ndef test_zero():\n    assert add(3, 0) == 3\n"
    folder = project(calc=CALC, test_shop=shop, test_calc=other)
    proposal, _ = fix(folder, "test_shop.py", fenced(WRONG), fenced(RIGHT), test="test_shop.py::test_shop")
    assert [r.verdict.kind for r in proposal.rounds] == [VerdictKind.REJECTED, VerdictKind.VERIFIED]
    assert proposal.rounds[0].verdict.broken == {"test_calc.py::test_zero"}


def test_the_receipt_names_what_is_added_and_what_still_fails(project: Callable[..., Path]) -> None:
    folder = project(calc=CALC.replace("2 * a", "3 * a"), test_calc=TEST_CALC)
    code = "import operator\n\ndef plus(a, b):\n    return operator.add(a, b)\n\ndef add(a, b):\n    return plus(a, b)\n"
    proposal, _ = fix(folder, "test_calc.py", fenced(code), test="test_calc.py::test_add")
    assert proposal.verified
    assert proposal.receipt.notes == (
        "also adds `import operator`, `plus`",
        "1 other tests failed before and still do, such as test_calc.py::test_double",
    )


def test_doctests_that_fail_are_fixed_but_prove_nothing(project: Callable[..., Path]) -> None:
    source = 'def add(a, b):\n    """Return the sum.\n\n    >>> add(2, 3)\n    5\n    """\n    return a - b\n'
    folder = project(calc=source)
    good = source.replace("a - b", "a + b")
    proposal, _ = fix(folder, "calc.py", fenced(source.replace("a - b", "a * b")), fenced(good))
    assert proposal.receipt.verdict.kind is VerdictKind.UNTESTED
    assert proposal.new_text == good


def test_an_expected_failure_that_passes_now_is_no_breakage(project: Callable[..., Path]) -> None:
    known = "import pytest\n\n@pytest.mark.xfail\ndef test_known():\n    assert add(1, 1) == 2\n"
    folder = project(calc=CALC, test_calc=TEST_CALC + known)
    assert fix(folder, "calc.py", fenced(RIGHT))[0].verified


def test_without_a_sandbox_nothing_is_called_verified(project: Callable[..., Path]) -> None:
    folder = project(calc=CALC, test_calc=TEST_CALC)
    proposal, _ = fix(folder, "calc.py", fenced(RIGHT), sandbox=Sandboxing(level="off"))
    assert not proposal.verified
    assert proposal.receipt.verdict.kind is VerdictKind.UNSANDBOXED
    assert any("unprotected" in line for line in proposal.receipt.lines())


def test_tests_that_take_too_long_are_refused_with_the_remedy(project: Callable[..., Path]) -> None:
    slow = "import time\n\ndef test_slow():\n    time.sleep(9)\n"
    folder = project(calc=CALC, test_calc=TEST_CALC + slow)
    with pytest.raises(TaskError, match="--run-timeout"):
        fix(folder, "calc.py", limits=Limits(test_seconds=20.0, wall_seconds=3.0))


def test_nothing_fails(project: Callable[..., Path]) -> None:
    folder = project(calc=CALC.replace("a - b", "a + b"), test_calc=TEST_CALC)
    with pytest.raises(NothingToFix, match="2 tests pass"):
        fix(folder, "calc.py")


def test_a_test_that_does_not_exist(project: Callable[..., Path]) -> None:
    folder = project(calc=CALC, test_calc=TEST_CALC)
    with pytest.raises(TaskError, match=r"There is no test test_calc\.py::test_typo"):
        fix(folder, "test_calc.py", test="test_calc.py::test_typo")


def test_a_file_without_tests_cannot_be_fixed(project: Callable[..., Path]) -> None:
    folder = project(calc=CALC)
    with pytest.raises(TaskError, match=r"No test was found for calc\.py"):
        fix(folder, "calc.py")


@pytest.mark.parametrize("name", ["notes.md", "page.ipynb", "types.pyi"])
def test_other_files_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(TaskError, match="not a Python source file"):
        fix(tmp_path, name)


@pytest.mark.parametrize(
    ("path", "head", "reason"),
    [
        (
            "calc.py",
            "# Generated by the protocol buffer compiler.  DO NOT EDIT!\n",
            "says that it is generated",
        ),
        ("calc.py", "# coding: utf-8\n# @generated\n", "says that it is generated"),
        ("env/calc.py", "", "is installed, not written"),
        ("lib/site-packages/calc.py", "", "is installed, not written"),
        ("link.py", "", "leads out of the workspace"),
    ],
)
def test_what_nobody_writes_by_hand_is_no_target(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, path: str, head: str, reason: str
) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    if path == "link.py":
        file.symlink_to(tmp_path_factory.mktemp("elsewhere") / "calc.py")
    file.write_text(head + CALC)
    (tmp_path / "env").mkdir(exist_ok=True)
    (tmp_path / "env" / "pyvenv.cfg").touch()
    with pytest.raises(TaskError, match=reason):
        fix(tmp_path, path)
    with pytest.raises(TaskError, match=reason):
        generate(tmp_path, path, 1)


def test_a_remark_about_a_part_of_a_file_does_not_make_it_a_generated_one(
    project: Callable[..., Path],
) -> None:
    folder = project(
        calc="import os\n\n# do not modify this\n" + CALC, test_calc="# Generated by a tool\n" + TEST_CALC
    )
    assert fix(folder, "test_calc.py", fenced(RIGHT))[0].verified


def test_a_generated_file_is_not_found_for_a_failing_test(project: Callable[..., Path]) -> None:
    folder = project(calc="# Generated by a machine: do not edit.\n" + CALC, test_calc=TEST_CALC)
    with pytest.raises(TaskError, match="execute no function of the workspace that could be changed"):
        fix(folder, "test_calc.py")


def test_the_buffer_s_text_is_what_runs(project: Callable[..., Path]) -> None:
    folder = project(calc=CALC.replace("a - b", "a + b"), test_calc=TEST_CALC)
    path = PurePosixPath("calc.py")
    snapshot = Snapshot(folder, {path: Document(path, CALC, version=7)})
    proposal = refine(
        FixRequest(snapshot, path),
        ScriptedEngine(fenced(RIGHT)),
        OPTIONS,
        threading.Event(),
        lambda event: None,
    )
    assert proposal.verified
    assert proposal.task.document.version == 7
    assert (folder / "calc.py").read_text() != CALC


# Candidates that attack, from the issue: each ends as not verified, with the true reason.


def test_a_candidate_that_loops_forever(project: Callable[..., Path]) -> None:
    folder = project(calc=CALC, test_calc=TEST_CALC)
    proposal, _ = fix(folder, "calc.py", fenced("def add(a, b):\n    while True:\n        pass\n"), rounds=1)
    assert not proposal.verified
    assert "hangs" in proposal.receipt.verdict.reason
    assert "timed out" in proposal.rounds[0].feedback


def test_a_candidate_that_writes_outside(
    project: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "pwned"
    code = f"def add(a, b):\n    open({str(outside)!r}, 'w').write('x')\n    return a + b\n"
    folder = project(calc=CALC, test_calc=TEST_CALC)
    proposal, _ = fix(folder, "calc.py", fenced(code), rounds=1)
    assert not proposal.verified
    assert not outside.exists()
    assert "Error" in proposal.rounds[0].feedback
    assert str(outside) in proposal.rounds[0].feedback


def test_a_candidate_that_writes_into_the_workspace_leaves_nothing(project: Callable[..., Path]) -> None:
    code = "def add(a, b):\n    open('test_calc.py', 'w').write('def test_add(): pass')\n    return 0\n"
    folder = project(calc=CALC, test_calc=TEST_CALC)
    proposal, _ = fix(folder, "calc.py", fenced(code), rounds=1)
    assert not proposal.verified


@pytest.mark.parametrize("where", ["import os\nos._exit(0)\n\ndef add(a, b):\n    return 0\n", ""])
def test_a_candidate_that_exits(project: Callable[..., Path], where: str) -> None:
    code = where or "import os\n\ndef add(a, b):\n    os._exit(0)\n"
    folder = project(calc=CALC, test_calc=TEST_CALC)
    proposal, _ = fix(folder, "calc.py", fenced(code), rounds=1)
    assert not proposal.verified
    if not where:
        assert "os._exit" in proposal.receipt.verdict.reason


def test_a_candidate_that_exits_where_the_file_did_before(project: Callable[..., Path]) -> None:
    """Reading cannot tell here; the run does."""
    folder = project(calc="import os\n\ndef bye():\n    os._exit(0)\n\n" + CALC, test_calc=TEST_CALC)
    proposal, _ = fix(folder, "calc.py", fenced("def add(a, b):\n    bye()\n"), rounds=1)
    assert not proposal.verified
    assert "ended" in proposal.receipt.verdict.reason


def test_a_candidate_equal_to_everything(project: Callable[..., Path]) -> None:
    code = (
        "class Yes:\n    def __eq__(self, other):\n        return True\n\ndef add(a, b):\n    return Yes()\n"
    )
    folder = project(calc=CALC, test_calc=TEST_CALC)
    proposal, _ = fix(folder, "calc.py", fenced(code), rounds=1)
    assert not proposal.verified
    assert "__eq__" in proposal.receipt.verdict.reason


def test_a_flaky_test_verifies_nothing(project: Callable[..., Path]) -> None:
    tests = "import os\nfrom calc import add\ndef test_add():\n    assert add(2, 3) == 5 and os.urandom(1)[0] < {}\n"
    folder = project(calc=CALC, test_calc=tests.format(128))
    code = "import os\n\ndef add(a, b):\n    return a + b + os.urandom(1)[0] % 2\n"
    verified = 0
    for _ in range(3):
        try:
            verified += fix(folder, "calc.py", fenced(code), rounds=1)[0].verified
        except NothingToFix:
            continue
    assert verified < 3


# Generate.

STUB = '''\
def add(a, b):
    """Return the sum."""
    ...


def later(a):
    raise NotImplementedError
'''


def test_a_stub_is_written_and_its_tests_prove_it(project: Callable[..., Path]) -> None:
    tests = TEST_CALC.replace("double", "later")
    folder = project(calc=STUB, test_calc=tests)
    proposal, engine = generate(folder, "calc.py", 2, fenced(RIGHT))
    assert proposal.verified, "the other stub's test is not held against it"
    assert "Write the function `add`" in engine.asked[0][0][0].content


def test_a_function_that_the_test_imports_in_vain(project: Callable[..., Path]) -> None:
    folder = project(
        calc="# add(a, b): the sum\n",
        test_calc="from calc import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n",
    )
    proposal, _ = generate(folder, "calc.py", 1, fenced(WRONG), fenced(RIGHT))
    assert proposal.verified
    assert proposal.new_text == "# add(a, b): the sum\n" + RIGHT


def test_without_tests_nothing_is_verified(project: Callable[..., Path]) -> None:
    folder = project(calc=STUB)
    proposal, _ = generate(folder, "calc.py", 2, fenced(RIGHT))
    assert not proposal.verified
    assert proposal.receipt.verdict.kind is VerdictKind.UNTESTED
    assert any("not tested" in line for line in proposal.receipt.lines())


def test_doctests_are_run_but_are_no_proof(project: Callable[..., Path]) -> None:
    source = 'def add(a, b):\n    """Return the sum.\n\n    >>> add(2, 3)\n    5\n    """\n'
    folder = project(calc=source)
    bad = source + "    return a * b\n"
    good = source + "    return a + b\n"
    proposal, engine = generate(folder, "calc.py", 1, fenced(bad), fenced(good))
    assert proposal.receipt.verdict.kind is VerdictKind.UNTESTED
    assert proposal.new_text == good
    assert len(engine.asked) == 2


def test_code_without_tests_that_does_not_import(project: Callable[..., Path]) -> None:
    folder = project(calc="# the answer, computed\n")
    proposal, _ = generate(folder, "calc.py", 1, fenced("ANSWER = 1 / 0"), fenced("ANSWER = 42"))
    assert [r.verdict.kind for r in proposal.rounds] == [VerdictKind.REJECTED, VerdictKind.UNTESTED]


def test_a_selection_of_several_functions_is_written_anew(project: Callable[..., Path]) -> None:
    folder = project(calc=CALC + "\n\ndef last():\n    return 0\n", test_calc=TEST_CALC)
    both = CALC.replace("a - b", "sum((a, b))").replace("2 * a", "a + a")
    proposal, engine = generate(
        folder, "calc.py", 1, fenced(both), end_line=6, instruction="Use sum, and no products."
    )
    assert proposal.verified
    assert proposal.new_text == both + "\n\ndef last():\n    return 0\n"
    assert "The lines to replace:" in last_turn(engine).content


def test_a_selection_inside_a_function_is_that_function(project: Callable[..., Path]) -> None:
    folder = project(calc=CALC, test_calc=TEST_CALC)
    proposal, engine = generate(
        folder, "calc.py", 2, fenced(RIGHT), end_line=2, instruction="add, do not subtract"
    )
    assert proposal.verified
    assert "Instruction: add, do not subtract" in engine.asked[0][0][0].content


def test_nothing_to_write_there(project: Callable[..., Path]) -> None:
    folder = project(calc=CALC)
    with pytest.raises(TaskError, match="nothing to write"):
        generate(folder, "calc.py", 2)


# Bad input.


def test_a_half_typed_file_is_repaired_by_its_indentation_block(project: Callable[..., Path]) -> None:
    source = "def double(a):\n    return 2 * a\n\n\ndef add(a, b:\n    return a + b\n\n\nX = 1\n"
    folder = project(calc=source, test_calc=TEST_CALC)
    proposal, engine = fix(folder, "calc.py", fenced(RIGHT))
    assert proposal.verified
    assert proposal.new_text == source.replace("(a, b:", "(a, b):")
    assert "SyntaxError" in engine.asked[0][0][0].content


def test_tests_that_cannot_be_collected_say_so(project: Callable[..., Path]) -> None:
    folder = project(calc=CALC, test_calc="import nowhere_to_be_found\n\ndef test_add():\n    pass\n")
    with pytest.raises(TaskError, match="nowhere_to_be_found"):
        fix(folder, "test_calc.py")


def test_a_reply_without_code_costs_a_round_and_is_told(project: Callable[..., Path]) -> None:
    folder = project(calc=CALC, test_calc=TEST_CALC)
    proposal, engine = fix(
        folder, "calc.py", "I cannot help.", fenced("def other():\n    return 1\n"), fenced(RIGHT)
    )
    assert proposal.verified
    assert len(proposal.rounds) == 3
    said = [messages[-1].content for messages, _ in engine.asked]
    assert "no code block" in said[1]
    assert "does not define `add`" in said[2]


def test_a_candidate_with_a_syntax_error_is_told(project: Callable[..., Path]) -> None:
    folder = project(calc=CALC, test_calc=TEST_CALC)
    proposal, engine = fix(folder, "calc.py", fenced("def add(a, b):\n    return (a +\n"), fenced(RIGHT))
    assert proposal.verified
    assert "SyntaxError" in last_turn(engine).content


def test_cancel_while_the_model_writes(project: Callable[..., Path]) -> None:
    folder = project(calc=CALC, test_calc=TEST_CALC)
    cancel = threading.Event()

    def listener(event: Event) -> None:
        if isinstance(event, ReplyText):
            cancel.set()

    with pytest.raises(Cancelled):
        refine(
            FixRequest(Snapshot(folder), PurePosixPath("calc.py")),
            ScriptedEngine(fenced(RIGHT)),
            OPTIONS,
            cancel,
            listener,
        )


def test_cancel_while_the_tests_run(project: Callable[..., Path]) -> None:
    folder = project(calc=CALC, test_calc=TEST_CALC)
    cancel = threading.Event()
    rounds: list[Event] = []

    def listener(event: Event) -> None:
        if isinstance(event, TestsStarted):
            threading.Timer(0.3, cancel.set).start()
        if isinstance(event, RoundDone):
            rounds.append(event)

    engine = ScriptedEngine(fenced("import time\n\ndef add(a, b):\n    time.sleep(60)\n"))
    slow = options(limits=Limits(test_seconds=50.0))
    with pytest.raises(Cancelled):
        refine(FixRequest(Snapshot(folder), PurePosixPath("calc.py")), engine, slow, cancel, listener)
    assert not rounds
