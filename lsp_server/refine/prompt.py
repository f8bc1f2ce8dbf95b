"""The conversation: the first question with its context, and the turns that follow a failed round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from lsp_server.engine.protocol import REPLY_TOKENS, Message
from lsp_server.refine.budget import BYTES_PER_TOKEN, Budget
from lsp_server.refine.discover import node_ids
from lsp_server.refine.feedback import BUDGET, HEAD, WORDING, Wording, cut, execution_result
from lsp_server.refine.proposal import Round
from lsp_server.refine.source import Definition, Source
from lsp_server.refine.task import Task, TaskError
from runner.report import Report

WHOLE_FILE = 4000
"""Files up to this many characters are shown whole, larger ones as a skeleton around the target."""
TEST_SOURCE = 1500
"""Characters of test source that are shown."""
FEWER_TESTS = 500
"""Characters of test source where room is short."""
FOLLOW_UP = 350
"""Tokens that what came of a round may have: the result of a run, and the form of the answer."""

Tests = list[tuple[PurePosixPath, str]]
"""Tests' sources, each with its file."""


def first_turn(task: Task, baseline: Report, budget: Budget, wording: Wording = WORDING) -> list[Message]:
    """Return the conversation that opens a task.

    Where it would be too long, less of the file and of the tests is shown. Room is left for one round, so that the
    question need not change later: what an engine has computed of it stays good.

    Args:
        task: with its target.
        baseline: the run on the file as it is.
        budget: how long it may be.
        wording: how failures are put.
    """
    source = Source(task.document.text)
    reserve = reply_tokens(task) + FOLLOW_UP
    for context, length in _contexts(task, source, wording):
        parts = [_question(task, source), context]
        if task.complaint is not None:
            parts.append(f"{HEAD}{task.document.path}:{task.complaint.line}: {task.complaint.text}")
        elif task.kind == "fix":
            parts.append(HEAD + execution_result(baseline, task.wanted.ids, wording))
        if task.instruction:
            parts.append(f"Instruction: {cut(task.instruction, length)}")
        parts.append(_form(task))
        messages = [Message("user", "\n\n".join(parts))]
        if budget.holds(messages, reserve):
            break
    return messages


def next_turn(
    messages: Sequence[Message], reply: str, feedback: str, first: Sequence[Message], budget: Budget
) -> list[Message]:
    """Return the conversation after a round that was not verified.

    Middle turns are left out where the whole would be too long; the first question and the last round always stay.

    Args:
        messages: the conversation so far.
        reply: the model's last reply.
        feedback: what the tests said of it.
        first: the conversation that opened the task.
        budget: how long it may be.
    """
    said = Message("user", feedback)
    whole = [*messages, Message("assistant", reply), said]
    length = len(reply)
    while not budget.holds(whole):
        # Without the middle turns; a reply that is longer than was reckoned with loses its own middle.
        whole = [*first, Message("assistant", cut(reply, length)), said]
        if length < 100:
            break
        length //= 2
    return whole


def after_failure(task: Task, report: Report, wording: Wording = WORDING) -> str:
    """Return the user turn that follows a candidate that was run and is not verified.

    The training data ends with the result; a model that was not trained on it then tends to talk instead of
    correcting, so the form of the answer is said once more.
    """
    return f"{HEAD}{execution_result(report, task.wanted.ids, wording)}\n\nCorrect the code. {_again(task, wording)}"


def after_complaint(task: Task, reason: str) -> str:
    """Return the user turn that follows a candidate whose tests pass, but not the tool that has complained.

    Args:
        task: what is asked for.
        reason: what the tool says now.
    """
    return f"{HEAD}{cut(reason, BUDGET)}\n\nCorrect the code. {_form(task)}"


def after_words(task: Task, done: Round, words: str) -> str:
    """Return the user turn that says what a human wants of a round's code, in their own words as in training.

    What its tests said comes first if they did not prove it: the model has not been told yet.
    """
    told = [HEAD + execution_result(done.report, task.wanted.ids)] if done.feedback and done.report else []
    return "\n\n".join([*told, words, _form(task)])


def ask_again(first: Sequence[Message], task: Task, reason: str, wording: Wording = WORDING) -> list[Message]:
    """Return the conversation that follows a reply which was not run: the first question, and why it is put again.

    The reply itself is left out: with it in view, a small model writes it once more, sampled or not.

    Args:
        first: the conversation that opened the task.
        task: what is asked for.
        reason: why the reply was not run.
        wording: how failures are put.
    """
    return [*first[:-1], Message("user", f"{first[-1].content}\n\n{reason} {_again(task, wording)}")]


def same_code(task: Task) -> str:
    """Return the reason for asking again after a reply with code that was there before."""
    what = f"`{task.region.name}`" if task.region.name else "The code"
    return (
        "You have answered this already, with code that fails in the same way as before. "
        f"{what} as it stands is wrong, so a line of it has to change."
    )


def same_code_despite(words: str) -> str:
    """Return the reason for asking again after a reply with code that a human has just asked to change."""
    return f"You have answered this already, with the same code. It has to change: {words}"


def reply_tokens(task: Task) -> int:
    """Return how many tokens a reply may have: a few sentences, and the target written out with room to grow."""
    source = Source(task.document.text)
    length = len(source.segment(task.region.start, task.region.end))
    return max(512, min(REPLY_TOKENS, 384 + 2 * length // BYTES_PER_TOKEN))


def _question(task: Task, source: Source) -> str:
    name, path = task.region.name, task.document.path
    if task.complaint is not None:
        where = f"the {_kind(source, name)} `{name}`" if name else "the given lines"
        return f"{task.complaint.tool} reports an error in {where} of `{path}`. Correct it, and change nothing else."
    if task.kind == "fix":
        if task.region == source.whole:
            return f"`{path}` has a bug, so a test fails. Find the bug and correct it."
        if not name:
            return f"`{path}` has an error at line {task.region.start}, so its tests fail. Correct it."
        return f"The {_kind(source, name)} `{name}` in `{path}` has a bug, so a test fails. Find the bug and correct it."
    if name:
        return f"Write the {_kind(source, name)} `{name}` in `{path}`."
    if task.region.end < task.region.start:
        above = cut(source.lines[task.region.start - 2].strip(), 200) if task.region.start >= 2 else ""
        place = f" after the line `{above}`" if above else ""
        return f"Write the code that belongs into `{path}`{place}."
    if task.region == source.whole:
        return f"Rewrite `{path}`."
    return f"Rewrite the given lines of `{path}`."


def _kind(source: Source, name: str) -> str:
    definition = source.find(name)
    if definition is not None and definition.kind == "class":
        return "class"
    return "method" if "." in name else "function"


def _form(task: Task) -> str:
    """Say in which form the answer is wanted."""
    name = task.region.name
    if task.region == Source(task.document.text).whole:
        return f"Give the complete `{task.document.path}` in one ```python code block, without tests."
    if not name:
        return "Give only the new code, in one ```python code block."
    return (
        f"Give the complete `{name}` in one ```python code block, with the same signature and without tests."
    )


def _again(task: Task, wording: Wording) -> str:
    """Say in which form an answer is wanted after one that has failed."""
    form = _form(task)
    if not wording.reason:
        return form
    why = "which line is wrong and why the test fails" if task.wanted else "what is wrong"
    return f"First say in one or two sentences {why}. Then {form[0].lower()}{form[1:]}"


def _contexts(task: Task, source: Source, wording: Wording) -> Iterator[tuple[str, int]]:
    """Yield what is shown of the file and of the tests, from the most to the least.

    Beside each stands how many characters any other text of the user's may have.
    """
    length = 2 * WHOLE_FILE
    tests = _test_sources(task) if wording.show_tests else []
    less = skeleton(source, task)
    most = source.text if len(source.text) <= WHOLE_FILE else less
    yield _context(task, source, most, _as_many(tests, TEST_SOURCE)), length
    yield _context(task, source, less, _as_many(tests, TEST_SOURCE)), length
    yield _context(task, source, less, _as_many(tests, FEWER_TESTS)), length
    yield _context(task, source, _around(source, task), _as_many(tests, FEWER_TESTS)), length
    target = source.segment(task.region.start, task.region.end)
    while length > 100:
        yield _context(task, source, cut(target, length), [], length), length
        length //= 2


def _context(task: Task, source: Source, shown: str, tests: Tests, lines: int = 2 * WHOLE_FILE) -> str:
    """Write down what is shown of the file, the lines to replace (so many characters of them), and tests."""
    parts = [f"File `{task.document.path}`:\n```python\n{_plain(shown).strip()}\n```"]
    some = task.region.end >= task.region.start and not (task.region == source.whole and shown == source.text)
    if not task.region.name and some:
        replaced = cut(source.segment(task.region.start, task.region.end).strip("\r\n"), lines)
        parts.append(f"The lines to replace:\n```python\n{_plain(replaced)}\n```")
    for path, text in tests:
        parts.append(f"Test (`{path}`):\n```python\n{_plain(text).strip()}\n```")
    return "\n\n".join(parts)


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n")


def skeleton(source: Source, task: Task) -> str:
    """Return a file's imports, assignments and signatures, with the target and the classes around it in full.

    Args:
        source: the file.
        task: whose region is shown whole.
    """
    hidden: set[int] = set()
    for definition in source.definitions:
        outside = definition.end < task.region.start or definition.start > task.region.end
        if definition.kind == "function" and not definition.nested and outside:
            body = _first_body_line(source, definition)
            hidden.update(range(body, definition.end + 1))
    shown: list[str] = []
    for number, line in enumerate(source.lines, 1):
        if number not in hidden:
            shown.append(line)
        elif number - 1 not in hidden:
            shown.append(f"{line[: len(line) - len(line.lstrip())]}...{source.newline}")
    text = "".join(shown)
    if len(text) <= 2 * WHOLE_FILE:
        return text
    return _around(source, task)


def _around(source: Source, task: Task) -> str:
    """Return the head of a file and the target."""
    target = source.segment(task.region.start, task.region.end)
    return "".join(source.lines[:40])[: WHOLE_FILE // 2] + "\n...\n\n" + cut(target, 2 * WHOLE_FILE)


def _first_body_line(source: Source, definition: Definition) -> int:
    """Return the first line of a body that is hidden: below the first line of a docstring."""
    if definition.body == definition.header:
        return definition.end + 1
    return (
        definition.body + 1
        if definition.docstring.count("\n") == 0 and definition.docstring
        else definition.body
    )


def _test_sources(task: Task) -> Tests:
    """Return the source of the wanted tests, each once."""
    found: Tests = []
    parsed: dict[PurePosixPath, tuple[Source, dict[str, tuple[int, int]]]] = {}
    names: dict[str, None] = {}
    for test in sorted(task.wanted.ids):
        names.setdefault(test.partition("[")[0])
    for file in sorted(task.wanted.files):
        names.setdefault(str(file))
    for test in names:
        path = PurePosixPath(test.partition("::")[0])
        if path not in parsed:
            try:
                source = Source(task.snapshot.document(path).text)
            except TaskError:
                continue
            parsed[path] = source, node_ids(source, path)
        source, places = parsed[path]
        place = places.get(test)
        text = source.segment(*place) if place else source.text if "::" not in test else ""
        if text:
            found.append((path, text))
    return found


def _as_many(tests: Tests, left: int) -> Tests:
    """Return as many tests as so many characters hold, and the beginning of the first in any case."""
    shown: Tests = []
    for path, text in tests:
        if not shown or len(text) <= left:
            shown.append((path, text[:left]))
            left -= len(text)
    return shown
