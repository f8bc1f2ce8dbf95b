"""The conversation: the first question with its context, and the turns that follow a failed round."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from lsp_server.engine.protocol import Message
from lsp_server.refine.discover import node_ids
from lsp_server.refine.feedback import HEAD, execution_result
from lsp_server.refine.source import Definition, Source
from lsp_server.refine.task import Task, TaskError
from runner.report import Report

CHARACTERS_PER_TOKEN = 3
"""A low estimate for code, so that a prompt that fits by it fits."""
TRAINED_TOKENS = 4096
"""Prompts of OpenCodeInterpreter's training were at most this long."""
REPLY_TOKENS = 1024
WHOLE_FILE = 4000
"""Files up to this many characters are shown whole, larger ones as a skeleton around the target."""
TEST_SOURCE = 1500
"""Characters of test source that are shown."""


def first_turn(task: Task, baseline: Report) -> list[Message]:
    """Return the conversation that opens a task.

    Args:
        task: with its target.
        baseline: the run on the file as it is.
    """
    source = Source(task.document.text)
    name = task.region.name
    parts = [_question(task, source)]
    parts.append(f"File `{task.document.path}`:\n```python\n{_context(task, source).strip()}\n```")
    if not name and task.region.end >= task.region.start:
        lines = source.segment(task.region.start, task.region.end).strip("\r\n")
        parts.append(f"The lines to replace:\n```python\n{lines}\n```")
    for path, text in _test_sources(task):
        parts.append(f"Test (`{path}`):\n```python\n{text.strip()}\n```")
    if task.kind == "fix":
        parts.append(HEAD + execution_result(baseline, task.wanted.ids))
    if task.instruction:
        parts.append(f"Instruction: {task.instruction}")
    parts.append(_form(task))
    return [Message("user", _fit("\n\n".join(parts)))]


def next_turn(
    messages: Sequence[Message], reply: str, feedback: str, first: Sequence[Message]
) -> list[Message]:
    """Return the conversation after a round that was not verified.

    Middle turns are left out where the whole would be longer than the model was trained on; the first question
    and the last round always stay.

    Args:
        messages: the conversation so far.
        reply: the model's last reply.
        feedback: what the tests said of it.
        first: the conversation that opened the task.
    """
    turn = [Message("assistant", reply), Message("user", feedback)]
    whole = [*messages, *turn]
    if sum(len(m.content) for m in whole) > (TRAINED_TOKENS - REPLY_TOKENS) * CHARACTERS_PER_TOKEN:
        return [*first, *turn]
    return whole


def after_failure(task: Task, report: Report) -> str:
    """Return the user turn that follows a candidate that was run and is not verified.

    The training data ends with the result; a model that was not trained on it then tends to talk instead of
    correcting, so the form of the answer is said once more.
    """
    return f"{HEAD}{execution_result(report, task.wanted.ids)}\n\nCorrect the code. {_form(task)}"


def ask_again(first: Sequence[Message], task: Task, reason: str) -> list[Message]:
    """Return the conversation that follows a reply which was not run: the first question, and why it is put again.

    The reply itself is left out: with it in view, a small model writes it once more, sampled or not.

    Args:
        first: the conversation that opened the task.
        task: what is asked for.
        reason: why the reply was not run.
    """
    return [*first[:-1], Message("user", f"{first[-1].content}\n\n{reason} {_form(task)}")]


def same_code(task: Task) -> str:
    """Return the reason for asking again after a reply with code that was there before."""
    what = f"`{task.region.name}`" if task.region.name else "The code"
    return (
        "You have answered this already, with code that fails in the same way as before. "
        f"{what} as it stands is wrong, so a line of it has to change."
    )


def reply_tokens(task: Task) -> int:
    """Return how many tokens a reply may have: a few sentences, and the target written out with room to grow."""
    source = Source(task.document.text)
    length = len(source.segment(task.region.start, task.region.end))
    return max(512, min(REPLY_TOKENS, 384 + 2 * length // CHARACTERS_PER_TOKEN))


def _question(task: Task, source: Source) -> str:
    name, path = task.region.name, task.document.path
    if task.kind == "fix":
        if not name:
            return f"`{path}` has an error at line {task.region.start}, so its tests fail. Correct it."
        return f"The {_kind(source, name)} `{name}` in `{path}` has a bug, so a test fails. Find the bug and correct it."
    if name:
        return f"Write the {_kind(source, name)} `{name}` in `{path}`."
    if task.region.end < task.region.start:
        above = source.lines[task.region.start - 2].strip() if task.region.start >= 2 else ""
        place = f" after the line `{above}`" if above else ""
        return f"Write the code that belongs into `{path}`{place}."
    return f"Rewrite the given lines of `{path}`."


def _kind(source: Source, name: str) -> str:
    definition = source.find(name)
    if definition is not None and definition.kind == "class":
        return "class"
    return "method" if "." in name else "function"


def _form(task: Task) -> str:
    """Say in which form the answer is wanted."""
    name = task.region.name
    if not name:
        return "Give only the new code, in one ```python code block."
    return (
        f"Give the complete `{name}` in one ```python code block, with the same signature and without tests."
    )


def _context(task: Task, source: Source) -> str:
    if len(source.text) <= WHOLE_FILE:
        return source.text.replace("\r\n", "\n")
    return skeleton(source, task).replace("\r\n", "\n")


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
    # Still too long: the target, the head of the file, and the definitions nearest to it.
    target = source.segment(task.region.start, task.region.end)
    return "".join(source.lines[:40])[: WHOLE_FILE // 2] + "\n...\n\n" + target[: 2 * WHOLE_FILE]


def _first_body_line(source: Source, definition: Definition) -> int:
    """Return the first line of a body that is hidden: below the first line of a docstring."""
    if definition.body == definition.header:
        return definition.end + 1
    return (
        definition.body + 1
        if definition.docstring.count("\n") == 0 and definition.docstring
        else definition.body
    )


def _test_sources(task: Task) -> list[tuple[PurePosixPath, str]]:
    """Return the source of the wanted tests, as much as the budget takes, each test once."""
    shown: list[tuple[PurePosixPath, str]] = []
    left = TEST_SOURCE
    names: dict[str, None] = {}
    for test in sorted(task.wanted.ids):
        names.setdefault(test.partition("[")[0])
    for file in sorted(task.wanted.files):
        names.setdefault(str(file))
    for test in names:
        path = PurePosixPath(test.partition("::")[0])
        try:
            source = Source(task.snapshot.document(path).text)
        except TaskError:
            continue
        place = node_ids(source, path).get(test)
        text = source.segment(*place) if place else source.text if "::" not in test else ""
        if not text:
            continue
        if shown and len(text) > left:
            continue
        shown.append((path, text[:left].replace("\r\n", "\n")))
        left -= len(text)
    return shown


def _fit(text: str) -> str:
    """Cut a first question that is too long in its middle, so that the request and the form stay."""
    room = (TRAINED_TOKENS - REPLY_TOKENS) * CHARACTERS_PER_TOKEN
    if len(text) <= room:
        return text
    return text[: room // 2] + "\n...\n" + text[-room // 2 :]
