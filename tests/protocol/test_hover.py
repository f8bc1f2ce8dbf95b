"""Hovering over what failed: values, expected and actual, output and the last result; nothing where nothing is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lsprotocol import types

from tests.protocol.conftest import CALC
from tests.protocol.editor import Editor
from tests.protocol.test_on_save import shown

TESTS = """\
from calc import add, double


def test_add():
    print("```adding```")
    assert {"sum": add(2, 3), "kind": "int"} == {"sum": 5, "kind": "int"}


def test_double():
    assert double(4) == 8
"""


async def hover(editor: Editor, uri: str, line: int) -> str:
    position = types.Position(line, 4)
    params = types.HoverParams(types.TextDocumentIdentifier(uri), position)
    answer = await editor.text_document_hover_async(params)
    if answer is None:
        return ""
    assert isinstance(answer.contents, types.MarkupContent)
    return answer.contents.value


async def failing(editor: Editor, project: Path, settings: dict[str, Any], **options: Any) -> tuple[str, str]:
    (project / "test_calc.py").write_text(TESTS)
    await editor.start(project, settings=settings, **options)
    calc, test = editor.open(project / "calc.py"), editor.open(project / "test_calc.py")
    assert await hover(editor, test, 3) == ""
    editor.save(calc)
    await editor.until("both", lambda: shown(editor, calc) and shown(editor, test))
    return calc, test


async def test_a_failing_line_tells_the_values(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    _, test = await failing(editor, project, settings)
    told = await hover(editor, test, 5)
    assert told.startswith("`test_add` **failed** in its last run (")
    assert "{'sum': -1} != {'sum': 5}" in told
    assert "Output:\n\n````text\n```adding```\n````" in told
    assert await hover(editor, test, 4) == ""
    editor.type(test, "# one\n" + TESTS)
    await editor.until("it to follow", lambda: [d.range.start.line for d in shown(editor, test)] == [6])
    assert await hover(editor, test, 6) == told
    assert await hover(editor, test, 5) == ""


async def test_the_head_of_a_test_or_function_tells_how_it_ended(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    calc, test = await failing(editor, project, settings)
    assert "{'sum': -1} != {'sum': 5}" in await hover(editor, test, 3)
    assert (await hover(editor, test, 8)).startswith("**passed** in its last run (")
    suspected = await hover(editor, calc, 0)
    assert "`add` may be why test_add fails" in suspected
    assert suspected.count("{'sum': -1} != {'sum': 5}") == 1
    editor.type(calc, CALC.replace("a - b", "a + b"))
    editor.save(calc)
    await editor.until("nothing to show", lambda: not shown(editor, test))
    assert (await hover(editor, test, 3)).startswith("**passed** in its last run (")
    assert await hover(editor, test, 5) == ""


async def test_a_file_that_cannot_be_collected_says_why(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    await editor.start(project, settings=settings)
    calc = editor.open(project / "calc.py", CALC + "\ndef broken(:\n    pass\n")
    editor.save(calc)
    await editor.until("it", lambda: shown(editor, calc))
    assert "SyntaxError" in await hover(editor, calc, 7)


async def test_a_client_without_markdown_has_plain_text(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    def plain_only(capabilities: types.ClientCapabilities) -> None:
        assert capabilities.text_document is not None
        capabilities.text_document.hover = types.HoverClientCapabilities(
            content_format=[types.MarkupKind.PlainText]
        )

    _, test = await failing(editor, project, settings, change=plain_only)
    told = await hover(editor, test, 5)
    assert told.startswith("test_add failed in its last run (")
    assert "\nAssertionError" in told
    assert "**" not in told
    assert "\n\n```adding```" in told
    assert "````" not in told
