"""The whole path with the real default model: language server, engine process, sandboxed tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lsp_server.features.messages import EXPLANATION, PROPOSAL
from tests.protocol.conftest import CALC
from tests.protocol.editor import Editor, plain
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


async def test_explain_and_refine_with_feedback(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    await editor.start(
        project,
        settings={**settings, "endpoint": "", "model": local_model()},
        options={"proposals": True},
    )
    waiting: list[dict[str, Any]] = []
    explained: list[dict[str, Any]] = []
    editor.feature(PROPOSAL)(lambda message: waiting.append(plain(message)))
    editor.feature(EXPLANATION)(lambda message: explained.append(plain(message)))
    calc = editor.open(project / "calc.py")
    await editor.command("oci.fix", uri=calc)
    await editor.until("the proposal", lambda: waiting)
    token = waiting[0]["token"]
    await editor.command("oci.explainProposal", token=token)
    await editor.until("the explanation", lambda: explained and explained[-1]["done"])
    explanation = "".join(piece["text"] for piece in explained)
    print(explanation)
    assert len(explanation.split()) > 5
    assert "```" not in explanation
    feedback = "Good. Now give the function a docstring that says what it returns."
    await editor.command("oci.refineProposal", token=token, feedback=feedback)
    await editor.until("the refined proposal", lambda: len(waiting) > 1)
    print(waiting[1]["text"])
    assert waiting[1]["verified"]
    assert '"""' in waiting[1]["text"]
    assert "return a + b" in waiting[1]["text"]
