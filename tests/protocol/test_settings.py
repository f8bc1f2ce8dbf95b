"""Settings: from initialization options, by `workspace/configuration`, and changed while the server runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams

from tests.protocol.editor import Editor
from tests.protocol.endpoint import Endpoint


def cannot_be_asked(capabilities: types.ClientCapabilities) -> None:
    """Make it a client without `workspace/configuration`."""
    assert capabilities.workspace
    capabilities.workspace.configuration = False


async def test_wrong_values_are_told_once(editor: Editor, project: Path, settings: dict[str, Any]) -> None:
    wrong = {**settings, "rounds": "many", "sandbox": {"level": "none"}}
    await editor.start(project, settings=wrong, options={"oci": wrong})
    calc = editor.open(project / "calc.py")
    await editor.command("oci.fix", uri=calc)
    await editor.until("the edit", lambda: editor.edits)
    told = [m.message for m in editor.messages]
    assert len(told) == 2
    assert any("oci.rounds" in t for t in told)
    assert any("oci.sandbox.level" in t and "'none'" in t for t in told)


async def test_from_initialization_options(
    editor: Editor, project: Path, settings: dict[str, Any], endpoint: Endpoint
) -> None:
    await editor.start(project, options={"oci": settings}, change=cannot_be_asked)
    calc = editor.open(project / "calc.py")
    await editor.command("oci.fix", uri=calc)
    await editor.until("the edit", lambda: editor.edits)
    assert endpoint.asked


@pytest.mark.parametrize("pushed", [True, False])
async def test_changed(
    editor: Editor, project: Path, settings: dict[str, Any], endpoint: Endpoint, pushed: bool
) -> None:
    first = {**settings, "endpoint": "http://127.0.0.1:9/v1"}
    await editor.start(project, settings=first, options=first)
    calc = editor.open(project / "calc.py")
    await editor.command("oci.fix", uri=calc)
    await editor.until("the message", lambda: editor.said("nothing answers"))
    editor.set_configuration(settings, section="oci")
    editor.workspace_did_change_configuration(
        types.DidChangeConfigurationParams({"oci": settings} if pushed else None)
    )
    await editor.command("oci.fix", uri=calc)
    await editor.until("the edit", lambda: editor.edits)


@pytest.mark.parametrize(
    "argument",
    [{}, {"uri": 3}, {"uri": "file:///a.py", "line": 0}, {"uri": "file:///a.py", "line": "1"}],
)
async def test_wrong_arguments_are_an_error(editor: Editor, project: Path, argument: dict[str, Any]) -> None:
    await editor.start(project)
    with pytest.raises(JsonRpcInvalidParams):
        await editor.command("oci.generate", **argument)


async def test_the_folder_that_holds_the_file_is_the_workspace(
    editor: Editor, tmp_path: Path, project: Path, settings: dict[str, Any]
) -> None:
    # The editor has another folder open: the file's own surroundings say where its project is.
    (project / "pyproject.toml").write_text("")
    other = tmp_path / "other"
    other.mkdir()
    await editor.start(other, settings=settings)
    test = editor.open(project / "test_calc.py")
    await editor.command("oci.fixTest", uri=test, test="TestCalc::test_add")
    await editor.until("the edit", lambda: editor.edits)
    (change,) = editor.edits[0].document_changes or []
    assert isinstance(change, types.TextDocumentEdit)
    assert change.text_document.uri == (project / "calc.py").as_uri()
    assert change.text_document.version is None, "the file is not open"
