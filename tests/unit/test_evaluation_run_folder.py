"""The folder of a run: what is kept, how a stopped run goes on, and what is told of a damaged one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lsp_server.engine.protocol import Message
from lsp_server.evaluation.outcome import Attempt, TaskOutcome
from lsp_server.evaluation.run_folder import (
    CONVERSATIONS,
    MANIFEST,
    OUTCOMES,
    EvaluationError,
    RunFolder,
)

MANIFEST_OF_A_RUN = {"kind": "bench", "data": "sha256:1", "options": {"rounds": 3}, "model": "m"}
TALK = (Message("system", "Be brief."), Message("user", "add?"), Message("assistant", "a + b"))
OUTCOME = TaskOutcome(
    id="HumanEval/1",
    attempts=(
        Attempt(1, False, 100, 40, 1.5, "AssertionError"),
        Attempt(2, True, 180, 20, 0.75),
    ),
    passed=True,
    passed_plus=False,
    outside=None,
    seconds=2.5,
    detail={"solution": "def add(a, b):\n    return a + b\n"},
    conversation=TALK,
)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.begin(tmp_path / "run", MANIFEST_OF_A_RUN)


def test_an_outcome_is_the_same_after_it_was_written(run: RunFolder) -> None:
    failed = TaskOutcome("2", (), False, None, False, 0.0, "it has no tests")
    for outcome in (OUTCOME, failed):
        run.add(outcome)
    # A conversation is for tuning and is not read back.
    back = RunFolder.open(run.path).outcomes()
    assert back["2"] == failed
    assert back["HumanEval/1"].conversation == ()
    assert (back["HumanEval/1"].attempts, back["HumanEval/1"].detail) == (OUTCOME.attempts, OUTCOME.detail)
    assert (back["HumanEval/1"].passed_plus, back["HumanEval/1"].tokens, back["HumanEval/1"].round) == (
        False,
        60,
        2,
    )


def test_a_run_killed_between_conversation_and_outcome_leaves_no_conversation_twice(run: RunFolder) -> None:
    run.add(OUTCOME)
    kept = (run.path / CONVERSATIONS).read_bytes()
    for killed in (kept.replace(OUTCOME.id.encode(), b"another"), kept[:-5]):
        (run.path / CONVERSATIONS).write_bytes(kept + killed)
        RunFolder.begin(run.path, run.manifest)
        assert (run.path / CONVERSATIONS).read_bytes() == kept


def test_conversations_have_code_feedbacks_form(run: RunFolder) -> None:
    run.add(OUTCOME)
    (line,) = (run.path / CONVERSATIONS).read_text("utf-8").splitlines()
    assert json.loads(line) == {
        "id": "HumanEval/1",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "add?"},
            {"role": "assistant", "content": "a + b"},
        ],
    }
    assert "conversation" not in json.loads((run.path / OUTCOMES).read_text("utf-8"))


def test_a_task_without_a_conversation_leaves_none(run: RunFolder) -> None:
    run.add(TaskOutcome("2", (), False))
    assert not (run.path / CONVERSATIONS).exists()


@pytest.mark.parametrize("text", ["\u2028 \u2029 \x85 \x1c \x0b", "\ud800", "\x00\x1b[31m", "汉字 ü 🐍"])
def test_whatever_a_model_writes_is_kept(run: RunFolder, text: str) -> None:
    """Some of it is a line's end to `str.splitlines`, and a lone surrogate is nothing to UTF-8."""
    run.add(TaskOutcome("1", (Attempt(1, False, 1, 1, 1.0, text),), False, detail={"solution": text}))
    run.add(TaskOutcome("2", (), False, error=text))
    back = run.outcomes()
    assert (back["1"].detail["solution"], back["1"].attempts[0].reason, back["2"].error) == (text, text, text)


def test_a_stopped_run_goes_on(run: RunFolder) -> None:
    run.add(OUTCOME)
    again = RunFolder.begin(run.path, dict(reversed(MANIFEST_OF_A_RUN.items())))
    again.add(TaskOutcome("2", (), False))
    assert list(again.outcomes()) == ["HumanEval/1", "2"]
    assert again.manifest == MANIFEST_OF_A_RUN


def test_the_later_outcome_of_a_task_counts(run: RunFolder) -> None:
    run.add(TaskOutcome("1", (), False, error="the model was not there"))
    run.add(TaskOutcome("1", (), True))
    assert run.outcomes() == {"1": TaskOutcome("1", (), True)}


def test_a_folder_of_another_run_is_refused_with_what_differs(run: RunFolder) -> None:
    other = {**MANIFEST_OF_A_RUN, "options": {"rounds": 1}, "seed": 7}
    with pytest.raises(EvaluationError, match=r"another run, which differs in options, seed: .*--output"):
        RunFolder.begin(run.path, other)
    assert RunFolder.open(run.path).manifest == MANIFEST_OF_A_RUN


def test_half_a_line_at_the_end_is_passed_over_and_cut_when_the_run_goes_on(run: RunFolder) -> None:
    run.add(OUTCOME)
    run.add(TaskOutcome("2", (), True))
    path = run.path / OUTCOMES
    whole = path.read_bytes()
    for cut in (1, 2, 20):  # the end of the line alone; the end of its JSON; more of it
        path.write_bytes(whole[:-cut])
        assert list(run.outcomes()) == ["HumanEval/1"]
        run.add(TaskOutcome("2", (), True))
        assert path.read_bytes() == whole
        assert list(run.outcomes()) == ["HumanEval/1", "2"]


def test_half_a_line_is_all_there_is(run: RunFolder) -> None:
    (run.path / OUTCOMES).write_bytes(b'{"id": "HumanEv')
    assert run.outcomes() == {}
    run.add(TaskOutcome("2", (), True))
    assert list(run.outcomes()) == ["2"]


@pytest.mark.parametrize(
    "damage",
    [
        b'{"id": "2", "atte\n',
        b'{"id": "2"}\n',
        b'{"id": "2", "attempts": [], "passed": false, "of_a_later_version": 1}\n',
        b"3\n",
        b"\xff\n",
        b"\n",
    ],
)
@pytest.mark.parametrize("last", [False, True])
def test_a_damaged_line_is_told(run: RunFolder, damage: bytes, last: bool) -> None:
    run.add(OUTCOME)
    path = run.path / OUTCOMES
    whole = path.read_bytes()
    path.write_bytes(whole + damage + (b"" if last else whole))
    with pytest.raises(EvaluationError, match=r"outcomes\.jsonl.* line 2"):
        run.outcomes()


def test_a_run_without_an_outcome_has_none(run: RunFolder) -> None:
    assert run.outcomes() == {}


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="holds no evaluation"):
        RunFolder.open(tmp_path)
    for damage in ("{", "[1]", "3"):
        (tmp_path / MANIFEST).write_text(damage)
        with pytest.raises(EvaluationError, match="holds no evaluation"):
            RunFolder.open(tmp_path)
        with pytest.raises(EvaluationError, match="damaged"):
            RunFolder.begin(tmp_path, MANIFEST_OF_A_RUN)


def test_rounds_and_tokens_until_it_passed() -> None:
    assert (OUTCOME.passed_by_round(1), OUTCOME.passed_by_round(2)) == (False, True)
    assert (OUTCOME.passed_within(59), OUTCOME.passed_within(60)) == (False, True)
    failed = TaskOutcome("2", OUTCOME.attempts, False)
    assert (failed.round, failed.passed_by_round(9), failed.passed_within(10**9)) == (None, False, False)


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EvaluationError, match="cannot be used"):
        RunFolder.begin(tmp_path / "file" / "run", {})


def test_what_had_passed_after_each_round() -> None:
    """The loop goes by all tests and base tests are reported: what passed the latter counts from then on."""
    first = Attempt(1, False, 10, 5, 1.0, "more fail", reported=True)
    outcome = TaskOutcome("a", (first, Attempt(2, True, 20, 5, 1.0, reported=True)), passed=True)
    assert [outcome.passed_by_round(number) for number in (0, 1, 2, 3)] == [False, True, True, True]
    spoilt = TaskOutcome("b", (first, Attempt(2, False, 20, 5, 1.0, reported=False)), passed=False)
    assert [spoilt.passed_by_round(number) for number in (1, 2)] == [True, False]
