"""Clients that cannot show a change annotation are asked by a message before anything is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from tests.protocol.conftest import CALC, WRONG
from tests.protocol.editor import Editor
from tests.protocol.endpoint import Endpoint

FIXED = CALC.replace("a - b", "a + b")


def no_annotations(capabilities: types.ClientCapabilities) -> None:
    """Make it a client as Neovim is, of any version."""
    assert capabilities.workspace and capabilities.workspace.workspace_edit
    capabilities.workspace.workspace_edit.change_annotation_support = None


@pytest.mark.parametrize("documents_change", [True, False])
async def test_apply_after_the_diff(
    editor: Editor, project: Path, settings: dict[str, Any], documents_change: bool
) -> None:
    def change(capabilities: types.ClientCapabilities) -> None:
        no_annotations(capabilities)
        capabilities.workspace.workspace_edit.document_changes = documents_change

    await editor.start(project, settings=settings, change=change)
    calc = editor.open(project / "calc.py")
    editor.answers = ["Show diff", "Apply"]
    await editor.command("oci.fix", uri=calc)
    await editor.until("the edit", lambda: editor.text(calc) == FIXED)
    assert len(editor.questions) == 2
    question = editor.questions[0]
    assert [a.title for a in question.actions or []] == ["Apply", "Show diff", "Discard"]
    assert question.message.startswith("OCI verified: 2 of 2 tests pass")
    (shown,) = editor.shown_documents
    diff = Path(shown.uri.removeprefix("file://"))
    assert "-    return a - b\n+    return a + b\n" in diff.read_text()
    assert bool(editor.edits[0].document_changes) is documents_change
    assert editor.edits[0].change_annotations is None
    await editor.shutdown_session()
    assert not diff.exists()


async def test_discard(editor: Editor, project: Path, settings: dict[str, Any]) -> None:
    await editor.start(project, client="neovim", settings=settings)
    calc = editor.open(project / "calc.py")
    editor.answers = ["Discard"]
    await editor.command("oci.fix", uri=calc)
    await editor.until("the question", lambda: editor.questions and not editor.answers)
    assert (await editor.command("oci.applyProposal"))["token"] is None
    assert not editor.edits


async def test_typing_while_the_question_is_open(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    await editor.start(project, settings=settings, change=no_annotations)
    calc = editor.open(project / "calc.py")
    await editor.command("oci.fix", uri=calc)
    await editor.until("the question", lambda: editor.questions)
    editor.type(calc, CALC.replace("a - b", "b - a"))
    editor.answers = ["Apply"]
    await editor.until("the message", lambda: editor.said("changed in the same place"))
    assert not editor.edits


async def test_what_is_not_verified_is_asked_as_a_warning(
    editor: Editor, project: Path, settings: dict[str, Any], endpoint: Endpoint
) -> None:
    endpoint.replies = [WRONG]
    await editor.start(project, settings={**settings, "rounds": 1}, change=no_annotations)
    calc = editor.open(project / "calc.py")
    editor.answers = [None]
    await editor.command("oci.fix", uri=calc)
    await editor.until("the question", lambda: editor.questions)
    assert editor.questions[0].type is types.MessageType.Warning
    assert "NOT VERIFIED" in editor.questions[0].message
    assert not editor.edits


async def test_without_progress_the_log_tells(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    def change(capabilities: types.ClientCapabilities) -> None:
        assert capabilities.window
        capabilities.window.work_done_progress = False

    await editor.start(project, settings=settings, change=change)
    calc = editor.open(project / "calc.py")
    await editor.command("oci.fix", uri=calc)
    await editor.until("the edit", lambda: editor.text(calc) == FIXED)
    assert any("Round 1 of 3: 2 tests running" in m.message for m in editor.log_messages)
    assert not editor.progress_reports
