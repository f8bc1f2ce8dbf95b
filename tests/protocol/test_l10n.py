"""What the user reads is in the language that the client has translations for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from tests.protocol.conftest import CALC
from tests.protocol.editor import Editor
from tests.protocol.test_consent import no_annotations
from tests.protocol.test_on_save import lenses, shown

FIXED = CALC.replace("a - b", "a + b")
GERMAN = {
    "Fix with OCI": "Mit OCI reparieren",
    "Fix failing test with OCI": "Fehlschlagenden Test mit OCI reparieren",
    "Run test": "Test ausführen",
    "Run test ({0}, {1})": "Test ausführen ({1}: {0})",
    "failed": "fehlgeschlagen",
    "Starting": "Es beginnt",
    "Round {0} of {1}: {2}": "Runde {0} von {1}: {2}",
    "the model is asked": "das Modell wird gefragt",
    "Apply": "Anwenden",
    "Show diff": "Unterschiede zeigen",
    "Discard": "Verwerfen",
    # Neither a text nor a setting: what is none is ignored.
    "Explain": 3,
    "rounds": "none",
    "rounds.rounds": "none",
}


@pytest.fixture
def options() -> dict[str, Any]:
    """The options that such a client initializes the server with."""
    return {"trusted": True, "l10n": GERMAN}


async def test_actions_lenses_and_progress_are_translated(
    editor: Editor, project: Path, settings: dict[str, Any], options: dict[str, Any]
) -> None:
    await editor.start(project, settings=settings, options=options)
    calc, test = editor.open(project / "calc.py"), editor.open(project / "test_calc.py")
    (action,) = await editor.actions(calc, 1)
    assert action["title"] == action["command"]["title"] == "Mit OCI reparieren"

    assert [title for _, title, _ in await lenses(editor, test)] == ["Test ausführen"] * 2
    await editor.command("oci.runTests", uri=test)
    await editor.until("it", lambda: shown(editor, test))
    titles = [title for _, title, _ in await lenses(editor, test)]
    assert titles[0].startswith("Test ausführen (")
    assert titles[0].endswith(": fehlgeschlagen)")
    assert titles[1] == "Fehlschlagenden Test mit OCI reparieren"
    assert titles[2].endswith(": passed)"), "what has no translation is English"

    answer = await editor.command(action["command"]["command"], **action["command"]["arguments"][0])
    await editor.until("the edit", lambda: editor.text(calc) == FIXED)
    begin = editor.progress_reports[answer["token"]][0]
    assert isinstance(begin, types.WorkDoneProgressBegin)
    assert (begin.title, begin.message) == ("Mit OCI reparieren", "Es beginnt")
    assert "Runde 1 von 3: das Modell wird gefragt" in editor.steps(answer["token"])


async def test_settings_beside_translations_hold(
    editor: Editor, project: Path, settings: dict[str, Any], options: dict[str, Any]
) -> None:
    def unasked(capabilities: types.ClientCapabilities) -> None:
        assert capabilities.workspace
        capabilities.workspace.configuration = None

    await editor.start(project, options={**settings, "rounds": 2, **options}, change=unasked)
    calc = editor.open(project / "calc.py")
    answer = await editor.command("oci.fix", uri=calc)
    await editor.until("the edit", lambda: editor.text(calc) == FIXED)
    assert "Runde 1 von 2: das Modell wird gefragt" in editor.steps(answer["token"])


async def test_translated_answers_are_understood(
    editor: Editor, project: Path, settings: dict[str, Any], options: dict[str, Any]
) -> None:
    await editor.start(project, settings=settings, options=options, change=no_annotations)
    calc = editor.open(project / "calc.py")
    editor.answers = ["Unterschiede zeigen", "Anwenden"]
    await editor.command("oci.fix", uri=calc)
    await editor.until("the edit", lambda: editor.text(calc) == FIXED)
    titles = [action.title for action in editor.questions[0].actions or []]
    assert titles == ["Anwenden", "Unterschiede zeigen", "Verwerfen"]


async def test_a_title_that_two_answers_have_applies_nothing(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    same = {"l10n": {"Apply": "Ja", "Discard": "Ja"}}
    await editor.start(project, settings=settings, options=same, change=no_annotations)
    calc = editor.open(project / "calc.py")
    editor.answers = ["Ja"]
    await editor.command("oci.fix", uri=calc)
    await editor.until("the question", lambda: editor.questions and not editor.answers)
    assert (await editor.command("oci.applyProposal"))["token"] is None
    assert not editor.edits


@pytest.mark.parametrize("bundle", ["words", ["Fix with OCI"], 1, None])
async def test_what_are_no_translations_is_ignored(editor: Editor, project: Path, bundle: Any) -> None:
    await editor.start(project, options={"l10n": bundle})
    (action,) = await editor.actions(editor.open(project / "calc.py"), 1)
    assert action["title"] == "Fix with OCI"
