"""Other tools' diagnostics in the editor: offered, repaired, and checked by the tool itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lsprotocol import types

from tests.protocol.conftest import CALC
from tests.protocol.editor import Editor
from tests.protocol.endpoint import Endpoint, fenced

UNDEFINED = CALC.replace("return 2 * a", "return 2 * a if a else nothing")


def diagnostic(source: str, code: str, message: str, line: int) -> types.Diagnostic:
    place = types.Range(types.Position(line, 4), types.Position(line, 10))
    return types.Diagnostic(place, message, types.DiagnosticSeverity.Error, code, source=source)


async def test_offered_repaired_and_checked(
    editor: Editor, project: Path, settings: dict[str, Any], endpoint: Endpoint
) -> None:
    (project / "calc.py").write_text(UNDEFINED)
    endpoint.replies = [fenced("def double(a):\n    return 2 * a")]
    await editor.start(project, settings=settings)
    calc = editor.open(project / "calc.py")
    ruff = diagnostic("Ruff", "F821", "Undefined name `nothing`", 5)
    hint = diagnostic("Ruff", "X", "just so", 5)
    hint.severity = types.DiagnosticSeverity.Hint
    offered = await editor.actions(calc, 5, diagnostics=[ruff, hint])
    (action,) = [each for each in offered if each["command"]["command"] == "oci.fixDiagnostic"]
    assert action["title"] == "Fix with OCI: F821 Undefined name `nothing`"
    assert action["kind"] == "quickfix"
    assert [each["code"] for each in action["diagnostics"]] == ["F821"]
    await editor.command("oci.fixDiagnostic", **action["command"]["arguments"][0])
    await editor.until("the edit", lambda: editor.edits)
    assert editor.text(calc) == UNDEFINED.replace(" if a else nothing", "")
    (annotation,) = (editor.edits[0].change_annotations or {}).values()
    assert annotation.label.startswith("OCI verified")
    assert "Ruff no longer reports F821" in (annotation.description or "")


async def test_not_offered_in_tests(editor: Editor, project: Path, settings: dict[str, Any]) -> None:
    await editor.start(project, settings=settings)
    test = editor.open(project / "test_calc.py")
    offered = await editor.actions(test, 0, diagnostics=[diagnostic("Ruff", "F401", "unused", 0)])
    assert "oci.fixDiagnostic" not in [each["command"]["command"] for each in offered]
