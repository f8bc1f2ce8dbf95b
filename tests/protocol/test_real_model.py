"""The whole path with the real default model: language server, engine process, sandboxed tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.protocol.conftest import CALC
from tests.protocol.editor import Editor
from tests.protocol.model import local_model


async def test_fix(editor: Editor, project: Path, settings: dict[str, Any]) -> None:
    await editor.start(project, settings={**settings, "endpoint": "", "model": local_model()})
    calc = editor.open(project / "calc.py")
    test = editor.open(project / "test_calc.py")
    (action,) = await editor.actions(test, 5)
    token = (await editor.command("oci.fixTest", **action["command"]["arguments"][0]))["token"]
    await editor.until("the edit", lambda: editor.text(calc) == CALC.replace("a - b", "a + b"))
    (annotation,) = (editor.edits[0].change_annotations or {}).values()
    assert annotation.label.startswith("OCI verified: 2 of 2 tests pass")
    print("\n".join(editor.steps(token)))
    print(annotation.description)


async def test_cancel_while_the_model_writes(editor: Editor, project: Path, settings: dict[str, Any]) -> None:
    await editor.start(project, settings={**settings, "endpoint": "", "model": local_model()})
    calc = editor.open(project / "calc.py")
    token = (await editor.command("oci.fix", uri=calc))["token"]
    await editor.until("the model", lambda: any("characters written" in s for s in editor.steps(token)))
    await editor.command("oci.cancel", token=token)
    await editor.until("the end", lambda: editor.ended(token))
    assert editor.steps(token)[-1] == "Stopped"
    assert not editor.edits
