"""The conversation stays within what the model takes, whatever the sizes, and keeps its beginning and its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsp_server.engine.protocol import Message, prompt_room
from lsp_server.models import chat
from lsp_server.models.catalog import Family
from lsp_server.refine import prompt
from lsp_server.refine.budget import Budget, estimate, text_tokens
from lsp_server.refine.source import Region, Source
from lsp_server.refine.task import Document, Snapshot, Task, Wanted
from runner.report import Failure, Frame, Outcome, Report, TestResult

CODE, TESTS = PurePosixPath("shop.py"), PurePosixPath("test_shop.py")
FAMILIES: tuple[Family, ...] = ("ds", "cl", "gm", "sc2", "qwen")


def function(name: str, line: str, lines: int) -> str:
    return f"def {name}(x):\n" + f"    x = {line!r}\n" * lines + "    return x\n\n\n"


def task(
    before: int = 1,
    after: int = 1,
    body: int = 3,
    tests: int = 1,
    line: str = "the price",
    instruction: str = "",
    named: bool = True,
) -> Task:
    """A task whose file has functions of `body` lines before and after the target, and so many tests."""
    text = "import math\n\n\n" + "".join(function(f"before_{n}", line, body) for n in range(before))
    text += function("target", line, body) + "".join(function(f"after_{n}", line, body) for n in range(after))
    own = "from shop import target\n\n\n" + "".join(
        function(f"test_{n}", line, body) for n in range(max(tests, 1))
    )
    definition = Source(text).find("target")
    assert definition is not None
    region = Region(definition.start, definition.end, "target" if named else "")
    snapshot = Snapshot(Path("/nowhere"), {CODE: Document(CODE, text), TESTS: Document(TESTS, own)})
    wanted = Wanted(frozenset(f"{TESTS}::test_{n}" for n in range(tests)))
    kind = "fix" if tests else "generate"
    return Task(kind, snapshot, snapshot.buffers[CODE], region, (str(TESTS),), wanted, instruction)


def failing(asked: Task, message: str = "assert 1 == 2") -> Report:
    frames = (Frame(CODE, 4, "target", "return x"),)
    failure = Failure(message, f"E   {message}", frames)
    return Report({test: TestResult(test, Outcome.FAILED, failure=failure) for test in asked.wanted.ids})


def rendered(messages: Sequence[Message]) -> list[int]:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    return [text_tokens(chat.render(family, turns)) for family in FAMILIES]


TEXTS = st.sampled_from(["the price", "9876543210" * 3, "两个数的和返回", "x" * 90, "{}()[]"])
LINES = st.builds(str.__mul__, TEXTS, st.integers(1, 60))
SIZES = st.integers(0, 5)


@settings(max_examples=60)
@given(
    before=SIZES,
    after=SIZES,
    body=st.integers(1, 12),
    tests=st.integers(0, 4),
    line=LINES,
    instruction=st.builds(str.__mul__, TEXTS, st.integers(0, 500)),
    named=st.booleans(),
    budget=st.integers(3072, 12_000),
    rounds=st.lists(
        st.tuples(st.builds(str.__mul__, TEXTS, st.integers(0, 400)), TEXTS, st.booleans()), max_size=6
    ),
)
def test_a_conversation_of_any_size_keeps_within_the_budget(
    before: int,
    after: int,
    body: int,
    tests: int,
    line: str,
    instruction: str,
    named: bool,
    budget: int,
    rounds: list[tuple[str, str, bool]],
) -> None:
    asked = task(before, after, body, tests, line, instruction, named)
    limit = Budget(budget)
    first = messages = prompt.first_turn(asked, failing(asked, line), limit)
    question = messages[0].content.partition("\n")[0]
    form = messages[0].content.rpartition("\n")[2]
    assert "`shop.py`" in question
    assert "code block" in form
    for reply, message, run in rounds:
        if run:
            feedback = prompt.after_failure(asked, failing(asked, message * 60))
            messages = prompt.next_turn(messages, reply, feedback, first, limit)
        else:
            messages = prompt.ask_again(first, asked, feedback := prompt.same_code(asked))
        assert [each.role for each in messages] == (["user", "assistant"] * len(messages))[: len(messages)]
        assert feedback in messages[-1].content
        assert messages[-1].content.endswith(form)
        assert messages[0].content.startswith(question)
        if run:
            assert messages[0].content.startswith(first[0].content), "the question never changes"
        assert estimate(messages) <= budget
        assert max(rendered(messages)) <= budget


def test_a_small_task_is_shown_whole() -> None:
    asked = task()
    text = prompt.first_turn(asked, failing(asked), Budget(4096))[0].content
    assert asked.document.text.strip() in text
    assert "def test_0" in text


def test_less_room_shows_less_of_the_file_then_fewer_tests_then_the_target_alone() -> None:
    asked = task(before=6, after=6, body=9, tests=3)
    shown = [
        prompt.first_turn(asked, failing(asked), Budget(tokens))[0].content
        for tokens in (4096, 2000, 1400, 900)
    ]
    assert [text.count("x = 'the price'") for text in shown] == sorted(
        (text.count("x = 'the price'") for text in shown), reverse=True
    )
    assert "def before_0(x):\n    x = " in shown[0]
    assert "def before_0(x):\n    ...\n" in shown[1]
    assert all("def target(x):\n    x = " in text for text in shown)
    assert "Test (" not in shown[-1]
    assert all(text.startswith("The function `target` in `shop.py` has a bug") for text in shown)


@pytest.mark.parametrize("length", [0, 12, 500])
def test_middle_turns_go_before_the_last_round_does(length: int) -> None:
    asked, limit = task(), Budget(4096)
    first = messages = prompt.first_turn(asked, failing(asked), limit)
    lengths = []
    for number in range(60):
        reply = f"reply {number} " + "word " * length
        messages = prompt.next_turn(messages, reply, f"feedback {number} " * 30, first, limit)
        assert messages[0] == first[0]
        assert messages[-2].content == reply
        assert estimate(messages) <= 4096
        lengths.append(len(messages))
    assert max(lengths) < 2 * len(lengths)


def test_the_engine_counts_where_the_estimate_is_near_the_budget() -> None:
    counted: list[int] = []

    def count(messages: Sequence[Message]) -> int | None:
        counted.append(len(messages))
        return 90

    def holds(characters: int) -> bool:
        return Budget(1000, count).holds([Message("user", "a" * characters)])

    assert holds(300)
    assert not counted
    assert holds(3300)
    assert counted == [1]
    assert not holds(9000)
    assert counted == [1]
    assert not Budget(1000).holds([Message("user", "a" * 3300)]), "without a count the estimate decides"


@pytest.mark.parametrize(
    ("context", "room"), [(32_768, 4096), (8192, 4096), (4096, 3072), (2048, 1024), (1024, 512)]
)
def test_the_server_s_context_has_to_hold_a_reply_too(context: int, room: int) -> None:
    assert prompt_room(4096, context) == room
