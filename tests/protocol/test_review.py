"""A client that shows proposals itself gets them as messages, and says which of them to apply."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from tests.protocol.conftest import CALC, RIGHT, WRONG
from tests.protocol.endpoint import Endpoint, fenced
from tests.protocol.reviewer import REVIEWS, Reviewer

FIXED = CALC.replace("a - b", "a + b")


@pytest.fixture
def editor(reviewer: Reviewer) -> Reviewer:
    """It shows proposals itself."""
    return reviewer


async def test_it_waits_until_it_is_accepted(
    editor: Reviewer, project: Path, settings: dict[str, Any]
) -> None:
    await editor.start(project, settings=settings, options=REVIEWS)
    calc = editor.open(project / "calc.py")
    token = (await editor.command("oci.fix", uri=calc))["token"]
    proposal = await editor.proposal()
    assert (proposal["token"], proposal["uri"], proposal["version"]) == (token, calc, 1)
    assert (proposal["text"], proposal["line"], proposal["problem"]) == (FIXED, 1, "")
    assert proposal["rounds"] == 1
    assert proposal["verified"]
    assert proposal["label"] == "OCI verified: 2 of 2 tests pass, 1 round"
    assert proposal["receipt"][1] == "tests      1 of 2 passed before → 2 of 2 pass now"
    assert not editor.edits
    assert await editor.command("oci.acceptProposal", token=token) == {"applied": True, "message": ""}
    (edit,) = editor.edits
    assert edit.change_annotations is None
    assert editor.text(calc) == FIXED
    await editor.until("the end", lambda: editor.closed == [{"token": token, "outcome": "applied"}])
    again = await editor.command("oci.acceptProposal", token=token)
    assert again == {"applied": False, "message": "It waits no longer: ask again."}


async def test_discarded(editor: Reviewer, project: Path, settings: dict[str, Any]) -> None:
    await editor.start(project, settings=settings, options=REVIEWS)
    calc = editor.open(project / "calc.py")
    await editor.command("oci.fix", uri=calc)
    token = (await editor.proposal())["token"]
    await editor.command("oci.discardProposal", token=token)
    await editor.until("the end", lambda: editor.closed == [{"token": token, "outcome": "discarded"}])
    assert await editor.command("oci.fitProposal", token=token) is None
    assert editor.text(calc) == CALC


async def test_a_file_changed_in_the_same_place_is_refused_until_it_fits_again(
    editor: Reviewer, project: Path, settings: dict[str, Any]
) -> None:
    await editor.start(project, settings=settings, options=REVIEWS)
    calc = editor.open(project / "calc.py")
    await editor.command("oci.fix", uri=calc)
    token = (await editor.proposal())["token"]
    mine = CALC.replace("a - b", "b - a")
    editor.type(calc, mine)
    reason = "calc.py was changed in the same place since the tests ran."
    refused = await editor.command("oci.acceptProposal", token=token)
    assert refused == {"applied": False, "message": reason}
    refit = await editor.command("oci.fitProposal", token=token)
    assert (refit["problem"], refit["verified"], refit["text"]) == (reason, False, FIXED)
    assert editor.text(calc) == mine
    editor.type(calc, CALC)
    assert (await editor.command("oci.acceptProposal", token=token))["applied"]
    assert editor.text(calc) == FIXED


async def test_a_file_changed_elsewhere_is_shown_as_it_will_be(
    editor: Reviewer, project: Path, settings: dict[str, Any]
) -> None:
    await editor.start(project, settings=settings, options=REVIEWS)
    calc = editor.open(project / "calc.py")
    await editor.command("oci.fix", uri=calc)
    token = (await editor.proposal())["token"]
    editor.type(calc, '"""Sums."""\n\n' + CALC)
    refit = await editor.command("oci.fitProposal", token=token)
    assert (refit["text"], refit["line"], refit["version"]) == ('"""Sums."""\n\n' + FIXED, 3, 2)
    assert not refit["verified"], "the tests ran on another text"
    assert (await editor.command("oci.acceptProposal", token=token))["applied"]
    assert editor.text(calc) == '"""Sums."""\n\n' + FIXED


async def test_what_is_not_verified_waits_as_that(
    editor: Reviewer, project: Path, settings: dict[str, Any], endpoint: Endpoint
) -> None:
    endpoint.replies = [WRONG]
    await editor.start(project, settings={**settings, "rounds": 1}, options=REVIEWS)
    calc = editor.open(project / "calc.py")
    await editor.command("oci.fix", uri=calc)
    proposal = await editor.proposal()
    assert not proposal["verified"]
    assert "NOT VERIFIED" in proposal["label"]


SHORTER = fenced("def add(a, b):\n    return sum((a, b))")


async def test_refined_with_the_user_s_words(
    editor: Reviewer, project: Path, settings: dict[str, Any], endpoint: Endpoint
) -> None:
    endpoint.replies = [RIGHT, SHORTER]
    await editor.start(project, settings=settings, options=REVIEWS)
    calc = editor.open(project / "calc.py")
    first = (await editor.command("oci.fix", uri=calc))["token"]
    await editor.proposal()
    second = (await editor.command("oci.refineProposal", token=first, feedback="Use sum."))["token"]
    refined = await editor.proposal()
    assert refined["token"] == second != first
    assert refined["verified"]
    assert refined["text"] == CALC.replace("a - b", "sum((a, b))")
    assert refined["label"] == "OCI verified: 2 of 2 tests pass, 2 rounds"
    assert "Use sum." in endpoint.asked[-1]["messages"][-1]["content"]
    # Both wait; the first can still be had.
    assert (await editor.command("oci.acceptProposal", token=first))["applied"]
    refused = await editor.command("oci.refineProposal", token=second, feedback="Shorter.")
    await editor.until(
        "the refusal", lambda: editor.said("pass now, without the proposal") or editor.said("changed in")
    )
    assert refused["token"]
    unknown = await editor.command("oci.refineProposal", token="none", feedback="Shorter.")
    assert unknown["token"] is None


async def test_explained_as_the_model_writes(
    editor: Reviewer, project: Path, settings: dict[str, Any], endpoint: Endpoint
) -> None:
    endpoint.replies = [RIGHT, "The sign was wrong. I turned it."]
    await editor.start(project, settings=settings, options=REVIEWS)
    calc = editor.open(project / "calc.py")
    token = (await editor.command("oci.fix", uri=calc))["token"]
    await editor.proposal()
    working = (await editor.command("oci.explainProposal", token=token))["token"]
    await editor.until("its end", lambda: editor.explained and editor.explained[-1]["done"])
    assert {piece["token"] for piece in editor.explained} == {token}
    assert "".join(piece["text"] for piece in editor.explained).strip() == "The sign was wrong. I turned it."
    assert len(editor.explained) > 2, "it is streamed"
    asked = endpoint.asked[-1]["messages"]
    assert asked[-2]["content"].strip() == RIGHT.strip()
    assert "why the test failed and what you changed" in asked[-1]["content"]
    await editor.until("the progress's end", lambda: editor.ended(working))
    assert editor.steps(working)[-1] == "Explained"


async def test_what_waits_is_there_again_in_the_next_session(
    editor: Reviewer, project: Path, settings: dict[str, Any], endpoint: Endpoint
) -> None:
    endpoint.replies = [RIGHT, SHORTER, "Because of the sign."]
    await editor.start(project, settings=settings, options=REVIEWS)
    calc = editor.open(project / "calc.py")
    waits = (await editor.command("oci.fix", uri=calc))["token"]
    await editor.proposal()
    discarded = (await editor.command("oci.fix", uri=calc))["token"]
    await editor.proposal()
    await editor.command("oci.discardProposal", token=discarded)
    await editor.shutdown_session()
    await editor.stop()

    again = Reviewer()
    try:
        await again.start(project, settings=settings, options=REVIEWS)
        restored = await again.proposal()
        assert (restored["token"], restored["restored"], restored["text"]) == (waits, True, FIXED)
        assert restored["version"] is None
        assert not restored["verified"], "nobody knows what else has changed since"
        assert restored["label"] == "OCI verified in an earlier session: 2 of 2 tests pass, 1 round"
        kept = await again.command("oci.proposals")
        assert [(each["token"], each["decision"]) for each in kept] == [
            (discarded, "discarded"),
            (waits, "waiting"),
        ]
        assert (kept[0]["uri"], kept[0]["target"], kept[0]["verdict"]) == (calc, "add", "verified")
        assert await again.command("oci.openProposal", token=discarded) == {"token": discarded}
        reopened = await again.proposal()
        assert reopened["text"] == CALC.replace("a - b", "sum((a, b))")
        await again.command("oci.explainProposal", token=waits)
        await again.until("an explanation", lambda: again.explained and again.explained[-1]["done"])
        again.open(project / "calc.py")
        assert (await again.command("oci.acceptProposal", token=waits))["applied"]
        assert again.text(calc) == FIXED
        assert not again.waiting
    finally:
        await again.shutdown_session()
        await again.stop()


async def test_sessions_are_collected_with_consent_only(
    editor: Reviewer, project: Path, settings: dict[str, Any], own_home: Path
) -> None:
    await editor.start(project, settings=settings, options=REVIEWS)
    calc = editor.open(project / "calc.py")
    await editor.command("oci.fix", uri=calc)
    await editor.command("oci.discardProposal", token=(await editor.proposal())["token"])
    editor.set_configuration({**settings, "collectSessions": True}, section="oci")
    editor.workspace_did_change_configuration(types.DidChangeConfigurationParams(settings=None))
    await editor.command("oci.fix", uri=calc)
    await editor.command("oci.discardProposal", token=(await editor.proposal())["token"])
    await editor.shutdown_session()
    await editor.stop()
    (file,) = (own_home / "code-feedback").glob("*.jsonl")
    (line,) = file.read_text().splitlines()
    assert json.loads(line)["decision"] == "discarded"
    assert str(project) not in line
