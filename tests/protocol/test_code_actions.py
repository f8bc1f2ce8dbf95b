"""Which code actions are offered where, as raw JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from tests.protocol.editor import Editor

CODE = """\
import re


def stub(a):
    '''Return a.'''


def done(a):
    return a


class Box:
    def method(self): ...


# the sum of a list
TOTAL = 1
"""
TEST = """\
from code import done


def help_me():
    return 1


class TestDone:
    def test_done(self):
        assert done(1) == 1
"""
GENERATE, FIX, FIX_TEST = "Generate with OCI", "Fix with OCI", "Fix failing test with OCI"


def titles(actions: list[dict[str, Any]]) -> dict[str, str]:
    """Return the kind of each action by its title."""
    return {action["title"]: action["kind"] for action in actions}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (0, set()),
        (3, {GENERATE, FIX}),
        (4, {GENERATE, FIX}),
        (8, {FIX}),
        (12, {GENERATE, FIX}),
        (15, {GENERATE}),
        (16, set()),
    ],
)
async def test_by_place(editor: Editor, project: Path, line: int, expected: set[str]) -> None:
    await editor.start(project)
    uri = editor.open(project / "code.py", CODE)
    actions = titles(await editor.actions(uri, line))
    assert set(actions) == expected
    assert set(actions.values()) <= {"refactor.rewrite"}


async def test_selection(editor: Editor, project: Path) -> None:
    await editor.start(project)
    uri = editor.open(project / "code.py", CODE)
    (action,) = [a for a in await editor.actions(uri, 16, end=17) if a["title"] == GENERATE]
    assert action["command"]["arguments"] == [{"uri": uri, "line": 17, "endLine": 17}]


async def test_in_a_test_file(editor: Editor, project: Path) -> None:
    await editor.start(project)
    uri = editor.open(project / "test_code.py", TEST)
    (action,) = await editor.actions(uri, 9)
    assert (action["title"], action["kind"]) == (FIX_TEST, "refactor.rewrite")
    assert action["command"]["command"] == "oci.fixTest"
    assert action["command"]["arguments"] == [{"uri": uri, "test": "TestDone::test_done", "line": 10}]
    (action,) = await editor.actions(uri, 9, only=["quickfix"])
    assert (action["title"], action["kind"]) == (FIX_TEST, "quickfix")
    assert titles(await editor.actions(uri, 4)) == {FIX: "refactor.rewrite"}


async def test_with_diagnostics(editor: Editor, project: Path) -> None:
    await editor.start(project)
    uri = editor.open(project / "code.py", CODE)
    place = types.Range(types.Position(8, 0), types.Position(8, 5))
    theirs = types.Diagnostic(place, "wrong type", source="mypy")
    action, other = await editor.actions(uri, 8, diagnostics=[theirs])
    assert (action["title"], action["kind"]) == (f"{FIX}: wrong type", "quickfix")
    assert [d["message"] for d in action["diagnostics"]] == ["wrong type"]
    assert (other["title"], other["kind"]) == (FIX, "refactor.rewrite")
    ours = types.Diagnostic(place, "test_done fails", source="oci", data={"test": "test_code.py::test_done"})
    (action,) = await editor.actions(uri, 8, diagnostics=[ours])
    assert (action["title"], action["kind"]) == (FIX_TEST, "quickfix")
    assert action["command"]["arguments"][0]["test"] == "test_code.py::test_done"


@pytest.mark.parametrize(
    ("only", "kinds"),
    [
        (["refactor"], {"refactor.rewrite"}),
        (["refactor.rewrite"], {"refactor.rewrite"}),
        (["refactor.extract"], set()),
        (["source.fixAll"], set()),
        ([""], {"refactor.rewrite"}),
    ],
)
async def test_by_kind(editor: Editor, project: Path, only: list[str], kinds: set[str]) -> None:
    await editor.start(project)
    uri = editor.open(project / "code.py", CODE)
    assert set(titles(await editor.actions(uri, 3, only=only)).values()) == kinds


@pytest.mark.parametrize(
    "uri", ["untitled:Untitled-1", "file:///a/code.pyi", "vscode-notebook-cell:/a/b.ipynb#1"]
)
async def test_what_is_no_python_file_has_none(editor: Editor, project: Path, uri: str) -> None:
    await editor.start(project)
    item = types.TextDocumentItem(uri, "python", 1, CODE)
    editor.text_document_did_open(types.DidOpenTextDocumentParams(item))
    assert await editor.actions(uri, 3) == []
    assert (await editor.command("oci.generate", uri=uri, line=4))["token"] is None


async def test_half_typed_code_still_has_them(editor: Editor, project: Path) -> None:
    await editor.start(project)
    uri = editor.open(project / "code.py", "def broken(a:\n    return (a\n\ndef stub(b):\n    ...\n")
    assert GENERATE in titles(await editor.actions(uri, 3))


async def test_tag_and_literals_where_the_client_knows_them(editor: Editor, project: Path) -> None:
    def change(capabilities: types.ClientCapabilities) -> None:
        assert capabilities.text_document and capabilities.text_document.code_action
        capabilities.text_document.code_action.tag_support = types.CodeActionTagOptions(
            [types.CodeActionTag.LlmGenerated]
        )

    await editor.start(project, change=change)
    uri = editor.open(project / "code.py", CODE)
    assert all(a["tags"] == [1] for a in await editor.actions(uri, 3))


async def test_commands_for_clients_without_literals(editor: Editor, project: Path) -> None:
    def change(capabilities: types.ClientCapabilities) -> None:
        assert capabilities.text_document and capabilities.text_document.code_action
        capabilities.text_document.code_action.code_action_literal_support = None

    await editor.start(project, change=change)
    uri = editor.open(project / "code.py", CODE)
    assert [a["command"] for a in await editor.actions(uri, 3)] == ["oci.generate", "oci.fix"]
