"""A client that shows proposals itself gets them as messages, and says which of them to apply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lsp_server.features.messages import PROPOSAL, PROPOSAL_CLOSED
from tests.protocol.conftest import CALC, WRONG
from tests.protocol.editor import Editor, plain
from tests.protocol.endpoint import Endpoint

FIXED = CALC.replace("a - b", "a + b")
REVIEWS = {"proposals": True}


class Reviewer(Editor):
    """An editor that shows proposals itself."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[dict[str, Any]] = []
        self.closed: list[dict[str, Any]] = []
        self.feature(PROPOSAL)(lambda message: self.waiting.append(plain(message)))
        self.feature(PROPOSAL_CLOSED)(lambda message: self.closed.append(plain(message)))

    async def proposal(self) -> dict[str, Any]:
        """Return the next proposal."""
        await self.until("a proposal", lambda: self.waiting)
        return self.waiting.pop(0)


@pytest.fixture
def editor() -> Reviewer:
    """Not started, and ended by the fixture below."""
    return Reviewer()


@pytest.fixture(autouse=True)
async def ended(editor: Reviewer) -> Any:
    yield
    await editor.shutdown_session()
    await editor.stop()


async def test_it_waits_until_it_is_accepted(
    editor: Reviewer, project: Path, settings: dict[str, Any]
) -> None:
    await editor.start(project, settings=settings, options=REVIEWS)
    calc = editor.open(project / "calc.py")
    token = (await editor.command("oci.fix", uri=calc))["token"]
    proposal = await editor.proposal()
    assert (proposal["token"], proposal["uri"], proposal["version"]) == (token, calc, 1)
    assert (proposal["text"], proposal["line"], proposal["problem"]) == (FIXED, 1, "")
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
